"""The Debian package's scripts and its list of commands; `make campaign PART=deb` builds and installs the package."""

import argparse
import runpy
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from vedette.cli import COMMANDS

ROOT = Path(__file__).parents[2]
SCRIPTS = [*sorted((ROOT / "systemd").glob("*.sh")), *sorted((ROOT / "debian").glob("vedette.p*")),
           *(ROOT / "tools" / name for name in ("deb", "deps", "find-python", "install-locked"))]
CHECK = (["shellcheck", "--severity=warning", "--external-sources", "--source-path", ROOT] if shutil.which("shellcheck")
         else ["sh", "-n"])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_shell_scripts_are_sound(script: Path) -> None:
    """For shellcheck where it is installed, otherwise for the shell."""
    done = subprocess.run([*CHECK, script], capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stdout) == (0, "")


def commands_of(parser: argparse.ArgumentParser) -> Iterator[str]:
    below = [action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for choices in below:
        for each in choices.values():
            yield from commands_of(each)
    if not below:
        yield parser.prog


def test_the_manual_page_has_every_command() -> None:
    """Page and completion are written from one parser, which knows the options of each command."""
    parser = runpy.run_path(str(ROOT / "debian/parser.py"))["parser"]()
    assert set(commands_of(parser)) == {f"vedette {name}" for name in COMMANDS}
    assert parser.parse_args(["model", "install", "street.tflite", "--json"]).json is True
