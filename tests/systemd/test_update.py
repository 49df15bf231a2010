"""An update that is cut off, fails or is refused leaves the old program whole, and the next one leaves nothing behind.

The kills use a stand-in for Python, so that each costs little. The installer and its links are the real ones.
"""

import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.waiting.bounded_popen import BoundedPopen

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
# `python -m venv`, and pip that installs a program which is broken until the installation is complete. `vedette init`
# is the real one: a Python in an environment without packages, with the modules of this tree.
PYTHON = """#!/bin/sh
here=$(dirname "$0")
case "$*" in
    "-m venv "*)
        for folder; do :; done
        mkdir -p "$folder/bin"
        cp "$0" "$folder/bin/python"
        echo "home = ${REAL_PYTHON%/*}" >"$folder/pyvenv.cfg"
        ln -s "$REAL_PYTHON" "$folder/bin/python3" ;;
    "-P -m vedette init "*) PYTHONPATH="$MODULES" exec "$here/python3" "$@" ;;
    "-m pip "*" -r "*) echo broken >"$here/vedette" ;;
    "-m pip "*)
        sed "s/VERSION/$NEW_VERSION/" "$STAND_IN" >"$here/vedette"
        chmod +x "$here/vedette" ;;
esac
"""
PROGRAM = """#!/bin/sh
case "$1" in
    --version) echo "vedette VERSION" ;;
    check-config) ! grep -q "refused by VERSION" "$3" ;;
esac
"""


