"""A wall clock that jumps is reported, and changes no measured duration."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.support.fakes import FakeClock
from vedette.device.wall_clock import NAMED_FOR_S, Since, WallClock
from vedette.types import ReasonCode

YEARS = timedelta(days=3653)


def reasons_of(watch: WallClock, synced: bool | None) -> dict[ReasonCode, str]:
    """The reasons while the board gives this state."""
    watch.tick(synced=synced)
    assert watch.reasons() == watch.reasons(), "asking changes nothing"
    return watch.reasons()


def stepped(clock: FakeClock, step: timedelta) -> None:
    clock.epoch += step
    clock.advance(1)


@pytest.mark.parametrize(("step", "words"), [(YEARS, "10 years forward"), (-YEARS, "10 years back"),
                                             (timedelta(hours=-3), "3 hours back"),
                                             (timedelta(seconds=11), "11 seconds forward")])
@pytest.mark.parametrize("synced", [True, None])
def test_a_step_is_reported_until_it_is_undone(step: timedelta, words: str, synced: bool | None) -> None:
    """The reason begins at once, and ends at once."""
    clock = FakeClock()
    watch = WallClock(clock)
    assert reasons_of(watch, synced) == {}
    stepped(clock, step)
    assert reasons_of(watch, synced) == {"clock_stepped": words}
    clock.advance(100)
    assert reasons_of(watch, synced) == {"clock_stepped": words}
    stepped(clock, -step)
    assert reasons_of(watch, synced) == {}


def test_a_step_of_an_unsynchronized_clock_is_reported_within_five_seconds() -> None:
    """By then a time server would have reported that it made the step."""
    clock = FakeClock()
    watch = WallClock(clock)
    reasons_of(watch, False)
    stepped(clock, YEARS)
    assert reasons_of(watch, False) == {}
    clock.advance(3)
    assert reasons_of(watch, False) == {"clock_stepped": "10 years forward"}


def test_setting_the_clock_for_the_first_time_is_no_jump() -> None:
    """The time server may report it a little later than the step."""
    clock = FakeClock()
    watch = WallClock(clock)
    reasons_of(watch, False)
    stepped(clock, YEARS)
    assert reasons_of(watch, False) == {}
    clock.advance(1)
    assert reasons_of(watch, True) == {}
    clock.advance(60)
    assert reasons_of(watch, True) == {}
    stepped(clock, -YEARS)
    assert reasons_of(watch, True) == {"clock_stepped": "10 years back"}


def test_a_step_that_stays_becomes_the_new_time() -> None:
    """An operator set the clock by hand: the reason must end."""
    clock = FakeClock()
    watch = WallClock(clock)
    reasons_of(watch, None)
    stepped(clock, YEARS)
    assert reasons_of(watch, None)
    clock.advance(NAMED_FOR_S + 1)
    assert reasons_of(watch, None) == {}
    stepped(clock, -YEARS)
    assert reasons_of(watch, None) == {"clock_stepped": "10 years back"}


def test_a_small_correction_is_no_jump() -> None:
    """A time server moves a clock by less than ten seconds."""
    clock = FakeClock()
    watch = WallClock(clock)
    stepped(clock, timedelta(seconds=5))
    assert reasons_of(watch, True) == {}
    stepped(clock, timedelta(seconds=-9))
    assert reasons_of(watch, True) == {}


def test_small_corrections_do_not_add_up() -> None:
    """A device that reaches its time server once a day is corrected by seconds, each time in the same direction."""
    clock = FakeClock()
    watch = WallClock(clock)
    for _ in range(30):
        stepped(clock, timedelta(seconds=2))
        assert reasons_of(watch, True) == {}
    stepped(clock, timedelta(seconds=11))
    assert reasons_of(watch, True) == {"clock_stepped": "11 seconds forward"}


@pytest.mark.parametrize("step", [YEARS, -YEARS, timedelta(hours=2)])
def test_since_does_not_move_with_the_wall_clock(step: timedelta) -> None:
    """The reason's age stays right after any step; slewing changes no digit of a published time."""
    clock = FakeClock()
    since = Since(clock)
    began = since.utc()
    clock.advance(30)
    clock.epoch += timedelta(milliseconds=300)
    assert since.utc() == began
    clock.epoch += step
    assert abs(clock.utc_now() - since.utc() - timedelta(seconds=30)) < timedelta(seconds=1)
