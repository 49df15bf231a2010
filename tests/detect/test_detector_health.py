"""When frames are stale, and when a detector fails, hangs or is slow."""

from __future__ import annotations

from tests.support.fakes import FakeClock
from vedette.detect.detector_health import FAILING_AFTER, STALE_AFTER_S, DetectorHealth


def test_a_frame_is_stale_beyond_the_greatest_age() -> None:
    """One of exactly that age is still used."""
    clock = FakeClock()
    health = DetectorHealth(clock, 500)
    assert not health.is_stale(clock.now_ns - 500_000_000)
    assert health.is_stale(clock.now_ns - 500_000_001)


def fails(health: DetectorHealth) -> bool:
    health.on_failure("node 7")
    return health.failing


def test_failures_in_a_row_are_a_failing_detector() -> None:
    """One result between them, or another detector, begins a new row."""
    health = DetectorHealth(FakeClock(), 500)
    row = [*[False] * (FAILING_AFTER - 1), True]
    assert [fails(health) for _ in row] == row
    assert "node 7" in health.reasons()["detector_failing"]
    health.on_result(1.0)
    assert [fails(health) for _ in row] == row
    health.reset()
    assert [fails(health) for _ in row] == row


def is_slow(health: DetectorHealth) -> bool:
    return "detector_slow" in health.reasons()


def test_every_result_late_for_a_while_is_a_slow_detector() -> None:
    """A result in time ends it, and so does a failure."""
    clock = FakeClock()
    health = DetectorHealth(clock, 500)
    health.on_result(501)
    clock.advance(STALE_AFTER_S)
    health.on_result(501)
    assert not is_slow(health)
    clock.advance(0.001)
    assert is_slow(health)
    health.on_result(500)
    assert not is_slow(health)
