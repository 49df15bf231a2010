"""The clocks of this machine, behind the port that tests replace.

Invariants: the monotonic clock is CLOCK_MONOTONIC, one for all processes of a boot; the wall clock is UTC.
"""

from __future__ import annotations

import select
import time
from datetime import UTC, datetime


class SystemClock:
    """Implements `ports.Clock`."""

    def monotonic_ns(self) -> int:
        """CLOCK_MONOTONIC in nanoseconds."""
        return time.monotonic_ns()

    def utc_now(self) -> datetime:
        """Wall clock with tzinfo UTC; it may jump, so measure with the other one."""
        return datetime.now(UTC)


def pause(seconds: float) -> None:
    """Wait so long. Not `time.sleep`: where the wall clock is stepped by libfaketime it fails with EINVAL."""
    select.select((), (), (), seconds)
