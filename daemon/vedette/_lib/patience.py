"""How long to wait for something that may only be slow: a bound that doubles with each try that ran out of time.

Invariants: the first try gets the base, so a failure is told early; no later one gets less than the one before it, nor
more than `MOST_S` unless the base is longer; no try is the last; a success starts again from the base.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

log = logging.getLogger(__name__)

MOST_S = 300.0
"""Long enough for a board that is ten times slower than any that was seen, and short enough to notice a hang."""
_DOUBLINGS_MAX = 30
T = TypeVar("T")


def grown_s(base_s: float, tries: int) -> float:
    """Return the bound in seconds after so many tries in a row that ran out of time."""
    return max(base_s, min(base_s * 2.0 ** min(tries, _DOUBLINGS_MAX), MOST_S))


class Patience:
    """How often one thing ran out of time since it last succeeded. Any thread reads it, one changes it."""

    def __init__(self) -> None:
        self.tries = 0

    def __repr__(self) -> str:
        return f"<Patience after {self.tries} tries>"

    def bound_s(self, base_s: float) -> float:
        """Return the bound of the next try, in seconds."""
        return grown_s(base_s, self.tries)

    def ran_out(self) -> None:
        """A try took longer than its bound."""
        self.tries += 1

    def worked(self) -> None:
        """A try succeeded."""
        self.tries = 0

    def until_success(self, base_s: float, attempt: Callable[[float], T], late: type[Exception], *,
                      most_s: float = MOST_S, stopping: Callable[[], bool] = lambda: False) -> T:
        """Return what `attempt(bound_s)` gives: for a caller who waits. Each try that is `late` is logged at once.

        Raises: `late` when `stopping`, or after a try that had `most_s`; whatever else `attempt` raises.
        """
        while True:
            bound_s = self.bound_s(base_s)
            try:
                result = attempt(bound_s)
            except late as error:
                self.ran_out()
                if bound_s >= most_s or stopping():
                    raise
                log.warning("%s; trying again with %g s", error, self.bound_s(base_s))
            else:
                self.worked()
                return result
