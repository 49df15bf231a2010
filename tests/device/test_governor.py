"""The governor: lasting heat lowers the rate before the firmware does, a spike does not; cooling restores it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.fakes import FakeClock, FakeFlow
from tests.support.faults.thermal_box import READ_EVERY_S, THROTTLES_C, Box, Reading, simulate
from vedette.config.models import CameraConfig, Config, GovernorConfig
from vedette.detect.pace import Pace
from vedette.device.governor import HALF, LEAST_PER_S, STEPS, Governor, Limit
from vedette.device.throttle import Throttle

TARGET_C = 75.0
TWO_HOURS_S = 7200.0


def governor(full_per_s: float = 10.0) -> Governor:
    return Governor(TARGET_C, full_per_s)


def feed(subject: Governor, reading: Reading, seconds: float, at_s: float = 0.0, per_s: float = 10.0) -> float:
    """Give it the same reading for this time; returns the moment after it."""
    for _ in range(int(seconds / READ_EVERY_S)):
        subject.update(reading, int(at_s * per_s), at_s)
        at_s += READ_EVERY_S
    return at_s


def changes_in(times_s: list[float], window_s: float) -> int:
    """The most changes in any window of this length."""
    return max((sum(begin <= other < begin + window_s for other in times_s) for begin in times_s), default=0)


def test_without_it_the_firmware_throttles_for_hours() -> None:
    """The modelled box makes the firmware throttle: otherwise the tests below would prove nothing."""
    assert simulate(Box(idle_c=50.0, rise_c=45.0), 6, None).throttled_s > 4 * 3600


def test_a_pi_in_the_sun_stays_below_the_throttling_limit() -> None:
    """The rate settles within the hour, the firmware never throttles, and the rate is above the lowest step."""
    course = simulate(Box(idle_c=50.0, rise_c=45.0), 6, governor())
    assert course.throttled_s == 0
    assert max(course.temperatures_c) < THROTTLES_C
    assert 0.2 < course.shares[-1] < 1
    assert [at_s for at_s, _ in course.changes if at_s > 3600] == []


@settings(max_examples=5, deadline=None)
@given(idle_c=st.floats(20, 55), rise_c=st.floats(5, 45), die_share=st.floats(0.1, 0.5), die_s=st.floats(8, 45),
       box_s=st.floats(120, 2400), other_share=st.floats(0.1, 0.5))
def test_in_any_box_it_neither_throttles_nor_swings(idle_c: float, rise_c: float, die_share: float, die_s: float,
                                                    box_s: float, other_share: float) -> None:
    """If the lowest rate is cool enough nothing throttles; once settled there is at most one try in two hours; a box
    that stays cool gets no limit.
    """
    box = Box(idle_c, rise_c, die_share, die_s, box_s, other_share)
    if box.settled_c(STEPS[-1]) > TARGET_C - 1:
        return
    course = simulate(box, 5, governor())
    assert course.throttled_s <= 10
    settled = [at_s for at_s, _ in course.changes if at_s > 1.5 * 3600]
    assert changes_in(settled, TWO_HOURS_S - 60) <= 3
    if box.settled_c(1.0) < TARGET_C - 1:
        assert course.changes == []
    if box.settled_c(1.0) > TARGET_C + 1:
        assert course.changes


def test_the_rate_rises_step_by_step_when_it_cools() -> None:
    """In the evening the sun leaves the box: the full rate is back within minutes, never two steps at once."""
    def sets(at_s: float, box: Box) -> None:
        box.idle_c = 50.0 if at_s < TWO_HOURS_S else 25.0
    course = simulate(Box(idle_c=50.0, rise_c=45.0), 3, governor(), disturb=sets)
    evening = [(at_s, limit) for at_s, limit in course.changes if at_s >= TWO_HOURS_S]
    assert evening[-1][1] == Limit()
    assert evening[-1][0] < TWO_HOURS_S + 900
    assert all(after.step == before.step - 1 for (_, before), (_, after) in pairwise(evening))


@pytest.mark.parametrize("spike_s", [2, 6, 10, 16])
@pytest.mark.parametrize("between_s", [60, 300])
def test_spikes_change_nothing(spike_s: float, between_s: float) -> None:
    """Even 90 degrees every few minutes, with the firmware's flag, change nothing."""
    subject, at_s = governor(), 0.0
    for _ in range(20):
        at_s = feed(subject, Reading(62.0, ()), between_s, at_s)
        at_s = feed(subject, Reading(90.0, ("throttled",)), spike_s, at_s)
        assert subject.limit == Limit()


