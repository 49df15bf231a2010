"""A named thread that stops when asked, sends heartbeats, and reports its end to its supervisor.

Invariants: `run` polls `stopping` at least every second or announces a longer wait with `beat(within_s)`;
an exception that leaves `run` is stored in `failure` and reported once through `on_end`; `stop()` is safe to
call twice and from any thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Worker:
    """One thread around `run(worker)`.

    A worker counts as hung when its heartbeat is older than `limit_s`.
    """

    def __init__(self, name: str, run: Callable[[Worker], None], *, limit_s: float = 10.0,
                 on_end: Callable[[Worker], None] | None = None) -> None:
        self.name = name
        self.stopping = threading.Event()
        self.failure: BaseException | None = None
        self._run = run
        self._limit_s = limit_s
        self._on_end = on_end
        self._deadline_ns = 0
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)

    def __repr__(self) -> str:
        state = "running" if self._thread.is_alive() else "idle"
        return f"<Worker {self.name} {'failed' if self.failure else state}>"

    def start(self) -> None:
        """Start the thread; its first heartbeat counts from here."""
        self.beat()
        self._thread.start()

    def beat(self, within_s: float | None = None) -> None:
        """Send a heartbeat; the next one must come within `within_s` (default: the worker's limit)."""
        self._deadline_ns = time.monotonic_ns() + int((within_s or self._limit_s) * 1e9)

    @property
    def late_s(self) -> float:
        """The seconds since the heartbeat was due; 0 if it is on time or the thread has ended."""
        return max(0.0, (time.monotonic_ns() - self._deadline_ns) / 1e9) if self._thread.is_alive() else 0.0

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def stop(self, timeout_s: float) -> bool:
        """Ask the thread to stop and wait at most `timeout_s`; returns whether it has ended."""
        self.stopping.set()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _main(self) -> None:
        try:
            self._run(self)
        except BaseException as failure:  # noqa: BLE001 - the outermost frame of a worker reports any failure
            self.failure = failure
        finally:
            if self._on_end:
                self._on_end(self)
