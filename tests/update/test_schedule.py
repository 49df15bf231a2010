"""When the source is asked, in times that a test owns; and the job that asks."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.waiting.until import wait_until
from vedette._lib.background_task import BackgroundTask
from vedette.errors import UpdateUnreachable
from vedette.update.schedule import JITTER, NUDGE_INTERVAL_S, PollSchedule


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
