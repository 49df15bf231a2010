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
        """Return CLOCK_MONOTONIC in nanoseconds."""
        return time.monotonic_ns()

    def utc_now(self) -> datetime:
        """Return the wall clock with tzinfo UTC; it may jump, so measure durations with the other one."""
        return datetime.now(UTC)


def pause(seconds: float) -> None:
    """Wait. `time.sleep` is not used: it fails with EINVAL where libfaketime steps the wall clock."""
    select.select((), (), (), seconds)