def test_lasting_heat_lowers_the_rate_within_a_minute() -> None:
    """At 76 degrees the status has the share, the limit, the cause and the moment."""
    subject = governor()
    at_s = feed(subject, Reading(60.0), 120)
    at_s = feed(subject, Reading(76.0), 50, at_s)
    assert subject.limit.step >= 1
    assert subject.limit.share == STEPS[subject.limit.step]
    assert subject.limit.per_s == pytest.approx(10 * subject.limit.share, rel=0.02)
    assert subject.limit.why is not None
    assert "degrees Celsius" in subject.limit.why
    assert subject.limit.since_s is not None
    assert 120 <= subject.limit.since_s < at_s


def test_permanent_heat_ends_at_the_lowest_rate() -> None:
    """Half a frame a second is detected in any case; a slower device detects all that it can."""
    for full_per_s, least in ((10.0, 1.0), (2.0, LEAST_PER_S)):
        subject = governor(full_per_s)
        feed(subject, Reading(95.0, ("throttled",)), 1200, per_s=full_per_s)
        assert subject.limit.step == len(STEPS) - 1
        assert subject.limit.per_s == pytest.approx(least, rel=0.05)


@pytest.mark.parametrize("reading", [
    Reading(40.0, ("under_voltage", "throttled")), Reading(40.0, ("frequency_capped",)),
    Reading(40.0, (), memory_pressed=True), Reading(None, (), cpu_slowed=True)])
def test_other_causes_halve_the_rate(reading: Reading) -> None:
    """Weak power, a processor slowed without heat, and short memory halve the rate; it rises again afterwards."""
    subject = governor()
    at_s = feed(subject, Reading(40.0, ()), 60)
    at_s = feed(subject, reading, 1200, at_s)
    assert subject.limit.step == HALF
    feed(subject, Reading(40.0, ()), 300, at_s)
    assert subject.limit == Limit()


def test_repeated_power_failures_space_out_the_tries() -> None:
    """A supply that holds only at half the rate gets one try in two hours, however cool the board is."""
    subject, detected, shares = governor(), 0.0, []
    for tick in range(int(8 * 3600 / READ_EVERY_S)):
        at_s = tick * READ_EVERY_S
        weak = subject.limit.share > 0.5
        limit = subject.update(Reading(60.0 - at_s / 1000, ("under_voltage",) if weak else ()), int(detected), at_s)
        detected += 10 * limit.share * READ_EVERY_S
        shares.append(limit.share)
    changes = [tick * READ_EVERY_S for tick, (one, two) in enumerate(pairwise(shares)) if one != two]
    assert changes_in([at_s for at_s in changes if at_s > 600], TWO_HOURS_S - 60) <= 4


@pytest.mark.parametrize("reading", [
    Reading(), Reading(60.0, ("soft_temperature_limit",)), Reading(74.0, ()), Reading(-10.0, ())])
def test_without_a_reason_there_is_no_limit(reading: Reading) -> None:
    """No readings, a soft limit alone, and warmth below the limit change nothing for hours."""
    subject = governor()
    feed(subject, reading, 4 * 3600)
    assert subject.limit == Limit()


def test_missing_readings_change_nothing() -> None:
    """With every third reading missing the rate is still lowered; a thermometer that is gone ends the limit."""
    subject, at_s = governor(), 0.0
    for tick in range(60):
        subject.update(Reading(None if tick % 3 == 2 else 85.0), int(at_s * 10), at_s)
        at_s += READ_EVERY_S
    assert subject.limit.step > 1
    feed(subject, Reading(), 900, at_s)
    assert subject.limit == Limit()


def test_a_gap_in_the_readings_starts_again() -> None:
    """Two hot readings with an hour between them are not an hour of heat."""
    subject = governor()
    for hour in range(5):
        subject.update(Reading(90.0, ("throttled",)), hour * 1000, hour * 3600.0)
    assert subject.limit == Limit()


def test_what_was_measured_before_a_gap_is_no_trend() -> None:
    """A board that was cold before the gap and is warm after it did not warm up within a minute."""
    subject = governor()
    at_s = feed(subject, Reading(40.0), 120)
    feed(subject, Reading(TARGET_C - 1), 120, at_s + 40)
    assert subject.limit == Limit()


def test_the_full_rate_is_the_measured_one() -> None:
    """A model that manages 3 of 15 frames a second is halved from 3; the time without a camera does not count."""
    subject = governor(15.0)
    detected = 0
    for tick in range(150):
        detected += 6 if tick < 100 else 0
        subject.update(Reading(50.0), detected, tick * READ_EVERY_S)
    feed(subject, Reading(50.0, ("under_voltage",)), 600, 300.0, per_s=0.0)
    assert subject.limit.per_s == pytest.approx(1.5, rel=0.02)


