"""The tracker follows things: by time, through gaps, out of the frame, and whatever a model calls them."""

import math
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.present import present
from vedette.config.scene import EventsConfig
from vedette.events.tracker import HITS, TRACKS_MAX, Track, Tracker
from vedette.types import Box, Detection

KEEP_S = EventsConfig().keep_s


def seen(x: float, y: float = 0.5, *, size: float = 0.1, label: str = "car", score: float = 0.8) -> Detection:
    """A detection around (x, y), cut at the frame's edges as a camera would."""
    low, high = (max(0.0, middle - size / 2) for middle in (x, y)), (min(1.0, middle + size / 2) for middle in (x, y))
    return Detection(label, 0, score, Box(*low, *high))


def walk(tracker: Tracker, xs: Iterable[float], *, rate: float, begin_s: float = 0.0, **kind: object) -> list[Track]:
    """The tracks of a thing that is at these places, `rate` a second."""
    return [update(tracker, [seen(x, **kind)], begin_s + step / rate)[0]          # type: ignore[arg-type]
            for step, x in enumerate(xs)]


def update(tracker: Tracker, detections: list[Detection], at_s: float) -> list[Track]:
    return [present(track) for track in tracker.update(detections, at_s)]


@pytest.mark.parametrize("rate", [1, 2, 5, 15])
def test_a_thing_that_passes_is_one_track_at_any_rate(rate: float) -> None:
    """The rate of results changes with the governor; what is one visit stays one."""
    places = [0.1 + 0.05 * step / rate for step in range(int(16 * rate))]
    tracks = walk(Tracker(KEEP_S), places, rate=rate)
    assert {track.id for track in tracks} == {1}
    assert tracks[0].confirmed_s == pytest.approx(max(HITS - 1, math.ceil(rate / 2)) / rate)


def test_two_that_meet_keep_their_tracks() -> None:
    """Two cars that pass each other go on as they came, since each is expected where it drives."""
    tracker = Tracker(KEEP_S)
    for step in range(60):
        moved = 0.8 * step / 60
        left, right = update(tracker, [seen(0.1 + moved, 0.45), seen(0.9 - moved, 0.55)], step / 5)
        assert (left.id, right.id) == (1, 2)


@pytest.mark.parametrize(("gap_s", "same"), [(KEEP_S - 0.5, True), (KEEP_S + 0.5, False)])
def test_a_hidden_thing_is_kept_by_time(gap_s: float, same: bool) -> None:
    """A thing that stands still and is hidden for less than `keep_s` is the same; after longer it is another."""
    tracker = Tracker(KEEP_S)
    before = walk(tracker, [0.5] * 10, rate=5)[-1]
    for empty in range(int(gap_s * 5)):
        update(tracker, [], 2 + empty / 5)
    assert (update(tracker, [seen(0.5)], 1.8 + gap_s)[0] is before) == same


def test_a_thing_that_has_left_makes_room_for_the_next() -> None:
    """A car that drives out of the frame is gone at once, so the next one at that edge is another car."""
    tracker = Tracker(KEEP_S)
    first = walk(tracker, [0.5 + 0.04 * step for step in range(14)], rate=5)
    assert len({track.id for track in first}) == 1
    for step in range(14, 19):
        update(tracker, [], step / 5)
    assert walk(tracker, [0.97, 0.93, 0.89], rate=5, begin_s=3.8)[0].id != first[0].id


@pytest.mark.parametrize("period_s", [5, 10, 20])
def test_a_thing_at_the_edge_of_the_frame_is_one_track(period_s: float) -> None:
    """It steps out of the frame and in again for minutes, and a part of it is always detected."""
    places = [0.99 + 0.03 * math.sin(step / 5 / period_s * math.tau) for step in range(600)]
    assert {track.id for track in walk(Tracker(KEEP_S), places, rate=5)} == {1}


