"""The clocks of this machine, behind the port that tests replace.

Invariants:
- The monotonic clock is CLOCK_MONOTONIC, one for all processes of a boot; the wall clock is UTC.
- A carried clock never runs ahead of the time that has passed: a step of the wall clock and the time without power do
  not count.
"""

from __future__ import annotations

import select
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class SystemClock:
    """Implements `ports.Clock`."""

    def monotonic_ns(self) -> int:
        """Return CLOCK_MONOTONIC in nanoseconds."""
        return time.monotonic_ns()

    def utc_now(self) -> datetime:
        """Return the wall clock with tzinfo UTC; it may jump, so measure durations with the other one."""
        return datetime.now(UTC)


class CarriedClock:
    """The monotonic clock, carried over boots. `boot_id` names the present boot.

    Its owner saves `boot_id`, `offset_s` and `now_s()` with its values, and gives them to `resume` after a restart.
    """

    def __init__(self, monotonic_ns: Callable[[], int], boot_id: str) -> None:
        self._monotonic_ns = monotonic_ns
        self.boot_id = boot_id
        self.offset_s = 0.0
        """How far this clock is ahead of the monotonic one."""

    def resume(self, boot_id: str, offset_s: float, at_s: float) -> None:
        """Continue from the saved values, of this boot or of another one."""
        # The clock of another boot started again at 0. The time without power is unknown, so it does not count.
        self.offset_s = offset_s if boot_id == self.boot_id else at_s

    def now_s(self) -> float:
        """Return the time on this clock in seconds."""
        return self._monotonic_ns() / 1e9 + self.offset_s


def pause(seconds: float) -> None:
    """Wait. `time.sleep` is not used: it fails with EINVAL where libfaketime steps the wall clock."""
    select.select((), (), (), seconds)