@given(st.lists(st.tuples(st.floats(0.1, 20), st.none() | st.floats(-40, 130),
                          st.sets(st.sampled_from(["under_voltage", "frequency_capped", "throttled",
                                                   "soft_temperature_limit"])), st.booleans()), max_size=200))
def test_laws_hold_for_any_readings(course: list[tuple[float, float | None, set[str], bool]]) -> None:
    """Changes are a while apart, a rise is one step, and the status is consistent, for any readings."""
    subject, at_s, changed_s = governor(), 0.0, float("-inf")
    for passed_s, temperature_c, bits, pressed in course:
        at_s += passed_s
        before = subject.limit
        limit = subject.update(Reading(temperature_c, tuple(bits), memory_pressed=pressed), int(at_s * 10), at_s)
        assert limit.share == STEPS[limit.step]
        assert (limit.step == 0) == (limit.per_s is None) == (limit.why is None) == (limit.since_s is None)
        assert limit.step - before.step in (-1, 0, 1, 2)
        if limit.step != before.step:
            assert at_s - changed_s >= 40
            changed_s = at_s


def admitted(pace: Pace, frames_ns: list[int]) -> list[int]:
    return [frame_ns for frame_ns in frames_ns if pace.admits(frame_ns)]


@given(per_s=st.floats(0.5, 60), fps=st.floats(1, 60))
def test_the_pace_is_kept_on_average(per_s: float, fps: float) -> None:
    """Of a minute of frames the limit's number is admitted, or all of a slower camera."""
    pace = Pace()
    pace.per_s = per_s
    seconds = 60
    kept = admitted(pace, [int(number * 1e9 / fps) for number in range(int(seconds * fps))])
    assert len(kept) <= per_s * seconds + 2
    assert len(kept) >= min(per_s, fps) * seconds * 0.97 - 2


def test_a_pause_is_not_made_up_for() -> None:
    """After ten seconds without frames they are admitted at the pace again, not ten seconds' worth at once."""
    pace = Pace()
    pace.per_s = 2.0
    frames_ns = [int((11 + number / 30) * 1e9) for number in range(60)]
    assert pace.admits(1_000_000_000)
    assert len(admitted(pace, frames_ns)) == 4
    assert pace.left_s(frames_ns[-1]) <= 0.5


def test_without_a_limit_every_frame_is_admitted() -> None:
    """This holds also right after a limit ended."""
    pace = Pace()
    assert all(pace.admits(ns) for ns in (5, 5, 6))
    pace.per_s = 0.5
    assert [pace.admits(10), pace.admits(10)] == [True, False]
    pace.per_s = None
    assert pace.left_s(10) == 0
    assert pace.admits(10)


def configured(**governor: object) -> Config:
    return Config(camera=CameraConfig(source="auto", fps=15), governor=GovernorConfig.model_validate(governor))


def test_a_reload_keeps_the_step_and_turning_it_off_restores_the_rate() -> None:
    """A reload without a change keeps the step; off, there is no limit; on again, it starts again."""
    clock, flow = FakeClock(), FakeFlow()

    def hot(seconds: int) -> None:
        for _ in range(0, seconds, 2):
            clock.advance(2)
            throttle.on_reading(Reading(90.0))
    throttle = Throttle(configured(), flow, clock)
    hot(600)
    assert throttle.limit.step == len(STEPS) - 1
    assert throttle.reasons() == {"rate_lowered": "to 10%: 90 degrees Celsius"}
    throttle.reload(configured(target_c=85))
    assert throttle.limit.step == len(STEPS) - 1
    throttle.reload(configured(enabled=False))
    hot(600)
    assert (throttle.limit, throttle.reasons(), throttle.health()["since"]) == (Limit(), {}, None)
    throttle.reload(configured())
    assert throttle.limit == Limit()
    hot(60)
    assert throttle.limit.step > 0
    assert flow.limits[-2] is None
    assert flow.limits[-1] == throttle.limit.per_s


def test_a_detector_that_rests_teaches_no_rate() -> None:
    """While frames are still, the rate is what the gate makes it. The limit is a share of the rate before."""
    clock, flow = FakeClock(), FakeFlow()
    throttle = Throttle(configured(), flow, clock)
    for tick in range(600):
        clock.advance(2)
        awake = tick < 100
        flow.detected += 20 if awake else tick % 5 == 0
        flow.still += 0 if awake else 20
        throttle.on_reading(Reading(90.0 if tick > 400 else 50.0))
        if throttle.limit.step:
            break
    assert throttle.limit.per_s == pytest.approx(10 * throttle.limit.share, rel=0.02)
