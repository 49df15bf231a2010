"""`vedette init` of a wheel that was really built and installed: a service for those who have no checkout."""

from __future__ import annotations

import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.daemon.as_service import everyones_python, missing
from tests.support.daemon.scratch_root import ScratchRoot

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
UNITS = ("vedette.service", "vedette@.service", "vedette-page.service", "vedette-roll@.service")
MODES = {"etc/vedette": 0o750, "etc/vedette/credentials": 0o750, "etc/vedette/config.yaml": 0o640,
         "var/lib/vedette": 0o750, "etc/systemd/system/vedette.service": 0o644,
         "etc/systemd/system/vedette@.service": 0o644, "etc/systemd/system/vedette-page.service": 0o644,
         "etc/systemd/system/vedette-roll@.service": 0o644,
         "usr/lib/sysusers.d/vedette.conf": 0o644, "opt/vedette/share/mosquitto.acl": 0o644,
         "opt/vedette/share/operations.md": 0o644}
needs_root = pytest.mark.skipif(missing() is not None, reason=missing() or "")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel of this tree, without the dependencies: `init` needs none."""
    folder = tmp_path_factory.mktemp("wheel")
    (folder / "source").mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "daemon"):
        subprocess.run(["cp", "-RL", ROOT / name, folder / "source"], check=True, timeout=240)
    build = f"from setuptools import build_meta; build_meta.build_wheel({str(folder)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=folder / "source", check=True, timeout=600, capture_output=True)
    subprocess.run([everyones_python() or sys.executable, "-m", "venv", "--without-pip", folder / "env"], check=True,
                   timeout=240)
    subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--python",
                    folder / "env/bin/python", "install", "--no-index", "--no-deps", "--no-compile",
                    next(folder.glob("*.whl"))], check=True, timeout=600)
    return folder / "env"


def init(environment: Path, *options: str | Path, umask: int = -1) -> subprocess.CompletedProcess[str]:
    return subprocess.run([environment / "bin/vedette", "init", *options], capture_output=True, text=True,
                          timeout=240, umask=umask)


def snapshot(root: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every file and folder below it: mode, moment of its last change, content."""
    return {str(path.relative_to(root)): (path.stat().st_mode, path.stat().st_mtime_ns,
                                          path.read_bytes() if path.is_file() else b"") for path in root.rglob("*")}


def test_everything_lands_below_the_prefix(environment: Path, tmp_path: Path) -> None:
    """Files with their modes, from one source each. The units start this environment's command."""
    done = init(environment, "--prefix", tmp_path / "root", umask=0o077)
    assert done.returncode == 0, done.stderr
    root = tmp_path / "root"
    assert {path: stat.S_IMODE((root / path).stat().st_mode) for path in MODES} == MODES
    assert (root / "etc/vedette/config.yaml").read_text() == (ROOT / "config.yaml").read_text()
    assert (root / "opt/vedette/share/mosquitto.acl").read_text() == (ROOT / "systemd/mosquitto.acl").read_text()
    assert {path.name for path in (ROOT / "docs").glob("*.md")} < {path.name for path in
                                                                   (root / "opt/vedette/share").iterdir()}
    for name in UNITS:
        written = (root / "etc/systemd/system" / name).read_text()
        assert written == (ROOT / "systemd" / name).read_text().replace("/opt/vedette/current", str(environment))
    assert "systemctl enable --now vedette" in done.stdout


def test_the_wheel_carries_what_a_browser_gets(environment: Path) -> None:
    """Every file of the page, whatever its kind and folder."""
    def files(folder: Path) -> set[Path]:
        return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}

    there = files(ROOT / "daemon/vedette/page/static")
    assert Path("index.html") in there
    assert files(next(environment.glob("lib/python*/site-packages/vedette/page/static"))) == there


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is absent")
def test_systemd_accepts_the_written_units(environment: Path, tmp_path: Path) -> None:
    """`systemd-analyze verify` also checks that what they start exists."""
    assert init(environment, "--prefix", tmp_path).returncode == 0
    for name in UNITS:
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", tmp_path / "etc/systemd/system" / name],
                              capture_output=True, text=True, timeout=240)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_second_run_changes_nothing(environment: Path, tmp_path: Path) -> None:
    """It says so. An edited configuration stays, and a unit of an older version is replaced."""
    init(environment, "--prefix", tmp_path)
    (tmp_path / "etc/vedette/config.yaml").write_text("device: gate-01\n")
    before = snapshot(tmp_path)
    done = init(environment, "--prefix", tmp_path)
    assert (done.returncode, "nothing to change" in done.stdout) == (0, True)
    assert snapshot(tmp_path) == before
    (tmp_path / "etc/systemd/system/vedette.service").write_text("[Service]\n")
    assert init(environment, "--prefix", tmp_path).stdout.count("written: ") == 1
    assert {path: found[::2] for path, found in snapshot(tmp_path).items()} == {
        path: found[::2] for path, found in before.items()}