class Machine:
    """A folder with the program as installed, and a checkout to update it from."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.opt = self.root / "opt/vedette"
        self.checkout = folder / "checkout"
        (self.checkout / "tools").mkdir(parents=True)
        (self.checkout / "daemon").mkdir()
        for name in ("systemd", "locks", "docs", "config.yaml", "pyproject.toml", "README.md", "LICENSE",
                     "tools/install-locked"):
            (self.checkout / name).symlink_to(ROOT / name)
        (folder / "python").write_text(PYTHON)
        (folder / "python").chmod(0o755)
        (folder / "program").write_text(PROGRAM)
        (self.checkout / "tools/find-python").write_text(f"#!/bin/sh\necho {folder}/python\n")
        (self.checkout / "tools/find-python").chmod(0o755)
        self.environ = {**os.environ, "DESTDIR": str(self.root), "STAND_IN": str(folder / "program"),
                        "TMPDIR": str(folder), "MODULES": str(ROOT / "daemon"),
                        "REAL_PYTHON": str(Path(sys.executable).resolve())}

    def with_old_layout(self) -> None:
        """The program as it was installed before there were links: a folder `venv`, named by unit and command."""
        program = self.opt / "venv/bin/vedette"
        program.parent.mkdir(parents=True)
        program.write_text(PROGRAM.replace("VERSION", "1"))
        program.chmod(0o755)
        unit = self.root / "etc/systemd/system/vedette.service"
        unit.parent.mkdir(parents=True)
        unit.write_text("[Service]\nExecStart=/opt/vedette/venv/bin/vedette run\n")
        command = self.root / "usr/local/bin/vedette"
        command.parent.mkdir(parents=True)
        command.symlink_to("/opt/vedette/venv/bin/vedette")

    def update(self, version: str, *options: str, checkout: Path | None = None,
               **variables: str) -> subprocess.CompletedProcess[str]:
        script = str((checkout or self.checkout) / "systemd/install.sh")
        return subprocess.run(["/bin/sh", *options, script], capture_output=True, text=True, timeout=1800,
                              env={**self.environ, "NEW_VERSION": version, **variables})

    def update_until(self, step: int, version: str) -> None:
        """Kill the update, with all its processes, when it reaches this step."""
        script = str(self.checkout / "systemd/install.sh")
        with BoundedPopen(["/bin/sh", "-x", script], env={**self.environ, "NEW_VERSION": version}, text=True,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True) as process:
            assert process.stderr
            for number, _ in enumerate(process.stderr):
                if number == step:
                    break
            os.killpg(process.pid, signal.SIGKILL)
        subprocess.run(["flock", self.opt, "true"], check=True, timeout=240)     # its last process has ended

    def versions(self) -> set[str]:
        """What the program says that the unit and the command run."""
        unit = (self.root / "etc/systemd/system/vedette.service").read_text()
        started = re.search(r"^ExecStart=(\S+)", unit, re.MULTILINE)
        assert started
        command = self.root / "usr/local/bin/vedette"
        programs = [Path(started[1]), command.readlink()]
        return {subprocess.run([f"{self.root}{program}", "--version"], capture_output=True, text=True, timeout=240,
                               check=True).stdout.split()[1] for program in programs}

    def environments(self) -> set[str]:
        return {path.name for path in self.opt.iterdir()} - {"share"}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk that is too small for a real environment."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root can mount a small disk")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_an_update_keeps_the_previous_program_and_no_older_one(machine: Machine) -> None:
    """One rename goes back to it. The configuration stays, and a file that is half written never takes its place."""
    assert machine.update("1").returncode == 0
    config = machine.root / "etc/vedette/config.yaml"
    config.write_text("device: gate-01\n")
    assert machine.update("2").returncode == 0
    assert "try-restart" in machine.update("3").stdout
    assert config.read_text() == "device: gate-01\n"
    assert machine.versions() == {"3"}
    assert len(machine.environments()) == 4     # two environments, two links
    (machine.opt / "previous").rename(machine.opt / "current")
    assert machine.versions() == {"2"}
    assert machine.update("4").returncode == 0
    assert machine.versions() == {"4"}
    assert len(machine.environments()) == 4


def test_the_old_layout_is_the_previous_environment(machine: Machine) -> None:
    """The folder `venv` stays for one more update."""
    machine.with_old_layout()
    assert machine.update("2").returncode == 0
    assert machine.versions() == {"2"}
    assert (machine.opt / "previous").readlink() == Path("venv")
    assert machine.update("3").returncode == 0
    assert machine.versions() == {"3"}
    assert machine.environments() == {"current", "previous", "venv-1", "venv-2"}


@pytest.mark.parametrize("layout", ["old", "links"])
def test_a_kill_at_any_step_leaves_a_whole_program(tmp_path: Path, layout: str) -> None:
    """The unit and the command run the old program or the new one, and the next update leaves nothing half built."""
    def prepared(name: str) -> Machine:
        machine = Machine(tmp_path / name)
        if layout == "old":
            machine.with_old_layout()
        else:
            assert machine.update("1").returncode == 0
        return machine

    trace = prepared("traced").update("2", "-x").stderr.splitlines()
    switch = next(number for number, line in enumerate(trace) if line.startswith("+ sync"))
    chosen = random.Random(10)
    for step in chosen.sample(range(switch), 3) + chosen.sample(range(switch, len(trace)), 7):
        machine = prepared(str(step))
        machine.update_until(step, "2")
        assert machine.versions() <= {"1", "2"}, step
        done = machine.update("3")
        assert (done.returncode, machine.versions()) == (0, {"3"}), (step, done.stderr)
        assert len(machine.environments() - {"venv"}) <= 4, step


def test_a_failed_download_changes_nothing(machine: Machine) -> None:
    """The real pip, with an index that does not answer: the half-built environment is gone at once."""
    machine.update("1")
    before = machine.environments()
    done = machine.update("2", checkout=ROOT, PIP_INDEX_URL="http://127.0.0.1:9/", PIP_RETRIES="0",
                          PIP_CONFIG_FILE=os.devnull, PIP_NO_CACHE_DIR="1", PIP_FIND_LINKS="")
    assert done.returncode != 0
    assert "No matching distribution" in done.stderr
    assert machine.versions() == {"1"}
    assert machine.environments() == before


def test_a_full_disk_changes_nothing(full_disk: Path, machine: Machine) -> None:
    """A real environment finds no room. An update first removes what a killed one left."""
    machine.environ["DESTDIR"], machine.root, machine.opt = str(full_disk), full_disk, full_disk / "opt/vedette"
    machine.update("1")
    before = machine.environments()
    assert machine.update("2", checkout=ROOT).returncode != 0
    assert machine.versions() == {"1"}
    assert machine.environments() == before
    half_built = machine.opt / "venv-7"
    half_built.mkdir()
    with (half_built / "filled").open("wb") as file:
        assert subprocess.run(["head", "-c", "8M", "/dev/zero"], stdout=file, stderr=subprocess.DEVNULL).returncode
    assert machine.update("3").returncode == 0
    assert (machine.versions(), half_built.exists()) == ({"3"}, False)


def test_a_program_that_refuses_the_configuration_is_not_installed(machine: Machine) -> None:
    """The old program accepts it. What the old program refuses too is no reason to stay with it."""
    machine.update("1")
    config = machine.root / "etc/vedette/gate.yaml"
    config.write_text("# refused by 2\n")
    done = machine.update("2")
    assert (done.returncode, machine.versions()) == (65, {"1"})
    assert "gate.yaml" in done.stderr
    config.write_text("# refused by 1, refused by 2\n")
    assert machine.update("2").returncode == 0
    assert machine.versions() == {"2"}


def test_a_broken_program_is_not_installed(machine: Machine) -> None:
    """Whatever fails is shown, and the old program stays."""
    machine.update("1")
    (machine.checkout.parent / "program").write_text("#!/bin/sh\necho Illegal instruction >&2\nexit 1\n")
    done = machine.update("2")
    assert (done.returncode, machine.versions()) == (65, {"1"})
    assert "Illegal instruction" in done.stderr


def test_two_installations_never_run_at_once(machine: Machine) -> None:
    """The second one says so and ends."""
    machine.update("1")
    with BoundedPopen(["flock", machine.opt, "sh", "-c", "echo; read wait"], stdin=subprocess.PIPE,
                      stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        holder.stdout.readline()
        assert machine.update("2").returncode == 69
        holder.communicate("\n")
    assert machine.versions() == {"1"}


def test_a_command_that_is_not_ours_stays(machine: Machine) -> None:
    """The daemon is installed without it."""
    theirs = machine.root / "usr/local/bin/vedette"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("another")
    assert "kept" in machine.update("1").stderr
    assert theirs.read_text() == "another"
