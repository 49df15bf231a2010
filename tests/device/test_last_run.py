"""The next run reports how the last run ended: stopped in order, failed, hung, killed, or without power."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest

from tests.support.daemon.service_manager import run_stop_post
from tests.support.present import present
from tests.support.waiting.bounded_popen import BoundedPopen
from tests.support.waiting.until import wait_until
from vedette.device.last_run import RECORD, STACKS, SYSTEMD, RunRecord
from vedette.types import RunIdentity

pytestmark = pytest.mark.slow

DIES = """
import os, sys
from pathlib import Path
from vedette.device.last_run import RunRecord
from vedette.types import RunIdentity
note = RunRecord(Path(sys.argv[1]), RunIdentity("gate", 3, "boot-1"))
note.begin()
note.update(())
os.kill(os.getpid(), 9)
"""
HANGS = """
import ctypes, sys
from pathlib import Path
from vedette.device import last_run
from vedette.types import RunIdentity
last_run.MAIN_WITHIN_S = 0.2
note = last_run.RunRecord(Path(sys.argv[1]), RunIdentity("gate", 3, "boot-1"))
note.begin()
note.update(())
print(flush=True)
ctypes.PyDLL(None).pause()
"""

ABORTS = """
import os, sys
from pathlib import Path
from vedette._lib.stacks import dump_on_signals
from vedette.device.last_run import RunRecord
from vedette.types import RunIdentity
dump_on_signals()
note = RunRecord(Path(sys.argv[1]), RunIdentity("gate", 3, "boot-1"))
note.begin()
note.update(tuple(sys.argv[3:]))
note._wait()
os.abort() if sys.argv[2] == "itself" else os.read(0, 1)
"""

PAUSED = """
import signal, sys, threading
from pathlib import Path
from vedette.device import last_run
from vedette.types import RunIdentity
last_run.MAIN_WITHIN_S, last_run.REARM_S = 0.1, 0.02
stopping = []       # not an Event: the handler would wait for its lock, which the main thread may hold
signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
def deep(depth):
    return [depth] if depth == 0 else [*deep(depth - 1), depth]
def busy():
    while True:
        deep(500)
for _ in range(4):
    threading.Thread(target=busy, daemon=True).start()
record = last_run.RunRecord(Path(sys.argv[1]), RunIdentity("gate", 3, "boot-1"))
record.begin()
print(flush=True)
while not stopping:
    record.update(())
    threading.Event().wait(0.02)
