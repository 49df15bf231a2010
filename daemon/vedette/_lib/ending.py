"""The end of a server: SIGTERM, Ctrl-C, or a thread of its own asks for it.

Invariants: a signal is never lost, not even one that interrupts another; from the first one on, `wait` returns.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType


class Ending:
    """Made on the main thread, before the server starts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()       # an Event has a lock of its own, which the interrupted code may hold
        self._lock.acquire()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def wait(self) -> None:
        """Wait for the end. One thread, once."""
        self._lock.acquire()

    def ask(self) -> None:
        """Ask for the end. Any thread; safe to call twice."""
        with contextlib.suppress(RuntimeError):     # free already
            self._lock.release()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.ask()
