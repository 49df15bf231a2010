"""Installing and removing for real, staged in a folder; what it costs is one build, without dependencies."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def make(target: str, destination: Path, **variables: str) -> str:
    environ = {**os.environ, "DESTDIR": str(destination), "PIP_NO_DEPS": "1", **variables}
    done = subprocess.run(["make", "--no-print-directory", target], cwd=ROOT, env=environ, capture_output=True,
                          text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def mode(path: Path) -> str:
    return stat.filemode(path.stat().st_mode)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    destination = tmp_path_factory.mktemp("destination")
    make("install", destination)
    return destination


def test_a_first_installation_is_complete(installed: Path) -> None:
    """Program, units, user, configuration and folders are there, with the modes that keep secrets."""
    command: list[Path | str] = [installed / "opt/vedette/venv/bin/vedette", "--version"]
    assert subprocess.run(command, capture_output=True, text=True, timeout=240).stdout.startswith("vedette ")
    where: list[Path | str] = [installed / "opt/vedette/venv/bin/python", "-P", "-c",
             "from vedette.detect.box_model import *; print(BOX_MODEL)"]
    box_model = Path(subprocess.run(where, capture_output=True, text=True, timeout=240, check=True).stdout.strip())
    assert box_model.is_relative_to(installed)
    assert box_model.read_bytes() == (ROOT / "models/vedette-street.tflite").read_bytes()
    assert (installed / "etc/vedette/config.yaml").read_text() == (ROOT / "config.yaml").read_text()
    assert {path: mode(installed / path) for path in (
        "etc/vedette", "etc/vedette/config.yaml", "etc/vedette/credentials", "var/lib/vedette")} == {
        "etc/vedette": "drwxr-x---", "etc/vedette/config.yaml": "-rw-r-----",
        "etc/vedette/credentials": "drwxr-x---", "var/lib/vedette": "drwxr-x---"}
    for path in ("etc/systemd/system/vedette.service", "etc/systemd/system/vedette@.service",
                 "usr/lib/sysusers.d/vedette.conf", "opt/vedette/share/operations.md",
                 "opt/vedette/share/mosquitto.acl"):
        assert mode(installed / path) == "-rw-r--r--"


def test_the_command_is_where_shells_look(installed: Path, tmp_path: Path) -> None:
    """`vedette` is a command for operators and other update agents; one that is not ours stays, and what is goes."""
    link = installed / "usr/local/bin/vedette"
    assert str(link.readlink()) == "/opt/vedette/venv/bin/vedette"
    theirs = tmp_path / "usr/local/bin/vedette"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("another")
    make("uninstall", tmp_path)
    assert theirs.read_text() == "another"
    theirs.unlink()
    theirs.symlink_to(link.readlink())
    make("uninstall", tmp_path)
    assert not theirs.is_symlink()


def test_installing_leaves_the_checkout_alone(installed: Path) -> None:
    """Root's build leaves nothing a later build, or a later owner, would stumble over."""
    assert installed.exists()
    assert not (ROOT / "build").exists()


def test_removing_keeps_what_is_the_owners(tmp_path: Path) -> None:
    """Configuration and state outlive the program; PURGE=1 takes them too; removing twice is safe."""
    kept = [tmp_path / "etc/vedette/config.yaml", tmp_path / "var/lib/vedette/run",
            tmp_path / "var/lib/vedette-front/run"]
    gone = [tmp_path / "opt/vedette/venv/x", tmp_path / "etc/systemd/system/vedette.service",
            tmp_path / "etc/systemd/system/vedette@.service"]
    for path in (*kept, *gone):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert "kept" in make("uninstall", tmp_path)
    assert [path.exists() for path in (*kept, *gone)] == [True] * 3 + [False] * 3
    make("uninstall", tmp_path, PURGE="1")
    assert [path for path in kept if path.exists()] == []
    make("uninstall", tmp_path, PURGE="1")


def test_installing_again_keeps_the_configuration(installed: Path) -> None:
    """Updating is installing: the edited file stays, and the command still works."""
    config = installed / "etc/vedette/config.yaml"
    original = config.read_text()
    config.write_text("device: gate-01\n")
    try:
        make("install", installed)
        assert config.read_text() == "device: gate-01\n"
    finally:
        config.write_text(original)
