"""Measures whether reading a stream takes more processor time than everything that the daemon does with its frames.

Invariants: a verdict comes from a whole window in which frames were used and none was still, never from a start. What
was said holds until a window clearly says the opposite. One thread measures, any thread reads.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from vedette.types import CameraStatus, ReasonCode

WINDOW_S = 120.0
COSTLY_FROM, COSTLY_UNTIL = 1.25, 1.0
"""Times of the daemon's own processor time from which, and until which, the child's is too much."""
LEAST_SHARE = 0.05
"""A child that takes less of one core is not worth a word."""
LEAST_FRAMES = 10


def process_time_of(pid: int) -> float:
    """Return the processor time of a process in seconds. Raises: OSError when it has ended."""
    return time.clock_gettime(~pid << 3 | 2)        # the clock id that clock_getcpuclockid gives


@dataclass(frozen=True, slots=True)
class _Reading:
    at_s: float
    pid: int
    child_s: float
    own_s: float
    frames: int
    still: int


class DecodingCost:
    """Compares the processor times of the capture child and of this process. A ports.ReasonSource."""

    def __init__(self, window_s: float = WINDOW_S, *, own_s: Callable[[], float] = time.process_time,
                 child_s: Callable[[int], float] = process_time_of) -> None:
        self._window_s = window_s
        self._own_s = own_s
        self._child_s = child_s
        self._begin: _Reading | None = None
        self._detail: str | None = None

    def measure(self, now_s: float, pid: int, camera: CameraStatus) -> None:
        """Measure if a window is over. `now_s` is monotonic."""
        begin = self._begin
        if begin is not None and begin.pid == pid and now_s - begin.at_s < self._window_s:
            return
        try:
            child_s = self._child_s(pid)
        except OSError:         # it has just ended
            self._begin = None
            return
        taken = camera.captured - sum(camera.dropped.values()) - camera.pending
        self._begin = now = _Reading(now_s, pid, child_s, self._own_s(), taken, camera.dropped.get("still", 0))
        if begin is not None and (begin.pid, begin.still) == (pid, now.still) \
                and now.frames - begin.frames >= LEAST_FRAMES:
            self._judge(now_s - begin.at_s, child_s - begin.child_s, now.own_s - begin.own_s)

    def reasons(self) -> dict[ReasonCode, str]:
        """As ports.ReasonSource."""
        detail = self._detail
        return {} if detail is None else {"decoding_costly": detail}

    def _judge(self, passed_s: float, child_s: float, own_s: float) -> None:
        if child_s < own_s * COSTLY_UNTIL or child_s < passed_s * LEAST_SHARE:
            self._detail = None
        elif child_s > own_s * COSTLY_FROM:
            self._detail = f"{child_s / passed_s:.0%} of a core for the stream, {own_s / passed_s:.0%} for all else"