def test_removing_keeps_what_is_the_owners(environment: Path, tmp_path: Path) -> None:
    """Units and docs go. Configuration and state stay, and so does a unit that starts another program."""
    init(environment, "--prefix", tmp_path)
    theirs = tmp_path / "etc/systemd/system/vedette@.service"
    theirs.write_text("[Service]\nExecStart=/opt/vedette/current/bin/vedette run\n")
    done = init(environment, "--prefix", tmp_path, "--remove")
    assert (done.returncode, str(theirs) in done.stdout) == (0, True)
    theirs.unlink()
    assert init(environment, "--prefix", tmp_path, "--remove").returncode == 0
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == {
        "etc/vedette/config.yaml", "usr/lib/sysusers.d/vedette.conf"}
    assert not (tmp_path / "opt/vedette").exists()


@needs_root
def test_without_root_a_prefix_is_needed(environment: Path, tmp_path: Path) -> None:
    """Code 69, and a line that says both ways."""
    machine = ScratchRoot(tmp_path, f"mkdir -p /opt/env; mount --bind {environment} /opt/env")
    done = machine.run("setpriv", "--reuid=65534", "--clear-groups", "/opt/env/bin/python", "-m", "vedette", "init")
    assert (done.returncode, done.stdout) == (69, "")
    assert "sudo vedette init" in done.stderr
    assert "--prefix" in done.stderr


@needs_root
def test_root_gets_a_service(environment: Path, tmp_path: Path) -> None:
    """The user exists and owns its folders, a second run changes nothing, and removal leaves the user."""
    machine = ScratchRoot(tmp_path, f"mkdir -p /opt/env; mount --bind {environment} /opt/env")
    command = ("/opt/env/bin/python", "-m", "vedette", "init")
    done = machine.run(*command)
    assert done.returncode == 0, done.stderr
    owners = machine.run("stat", "--format=%U:%G", "/etc/vedette", "/etc/vedette/credentials",
                         "/etc/vedette/config.yaml", "/var/lib/vedette").stdout.split()
    assert owners == ["root:vedette"] * 3 + ["vedette:vedette"]
    assert "video" in machine.run("id", "--name", "--groups", "vedette").stdout.split()
    unit = (machine.root / "etc/systemd/system/vedette.service").read_text()
    assert "\nExecStart=/opt/env/bin/vedette run --config /etc/vedette/config.yaml\n" in unit
    before = snapshot(machine.root)
    assert "nothing to change" in machine.run(*command).stdout
    assert snapshot(machine.root) == before
    done = machine.run(*command, "--remove")
    assert (done.returncode, "userdel vedette" in done.stdout) == (0, True), done.stderr
    assert not (machine.root / "etc/systemd/system/vedette.service").is_file()
    assert machine.run("id", "vedette").returncode == 0


@needs_root
@pytest.mark.parametrize(("place", "setup", "advice"), [
    ("/root/venv", "mount -t tmpfs tmpfs /root", "pipx install --global"),
    ("/opt/hidden/venv", "mkdir -p /opt/hidden; chmod 700 /opt/hidden", "pipx install --global"),
    ("/opt/venv", "mkdir -p /usr/lib/systemd/system; touch /usr/lib/systemd/system/vedette.service", "apt remove"),
], ids=["a home", "for root alone", "a package"])
def test_what_cannot_become_a_service_is_refused(environment: Path, tmp_path: Path, place: str, setup: str,
                                                 advice: str) -> None:
    """An environment that the service could not read, and one beside a package: 69, what to do, nothing written."""
    machine = ScratchRoot(tmp_path, f"{setup}; mkdir -p {place}; mount --bind {environment} {place}")
    done = machine.run(f"{place}/bin/python", "-m", "vedette", "init")
    assert done.returncode == 69
    assert advice in done.stderr
    assert not (machine.root / "etc/vedette").exists()
    assert not (machine.root / "etc/systemd/system/vedette.service").exists()
