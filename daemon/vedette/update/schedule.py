"""Decides when the update source is polled: at an interval, sooner after a nudge, later after a failure.

Invariants: nothing waits or reads a clock here; at most one poll in ten minutes comes from a nudge; a nudge that comes
too soon is delayed, not lost; jitter keeps devices from polling at the same moment.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from vedette._lib.backoff import backoff

FIRST_WITHIN_S = 10.0
JITTER = 0.1
NUDGE_SPREAD_S = 20.0
NUDGE_INTERVAL_S = 600.0
RETRY_FIRST_S = 30.0


class PollSchedule:
    """Times are monotonic seconds."""

    def __init__(self, poll_s: float, now_s: float, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._poll_s = poll_s
        self._uniform = uniform
        self._due_s = now_s + uniform(0, min(FIRST_WITHIN_S, poll_s))
        self._nudged_s: float | None = None
        self._delays = backoff(min(RETRY_FIRST_S, poll_s), poll_s, uniform)

    def __repr__(self) -> str:
        return f"<PollSchedule every {self._poll_s:g} s, next at {self._due_s:.1f}>"

    def is_due(self, now_s: float) -> bool:
        """Return whether to poll now."""
        return now_s >= self._due_s

    def nudge(self, now_s: float) -> float:
        """Poll soon; returns within how many seconds."""
        earliest_s = now_s if self._nudged_s is None else max(now_s, self._nudged_s + NUDGE_INTERVAL_S)
        wanted_s = earliest_s + self._uniform(0, min(NUDGE_SPREAD_S, self._poll_s))
        if wanted_s < self._due_s:
            self._due_s = self._nudged_s = wanted_s
        return max(0.0, self._due_s - now_s)

    def succeeded(self, now_s: float) -> None:
        """The source has answered."""
        self._delays = backoff(min(RETRY_FIRST_S, self._poll_s), self._poll_s, self._uniform)
        self._due_s = now_s + self._poll_s * self._uniform(1 - JITTER, 1 + JITTER)

    def failed(self, now_s: float, retry_after_s: float | None = None) -> None:
        """The source has not answered, or it asked for a pause of `retry_after_s`."""
        self._due_s = now_s + max(next(self._delays), retry_after_s or 0.0)
