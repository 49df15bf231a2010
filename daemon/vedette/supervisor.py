"""Starts the workers in order, watches them, and stops them in exactly the reverse order.

Invariants:
- `WATCHDOG=1` is sent only while every worker's heartbeat is fresh.
- A worker that ends with a failure ends the daemon with that failure's exit code; nothing is swallowed.
- Signals, worker ends and commands arrive in one inbox; only the main thread acts on them. A signal to stop comes
  before all that is waiting there.
- Stopping is bounded: a worker that does not end in time is named and left behind. No signal cuts it short.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import signal
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vedette.errors import VedetteError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vedette._lib.sdnotify import Notifier
    from vedette._lib.worker import Worker

log = logging.getLogger(__name__)

TICK_S = 0.25
STOP_TIMEOUT_S = 5.0
EXIT_INTERNAL = 70
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Part:
    """One thing the daemon is made of: how it starts, the worker to watch, and how it stops."""

    name: str
    start: Callable[[], object]
    stop: Callable[[], object]
    worker: Worker | None = None


class Supervisor:
    """Runs on the main thread from the first start to the last stop.

    `tick` is called about four times a second and must not block; `reload` on SIGHUP; `ended` says, in words, that
    the daemon has done what it was asked for.
    """

    def __init__(self, parts: Sequence[Part], notifier: Notifier, *, tick: Callable[[], None],
                 reload: Callable[[], None], ended: Callable[[], str | None], status: Callable[[], str]) -> None:
        self._parts = parts
        self._notifier = notifier
        self._tick = tick
        self._reload = reload
        self._ended = ended
        self._status = status
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._bell = threading.Lock()
        """Held until there is something in the inbox: its own `get` waits for ever where a signal's handler outlasts
        the time-out (seen with CPython 3.11)."""
        self.why = "the main thread died"
        """Why the daemon ends, in words."""
        self._exit_code: int | None = None
        self._stop_signal: signal.Signals | None = None
        self._late: set[str] = set()

    def call(self, action: Callable[[], None]) -> None:
        """Have the main thread run `action` soon. Any thread, and signal handlers; never blocks."""
        self._inbox.put(action)
        with contextlib.suppress(RuntimeError):     # rung already
            self._bell.release()

    def stop(self, exit_code: int, why: str, failure: BaseException | None = None) -> None:
        """Leave the main loop with this exit code. Main thread; the first call decides."""
        if self._exit_code is None:
            log.info("stopping: %s", why)
            self.why = why if failure is None else f"{why}: {failure or type(failure).__name__}"
            self._exit_code = exit_code

    def late_workers(self) -> tuple[str, ...]:
        """Names of the workers whose heartbeat is overdue."""
        return tuple(part.name for part in self._parts if part.worker and part.worker.late_s > 0)

    def run(self) -> int:
        """Start all parts, watch until something ends it, stop all parts; returns the exit code."""
        started: list[Part] = []
        try:
            self._take_signals()
            for part in self._parts:
                part.start()
                started.append(part)
            self._notifier.ready()
            self._watch()
        finally:
            self._notifier.stopping()
            for part in reversed(started):
                self._stop_part(part)
            for number in _SIGNALS:     # Python, while it ends, would hand them back to the kernel, which kills
                signal.signal(number, signal.SIG_IGN)
        return self._exit_code if self._exit_code is not None else EXIT_INTERNAL

    def worker_ended(self, worker: Worker) -> None:
        """A worker's thread has ended: with a failure, or while nobody asked it to. Any thread."""
        self.call(lambda: self._judge(worker))

    def _take_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda n, _: self._ask_to_stop(signal.Signals(n)))
        signal.signal(signal.SIGHUP, lambda *_: self.call(self._reload_now))

    def _ask_to_stop(self, by: signal.Signals) -> None:
        self._stop_signal = by      # no more than that: a handler that logs may interrupt a line being logged
        self.call(lambda: None)     # ends the wait

    def _reload_now(self) -> None:
        self._notifier.reloading()
        self._reload()
        self._notifier.ready()

    def _watch(self) -> None:
        next_word = 0.0
        while self._exit_code is None:
            self._run_inbox()
            if self._stop_signal is not None:
                self.stop(0, self._stop_signal.name)
            self._tick()
            ended = self._ended()
            if ended:
                self.stop(0, ended)
            hung = self._name_late_workers()
            if time.monotonic() >= next_word:
                self._notifier.status(self._status())
                if not hung:
                    self._notifier.watchdog()
                next_word = time.monotonic() + 1.0

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
        late = set(self.late_workers())
        for name in late - self._late:
            log.error("worker %s makes no progress; the watchdog will not be fed", name)
        self._late = late
        return bool(late)

    def _judge(self, worker: Worker) -> None:
        failure = worker.failure
        if isinstance(failure, VedetteError):
            log.error("%s", failure)
            self.stop(failure.exit_code, f"worker {worker.name} failed", failure)
        elif failure is not None:
            log.critical("worker %s died", worker.name, exc_info=failure)
            self.stop(EXIT_INTERNAL, f"worker {worker.name} died", failure)
        elif not worker.stopping.is_set() and not self._ended():
            self.stop(EXIT_INTERNAL, f"worker {worker.name} ended unasked")

    def _stop_part(self, part: Part) -> None:
        log.debug("stopping %s", part.name)
        part.stop()
        if part.worker and part.worker.alive:
            log.error("%s did not stop and is left behind", part.name)
