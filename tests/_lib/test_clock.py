"""The clocks of this machine."""

from __future__ import annotations

from vedette._lib.clock import SystemClock


def test_clock_is_utc_and_monotonic() -> None:
    """Wall time carries its zone, monotonic time never goes back."""
    clock = SystemClock()
    offset = clock.utc_now().utcoffset()
    assert offset is not None
    assert not offset
    assert clock.monotonic_ns() <= clock.monotonic_ns()
