"""When the source is asked, in times that a test owns; and the job that asks."""

from __future__ import annotations

import heapq
import itertools
import random
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.waiting.until import wait_until
from vedette._lib.background_task import BackgroundTask
from vedette._lib.patience import Patience
from vedette.errors import UpdateUnreachable
from vedette.update.schedule import BUSY_FIRST_S, JITTER, NUDGE_INTERVAL_S, NUDGE_SPREAD_S, PollSchedule


def latest(_low: float, high: float) -> float:
    return high


def test_it_asks_soon_after_the_start_and_then_every_so_often() -> None:
    """The first poll comes within seconds, later ones are spread around the interval."""
    schedule = PollSchedule(3600, 100, latest)
    assert not schedule.is_due(100)
    assert schedule.is_due(110)
    schedule.succeeded(110)
    assert not schedule.is_due(110 + 3600 * (1 - JITTER) - 1)
    assert schedule.is_due(110 + 3600 * (1 + JITTER))


@given(st.lists(st.floats(0, 200), min_size=1, max_size=200))
def test_nudges_cause_at_most_one_question_in_ten_minutes(pauses: list[float]) -> None:
    """Many nudges cause one poll in ten minutes, and the last nudge is delayed, not lost."""
    schedule = PollSchedule(10**6, 0)
    now = 1000.0
    schedule.succeeded(now)
    asked = []
    for pause in pauses:
        schedule.nudge(now)
        now += pause
        if schedule.is_due(now):
            asked.append(now)
            schedule.succeeded(now)
    assert len(asked) <= 1 + (now - 1000) / NUDGE_INTERVAL_S
    assert schedule.nudge(now) <= NUDGE_INTERVAL_S + 30


def test_failures_are_asked_about_again_ever_later_but_not_more_rarely_than_usual() -> None:
    """Failures cause a backoff up to the interval, and the server's requested pause counts too."""
    schedule = PollSchedule(3600, 0, latest)
    waits, now = [], 0.0
    for _ in range(10):
        schedule.failed(now)
        wait = next(step for step in range(1, 4000) if schedule.is_due(now + step))
        waits.append(wait)
        now += wait
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (30, 3600)
    schedule.failed(now, retry_after_s=3700)
    assert not schedule.is_due(now + 3699)


def test_a_nudge_does_not_shorten_the_pause_of_a_busy_source() -> None:
    """Otherwise one message would bring back everybody who has just left. After a plain failure a nudge helps."""
    schedule = PollSchedule(3600, 0, latest)
    schedule.failed(0)
    assert schedule.nudge(0) == NUDGE_SPREAD_S
    schedule = PollSchedule(3600, 0, latest)
    for wait in (BUSY_FIRST_S, 2 * BUSY_FIRST_S):
        schedule.failed(0, is_busy=True)
        assert schedule.nudge(0) == wait
    schedule.failed(0, 60, is_busy=True)
    assert schedule.nudge(0) == 60 + 4 * BUSY_FIRST_S


def test_a_busy_source_is_asked_at_any_moment_of_the_pause() -> None:
    """The pauses of a fleet fill the whole of it, from the moment that the source asked for."""
    def dues(*, is_busy: bool) -> list[float]:
        draw, waits = random.Random(1), []
        for _ in range(500):
            schedule = PollSchedule(3600, 0, draw.uniform)
            schedule.failed(0, 100, is_busy=is_busy)
            waits.append(schedule.nudge(0) - 100)
        return waits
    busy = dues(is_busy=True)
    assert min(busy) < BUSY_FIRST_S / 20
    assert max(busy) > BUSY_FIRST_S * 19 / 20
    assert all(wait >= 15 for wait in dues(is_busy=False))


def test_nudges_are_spread_as_widely_as_the_source_needed() -> None:
    """Each nudge that is answered at once makes the next one quicker, down to the usual time."""
    schedule, now = PollSchedule(3600, 0, latest), 0.0
    schedule.failed(now, is_busy=True)
    schedule.succeeded(now)
    waits = []
    for _ in range(5):
        now += 2 * NUDGE_INTERVAL_S
        waits.append(schedule.nudge(now))
        schedule.succeeded(now)
    assert waits == [120, 60, 30, NUDGE_SPREAD_S, NUDGE_SPREAD_S]


def crowded_polls(fleet: list[tuple[PollSchedule, Patience]], now_s: float) -> int:
    """Nudge a fleet whose source answers five polls a second, in their order; returns how many polls it took.

    A poll that its device has given up costs the source as much as any other.
    """
    dues = [(now_s + schedule.nudge(now_s), number) for number, (schedule, _) in enumerate(fleet)]
    heapq.heapify(dues)
    free_s, count = now_s, 0
    while dues:
        asked_s, number = heapq.heappop(dues)
        schedule, patience = fleet[number]
        count, free_s = count + 1, max(asked_s, free_s) + 0.2
        bound_s = patience.bound_s(60)
        if free_s <= asked_s + bound_s:
            patience.worked()
            schedule.succeeded(free_s)
        else:
            patience.ran_out()
            schedule.failed(asked_s + bound_s, is_busy=True)
            heapq.heappush(dues, (asked_s + bound_s + schedule.nudge(asked_s + bound_s), number))
    return count


def test_a_nudged_fleet_does_not_keep_its_source_busy() -> None:
    """1,000 devices at a source that takes 200 s for them: the crowd dissolves, and next time it is a smaller one."""
    draw = random.Random(1)
    fleet = [(PollSchedule(1e6, 0, draw.uniform), Patience()) for _ in range(1000)]
    for schedule, _ in fleet:
        schedule.succeeded(0)
    counts = [crowded_polls(fleet, now_s) for now_s in itertools.islice(itertools.count(0, 20_000), 3)]
    assert counts[0] < 3000
    assert counts[1] < 1500
    assert counts[2] < 1800


def test_a_job_hands_over_its_result_or_its_error() -> None:
    """Neither is lost, and the one who wants it need not wait."""
    go = threading.Event()
    job = BackgroundTask("fetch", lambda _: go.wait(60))
    assert not job.done
    go.set()
    assert wait_until(lambda: job.done)
    assert job.result() is True

    def fails(job: BackgroundTask[int]) -> int:
        job.progress = 0.5
        raise UpdateUnreachable("nobody there")
    failing = BackgroundTask("fetch", fails)
    assert wait_until(lambda: failing.done)
    assert failing.progress == 0.5
    with pytest.raises(UpdateUnreachable, match="nobody there"):
        failing.result()
