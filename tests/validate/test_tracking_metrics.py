"""Tracks are measured as TrackEval does it, and events as a person would count them."""

import random

import numpy as np
import pytest

from vedette.types import Box
from vedette.validate.tracking_metrics import Seen, TrackedFrame, event_figures, tracking_figures


def box(x: float, y: float = 0.5, size: float = 0.1) -> Box:
    return Box(x, y, x + size, y + size)


def passing(track_ids: list[str | None], *, rate: float = 5.0) -> list[TrackedFrame]:
    """A car that is seen in every frame, with the ids of its track. None: not detected."""
    return [TrackedFrame(step / rate, [Seen("car-1", "car", box(step / 100))],
                         [] if track_id is None else [Seen(track_id, "car", box(step / 100 + 0.01))])
            for step, track_id in enumerate(track_ids)]


def random_frames(seed: int) -> list[TrackedFrame]:
    """Things that move, with boxes that are missed, displaced, invented, and of a track that changes."""
    rng = random.Random(seed)
    frames = []
    for step in range(40):
        truth, tracked = [], []
        for thing in range(6):
            if rng.random() < 0.8:
                at = box(0.02 * step * (1 + thing / 9) % 0.9, thing / 7)
                truth.append(Seen(f"t{thing}", "car" if thing % 2 else "dog", at))
                if rng.random() < 0.8:
                    off = rng.gauss(0, 0.02)
                    tracked.append(Seen(f"k{thing}-{step // 15 if rng.random() < 0.9 else 9}", truth[-1].label,
                                        box(at.xmin + off, at.ymin)))
        if rng.random() < 0.3:
            tracked.append(Seen(f"x{step}", "car", box(rng.random() * 0.9, rng.random() * 0.9)))
        frames.append(TrackedFrame(step / 5, truth, tracked))
    return frames


@pytest.mark.parametrize(("seed", "hota", "idf1", "switches"), [
    (0, 0.310435, 0.28655, 23), (1, 0.305367, 0.295652, 36), (2, 0.30363, 0.285714, 46)])
def test_they_are_what_trackeval_gave(seed: int, hota: float, idf1: float, switches: int) -> None:
    """The figures that TrackEval 1.3.0 gave for these frames; the test below asks it again where it is installed."""
    pytest.importorskip("scipy")
    ours = tracking_figures(random_frames(seed))
    assert ours.hota == pytest.approx(hota, abs=1e-6)
    assert ours.idf1 == pytest.approx(idf1, abs=1e-6)
    assert ours.switches == switches


@pytest.mark.parametrize("seed", range(5))
def test_they_agree_with_trackeval(seed: int) -> None:
    """HOTA, IDF1 and identity switches are those of TrackEval."""
    pytest.importorskip("scipy")
    metrics = pytest.importorskip("trackeval", reason="TrackEval is installed by hand: pip install trackeval").metrics
    frames = random_frames(seed)
    numbers: dict[str, dict[str, int]] = {"truth": {}, "tracked": {}}

    def ids(name: str) -> list[np.ndarray]:
        known = numbers[name]
        return [np.array([known.setdefault(each.id, len(known)) for each in getattr(frame, name)], int)
                for frame in frames]

    gt_ids, tracker_ids = ids("truth"), ids("tracked")
    data = {"gt_ids": gt_ids, "tracker_ids": tracker_ids, "num_gt_ids": len(numbers["truth"]),
            "num_tracker_ids": len(numbers["tracked"]), "num_gt_dets": sum(map(len, gt_ids)),
            "num_tracker_dets": sum(map(len, tracker_ids)), "num_timesteps": len(frames),
            "similarity_scores": [np.array([[iou(a, b) for b in frame.tracked] for a in frame.truth]).reshape(
                len(frame.truth), len(frame.tracked)) for frame in frames]}
    ours = tracking_figures(frames)
    assert ours.hota == pytest.approx(metrics.HOTA().eval_sequence(data)["HOTA"].mean(), abs=1e-9)
    assert ours.idf1 == pytest.approx(metrics.Identity({"PRINT_CONFIG": False}).eval_sequence(data)["IDF1"], abs=1e-9)
    assert ours.switches == metrics.CLEAR({"PRINT_CONFIG": False}).eval_sequence(data)["IDSW"]


def iou(a: Seen, b: Seen) -> float:
    """The overlap of two boxes of one label, by plain arithmetic."""
    wide = min(a.box.xmax, b.box.xmax) - max(a.box.xmin, b.box.xmin)
    tall = min(a.box.ymax, b.box.ymax) - max(a.box.ymin, b.box.ymin)
    if a.label != b.label or wide <= 0 or tall <= 0:
        return 0.0
    areas = sum((each.box.xmax - each.box.xmin) * (each.box.ymax - each.box.ymin) for each in (a, b))
    return wide * tall / (areas - wide * tall)


def test_a_perfect_track_is_perfect() -> None:
    """One track on one thing: IDF1 is 1, no switch, one event, in time."""
    pytest.importorskip("scipy")
    frames = passing(["1"] * 20)
    figures = tracking_figures(frames)
    assert (figures.idf1, figures.switches) == (1, 0)
    events = event_figures(frames)
    assert (events.things, events.events, events.events_each, events.false_events) == (1, 1, 1, 0)
    assert (events.caught, events.start_delay_s) == (1, 0)


def test_a_change_of_track_is_a_switch_and_a_second_event() -> None:
    """Two tracks on one thing: half of its boxes have the wrong identity, and a person is told twice."""
    pytest.importorskip("scipy")
    frames = passing([None] * 5 + ["1"] * 10 + ["2"] * 10)
    figures = tracking_figures(frames)
    assert figures.idf1 == pytest.approx(2 * 10 / 45)
    assert figures.switches == 1
    events = event_figures(frames)
    assert (events.events_each, events.false_events) == (2, 0)
    assert events.start_delay_s == pytest.approx(1.0)


def test_an_event_of_nothing_is_false_and_a_missed_thing_is_not_caught() -> None:
    """A track where nothing is, and a thing without a track. What is visible for less than a second is not expected."""
    nothing = TrackedFrame(4.0, [], [Seen("9", "car", box(0.5))])
    events = event_figures([*passing([None] * 20), nothing])
    assert (events.things, events.events, events.false_events, events.caught) == (1, 1, 1, 0)
    assert (events.events_each, events.start_delay_s) == (None, None)
    assert event_figures(passing([None] * 4)).things == 0
    assert event_figures([]).things == 0
