"""Results of the device's own model get the tracks of their things, live keys and all."""

from dataclasses import replace

import pytest

from tests.support.fakes import FakeClock, make_frame, make_result
from vedette.config.models import Config
from vedette.config.scene import EventsConfig
from vedette.events.results import ResultTracker
from vedette.events.tracker import HITS
from vedette.types import Box, Detection, DetectionResult

CAR = Detection("car", 2, 0.9, Box(0.4, 0.4, 0.6, 0.6))


def results(clock: FakeClock, number: int, *detections: Detection) -> list[DetectionResult]:
    """Results of frames that were captured 0.2 s apart."""
    made = []
    for _ in range(number):
        clock.advance(0.2)
        made.append(make_result(make_frame(clock), detections))
    return made


def tracks(tracker: ResultTracker, made: list[DetectionResult]) -> list[int | None]:
    """The track of the first detection of each result."""
    return [tracker.follow(result).detections[0].track for result in made]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_a_thing_has_no_track_until_it_is_confirmed_and_then_one(clock: FakeClock) -> None:
    """Nothing else of the result changes but its age, by the time that this took."""
    tracker = ResultTracker(Config(), clock)
    made = results(clock, HITS + 2, CAR)
    found = [tracker.follow(result) for result in made]
    assert [result.detections[0].track for result in found] == [None] * (HITS - 1) + [1] * 3
    last = found[-1]
    assert last == replace(made[-1], detections=(replace(CAR, track=1),), age_ms=last.age_ms,
                           timing=replace(made[-1].timing, track_ms=last.timing.track_ms))
    assert last.age_ms == pytest.approx(made[-1].age_ms + last.timing.track_ms)


def test_a_pause_keeps_the_track_and_an_absence_ends_it(clock: FakeClock) -> None:
    """A minute without any result is a time in which nobody looked. A minute of empty results is an absence."""
    tracker = ResultTracker(Config(), clock)
    assert tracks(tracker, results(clock, HITS, CAR))[-1] == 1
    tracker.on_blind()
    clock.advance(60)
    assert tracks(tracker, results(clock, 1, CAR)) == [1]
    for result in results(clock, 300):
        tracker.follow(result)
    assert tracks(tracker, results(clock, HITS, CAR))[-1] == 2


def test_the_keys_are_live(clock: FakeClock) -> None:
    """`events.enabled: false` leaves results as they are; `events.keep_s` applies from the next result on."""
    tracker = ResultTracker(Config(), clock)
    assert tracks(tracker, results(clock, HITS, CAR))[-1] == 1
    tracker.reload(Config(events=EventsConfig(keep_s=60)))
    for result in results(clock, 150):
        tracker.follow(result)
    assert tracks(tracker, results(clock, 1, CAR)) == [1]
    tracker.reload(Config(events=EventsConfig(enabled=False)))
    made = results(clock, 1, CAR)[0]
    assert tracker.follow(made) is made
    tracker.reload(Config())
    assert tracks(tracker, results(clock, HITS, CAR))[-1] == 2
