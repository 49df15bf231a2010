"""Decides when the update source is polled: at an interval, sooner after a nudge, later after a failure.

Invariants: nothing waits or reads a clock here; at most one poll in ten minutes comes from a nudge; a nudge that comes
too soon is delayed, not lost; jitter keeps devices from polling at the same moment. A source that has too much to do is
asked at a random moment of a pause that doubles: a nudge does not shorten it, and later nudges are spread as widely.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from vedette._lib.backoff import LEAST_SHARE

FIRST_WITHIN_S = 10.0
JITTER = 0.1
NUDGE_SPREAD_S = 20.0
"""It doubles while the source is too busy, and is halved by each nudge that was answered at once."""
NUDGE_INTERVAL_S = 600.0
RETRY_FIRST_S, BUSY_FIRST_S = 30.0, 120.0
"""The longest pause after one failure, and after one at a busy source. It doubles up to the interval."""
_DOUBLINGS_MAX = 20


class PollSchedule:
    """Times are monotonic seconds."""

    def __init__(self, poll_s: float, now_s: float, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._poll_s = poll_s
        self._uniform = uniform
        self._due_s = now_s + uniform(0, min(FIRST_WITHIN_S, poll_s))
        self._nudged_s: float | None = None
        self._spread_s = NUDGE_SPREAD_S
        self._failures = 0
        self._must_wait = False
        """Whether a nudge would bring the poll too soon."""

    def __repr__(self) -> str:
        return f"<PollSchedule every {self._poll_s:g} s, next at {self._due_s:.1f}>"

    def is_due(self, now_s: float) -> bool:
        """Return whether to poll now."""
        return now_s >= self._due_s

    def nudge(self, now_s: float) -> float:
        """Poll soon; returns within how many seconds."""
        earliest_s = now_s if self._nudged_s is None else max(now_s, self._nudged_s + NUDGE_INTERVAL_S)
        wanted_s = earliest_s + self._uniform(0, min(self._spread_s, self._poll_s))
        if wanted_s < self._due_s and not self._must_wait:
            self._due_s = self._nudged_s = wanted_s
        return max(0.0, self._due_s - now_s)

    def succeeded(self, now_s: float) -> None:
        """The source has answered."""
        if self._due_s == self._nudged_s:
            self._spread_s = max(NUDGE_SPREAD_S, self._spread_s / 2)
        self._failures, self._must_wait = 0, False
        self._due_s = now_s + self._poll_s * self._uniform(1 - JITTER, 1 + JITTER)

    def failed(self, now_s: float, retry_after_s: float | None = None, *, is_busy: bool = False) -> None:
        """The source has not answered, or it asked for a pause of `retry_after_s`.

        `is_busy`: it may have too much to do, so a fleet must come back spread out.
        """
        first_s = BUSY_FIRST_S if is_busy else RETRY_FIRST_S
        longest_s = min(first_s * 2.0 ** min(self._failures, _DOUBLINGS_MAX), self._poll_s)
        self._failures, self._must_wait = self._failures + 1, is_busy or retry_after_s is not None
        if is_busy:
            self._spread_s = max(self._spread_s, longest_s)
        pause_s = self._uniform(0 if is_busy else LEAST_SHARE * longest_s, longest_s)
        self._due_s = now_s + (retry_after_s or 0.0) + pause_s
