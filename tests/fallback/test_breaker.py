"""The fallback policy: laws of the circuit breaker and of the budget, on a clock of the test."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vedette.errors import CloudBudgetSpent
from vedette.fallback.breaker import LONGEST_DELAY_S, Allowance, Breaker, Spent, charge

HOUR, DAY = Allowance("hour", 3600, 60, 6000), Allowance("day", 86_400, 100, 20_000)
FRESH = (Spent(0.0), Spent(0.0))
SEEDS = st.integers(0, 2**32)
RETRY_AFTER = st.none() | st.floats(0, 1e9)


def ask(breaker: Breaker, until_s: float, works: Callable[[float], bool], took_s: float = 0.0, now_s: float = 0.0,
        retry_after_s: float | None = None) -> list[float]:
    """Call as soon as allowed, repeatedly; returns the times."""
    asked = []
    while now_s < until_s:
        now_s += breaker.wait_s(now_s)
        if now_s >= until_s:
            break
        asked.append(now_s)
        if works(now_s):
            breaker.succeeded(now_s + took_s)
        else:
            breaker.failed(now_s + took_s, retry_after_s)
        now_s += took_s
    return asked


@given(SEEDS, st.floats(0.1, 60), st.floats(0, 2), RETRY_AFTER)
def test_ten_minutes_of_failing_cost_ten_calls(seed: int, interval_s: float, took_s: float,
                                               retry_after_s: float | None) -> None:
    """That is the maximum for any failure time, any requested delay and any jitter."""
    breaker = Breaker(interval_s, random.Random(seed).uniform)
    assert len(ask(breaker, 600, lambda _: False, took_s, retry_after_s=retry_after_s)) <= 10


def test_ten_calls_are_the_most_even_at_the_least_jitter() -> None:
    """The shortest delay each time is the worst case for the server."""
    assert len(ask(Breaker(0.1, lambda low, _: low), 600, lambda _: False)) <= 10


@given(SEEDS, st.floats(1, 20_000), RETRY_AFTER)
def test_a_recovered_server_is_used_within_five_minutes(seed: int, recovers_s: float,
                                                        retry_after_s: float | None) -> None:
    """This holds after any time of failure; from that probe on, calls are normal again."""
    breaker = Breaker(1.0, random.Random(seed).uniform)
    asked = ask(breaker, recovers_s + 320, lambda now_s: now_s >= recovers_s, retry_after_s=retry_after_s)
    again = [moment for moment in asked if moment >= recovers_s]
    assert again[0] <= recovers_s + LONGEST_DELAY_S
    assert breaker.state(recovers_s + 320) == "closed"
    assert again[1] - again[0] == pytest.approx(1.0)


def test_the_states() -> None:
    """Three failures in a row open it; then a probe is due: its failure opens it again, its success closes it."""
    breaker = Breaker(1.0)
    for now_s in (0.0, 1.0):
        breaker.failed(now_s)
        assert breaker.state(now_s) == "closed"
    breaker.failed(2.0)
    assert breaker.state(2.0) == "open"
    assert 15 <= breaker.wait_s(2.0) <= 30
    assert breaker.state(32.0) == "half_open"
    breaker.failed(32.0)
    assert breaker.state(32.0) == "open"
    assert 30 <= breaker.wait_s(32.0) <= 60
    breaker.succeeded(92.0)
    assert breaker.state(92.0) == "closed"
    assert breaker.wait_s(92.0) == 1.0


def test_failures_between_successes_do_not_add_up() -> None:
    """Only failures in a row open it."""
    breaker = Breaker(0.0)
    for now_s in range(20):
        breaker.failed(now_s)
        breaker.failed(now_s)
        breaker.succeeded(now_s)
    assert breaker.state(20) == "closed"


@pytest.mark.parametrize(("asked_s", "waits_s"), [(7.0, 7.0), (None, 1.0), (0.0, 1.0), (1e9, LONGEST_DELAY_S)])
def test_retry_after_is_obeyed_within_bounds(asked_s: float | None, waits_s: float) -> None:
    """It counts from the first failure on, and never for longer than five minutes."""
    breaker = Breaker(1.0)
    breaker.failed(0.0, asked_s)
    assert breaker.wait_s(0.0) == waits_s


@given(st.lists(st.tuples(st.floats(0, 10_000), st.integers(0, 400), st.booleans()), max_size=400))
def test_no_window_grants_more_than_its_allowance(steps: list[tuple[float, int, bool]]) -> None:
    """Calls, bytes and probes, by the hour and by the day, for any order of calls; a refusal spends nothing."""
    windows: tuple[Spent, ...] = FRESH
    now_s = 0.0
    granted: list[tuple[float, int, bool]] = []
    for pause_s, size, probe in steps:
        now_s += pause_s
        try:
            windows = charge(windows, (HOUR, DAY), now_s, size, probe=probe)
        except CloudBudgetSpent:
            continue
        granted.append((now_s, size, probe))
        for window, allowance in zip(windows, (HOUR, DAY), strict=True):
            inside = [each for each in granted if each[0] >= window.began_s]
            assert now_s < window.began_s + allowance.seconds
            assert len(inside) == window.calls <= allowance.calls
            assert sum(size for _, size, _ in inside) == window.bytes <= allowance.bytes
            assert sum(probe for *_, probe in inside) == window.probes <= allowance.calls / 5


def test_a_spent_window_has_an_end() -> None:
    """The refusal names the spent amount; after that time a new window begins."""
    hour = Allowance("hour", 3600, 2, 10**6)
    windows = charge(charge((Spent(0.0),), (hour,), 100, 5, probe=False), (hour,), 200, 5, probe=False)
    with pytest.raises(CloudBudgetSpent, match="calls of this hour are used up: expected at most 2; more in 43 min"):
        charge(windows, (hour,), 1000, 5, probe=False)
    assert charge(windows, (hour,), 3600, 5, probe=True) == (Spent(3600, 1, 1, 5),)


def test_probes_are_a_fifth_and_leave_the_rest_to_results() -> None:
    """When the probes are used up, calls to a working server are still granted."""
    hour = Allowance("hour", 3600, 10, 10**6)
    windows: tuple[Spent, ...] = (Spent(0.0),)
    for _ in range(2):
        windows = charge(windows, (hour,), 1, 0, probe=True)
    with pytest.raises(CloudBudgetSpent, match="probes"):
        charge(windows, (hour,), 1, 0, probe=True)
    for _ in range(8):
        windows = charge(windows, (hour,), 1, 0, probe=False)
    assert windows[0].calls == 10
