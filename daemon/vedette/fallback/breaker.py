"""Decides when the cloud may be called: a circuit breaker for a failing server, and a budget of calls and bytes.

Invariants:
- Pure: nothing here waits, reads a clock, or touches a file; the caller passes every time, in seconds of a clock that
  only goes forward.
- A server that fails for ten minutes is called at most ten times, and again within five minutes of its recovery.
- No window grants more calls or bytes than its allowance, nor more than a fifth of its calls as probes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from vedette._lib.backoff import backoff
from vedette.errors import CloudBudgetSpent

BreakerState = Literal["closed", "open", "half_open"]

FAILURES_TO_OPEN = 3
FIRST_DELAY_S = 30.0
LONGEST_DELAY_S = 300.0
PROBE_SHARE = 5
"""One in this many calls may be a probe of a failing server."""


class Breaker:
    """Circuit breaker. Closed: every call may go. Open: none. Half-open: one probe decides. One thread.

    While it is closed, calls are at least `interval_s` apart. `uniform(a, b)` draws the jitter.
    """

    def __init__(self, interval_s: float, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self.failures_in_a_row = 0
        self._interval_s = interval_s
        self._uniform = uniform
        self._delays = backoff(FIRST_DELAY_S, LONGEST_DELAY_S, uniform)
        self._not_before_s = float("-inf")

    def __repr__(self) -> str:
        return f"<Breaker {self.failures_in_a_row} failures, not before {self._not_before_s:.1f} s>"

    def state(self, now_s: float) -> BreakerState:
        """Return the state: in `half_open`, the next call is a probe."""
        if self.failures_in_a_row < FAILURES_TO_OPEN:
            return "closed"
        return "open" if now_s < self._not_before_s else "half_open"

    def wait_s(self, now_s: float) -> float:
        """Return how long no call may be made; 0 if one may be made now."""
        return max(0.0, self._not_before_s - now_s)

    def succeeded(self, now_s: float) -> None:
        """Record that a call gave a result."""
        self.failures_in_a_row = 0
        self._delays = backoff(FIRST_DELAY_S, LONGEST_DELAY_S, self._uniform)
        self._not_before_s = now_s + self._interval_s

    def failed(self, now_s: float, retry_after_s: float | None = None) -> None:
        """Record that a call failed; `retry_after_s` is the time for which the server asked for no calls."""
        self.failures_in_a_row += 1
        delay_s = self._interval_s if self.failures_in_a_row < FAILURES_TO_OPEN else next(self._delays)
        self._not_before_s = now_s + max(delay_s, min(retry_after_s or 0.0, LONGEST_DELAY_S))


@dataclass(frozen=True, slots=True)
class Allowance:
    """The calls and bytes that may be spent in a window of `seconds`."""

    name: str
    seconds: float
    calls: int
    bytes: int

    @property
    def probes(self) -> int:
        """The calls that may be probes of a failing server."""
        return max(1, self.calls // PROBE_SHARE)


@dataclass(frozen=True, slots=True)
class Spent:
    """The calls and bytes spent in the window that began at `began_s`, with its first call."""

    began_s: float
    calls: int = 0
    probes: int = 0
    bytes: int = 0


def charge(windows: Sequence[Spent], allowances: Iterable[Allowance], now_s: float, size: int, *,
           probe: bool) -> tuple[Spent, ...]:
    """Return the windows, one for each allowance, with one more call of `size` bytes.

    Raises: CloudBudgetSpent if it does not fit one of them; nothing is spent then.
    """
    return tuple(_charged(window, allowance, now_s, size, probe=probe)
                 for window, allowance in zip(windows, allowances, strict=True))


def left(windows: Sequence[Spent], allowances: Iterable[Allowance], now_s: float) -> tuple[Allowance, ...]:
    """Return what each allowance still grants."""
    return tuple(allowance if now_s >= window.began_s + allowance.seconds else
                 replace(allowance, calls=max(0, allowance.calls - window.calls),
                         bytes=max(0, allowance.bytes - window.bytes))
                 for window, allowance in zip(windows, allowances, strict=True))


def _charged(window: Spent, allowance: Allowance, now_s: float, size: int, *, probe: bool) -> Spent:
    if now_s >= window.began_s + allowance.seconds:
        window = Spent(now_s)
    spent = replace(window, calls=window.calls + 1, probes=window.probes + probe, bytes=window.bytes + size)
    for what, used, most in (("calls", spent.calls, allowance.calls), ("bytes", spent.bytes, allowance.bytes),
                             ("probes", spent.probes if probe else 0, allowance.probes)):
        if used > most:
            left_min = (window.began_s + allowance.seconds - now_s) / 60
            raise CloudBudgetSpent(f"the {what} of this {allowance.name} are used up: expected at most {most}; "
                                   f"more in {left_min:.0f} min")
    return spent
