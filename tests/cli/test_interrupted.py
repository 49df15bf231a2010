"""Ctrl-C at the very beginning, while a command's modules are still being read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from running_daemon import environment

# The interpreter tells an audit hook of every import that begins: the same moment in every run, without a clock.
INTERRUPTING = """
import os, signal, sys
def hook(event, arguments):
    if event == "import" and arguments[0] == os.environ["INTERRUPT_AT"]:
        os.kill(os.getpid(), signal.SIGINT)
sys.addaudithook(hook)
"""
COMMAND = Path(sys.executable).with_name("vedette")
RUN = ("run", "--source", "synthetic")


@pytest.mark.parametrize("module", ["vedette.cli", "argparse", "vedette.errors", "vedette.cli.arguments", "vedette.app",
                                    "yaml", "pydantic"])
@pytest.mark.parametrize("program", [[sys.executable, "-m", "vedette"], [COMMAND]], ids=["module", "command"])
def test_it_ends_quietly(tmp_path: Path, program: list[str | Path], module: str) -> None:
    """Exit code 130 and not a word, least of all a traceback, as later on."""
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTING)
    ended = subprocess.run([*program, *RUN], capture_output=True, text=True, timeout=30, cwd=tmp_path, env={
        **environment(tmp_path), "PYTHONPATH": str(tmp_path), "INTERRUPT_AT": module})
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")
