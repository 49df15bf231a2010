"""Keeps a record of this run on disk, so that the next run can report how it ended.

Invariants: a run that dies leaves its last record, and the next run decides by that record, the boot, and what systemd
saw; between the first and the last record the main thread never waits for the disk; if the main thread itself hangs, a
signal handler of C, which needs no Python, writes that; a disk that cannot be written is logged, and nothing else
changes. Main thread only.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from typing import TYPE_CHECKING

from vedette._lib.double_buffered_file import LONGEST, DoubleBufferedFile
from vedette._lib.stacks import HangDump
from vedette._lib.whole_file import read_whole
from vedette.types import LastEnd

if TYPE_CHECKING:
    from pathlib import Path

    from vedette.types import RunIdentity

log = logging.getLogger(__name__)

RECORD, STACKS = "end.mark", "end.stacks"
SYSTEMD = "end.systemd"
"""The unit's ExecStopPost= writes it after an end by a signal: systemd's result, such as `watchdog`, and the signal."""
MAIN_WITHIN_S = 3.0
"""A main thread that is silent for longer may hang. If it continues, what was written about it is removed."""
REARM_S = 1.0
STEADY_S = 3600.0
DISK_WITHIN_S = 2.0
"""The longest time that the first and the last record wait for a disk."""
_DETAIL_MAX = LONGEST // 13
"""A character outside the basic plane takes twelve bytes of JSON; the other fields need the rest."""
_REPORT_MAX = 100
_RUNNING = "running"
_KILLED = "no last record: killed, out of memory, or crashed in native code"


class RunRecord:
    """The record in the state folder. `last` is how the run before ended; None: there was none, or it left no record.

    Before `begin` nothing is written: a start that fails is no run.
    """

    def __init__(self, folder: Path, identity: RunIdentity) -> None:
        self._slots = DoubleBufferedFile(folder / RECORD)
        self._stacks = folder / STACKS
        self._systemd = folder / SYSTEMD
        self._run = identity.run
        self._boot_id = identity.boot_id
        self._dump: HangDump | None = None
        self._rearm_s = 0.0
        self._late: tuple[str, ...] = ()
        self._writer: threading.Thread | None = None
        self._began_s = time.monotonic()
        self.hangs = 0
        """How many runs in a row before this one hung; 0 again once this one has run for `STEADY_S`."""
        self.last = self._read_last()

    def __repr__(self) -> str:
        return f"<RunRecord {self._run} after {self.last}>"

    def begin(self) -> None:
        """Write the first record of this run."""
        if self.last is not None:
            log.log(logging.INFO if self.last.kind == "stopped" else logging.WARNING,
                    "run %d ended: %s: %s", self.last.run, self.last.kind, self.last.detail)
        self.renew()
        self._wait()
        with contextlib.suppress(OSError):
            self._systemd.unlink()

    def renew(self) -> None:
        """Write the record again, in a folder that was restored empty."""
        self._close_dump()
        self._put("hung" if self._late else _RUNNING, _made_no_progress(self._late))
        try:
            self._dump = HangDump(self._stacks)
        except OSError as error:
            log.warning("%s: %s", self._stacks, error.strerror)

    def update(self, late: tuple[str, ...]) -> None:
        """Record that the main thread makes progress, and these workers do not. At least every second; never blocks."""
        now_s = time.monotonic()
        if now_s >= self._rearm_s and self._dump is not None:
            self._rearm_s = now_s + REARM_S
            self._dump.arm(MAIN_WITHIN_S)
        if self.hangs and now_s - self._began_s > STEADY_S:
            self.hangs = 0
            self._put("hung" if self._late else _RUNNING, _made_no_progress(self._late))
        if late != self._late and (self._writer is None or not self._writer.is_alive()):
            self._late = late
            self._put("hung" if late else _RUNNING, _made_no_progress(late))

    def ended(self, exit_code: int, why: str) -> None:
        """Write the last record: the run ends as ordered (exit code 0), or with a failure."""
        self._close_dump()
        self._wait()
        self._put("failed" if exit_code else "stopped", why)
        self._wait()

    def _close_dump(self) -> None:
        if self._dump is not None:
            self._dump.close()
            self._dump = None

    def _read_last(self) -> LastEnd | None:
        try:
            content = self._slots.read()
            if content is None:
                return None
            saved = json.loads(content)
            run, boot_id, kind, detail = (saved[key] for key in ("run", "boot", "kind", "detail"))
            hangs = int(saved.get("hangs", 0))
            hung = self._stacks.exists() and self._stacks.stat().st_size > 0
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("the record of the last run cannot be read: %r", error)
            return None
        if kind in ("stopped", "failed"):
            return LastEnd(run, kind, detail)
        seen = self._read_systemd()
        if boot_id != self._boot_id and seen is None:
            return LastEnd(run, "power_cut", "the machine restarted while it ran")
        if not (kind == "hung" or hung or (seen and "watchdog" in seen)):
            return LastEnd(run, "killed", seen or _KILLED)
        self.hangs = hangs + 1
        stuck = (detail if kind == "hung" else None, "main made no progress" if hung and kind != "hung" else None)
        return LastEnd(run, "hung", "; ".join(filter(None, (*stuck, seen))))

    def _read_systemd(self) -> str | None:
        """Return what systemd saw, as a message; None if it saw no end by a signal, or if there is no systemd."""
        try:
            result, number = read_whole(self._systemd, _REPORT_MAX).decode("ascii").split()
        except (OSError, ValueError):
            return None
        return f"systemd saw: {result}, SIG{number}" if f"{result}{number}".isprintable() else None

    def _put(self, kind: str, detail: str | None) -> None:
        """Write it in a separate thread, because a disk may hang."""
        record = {"run": self._run, "boot": self._boot_id, "kind": kind, "detail": detail and detail[:_DETAIL_MAX],
                  "hangs": self.hangs}
        self._writer = threading.Thread(target=self._write, args=(json.dumps(record).encode(),), name="record",
                                        daemon=True)
        self._writer.start()

    def _write(self, content: bytes) -> None:
        try:
            self._slots.write(content)
        except OSError as error:
            log.warning("the record of this run cannot be written: %s: %s", error.filename, error.strerror)

    def _wait(self) -> None:
        if self._writer is not None:
            self._writer.join(DISK_WITHIN_S)


def _made_no_progress(late: tuple[str, ...]) -> str | None:
    return f"{', '.join(late)} made no progress" if late else None
