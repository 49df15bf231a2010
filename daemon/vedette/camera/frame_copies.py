"""Gives other threads than the detector copies of single frames, for a snapshot or the cloud.

Invariants: without a thread that waits, a frame only costs a check. A copy is made once for all that wait.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from vedette.types import Frame


@dataclass(slots=True, eq=False)
class _Waiter:
    """A thread that wants a copy of the next frame."""

    arrived: threading.Event
    frame: Frame | None = None


class FrameCopies:
    """`next` for any thread; `serve` for the one that gets the frames."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiters: list[_Waiter] = []

    def next(self, timeout_s: float) -> Frame | None:
        """Return a copy of the next frame to arrive, or None after `timeout_s`."""
        waiter = _Waiter(threading.Event())
        with self._lock:
            self._waiters.append(waiter)
        if not waiter.arrived.wait(timeout_s):
            with self._lock:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
        return waiter.frame

    def serve(self, frame: Frame) -> None:
        """Copy the frame if anybody waits for one."""
        if not self._waiters:
            return
        with self._lock:
            waiters, self._waiters = self._waiters, []
        pixels = memoryview(frame.pixels.tobytes()).cast("B", (frame.height, frame.width, 3))
        for waiter in waiters:
            waiter.frame = Frame(frame.seq, pixels, frame.captured_ns, frame.captured_at, frame.handed_over_ns)
            waiter.arrived.set()
