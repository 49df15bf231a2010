"""Installing and removing for real, staged in a folder, with the locked versions."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from tests.support.daemon.as_service import missing
from tests.support.daemon.scratch_root import ScratchRoot

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def make(target: str, destination: Path, **variables: str) -> str:
    environ = {**os.environ, "DESTDIR": str(destination), **variables}
    done = subprocess.run(["make", "--no-print-directory", target], cwd=ROOT, env=environ, capture_output=True,
                          text=True, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def mode(path: Path) -> str:
    return stat.filemode(path.stat().st_mode)


def test_a_first_installation_is_complete(tmp_path: Path) -> None:
    """Program, units, user, configuration and folders are there, with the modes that keep secrets."""
    make("install", tmp_path)
    command = tmp_path / "opt/vedette/current/bin/vedette"
    started = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=240)
    assert started.stdout.startswith("vedette ")
    environment = (tmp_path / "opt/vedette/current").resolve()
    assert f"{environment}/bin/python" in command.read_text()   # so a running daemon keeps it when the link changes
    where: list[Path | str] = [environment / "bin/python", "-P", "-c",
             "from vedette.detect.box_model import *; print(BOX_MODEL)"]
    box_model = Path(subprocess.run(where, capture_output=True, text=True, timeout=240, check=True).stdout.strip())
    assert box_model.is_relative_to(environment)
    assert box_model.read_bytes() == (ROOT / "models/vedette-street.tflite").read_bytes()
    assert str((tmp_path / "usr/local/bin/vedette").readlink()) == "/opt/vedette/current/bin/vedette"
    assert (tmp_path / "etc/vedette/config.yaml").read_text() == (ROOT / "config.yaml").read_text()
    assert {path: mode(tmp_path / path) for path in (
        "etc/vedette", "etc/vedette/config.yaml", "etc/vedette/credentials", "var/lib/vedette")} == {
        "etc/vedette": "drwxr-x---", "etc/vedette/config.yaml": "-rw-r-----",
        "etc/vedette/credentials": "drwxr-x---", "var/lib/vedette": "drwxr-x---"}
    for path in ("etc/systemd/system/vedette.service", "etc/systemd/system/vedette@.service",
                 "etc/systemd/system/vedette-page.service", "etc/systemd/system/vedette-roll@.service",
                 "usr/lib/sysusers.d/vedette.conf",
                 "opt/vedette/share/operations.md",
                 "opt/vedette/share/mosquitto.acl"):
        assert mode(tmp_path / path) == "-rw-r--r--"
    assert not (ROOT / "build").exists()    # root's build leaves nothing for a later build, or a later owner


@pytest.mark.parametrize("ours", ["/opt/vedette/current/bin/vedette", "/opt/vedette/venv/bin/vedette"])
def test_removing_takes_only_our_command(tmp_path: Path, ours: str) -> None:
    """Another program of that name stays. The link of an older layout is ours too."""
    theirs = tmp_path / "usr/local/bin/vedette"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("another")
    make("uninstall", tmp_path)
    assert theirs.read_text() == "another"
    theirs.unlink()
    theirs.symlink_to(ours)
    make("uninstall", tmp_path)
    assert not theirs.is_symlink()


def test_removing_keeps_what_is_the_owners(tmp_path: Path) -> None:
    """Configuration and state outlive the program; PURGE=1 takes them too; removing twice is safe."""
    kept = [tmp_path / "etc/vedette/config.yaml", tmp_path / "var/lib/vedette/run",
            tmp_path / "var/lib/vedette-front/run", tmp_path / "var/lib/private/vedette-page/history"]
    gone = [tmp_path / "opt/vedette/venv/x", tmp_path / "opt/vedette/venv-1/x",
            *(tmp_path / "etc/systemd/system" / unit for unit in (
                "vedette.service", "vedette@.service", "vedette-page.service", "vedette-roll@.service"))]
    for path in (*kept, *gone):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "opt/vedette/current").symlink_to("venv-1")
    assert "kept" in make("uninstall", tmp_path)
    assert [path.exists() for path in (*kept, *gone)] == [True] * len(kept) + [False] * len(gone)
    assert not (tmp_path / "opt/vedette").exists()
    make("uninstall", tmp_path, PURGE="1")
    assert [path for path in kept if path.exists()] == []
    make("uninstall", tmp_path, PURGE="1")


SYSTEMCTL = """#!/bin/sh
# As the real one: what is not there cannot be stopped by its name (5) or disabled (1). A pattern may match nothing.
action=$1
shift
for unit; do
    case "$action $unit" in
        *[[*]*) ;;
        "stop "*) [ -e "/etc/systemd/system/$unit" ] || exit 5 ;;
        "disable "*) [ -e "/etc/systemd/system/$unit" ] || exit 1 ;;
    esac
done
echo "$action $*"
"""


@pytest.mark.skipif(missing() is not None, reason=missing() or "")
def test_purging_works_after_removing(tmp_path: Path) -> None:
    """As root under systemd, which knows no units of ours any more. The user goes too, and a third time is safe."""
    systemctl = tmp_path / "bin/systemctl"
    systemctl.parent.mkdir()
    systemctl.write_text(SYSTEMCTL)
    systemctl.chmod(0o755)
    machine = ScratchRoot(tmp_path, f"mkdir -p /run/systemd/system; PATH={systemctl.parent}:$PATH")
    setup = (f"install -D -m 644 {ROOT}/systemd/sysusers.d/vedette.conf /usr/lib/sysusers.d/vedette.conf\n"
             "systemd-sysusers vedette.conf\n"
             "mkdir -p /etc/vedette /var/lib/vedette /var/lib/vedette-front /opt/vedette/venv-1 /etc/systemd/system\n"
             "cd /etc/systemd/system; touch vedette.service vedette@.service vedette-page.service "
             "vedette-roll@.service")
    assert machine.run("sh", "-ec", setup).returncode == 0
    uninstall = f"{ROOT}/systemd/uninstall.sh"
    done = machine.run(uninstall)
    assert (done.returncode, "kept" in done.stdout) == (0, True), done.stderr
    for command in (f"PURGE=1 {uninstall}", f"PURGE=1 {uninstall}", uninstall):
        done = machine.run("sh", "-c", command)
        assert done.returncode == 0, done.stdout + done.stderr
    left = machine.run("sh", "-c", "ls -d /etc/vedette /var/lib/vedette* /opt/vedette /usr/lib/sysusers.d/vedette.conf")
    assert (left.stdout, machine.run("id", "vedette").returncode) == ("", 1)


@pytest.mark.skipif(missing() is not None, reason=missing() or "")
def test_nothing_is_installed_beside_the_package(tmp_path: Path) -> None:
    """Units in /etc would hide those of the package: 69, and nothing was changed."""
    machine = ScratchRoot(tmp_path, "install -D /dev/null /usr/lib/systemd/system/vedette.service")
    done = machine.run(f"{ROOT}/systemd/install.sh")
    assert (done.returncode, "apt remove vedette" in done.stderr) == (69, True), done.stderr
    assert not (machine.root / "opt/vedette").exists()