def test_things_out_of_sight_make_room_for_new_ones() -> None:
    """With a long `keep_s`, more of them may be waited for than can be followed. The newest are still known."""
    tracker, at_s = Tracker(3600), 0.0
    places = [(0.03 + 0.04 * column, 0.03 + 0.06 * row) for row in range(15) for column in range(20)]
    found: dict[int, tuple[float, float]] = {}
    for place in places:
        for _ in range(HITS):
            at_s += 0.2
            track = update(tracker, [seen(*place, size=0.03)], at_s)[0]
        found[track.id] = place
    assert len(found) == len(places)
    newest = list(found)[-TRACKS_MAX // 2:]
    assert [update(tracker, [seen(*found[track], size=0.03)], at_s + 0.2)[0].id for track in newest] == newest


def test_a_thing_that_stops_unseen_is_the_same() -> None:
    """A car drives in, is not detected while it stops, and is detected where it was seen last."""
    tracker = Tracker(KEEP_S)
    before = walk(tracker, [0.2 + 0.04 * step for step in range(10)], rate=5)[-1]
    for empty in range(8):
        update(tracker, [], 2 + empty / 5)
    assert update(tracker, [seen(0.57)], 3.6) == [before]


@pytest.mark.parametrize("names", [["car", "car", "car", "truck", "car", "bus"], ["bus", "car", "car", "car", "bus"]])
def test_a_thing_whose_label_flickers_is_one_track(names: list[str]) -> None:
    """It has the label of most of its detections, and keeps it once it is confirmed."""
    tracker = Tracker(KEEP_S)
    tracks = [update(tracker, [seen(0.3 + 0.01 * step, label=name)], step / 5)[0] for step, name in enumerate(names)]
    assert {track.id for track in tracks} == {1}
    assert tracks[-1].label == "car"
    assert update(tracker, [seen(0.3 + 0.01 * len(names), label="truck")], len(names) / 5) == tracks[-1:]
    assert tracks[-1].label == "car"


def test_a_thing_with_two_labels_in_one_frame_is_one_track() -> None:
    """The other detection has no track, and begins none."""
    tracker = Tracker(KEEP_S)
    for step in range(10):
        both = [seen(0.5), seen(0.505, label="truck", score=0.6)]
        assert tracker.update(both if step % 2 else both[::-1], step / 5).count(None) == 1
    assert [track.id for track in tracker.tracks] == [1]


def test_a_label_that_is_not_wanted_is_another_thing() -> None:
    """Only a wanted label can be another name of a wanted thing."""
    tracker = Tracker(KEEP_S)
    tracker.labels = frozenset({"car"})
    car = walk(tracker, [0.5] * 5, rate=5)[-1]
    dog = update(tracker, [seen(0.5, label="dog")], 1.0)[0]
    assert (dog is car, dog.label) == (False, "dog")
    assert update(tracker, [seen(0.5, label="dog"), seen(0.5)], 1.2) == [dog, car]


def test_two_things_of_two_labels_that_overlap_are_two() -> None:
    """A person before a car: boxes that overlap by half are no one thing."""
    tracker = Tracker(KEEP_S)
    for step in range(10):
        update(tracker, [seen(0.5, size=0.3), seen(0.5, size=0.21, label="person")], step / 5)
    assert [track.label for track in tracker.tracks] == ["car", "person"]


@pytest.mark.parametrize(("scores", "confirmed"), [
    ([0.8] * (HITS - 1), False), ([0.8] * HITS, True), ([0.48] * HITS, False), ([0.48] * 30, True),
    ([0.44] * 300, False), ([0.9] + [0.4] * 20, False)])
def test_hits_and_the_median_score_confirm(scores: list[float], confirmed: bool) -> None:
    """A few sure detections, or more that are nearly sure. One high score among low ones confirms nothing."""
    tracker = Tracker(KEEP_S)
    tracks = [update(tracker, [seen(0.5, score=score)], step / 5)[0] for step, score in enumerate(scores)]
    assert len({track.id for track in tracks}) == 1
    assert (tracks[-1].confirmed_s is not None) == confirmed
    assert tracks[-1].top_score == max(scores)


def test_one_flash_is_no_thing() -> None:
    """Single boxes, however sure, with half a second between them are never confirmed."""
    tracker = Tracker(KEEP_S)
    for step in range(30):
        found = update(tracker, [seen(0.5)] if step % 4 == 0 else [], step / 5)
        assert all(track.confirmed_s is None for track in found)


@given(st.lists(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.sampled_from("ab")),
                         max_size=8), max_size=20), st.floats(0.01, 5), st.sampled_from(["", "a"]))
def test_any_boxes_give_each_detection_a_track_of_its_own(frames: list[list[tuple[float, float, float, str]]],
                                                          step_s: float, wanted: str) -> None:
    """Whatever is detected: no track twice in a frame, none for ever; where one label is wanted, each has its own."""
    tracker = Tracker(KEEP_S)
    tracker.labels = frozenset(wanted)
    for number, frame in enumerate(frames):
        detections = [seen(x, y, score=score, label=label) for x, y, score, label in frame]
        found = tracker.update(detections, number * step_s)
        tracks = [track for track in found if track is not None]
        if wanted:
            assert [track.label for track in tracks] == [detection.label for detection in detections]
        assert len({track.id for track in tracks}) == len(tracks)
        assert all(track.unseen_s <= max(KEEP_S, 1.5 * step_s) for track in tracker.tracks)


def test_a_time_nobody_looked_ends_nothing() -> None:
    """After a pause of a minute, a thing that still stands there is the same; the next frames count again."""
    tracker = Tracker(KEEP_S)
    before = walk(tracker, [0.5] * 10, rate=5)[-1]
    assert tracker.update([], 60.0, looked_away=True) == []
    assert update(tracker, [seen(0.5)], 60.2) == [before]
    for empty in range(int(KEEP_S * 5) + 2):
        tracker.update([], 60.4 + empty / 5)
    assert tracker.tracks == []


def test_a_thing_that_stands_still_is_kept_for_an_hour() -> None:
    """With a long `keep_s`, a thing is expected where it was, not where the noise of its boxes would carry it."""
    tracker = Tracker(3600)
    before = walk(tracker, [0.5 + 0.004 * (step % 3) for step in range(25)], rate=5)[-1]
    for minute in range(1, 59):
        tracker.update([], 5 + 60.0 * minute)
    assert update(tracker, [seen(0.5)], 3545.0) == [before]


def test_a_result_full_of_boxes_is_bounded() -> None:
    """Beyond the most that it follows, a detection has no track, and the others keep theirs."""
    tracker = Tracker(KEEP_S)
    boxes = [seen(0.02 + 0.03 * (number % 32), 0.02 + 0.03 * (number // 32), size=0.02) for number in range(300)]
    for step in range(5):
        tracks = tracker.update(boxes, step / 5)
        assert [track is None for track in tracks] == [False] * TRACKS_MAX + [True] * 100
