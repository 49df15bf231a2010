"""The halt test has the limits that Wald's formulas give, and it is right as often as it promises."""

from __future__ import annotations

import random

import pytest

from vedette.fleet.halt_rule import HaltTest

TEST = HaltTest(0.03)


@pytest.mark.parametrize(("expected", "limit"), [(1, 2), (27, 2), (28, 3), (98, 3), (100, 4), (200, 5), (10_000, 142)])
def test_the_fewest_failures_that_stop(expected: int, limit: int) -> None:
    """One failure more than is tolerated stops, one less does not."""
    assert (TEST.stops(limit, expected), TEST.stops(limit - 1, expected)) == (True, False)


@pytest.mark.parametrize(("failed", "reported"), [(0, 116), (1, 188), (2, 259), (5, 473)])
def test_the_fewest_reports_that_accept(failed: int, reported: int) -> None:
    """One report less is not enough."""
    assert (TEST.accepts(failed, reported), TEST.accepts(failed, reported - 1)) == (True, False)


@pytest.mark.parametrize(("expected", "tolerated"), [(0, 0), (1, 0), (33, 0), (34, 1), (100, 3), (10_000, 300)])
def test_the_share_itself(expected: int, tolerated: int) -> None:
    """The share of the devices, rounded down, may fail; all others must be good."""
    assert (TEST.exceeds(tolerated, expected), TEST.exceeds(tolerated + 1, expected)) == (False, True)
    assert TEST.least_good(expected) == expected - tolerated


@pytest.mark.parametrize("share", [0.03, 0.005])
def test_it_is_wrong_in_few_cases(share: float) -> None:
    """At p1 it accepts and at p0 it stops in about one case of twenty, whatever the number of devices."""
    random.seed(15)
    stopped = [_stopped(share) for _ in range(400)]
    wrong = stopped.count(share < 0.01)
    assert wrong <= 400 * 0.08


def _stopped(share: float) -> bool:
    """Whether it stops, where devices report one after another."""
    failed, devices = 0, 0
    while True:
        devices += 1
        failed += random.random() < share
        if TEST.stops(failed, devices) or TEST.accepts(failed, devices):
            return TEST.stops(failed, devices)
