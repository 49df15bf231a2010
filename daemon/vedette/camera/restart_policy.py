"""What happens to a capture child that stalls, stops, crashes or sends nonsense.

    reopen       the child reopens the source, with backoff, after a failure it can name (absent, refused, read failed)
    wait longer  a child or a source that did not answer in time gets more time at the next try: it may only be slow
    replace      the daemon kills the child and starts another, at first without delay, then with growing delays
    give up      after so many replacements without one frame: CameraStuck, and systemd restarts the daemon

Invariants: pure. A frame from a child proves that replacing still helps, so the count starts again. A child that was
only silent does not count: it may be slow, and the next one gets more time. The delays are
short enough for "frames again within 10 s after the fault ends": the longest delay, a stall and a start fit in.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from vedette._lib.patience import grown_s

REOPEN_DELAYS_S = (0.1, 0.5, 1.0, 2.0, 4.0)
START_WITHIN_S = 15.0
"""Time to import numpy and OpenCV from a slow SD card, for the first child."""
OPEN_WITHIN_S = 7.0
"""Time until the first frame, for the first opening: frames must flow again within 10 s after a fault ends."""
REPLACE_DELAYS_S = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
REPLACEMENTS_WITHOUT_FRAME = 10
STEADY_S = 2.0
"""A child that lived this long is not in a crash loop. Its replacement starts at once."""


def reopen_delay_s(attempt: int, jitter: Callable[[], float] = random.random) -> float:
    """Return how long the child waits before it reopens the source; `attempt` counts from 0."""
    return REOPEN_DELAYS_S[min(attempt, len(REOPEN_DELAYS_S) - 1)] * (0.75 + 0.25 * jitter())


def open_limit_s(slow_openings: int) -> float:
    """Return how long an opening may take, after so many openings in a row that took too long."""
    return grown_s(OPEN_WITHIN_S, slow_openings)


def start_limit_s(slow_openings: int) -> float:
    """Return how long a child may take until its first message, after so many openings that took too long."""
    return grown_s(START_WITHIN_S, slow_openings)


class Replacements:
    """Counts replaced children, and says when the next one may start or that no other one helps."""

    def __init__(self, limit: int = REPLACEMENTS_WITHOUT_FRAME) -> None:
        self.limit = limit
        self.total = 0
        self._without_frame = 0
        self._short_lived = 0

    def worked(self) -> None:
        """A child gave a frame, or recovered from a failure of the source without help."""
        self._without_frame = 0

    def replaced(self, lived_s: float, *, silent: bool = False) -> float | None:
        """Return the seconds to wait before the next child, or None when it is time to give up."""
        self.total += 1
        self._without_frame += not silent
        if self._without_frame > self.limit:
            return None
        self._short_lived = 0 if lived_s >= STEADY_S else self._short_lived + 1
        return REPLACE_DELAYS_S[min(max(self._short_lived - 1, 0), len(REPLACE_DELAYS_S) - 1)]
