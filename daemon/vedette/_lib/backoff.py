"""How long to wait between attempts: growing, capped and random, so that the devices of a fleet do not retry together.

Invariants: every delay is between half of its step and the whole step; steps double from `first_s` to `cap_s` and stay
there; nothing waits here.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

LEAST_SHARE = 0.5
"""Full jitter (from zero) would overload a peer that is just starting."""


def backoff(first_s: float, cap_s: float, uniform: Callable[[float, float], float] = random.uniform) -> Iterator[float]:
    """Yield delays in seconds, without end. Make a new iterator after a success.

    `uniform(a, b)` draws the jitter.
    """
    step_s = min(first_s, cap_s)
    while True:
        yield uniform(LEAST_SHARE * step_s, step_s)
        step_s = min(2 * step_s, cap_s)