record.ended(0, "SIGTERM")
"""
PAUSES = int(os.environ.get("PAUSES", "15"))


def ended_run(folder: Path, *, boot: str = "boot-1", code: int = 0, why: str = "SIGTERM") -> None:
    note = RunRecord(folder, RunIdentity("gate", 3, boot))
    note.begin()
    note.update(())
    note.ended(code, why)


def test_the_first_run_has_no_last_run(tmp_path: Path) -> None:
    """Nothing is reported, and nothing is written before the run begins."""
    assert RunRecord(tmp_path, RunIdentity("gate", 1, "boot-1")).last is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("code", "kind"), [(0, "stopped"), (70, "failed")])
@pytest.mark.parametrize("boot", ["boot-1", "boot-2"])
def test_an_orderly_end_is_reported(tmp_path: Path, code: int, kind: str, boot: str) -> None:
    """The cause of the end is reported, in this boot and in the next one."""
    ended_run(tmp_path, code=code, why="some cause")
    assert RunRecord(tmp_path, RunIdentity("gate", 4, boot)).last == (3, kind, "some cause")


@pytest.mark.parametrize(("boot", "kind"), [("boot-1", "killed"), ("boot-2", "power_cut")])
def test_a_run_without_an_end_was_killed_or_lost_power(tmp_path: Path, boot: str, kind: str) -> None:
    """In the same boot it was killed; in another boot the machine went down."""
    subprocess.run([sys.executable, "-c", DIES, tmp_path], check=False, timeout=240)
    last = RunRecord(tmp_path, RunIdentity("gate", 4, boot)).last
    assert last is not None
    assert last[:2] == (3, kind)


def test_hung_workers_are_named(tmp_path: Path) -> None:
    """They are named until they go on; then the run counts as running."""
    note = RunRecord(tmp_path, RunIdentity("gate", 3, "boot-1"))
    note.begin()
    note.update(("detect", "update"))
    expected = (3, "hung", "detect, update made no progress")
    assert wait_until(lambda: RunRecord(tmp_path, RunIdentity("gate", 4, "boot-1")).last == expected, 60)

    def goes_on() -> bool:
        note.update(())     # again: one that came while the disk was busy is not lost
        last = RunRecord(tmp_path, RunIdentity("gate", 4, "boot-1")).last
        return last is not None and last.kind == "killed"

    assert wait_until(goes_on, 60)
    note.ended(0, "end of the test")


def test_runs_in_a_row_that_hung_are_counted(tmp_path: Path) -> None:
    """Each next one gets more time, until one ends in another way."""
    def is_after(hangs: int) -> bool:
        return RunRecord(tmp_path, RunIdentity("gate", 9, "boot-1")).hangs == hangs
    for before in range(3):
        note = RunRecord(tmp_path, RunIdentity("gate", before, "boot-1"))
        assert note.hangs == before
        note.begin()
        note.update(("detect",))
        assert wait_until(partial(is_after, before + 1), 60)
    note.ended(0, "SIGTERM")
    assert is_after(0)


def test_a_main_thread_that_holds_the_interpreter_is_reported(tmp_path: Path) -> None:
    """The thread can write nothing any more, and the next run still reports it."""
    with BoundedPopen([sys.executable, "-c", HANGS, tmp_path], stdout=subprocess.PIPE) as process:
        present(process.stdout).readline()
        assert wait_until(lambda: (tmp_path / STACKS).stat().st_size > 0, 60)
        process.kill()
    assert RunRecord(tmp_path, RunIdentity("gate", 4, "boot-1")).last == (3, "hung", "main made no progress")


def test_a_pause_of_the_whole_process_is_no_hang(tmp_path: Path) -> None:
    """SIGSTOP and SIGCONT pause the process like a paused machine; its record says that it ended in order."""
    with BoundedPopen([sys.executable, "-c", PAUSED, tmp_path], stdout=subprocess.PIPE) as process:
        present(process.stdout).readline()
        for _ in range(PAUSES):
            process.send_signal(signal.SIGSTOP)
            threading.Event().wait(0.15)
            process.send_signal(signal.SIGCONT)
            threading.Event().wait(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert RunRecord(tmp_path, RunIdentity("gate", 4, "boot-1")).last == (3, "stopped", "SIGTERM")


@pytest.mark.parametrize(("who", "late", "boot", "end"), [
    ("watchdog", (), "boot-1", ("hung", "systemd saw: watchdog, SIGABRT")),
    ("watchdog", ("detect",), "boot-1", ("hung", "detect made no progress; systemd saw: watchdog, SIGABRT")),
    ("itself", (), "boot-1", ("killed", "systemd saw: signal, SIGABRT")),
    ("watchdog", (), "boot-2", ("hung", "systemd saw: watchdog, SIGABRT")),
])
def test_the_watchdog_is_told_from_an_abort_in_native_code(tmp_path: Path, who: str, late: tuple[str, ...], boot: str,
                                                           end: tuple[str, str]) -> None:
    """A real SIGABRT, from another process or by abort(). What systemd saw counts once, also after a restart."""
    with BoundedPopen([sys.executable, "-c", ABORTS, tmp_path, who, *late], stdin=subprocess.PIPE,
                      stderr=subprocess.DEVNULL) as process:
        if who == "watchdog":
            assert wait_until(lambda: (tmp_path / STACKS).exists() and (not late or b"detect" in record(tmp_path)), 60)
            process.send_signal(signal.SIGABRT)
        assert process.wait(240) == -signal.SIGABRT
    run_stop_post(tmp_path, -signal.SIGABRT, by_watchdog=who == "watchdog")
    note = RunRecord(tmp_path, RunIdentity("gate", 4, boot))
    assert note.last == (3, *end)
    note.begin()
    assert present(RunRecord(tmp_path, RunIdentity("gate", 5, boot)).last)[:2] == (4, "killed")
    note.ended(0, "end of the test")


def record(folder: Path) -> bytes:
    return (folder / RECORD).read_bytes() if (folder / RECORD).exists() else b""


@pytest.mark.parametrize("content", [b"", b"watchdog", b"a b c", b"\xff \xff", b"x" * 5000])
def test_an_unreadable_report_of_systemd_is_ignored(tmp_path: Path, content: bytes) -> None:
    """The record alone decides then."""
    subprocess.run([sys.executable, "-c", DIES, tmp_path], check=False, timeout=240)
    (tmp_path / SYSTEMD).write_bytes(content)
    last = present(RunRecord(tmp_path, RunIdentity("gate", 4, "boot-1")).last)
    assert (last.kind, last.detail.startswith("no last record")) == ("killed", True)


def test_an_end_in_order_leaves_no_report_of_systemd(tmp_path: Path) -> None:
    """Neither a stop nor a start that fails replaces what systemd saw of the run before."""
    for code in (0, 78):
        run_stop_post(tmp_path, code)
    assert not (tmp_path / SYSTEMD).exists()


def test_a_main_thread_that_goes_on_clears_its_record(tmp_path: Path) -> None:
    """The record of the hang is removed."""
    note = RunRecord(tmp_path, RunIdentity("gate", 3, "boot-1"))
    note.begin()
    (tmp_path / STACKS).write_text("Timeout!")
    note.update(())
    assert (tmp_path / STACKS).stat().st_size == 0
    note.ended(0, "end of the test")


def test_an_unreadable_record_is_ignored(tmp_path: Path) -> None:
    """It does not stop the start, and is replaced."""
    (tmp_path / RECORD).write_bytes(b"\xff" * 8192)
    assert RunRecord(tmp_path, RunIdentity("gate", 3, "boot-1")).last is None
    ended_run(tmp_path)
    assert RunRecord(tmp_path, RunIdentity("gate", 4, "boot-1")).last == (3, "stopped", "SIGTERM")


@pytest.mark.parametrize("sign", ["\U0001f4f7", "\udcff", "\0", "é"])
def test_a_message_of_any_length_and_script_is_recorded(tmp_path: Path, sign: str) -> None:
    """A message that is too long is cut."""
    ended_run(tmp_path, code=70, why=sign * 5000)
    last = RunRecord(tmp_path, RunIdentity("gate", 4, "boot-1")).last
    assert last is not None
    assert last[:2] == (3, "failed")
    assert len(last.detail) > 100
    assert set(last.detail) == {sign}


def test_a_missing_folder_does_not_stop_the_run(tmp_path: Path) -> None:
    """The run goes on and ends without a record."""
    folder = tmp_path / "state"
    folder.mkdir()
    note = RunRecord(folder, RunIdentity("gate", 3, "boot-1"))
    folder.rmdir()
    note.begin()
    note.update(("detect",))
    note.ended(0, "SIGTERM")
    assert RunRecord(folder, RunIdentity("gate", 4, "boot-1")).last is None
