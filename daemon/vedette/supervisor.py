"""Starts the workers in order, watches them, and stops them in exactly the reverse order.

Invariants:
- `WATCHDOG=1` is sent only while every worker's heartbeat is fresh.
- A worker that ends with a failure ends the daemon with that failure's exit code; no failure is ignored.
- Signals, worker ends and commands arrive in one inbox; only the main thread acts on them. A signal to stop comes
  before everything that waits there. What a stop leaves there is not run; `commands` replies for it.
- Stopping is bounded: a worker that does not end in time is logged and left running. No signal interrupts the stop.
- A part whose stop fails is logged; every other part is still stopped, and the exit code is not 0.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import signal
import threading
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from vedette.errors import VedetteError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vedette._lib.sdnotify import Notifier
    from vedette._lib.worker import Worker
    from vedette.types import ReasonCode

log = logging.getLogger(__name__)

TICK_S = 0.25
STOP_TIMEOUT_S = 5.0
EXIT_INTERNAL = 70
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the daemon: how it starts, the worker to watch, and how it stops."""

    name: str
    start: Callable[[], object]
    stop: Callable[[], object]
    worker: Worker | None = None


class Supervised(Protocol):
    """What the supervisor runs."""

    def parts(self) -> Sequence[Part]:
        """Return the parts in the order of starting."""

    def tick(self) -> None:
        """Called about four times a second; must not block."""

    def reload(self) -> None:
        """Called on SIGHUP."""

    def ended(self) -> str | None:
        """Return a message once the work is done, else None."""

    def status_line(self) -> str:
        """Return one line for `systemctl status`."""


class Supervisor:
    """Runs on the main thread from the first start to the last stop. A ports.ReasonSource.

    It is created before the parts, so that they can get `worker_ended`, `call` and `stop`.
    """

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        self._daemon: Supervised | None = None
        self._parts: Sequence[Part] = ()
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._bell = threading.Lock()
        """Locked until there is something in the inbox. The queue's own `get` waits for ever if a signal handler
        runs longer than the time-out (seen with CPython 3.11)."""
        self.why = "the main thread died"
        """Why the daemon ends, as a message."""
        self._exit_code: int | None = None
        self._stop_signal: signal.Signals | None = None
        self._overdue: tuple[str, ...] = ()
        self._late: tuple[str, ...] = ()

    def call(self, action: Callable[[], None]) -> None:
        """Run `action` on the main thread soon. Any thread, and signal handlers; never blocks."""
        self._inbox.put(action)
        self._ring()

    def _ring(self) -> None:
        with contextlib.suppress(RuntimeError):     # released already
            self._bell.release()

    def stop(self, exit_code: int, why: str, failure: BaseException | None = None) -> None:
        """Leave the main loop with this exit code. Main thread; the first call decides."""
        if self._exit_code is None:
            log.info("stopping: %s", why)
            self.why = why if failure is None else f"{why}: {failure or type(failure).__name__}"
            self._exit_code = exit_code

    def late_workers(self) -> tuple[str, ...]:
        """Return the names of the workers whose heartbeat was overdue at two looks of the main loop, one after another.

        After a pause of the whole process every heartbeat is overdue, until its worker has run again.
        """
        return self._late

    def reasons(self) -> dict[ReasonCode, str]:
        """As ports.ReasonSource."""
        late = self.late_workers()
        return {"worker_hung": ", ".join(late)} if late else {}

    def run(self, daemon: Supervised) -> int:
        """Start all parts, watch them until something ends the run, stop all parts; returns the exit code."""
        self._daemon, self._parts = daemon, daemon.parts()
        started: list[Part] = []
        try:
            self._install_signal_handlers(daemon)
            for part in self._parts:
                part.start()
                started.append(part)
            self._notifier.ready()
            self._watch(daemon)
        finally:
            self._notifier.stopping()
            for part in reversed(started):
                self._stop_part(part)
            for number in _SIGNALS:     # while Python ends, it restores the default handlers, and those would kill it
                signal.signal(number, signal.SIG_IGN)
        return self._exit_code if self._exit_code is not None else EXIT_INTERNAL

    def worker_ended(self, worker: Worker) -> None:
        """Report that a worker's thread has ended: with a failure, or without a request. Any thread."""
        self.call(partial(self._on_worker_end, worker))

    def _install_signal_handlers(self, daemon: Supervised) -> None:
        def on_stop(number: int, _: object) -> None:
            self._stop_signal = signal.Signals(number)      # no logging here: it may interrupt a line being logged
            self._ring()

        def on_hangup(*_: object) -> None:
            self.call(partial(self._reload, daemon))
        signal.signal(signal.SIGTERM, on_stop)
        signal.signal(signal.SIGINT, on_stop)
        signal.signal(signal.SIGHUP, on_hangup)

    def _reload(self, daemon: Supervised) -> None:
        self._notifier.reloading()
        daemon.reload()
        self._notifier.ready()

    def _watch(self, daemon: Supervised) -> None:
        next_notice_s = 0.0
        while self._exit_code is None:
            self._run_inbox()
            if self._stop_signal is not None:
                self.stop(0, self._stop_signal.name)
            daemon.tick()
            ended = daemon.ended()
            if ended:
                self.stop(0, ended)
            hung = self._name_late_workers()
            if time.monotonic() >= next_notice_s:
                self._notifier.status(daemon.status_line())
                if not hung:
                    self._notifier.watchdog()
                next_notice_s = time.monotonic() + 1.0

    def _run_inbox(self) -> None:
        deadline = time.monotonic() + TICK_S
        while (left_s := deadline - time.monotonic()) > 0 and self._exit_code is None and self._stop_signal is None:
            try:
                action = self._inbox.get_nowait()
            except queue.Empty:
                self._bell.acquire(timeout=left_s)
            else:
                action()

    def _name_late_workers(self) -> bool:
        """Return whether a heartbeat is overdue."""
        before, self._overdue = self._overdue, tuple(
            part.name for part in self._parts if part.worker and part.worker.late_s > 0)
        late = tuple(name for name in self._overdue if name in before)
        for name in set(late) - set(self._late):
            log.error("worker %s makes no progress; the watchdog gets no more signals", name)
        self._late = late
        return bool(self._overdue)

    def _on_worker_end(self, worker: Worker) -> None:
        failure = worker.failure
        if isinstance(failure, VedetteError):
            log.error("%s", failure)
            self.stop(failure.exit_code, f"worker {worker.name} failed", failure)
        elif failure is not None:
            log.critical("worker %s died", worker.name, exc_info=failure)
            self.stop(EXIT_INTERNAL, f"worker {worker.name} died", failure)
        elif not worker.stopping.is_set() and not (self._daemon and self._daemon.ended()):
            self.stop(EXIT_INTERNAL, f"worker {worker.name} ended without a request")

    def _stop_part(self, part: Part) -> None:
        log.debug("stopping %s", part.name)
        try:
            part.stop()
        except Exception as failure:    # the outermost frame of a stop: every other part must stop too
            log.critical("%s failed to stop", part.name, exc_info=failure)
            if self._exit_code == 0:
                self._exit_code = EXIT_INTERNAL
                self.why = f"{part.name} failed to stop: {failure or type(failure).__name__}"
        if part.worker and part.worker.alive:
            log.error("%s did not stop and is left running", part.name)
