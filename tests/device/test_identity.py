"""State folder, run numbers and device names."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.daemon.as_nobody import NOBODY
from tests.support.faults import small_disk
from tests.support.waiting.bounded_popen import BoundedPopen
from vedette.config.models import DEVICE_PATTERN
from vedette.device.identity import (
    FIRST_MACHINE_DIGITS,
    MACHINE_DIGITS,
    SYSTEM_STATE,
    StateFolder,
    default_name,
    installed_state_path,
    state_path,
    state_path_of,
)
from vedette.errors import AlreadyRunning, StateUnusable

MACHINE = "6f1c0a2b3c4d5e6f708192a3b4c5d6e7"
TEN = MACHINE[:10]
HOLDER = """
import sys
from contextlib import closing
from pathlib import Path
from vedette.device.identity import StateFolder
folder = StateFolder(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(("environ", "expected"), [
    ({"STATE_DIRECTORY": "/var/lib/vedette-front"}, "/var/lib/vedette-front"),
    ({"STATE_DIRECTORY": "/var/lib/vedette:/var/lib/other", "HOME": "/root"}, "/var/lib/vedette"),
    ({"XDG_STATE_HOME": "/data/state", "HOME": "/home/pi"}, "/data/state/vedette"),
    ({"HOME": "/home/pi"}, "/home/pi/.local/state/vedette"),
    ({"STATE_DIRECTORY": "", "XDG_STATE_HOME": "", "HOME": "/home/pi"}, "/home/pi/.local/state/vedette"),
])
def test_path_of_the_state_folder(environ: dict[str, str], expected: str) -> None:
    """Systemd's folder comes first, then the user's."""
    assert state_path(environ) == Path(expected)


def test_a_command_uses_the_installed_daemons_folder() -> None:
    """It uses the installed daemon's state folder if there is one, unless the environment names another."""
    environ = {"HOME": "/home/pi"}
    assert installed_state_path(environ) == (SYSTEM_STATE if SYSTEM_STATE.is_dir() else state_path(environ))
    assert installed_state_path({**environ, "STATE_DIRECTORY": "/var/lib/other"}) == Path("/var/lib/other")


@pytest.mark.parametrize(("configuration", "environ", "state"), [
    ("/etc/vedette/config.yaml", {}, "/var/lib/vedette"), ("/etc/vedette/gate.yaml", {}, "/var/lib/vedette-gate"),
    ("/etc/vedette/gate.yaml", {"STATE_DIRECTORY": "/x"}, "/x"), ("/etc/vedette/more/gate.yaml", {}, None),
    ("config.yaml", {}, None), (None, {}, None)])
def test_a_configuration_file_leads_to_the_state_of_its_unit(configuration: str | None, environ: dict[str, str],
                                                             state: str | None) -> None:
    """For any other file it is the state folder of a daemon that the user starts by hand."""
    environ = {"HOME": "/home/pi", **environ}
    wanted = Path(state) if state else state_path(environ)
    assert state_path_of(Path(configuration) if configuration else None, environ) == wanted


def test_folder_is_made_for_its_owner(tmp_path: Path) -> None:
    """The folder is created and closed to others, and its repr names it."""
    folder = StateFolder(tmp_path / "deep" / "vedette")
    assert folder.path.stat().st_mode & 0o007 == 0
    assert repr(folder) == f"<StateFolder {folder.path} held>"
    folder.close()
    folder.close()
    assert repr(folder) == f"<StateFolder {folder.path} closed>"


def test_a_second_daemon_is_refused(tmp_path: Path) -> None:
    """A folder in use is refused with the holder's process id, and it is free as soon as the holder is killed."""
    with BoundedPopen([sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE,
                      stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        try:
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(AlreadyRunning, match=f"in use by the daemon with process id {holder.pid};"):
                StateFolder(tmp_path)
        finally:
            holder.send_signal(signal.SIGKILL)
            holder.wait(240)
    StateFolder(tmp_path).close()
    assert AlreadyRunning.exit_code == 69


def test_a_daemon_waits_for_a_command_that_changes_the_store(tmp_path: Path) -> None:
    """It waits for `wait_s` and not longer."""
    holder = StateFolder(tmp_path)
    began_s = time.monotonic()
    with pytest.raises(AlreadyRunning):
        StateFolder(tmp_path, wait_s=0.1)
    assert time.monotonic() - began_s >= 0.1
    leaving = threading.Timer(0.1, holder.close)
    leaving.start()
    StateFolder(tmp_path, wait_s=30).close()
    leaving.join()


BECOME_OWNER = """
import os, sys
from contextlib import closing
from pathlib import Path
from vedette.device.identity import StateFolder, become_owner
become_owner(Path(sys.argv[1]))
StateFolder(Path(sys.argv[1], "below")).close()
print(os.getresuid(), os.getresgid(), os.getgroups())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("owner", [NOBODY, 0])
def test_root_works_as_the_folders_owner(owner: int) -> None:
    """Its new files belong to the owner, it has only the owner's rights, for good; root's own folder stays root's."""
    with tempfile.TemporaryDirectory() as name:
        os.chown(name, owner, owner)
        done = subprocess.run([sys.executable, "-c", BECOME_OWNER, name], capture_output=True, text=True, timeout=240)
        assert done.stdout.startswith(f"({owner}, {owner}, {owner}) ({owner}, {owner}, {owner})"), done.stderr
        assert owner == 0 or done.stdout.endswith("[]\n")
        for path in (Path(name, "below"), Path(name, "below", "lock")):
            assert (path.stat().st_uid, path.stat().st_gid) == (owner, owner)


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_unusable_folder_is_named(tmp_path: Path, place: str) -> None:
    """The message names a path that cannot be a folder."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StateUnusable, match=f"{tmp_path / place}: cannot be used as a state folder: "):
        StateFolder(tmp_path / place)


def test_runs_count_up(tmp_path: Path) -> None:
    """Each start is one more than the last, from 1."""
    runs = []
    for _ in range(3):
        folder = StateFolder(tmp_path)
        runs.append(folder.next_run())
        folder.close()
    assert runs == [1, 2, 3]


@given(noted=st.one_of(st.binary(max_size=30), st.integers(0, 10**20).map(lambda number: b"%d" % number)))
def test_runs_never_go_backwards(noted: bytes) -> None:
    """After any damage to the file, the next run is above every plausible earlier one, and the one after is higher."""
    with tempfile.TemporaryDirectory() as path:
        Path(path, "run").write_bytes(noted)
        folder = StateFolder(Path(path))
        try:
            runs = [folder.next_run(now_s=lambda: 1_795_000_000.5) for _ in range(2)]
        finally:
            folder.close()
    digits = noted.strip()
    known = int(digits) if re.fullmatch(rb"[0-9]{1,15}", digits) else 1_795_000_000
    assert runs == [known + 1, known + 2]


def test_a_run_number_that_cannot_be_saved_stops_the_start(tmp_path: Path) -> None:
    """A counter that cannot be read stops the start: two runs must never share a number."""
    (tmp_path / "run").mkdir()
    folder = StateFolder(tmp_path)
    with pytest.raises(StateUnusable, match="the number of this run cannot be saved"):
        folder.next_run()
    folder.close()


def test_machine_id_of_the_machine(tmp_path: Path) -> None:
    """The machine's own id is used if it has one."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "machine-id").write_text(MACHINE + "\n")
    folder = StateFolder(tmp_path / "state")
    assert folder.machine_id(tmp_path) == MACHINE
    assert not (folder.path / "machine-id").exists()
    folder.close()


def test_a_missing_machine_id_is_generated_once(tmp_path: Path) -> None:
    """A machine without an id gets a random one, the same at every start."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "machine-id").write_text("uninitialized\n")
    folder = StateFolder(tmp_path / "state")
    made = folder.machine_id(tmp_path)
    assert re.fullmatch("[0-9a-f]{32}", made)
    assert folder.machine_id(tmp_path) == made
    folder.close()


@pytest.mark.parametrize(("hostname", "instance", "state", "expected"), [
    ("raspberrypi", "", SYSTEM_STATE, f"raspberrypi-{TEN}"),
    ("Gate_01.example.org", "", SYSTEM_STATE, f"gate_01-example-org-{TEN}"),
    ("gate", "front", Path("/var/lib/vedette-front"), f"gate-front-{TEN}"),
    ("---", "", SYSTEM_STATE, f"vedette-{TEN}"),
    ("fleet", "", SYSTEM_STATE, f"fleet-{TEN}"),
])
def test_usual_names(hostname: str, instance: str, state: Path, expected: str) -> None:
    """The daemons that the shipped units start have no more in their names than host, instance and machine."""
    assert default_name(hostname, instance, MACHINE, state) == expected


@given(hostname=st.text(max_size=80), instance=st.text(max_size=80), state=st.text(max_size=20))
def test_every_name_fits_a_topic(hostname: str, instance: str, state: str) -> None:
    """Any host name and instance make a valid device name that is not `fleet`."""
    for digits in (MACHINE_DIGITS, FIRST_MACHINE_DIGITS):
        name = default_name(hostname, instance, MACHINE, Path("/", state), digits)
        assert re.fullmatch(DEVICE_PATTERN, name)
        assert name != "fleet"


def test_daemons_of_one_host_differ() -> None:
    """Daemons with different state folders never share a default name, even if their instances look the same."""
    instances = ["", "front", "Front", "front.", "front-", "x" * 22, "x" * 23, "x" * 24, "x" * 25, "6f1c", TEN]
    states = [SYSTEM_STATE, *(Path(f"/var/lib/vedette-{instance}") for instance in instances if instance),
              Path("/home/pi/.local/state/vedette"), Path("/root/.local/state/vedette")]
    for host in ("gate", "g" * 63):
        for digits in (MACHINE_DIGITS, FIRST_MACHINE_DIGITS):
            names = [default_name(host, instance, MACHINE, state, digits) for state in states for instance in instances]
            assert len(set(names)) == len(names)


def test_one_name_per_machine() -> None:
    """Hosts that are all called raspberrypi differ by their machine ids."""
    assert default_name("raspberrypi", "", MACHINE, SYSTEM_STATE) != \
        default_name("raspberrypi", "", "6f1d" + MACHINE[4:], SYSTEM_STATE)


def test_a_thousand_machines_of_one_host_name_differ() -> None:
    """In 20 fleets of 1,000 fresh machines no two have the same name; with four digits every such fleet has some."""
    draw = random.Random(1)
    for _ in range(20):
        machines = [f"{draw.getrandbits(128):032x}" for _ in range(1000)]
        assert len({default_name("raspberrypi", "", machine, SYSTEM_STATE) for machine in machines}) == 1000
        assert len({default_name("raspberrypi", "", machine, SYSTEM_STATE, FIRST_MACHINE_DIGITS)
                    for machine in machines}) < 1000


def test_a_device_that_has_run_keeps_its_name(tmp_path: Path) -> None:
    """Its topics and its bucket depend on the name. A fresh folder gets the longer one."""
    (tmp_path / "run").write_text("17\n")
    old = StateFolder(tmp_path)
    assert old.machine_digits() == FIRST_MACHINE_DIGITS
    assert old.next_run() == 18
    assert old.machine_digits() == FIRST_MACHINE_DIGITS
    old.close()
    fresh = StateFolder(tmp_path / "fresh")
    for _ in range(2):
        assert fresh.machine_digits() == MACHINE_DIGITS
        fresh.next_run()
    fresh.close()


def test_a_power_cut_in_the_first_run_does_not_change_the_name(tmp_path: Path) -> None:
    """The digits are saved before the run number is, so a cut between both leaves the longer name."""
    cut = tmp_path / "cut"
    folder = StateFolder(cut)
    folder.next_run()
    (cut / "run").unlink()
    assert folder.machine_digits() == MACHINE_DIGITS
    folder.next_run()
    assert folder.machine_digits() == MACHINE_DIGITS
    folder.close()


def test_a_folder_that_was_removed_and_put_back_is_locked_again(tmp_path: Path) -> None:
    """No other daemon gets it then, and the run numbers continue."""
    folder = StateFolder(tmp_path / "state")
    for _ in range(7):
        folder.next_run()
    assert not folder.reacquire()
    shutil.rmtree(folder.path)
    assert not folder.reacquire()
    assert "No such file" in (folder.trouble or "")
    folder.path.mkdir()
    assert folder.reacquire()
    assert folder.trouble is None
    assert not folder.reacquire()
    with pytest.raises(AlreadyRunning):
        StateFolder(folder.path)
    folder.close()
    assert StateFolder(folder.path).next_run() == 8


def test_a_folder_that_comes_back_as_it_was_is_still_held(tmp_path: Path) -> None:
    """For example a disk that was away for a while, or a folder that was moved there and back."""
    folder = StateFolder(tmp_path / "state")
    folder.next_run()
    folder.path.rename(tmp_path / "away")
    assert not folder.reacquire()
    trouble = folder.trouble
    assert trouble
    (tmp_path / "away").rename(folder.path)
    assert not folder.reacquire()
    assert folder.trouble is None
    folder.close()


def test_a_folder_that_another_daemon_locked_meanwhile_is_named(tmp_path: Path) -> None:
    """It is locked again as soon as the other daemon has ended."""
    folder = StateFolder(tmp_path / "state")
    folder.next_run()
    shutil.rmtree(folder.path)
    other = StateFolder(folder.path)
    assert not folder.reacquire()
    assert "another process" in (folder.trouble or "")
    other.close()
    assert folder.reacquire()
    folder.close()


def test_run_numbers_of_another_daemon_are_not_used_twice(tmp_path: Path) -> None:
    """The daemon that had the folder meanwhile has published under its own numbers."""
    folder = StateFolder(tmp_path / "state")
    folder.next_run()
    (folder.path / "lock").unlink()
    with closing(StateFolder(folder.path)) as other:
        assert other.next_run() == 2
    assert folder.reacquire()
    folder.close()
    assert StateFolder(folder.path).next_run() == 3


@pytest.mark.skipif(not small_disk.possible(), reason="only root may mount")
def test_runs_are_counted_on_a_full_disk(tmp_path: Path) -> None:
    """A device that restarts on a full disk still gets a new number, and the number stays one file."""
    with small_disk.mounted(tmp_path, 1):
        folder = StateFolder(tmp_path / "state")
        folder.next_run()
        small_disk.fill(tmp_path)
        with pytest.raises(OSError, match="No space"):
            (tmp_path / "state" / "more").write_bytes(b"x" * 8192)
        assert [folder.next_run() for _ in range(12)] == list(range(2, 14))
        folder.close()
        assert StateFolder(folder.path).next_run() == 14
        assert sorted(path.name for path in folder.path.iterdir() if path.name != "more") == [
                "lock", "machine-digits", "run"]
