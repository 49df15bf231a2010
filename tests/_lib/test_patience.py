"""Bounds that grow with each try that ran out of time."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vedette._lib.patience import MOST_S, Patience, grown_s


@given(st.floats(0.01, 1000), st.integers(0, 2000))
def test_a_bound_doubles_up_to_minutes(base_s: float, tries: int) -> None:
    """The first try gets the base, none gets less than the one before, and none more than five minutes."""
    assert grown_s(base_s, 0) == base_s
    assert grown_s(base_s, tries) <= grown_s(base_s, tries + 1) <= max(base_s, MOST_S)
    assert grown_s(base_s, 2000) == max(base_s, MOST_S)


def slow(needed_s: float, given: list[float]) -> float:
    if given[-1] < needed_s:
        raise TimeoutError(f"not done within {given[-1]:g} s")
    return given[-1]


def test_what_is_only_slow_succeeds_and_each_failure_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Each try gets twice the time; afterwards the patience is that of the start."""
    bounds: list[float] = []

    def attempt(bound_s: float) -> float:
        bounds.append(bound_s)
        return slow(7, bounds)
    patience = Patience()
    with caplog.at_level(logging.WARNING):
        assert patience.until_success(1.0, attempt, TimeoutError) == 8
    assert bounds == [1, 2, 4, 8]
    assert [record.getMessage() for record in caplog.records] == [
        f"not done within {tried} s; trying again with {2 * tried} s" for tried in (1, 2, 4)]
    assert patience.bound_s(1.0) == 1


def test_a_caller_who_waits_is_not_kept_for_ever() -> None:
    """After a try with the longest bound the failure is raised, and the next call begins with that bound."""
    bounds: list[float] = []

    def attempt(bound_s: float) -> float:
        bounds.append(bound_s)
        return slow(10 * MOST_S, bounds)
    patience = Patience()
    for _ in range(2):
        with pytest.raises(TimeoutError):
            patience.until_success(MOST_S / 2, attempt, TimeoutError)
    assert bounds == [MOST_S / 2, MOST_S, MOST_S]


def test_a_stop_ends_the_tries() -> None:
    """Nobody waits for their outcome any more."""
    bounds: list[float] = []

    def attempt(bound_s: float) -> float:
        bounds.append(bound_s)
        return slow(10, bounds)
    with pytest.raises(TimeoutError):
        Patience().until_success(1.0, attempt, TimeoutError, stopping=lambda: len(bounds) == 2)
    assert bounds == [1, 2]
