"""Results of the device's own model get the tracks of their things, live keys and all."""

from dataclasses import replace

import pytest

from tests.support.fakes import IDENTITY, FakeClock, StatusCamera, make_frame, make_result
from vedette.config.models import Config
from vedette.config.scene import EventsConfig
from vedette.events.reporter import EventReporter
from vedette.events.results import DOUBTFUL_HITS, ResultTracker
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
    tracker = ResultTracker(Config(), clock, StatusCamera([]))
    made = results(clock, HITS + 2, CAR)
    found = [tracker.follow(result) for result in made]
    assert [result.detections[0].track for result in found] == [None] * (HITS - 1) + [1] * 3
    last = found[-1]
    assert last == replace(made[-1], detections=(replace(CAR, track=1),), age_ms=last.age_ms,
                           timing=replace(made[-1].timing, track_ms=last.timing.track_ms))
    assert last.age_ms == pytest.approx(made[-1].age_ms + last.timing.track_ms)


def test_a_pause_keeps_the_track_and_an_absence_ends_it(clock: FakeClock) -> None:
    """A minute without any result is a time in which nobody looked. A minute of empty results is an absence."""
    tracker = ResultTracker(Config(), clock, StatusCamera([]))
    assert tracks(tracker, results(clock, HITS, CAR))[-1] == 1
    tracker.on_blind()
    clock.advance(60)
    assert tracks(tracker, results(clock, 1, CAR)) == [1]
    for result in results(clock, 300):
        tracker.follow(result)
    assert tracks(tracker, results(clock, HITS, CAR))[-1] == 2


def test_the_keys_are_live(clock: FakeClock) -> None:
    """`events.enabled: false` leaves results as they are; `events.keep_s` applies from the next result on."""
    tracker = ResultTracker(Config(), clock, StatusCamera([]))
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


def seen(tracker: ResultTracker, made: list[DetectionResult]) -> list[bool]:
    """After each result: whether the next frames are needed even if nothing moves in them."""
    needed = []
    for result in made:
        tracker.follow(result)
        needed.append(tracker.follows())
    return needed


@pytest.fixture
def reported(clock: FakeClock) -> ResultTracker:
    """A tracker with events, whose drafts nobody reads."""
    tracker = ResultTracker(Config(), clock, StatusCamera([]))
    tracker.events = EventReporter(Config(), IDENTITY, put=lambda _: None, clock_synced=lambda: True,
                                   wants_picture=lambda _: False)
    return tracker


def test_a_thing_is_needed_until_it_has_stood_for_ten_seconds_or_has_ended(clock: FakeClock,
                                                                           reported: ResultTracker) -> None:
    """What comes, moves or is not found again keeps the gate open. What stands does not, and is looked for again."""
    assert not reported.follows()
    needed = seen(reported, results(clock, 80, CAR))
    assert needed[:50] == [True] * 50
    assert needed[-20:] == [False] * 20
    assert seen(reported, results(clock, 14)) == [True] * 14
    assert seen(reported, results(clock, 1, CAR)) == [False]
    assert seen(reported, results(clock, 16)) == [True] * 15 + [False]


def test_a_thing_of_which_the_model_is_never_sure_is_not_needed_for_ever(clock: FakeClock,
                                                                         reported: ResultTracker) -> None:
    """It is needed while it may still be confirmed soon."""
    needed = seen(reported, results(clock, DOUBTFUL_HITS + 1, replace(CAR, score=0.4)))
    assert needed == [True] * (DOUBTFUL_HITS - 1) + [False] * 2


def test_frames_without_motion_are_a_time_in_which_nobody_looked(clock: FakeClock, reported: ResultTracker) -> None:
    """A thing that stands goes on after minutes of them, also if it is not detected at once."""
    seen(reported, results(clock, 80, CAR))
    for _ in range(5):
        clock.advance(100)
        result = results(clock, 1, CAR)[0]
        result = replace(result, frame=replace(result.frame, after_still=True))
        assert reported.follow(result).detections[0].track == 1
        assert not reported.follows()
    clock.advance(100)
    result = results(clock, 1)[0]
    assert seen(reported, [replace(result, frame=replace(result.frame, after_still=True))]) == [True]
    seen(reported, results(clock, 4))
    assert tracks(reported, results(clock, 1, CAR)) == [1]


def test_switched_off_it_needs_no_frames(clock: FakeClock, reported: ResultTracker) -> None:
    """`events.enabled: false` leaves the gate to motion alone."""
    assert seen(reported, results(clock, 1, CAR)) == [True]
    reported.reload(Config(events=EventsConfig(enabled=False)))
    assert seen(reported, results(clock, 1, CAR)) == [False]
