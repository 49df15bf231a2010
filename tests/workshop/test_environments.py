"""A tool gets an environment of its own, whole or not at all, and needs no network once the wheels are there."""

import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.present import present
from tests.support.waiting.bounded_popen import BoundedPopen
from tests.support.waiting.until import wait_until
from vedette.errors import ToolMissing
from vedette.workshop import environments
from vedette.workshop.environments import REQUIREMENTS, TOOLS, Needs, python_of
from vedette.workshop.tool import run

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
WHEEL = "tiny_tool-1.0-py3-none-any.whl"
MAKES = f"""
import sys
from vedette.workshop import environments
from pathlib import Path
environments.TOOLS["tiny"] = environments.Needs(("{HERE}",), 1)
environments.python_of("tiny", lambda line: print(line, flush=True), requirements=Path(sys.argv[1]))
"""


@pytest.fixture
def pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the requirements of the tool `tiny`; pip has a folder of wheels, and no index."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setitem(TOOLS, "tiny", Needs((HERE,), 1))
    requirements = tmp_path / "requirements"
    requirements.mkdir()
    (tmp_path / "wheels").mkdir()
    (requirements / "tiny.txt").write_text("tiny-tool==1.0\n")
    return requirements


def write_wheel(folder: Path) -> None:
    """Write a wheel that pip installs: one module with a number."""
    with zipfile.ZipFile(folder / WHEEL, "w") as wheel:
        wheel.writestr("tiny_tool.py", "NUMBER = 7\n")
        wheel.writestr("tiny_tool-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-tool\nVersion: 1.0\n")
        wheel.writestr("tiny_tool-1.0.dist-info/WHEEL",
                       "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("tiny_tool-1.0.dist-info/RECORD", "")


def processes_with(text: str) -> list[str]:
    """The command lines of this machine with this text in them."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = each.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        found += [line] if text in line else []
    return found


@pytest.mark.slow
def test_after_a_kill_nothing_is_half_made_and_the_next_one_makes_it(pinned: Path, tmp_path: Path) -> None:
    """SIGKILL leaves no link, and no child that writes on. The next run removes the rest, and no run after it makes."""
    home = tmp_path / "cache" / "vedette" / "environments"
    with BoundedPopen([sys.executable, "-c", MAKES, pinned], stdout=subprocess.PIPE, text=True) as making:
        assert "making its environment" in present(making.stdout).readline()
        assert wait_until(lambda: processes_with(f"{home}/tiny-"))      # the child writes there
        making.send_signal(signal.SIGKILL)
        making.wait(240)
    assert wait_until(lambda: not processes_with(f"{home}/tiny-"))
    (rest,) = home.glob("tiny-*")
    assert not rest.is_symlink(), "it has no name yet"
    write_wheel(tmp_path / "wheels")
    said: list[str] = []
    python = python_of("tiny", said.append, requirements=pinned)
    assert not rest.exists()
    assert said[0].startswith("tiny: making its environment")
    heard: list[str] = []
    assert run([python, "-c", "import tiny_tool; print(tiny_tool.NUMBER)"], tmp_path / "log", heard.append) == 0
    assert heard == ["7"]
    (tmp_path / "wheels" / WHEEL).unlink()
    assert python_of("tiny", pytest.fail, requirements=pinned) == python


def test_a_tool_says_which_python_it_needs(pinned: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where that Python is not here and uv cannot fetch it: what to install, and nothing is left."""
    monkeypatch.setitem(TOOLS, "tiny", Needs(("3.99",), 1))
    monkeypatch.setenv("UV_OFFLINE", "1")
    with pytest.raises(ToolMissing, match=r"cannot be made.*; it needs Python 3\.99 .*python3\.99-venv, or uv"):
        python_of("tiny", print, requirements=pinned)
    assert list((tmp_path / "cache" / "vedette" / "environments").glob("tiny-*")) == []


def test_a_folder_that_cannot_be_made_is_named(pinned: Path, tmp_path: Path) -> None:
    """A file where the cache should be."""
    (tmp_path / "cache").write_text("")
    with pytest.raises(ToolMissing, match=r"cannot be made in .*cache"):
        python_of("tiny", print, requirements=pinned)


@pytest.mark.parametrize("tool", sorted(environments.TOOLS))
def test_the_package_pins_every_requirement(tool: str) -> None:
    """Each tool has its file, in which each line is one exact version, and one of them the tool itself."""
    lines = (REQUIREMENTS / f"{tool}.txt").read_text().splitlines()
    assert all(line.count("==") == 1 for line in lines)
    assert tool in [line.partition("==")[0] for line in lines]
