"""How long to wait between attempts: growing, capped and spread, so that a fleet does not come back in step.

Invariants: every delay is between half and all of its step; steps double from `first_s` to `cap_s` and stay there;
nothing waits here.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

LEAST_SHARE = 0.5
"""Full jitter (from zero) would hammer a peer that is just coming up."""


def backoff(first_s: float, cap_s: float, uniform: Callable[[float, float], float] = random.uniform) -> Iterator[float]:
    """Yield delays in seconds, without end. Take a new iterator after a success.

    `uniform(a, b)` draws the jitter.
    """
    step_s = min(first_s, cap_s)
    while True:
        yield uniform(LEAST_SHARE * step_s, step_s)
        step_s = min(2 * step_s, cap_s)
