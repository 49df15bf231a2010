"""A changed program restarts what ran, and the old one comes back where the new one does not get ready.

systemd is a stand-in that keeps in a file which program each unit runs. `make campaign PART=deb` has the real one.
"""

import os
import random
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.waiting.bounded_popen import BoundedPopen

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
UNITS = ["vedette.service", "vedette@front.service", "vedette-page.service"]
SCRIPT = """
set -eu
root="" opt={opt} etc={opt}/etc
. {root}/systemd/environments.sh
has_systemd() {{ true; }}
systemctl() {{
    case $1 in
        list-units)
            shift
            (cd "$opt/running"
            for unit; do    # a name or a pattern
                case $unit in *.service) grep -l . $unit 2>/dev/null | sed 's/$/ loaded active running/' ;; esac
            done) || true ;;
        restart)
            program=$(readlink "$opt/current")
            if [ -e "$opt/$program/not-ready-as-$2" ]; then : >"$opt/running/$2"; return 1; fi
            echo "$program" >"$opt/running/$2" ;;
    esac
}}
hold_lock -n
trap 'remove_unused "$opt"/venv-*' EXIT
find_old
name_new
mkdir -p "$new/bin"
printf '#!/bin/sh\\necho vedette VERSION\\n' >"$new/bin/vedette"
chmod +x "$new/bin/vedette"
{breaks}
switch
restart
"""


class Machine:
    """A folder with environments, and one file for each unit: the program that it runs, or nothing."""

    def __init__(self, opt: Path) -> None:
        self.opt = opt
        (opt / "running").mkdir(parents=True)

    def update(self, not_ready: str = "", *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self._command(not_ready, *options), capture_output=True, text=True, timeout=240)

    def update_until(self, step: int, not_ready: str) -> None:
        """Kill the update, with all its processes, at this step."""
        with BoundedPopen(self._command(not_ready, "-x"), text=True, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, start_new_session=True) as process:
            assert process.stderr
            for number, _ in enumerate(process.stderr):
                if number == step:
                    break
            os.killpg(process.pid, signal.SIGKILL)
        subprocess.run(["flock", self.opt, "true"], check=True, timeout=240)

    def _command(self, not_ready: str, *options: str) -> list[str]:
        breaks = f'touch "$new/not-ready-as-{not_ready}"' if not_ready else ""
        return ["/bin/sh", *options, "-c", SCRIPT.format(opt=self.opt, root=ROOT, breaks=breaks)]

    def running(self) -> list[str]:
        return [(self.opt / "running" / unit).read_text().strip() for unit in UNITS]

    def start(self, *units: str) -> None:
        for unit in units:
            (self.opt / "running" / unit).write_text((self.opt / "current").readlink().name)

    def boot(self) -> None:
        """What the link names is started, and runs if it gets ready."""
        program = self.opt / (self.opt / "current").readlink()
        for unit in UNITS:
            ready = not (program / f"not-ready-as-{unit}").exists()
            (self.opt / "running" / unit).write_text(program.name if ready else "")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path / "opt")
    assert machine.update().returncode == 0
    return machine


def test_what_runs_is_restarted(machine: Machine) -> None:
    """A unit that an operator has stopped stays so."""
    machine.start("vedette@front.service")
    for stopped in ("vedette.service", "vedette-page.service"):
        (machine.opt / "running" / stopped).touch()
    assert machine.update().returncode == 0
    assert machine.running() == ["", "venv-2", ""]
    assert not (machine.opt / "restarting").exists()


@pytest.mark.parametrize("unit", UNITS)
def test_the_old_program_comes_back(machine: Machine, unit: str) -> None:
    """For all units, also those that got ready. The update fails, says why, and leaves nothing of the new program."""
    machine.start(*UNITS)
    done = machine.update(unit)
    assert done.returncode != 0
    assert f"{unit} does not get ready with the new program" in done.stderr
    assert machine.running() == ["venv-1"] * 3
    assert [path.name for path in machine.opt.glob("venv-*")] == ["venv-1"]
    assert machine.update().returncode == 0
    assert machine.running() == ["venv-2"] * 3


@pytest.mark.parametrize("not_ready", ["", *UNITS])
def test_a_power_cut_never_loses_the_proven_program(tmp_path: Path, not_ready: str) -> None:
    """At each step. After the boot, the next update restarts all units, or goes back to the proven program."""
    def prepared(name: str) -> Machine:
        machine = Machine(tmp_path / name)
        assert machine.update().returncode == 0
        machine.start(*UNITS)
        return machine

    steps = len(prepared("traced").update(not_ready, "-x").stderr.splitlines())
    for step in random.Random(11).sample(range(steps), 5):
        machine = prepared(str(step))
        machine.update_until(step, not_ready)
        machine.boot()
        failed = machine.update(not_ready)
        if not_ready:
            assert (failed.returncode != 0, machine.running()) == (True, ["venv-1"] * 3), (step, failed.stderr)
        assert machine.update().returncode == 0
        assert set(machine.running()) == {str((machine.opt / "current").readlink())}, step
        assert not (machine.opt / "restarting").exists()
