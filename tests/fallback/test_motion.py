"""Motion without a model: on the drawn street, on still scenes, and when the light changes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest

from tests.support.fakes import EPOCH, FakeClock
from vedette.camera.street.scene import Scene, TruthBox
from vedette.errors import DetectError
from vedette.fallback.motion import LEARN_FRAMES, MOST_BOXES, MotionDetector
from vedette.types import Box, DetectionResult, Frame

pytestmark = pytest.mark.slow

FPS = 10.0
SIZE = (640, 360)


def frame_of(picture: np.ndarray, number: int, fps: float = FPS) -> Frame:
    at_ns = round(number * 1e9 / fps) + 10**9
    return Frame(number + 1, np.ascontiguousarray(picture).data, at_ns, EPOCH, at_ns)


def still(count: int, *, noise: float = 5.0, gain: Iterable[float] = ()) -> Iterator[np.ndarray]:
    """A picture with edges in it, with fresh noise on every frame, under changing light."""
    rng = np.random.default_rng(3)
    scene = rng.integers(40, 160, (12, 20, 3)).repeat(30, 0).repeat(32, 1).astype(np.float32)
    gains = list(gain) or [1.0] * count
    for number in range(count):
        yield np.clip(scene * gains[number] + rng.normal(0, noise, scene.shape), 0, 255).astype(np.uint8)


def detected(pictures: Iterable[np.ndarray], fps: float = FPS, **more: Any) -> list[DetectionResult | None]:
    """Return every frame's result; None if it could not be examined."""
    detector = MotionDetector(**more)
    results: list[DetectionResult | None] = []
    for number, picture in enumerate(pictures):
        try:
            results.append(detector.detect(frame_of(picture, number, fps)))
        except DetectError:
            results.append(None)
    return results


def boxes(results: Iterable[DetectionResult | None]) -> list[list[Box]]:
    return [[found.box for found in result.detections] for result in results if result is not None]


def shared(one: Box, other: Box) -> float:
    """Return the intersection over the smaller box."""
    width = min(one.xmax, other.xmax) - max(one.xmin, other.xmin)
    height = min(one.ymax, other.ymax) - max(one.ymin, other.ymin)
    smaller = min((box.xmax - box.xmin) * (box.ymax - box.ymin) for box in (one, other))
    return max(0.0, width) * max(0.0, height) / smaller


def centre(truth: TruthBox) -> np.ndarray:
    return np.array([truth.box.xmin + truth.box.xmax, truth.box.ymin + truth.box.ymax]) / 2


def moved(now: tuple[TruthBox, ...], before: tuple[TruthBox, ...]) -> list[Box]:
    """Return the boxes without a box of their label near their place half a second before."""
    return [one.box for one in now if not any(np.abs(centre(one) - centre(other)).max() < 0.004
                                              for other in before if other.label == one.label)]


def test_moving_things_on_the_street_are_found() -> None:
    """In thirty seconds of light that passes a day ten times an hour: nine of ten things, few false boxes."""
    scene, picture = Scene(5, *SIZE, FPS), np.empty((SIZE[1], SIZE[0], 3), np.uint8)
    detector, truths = MotionDetector(), []
    hits = things = false = found_boxes = 0
    for number in range(300):
        truths.append(scene.render(number, picture))
        frame = frame_of(picture, number)
        if number < LEARN_FRAMES:
            with pytest.raises(DetectError, match="not learnt yet"):
                detector.detect(frame)
            continue
        found = [each.box for each in detector.detect(frame).detections]
        if number < 20:
            continue
        for box in moved(truths[-1], truths[-6]):
            things += 1
            hits += any(shared(box, one) > 0.3 for one in found)
        found_boxes += len(found)
        false += sum(not any(shared(one, truth.box) > 0.2 for truth in truths[-1]) for one in found)
    assert things > 1000
    assert hits / things > 0.9
    assert false / found_boxes < 0.1


def test_a_detection_has_only_known_fields() -> None:
    """Label and box; neither class nor score nor model; the source is motion, and the result has the frame's times."""
    clock = FakeClock()
    detector = MotionDetector(clock=clock)
    for number, picture in enumerate(still(20)):
        if number == 15:
            picture[60:200, 100:180] = 255
        clock.now_ns = frame_of(picture, number).captured_ns + 5_000_000
        try:
            result = detector.detect(frame_of(picture, number))
        except DetectError:
            continue
        if number == 15:
            break
    (found,) = result.detections
    assert (found.label, found.class_id, found.score) == ("motion", None, None)
    assert (result.source, result.model, result.age_ms, result.timing.wait_ms) == ("motion", None, 5.0, 5.0)
    assert found.box == pytest.approx((100 / 640, 60 / 360, 180 / 640, 200 / 360), abs=0.02)


@pytest.mark.parametrize("noise", [0.0, 3.0, 12.0])
def test_a_still_scene_has_no_motion(noise: float) -> None:
    """With any sensor noise; once the background is learnt, every frame gives an empty result."""
    results = detected(still(100, noise=noise))
    assert [number for number, result in enumerate(results) if result is None] == list(range(LEARN_FRAMES))
    assert sum(map(len, boxes(results))) == 0


@pytest.mark.parametrize("fps", [1.0, 4.0, 30.0])
def test_the_background_is_learnt_in_time(fps: float) -> None:
    """It takes two seconds, or four frames if those take longer; a slow camera's still frames are empty too."""
    results = detected(still(40), fps)
    first = next(number for number, result in enumerate(results) if result is not None)
    assert first <= max(2 * fps, 4)
    assert sum(map(len, boxes(results))) == 0


def test_slow_changes_of_light_are_no_motion() -> None:
    """A cloud takes away a third of the light within twenty seconds and then passes."""
    ramp = [1 - 0.33 * min(1, number / 200) for number in range(200)]
    results = detected(still(400, gain=[*ramp, *reversed(ramp)]))
    assert sum(map(len, boxes(results))) == 0
    assert sum(result is None for result in results) == LEARN_FRAMES


@pytest.mark.parametrize("gain", [0.4, 0.7, 1.5])
def test_a_sudden_change_of_light_is_an_error_and_no_motion(gain: float) -> None:
    """The frame raises DetectError; a second later all is as before, and nothing has moved."""
    results = detected(still(80, gain=[1.0] * 40 + [gain] * 40))
    unsure = [number for number, result in enumerate(results[LEARN_FRAMES:], LEARN_FRAMES) if result is None]
    assert unsure[0] == 40
    assert len(unsure) <= LEARN_FRAMES + 2
    assert sum(map(len, boxes(results))) == 0


def test_many_boxes_are_bounded() -> None:
    """A picture full of small moving things gives the largest ones."""
    pictures = list(still(12, noise=1))
    for row in range(0, 360, 24):
        for column in range(0, 640, 24):
            pictures[-1][row:row + 10, column:column + 10] ^= 0x80
    assert len(boxes(detected(pictures))[-1]) == MOST_BOXES


def test_only_the_region_of_interest_is_watched() -> None:
    """Motion outside is not reported; motion inside has its place in the frame."""
    pictures = list(still(20))
    pictures[15][40:120, 40:120] = 255
    pictures[15][200:300, 400:500] = 255
    results = detected(pictures, roi=Box(0.5, 0.5, 1.0, 1.0))
    (box,) = boxes(results[15:16])[0]
    assert box == pytest.approx((400 / 640, 200 / 360, 500 / 640, 300 / 360), abs=0.02)


def test_another_region_is_learnt_first() -> None:
    """Of the same size too: what was learnt of the old part says nothing of the new one."""
    left, right = Box(0, 0, 0.5, 1), Box(0.5, 0, 1, 1)
    detector, pictures = MotionDetector(left), list(still(40))
    pictures[35][200:300, 400:500] = 255
    seen: dict[int, DetectionResult] = {}
    for number, picture in enumerate(pictures[:36]):
        detector.roi = right if number >= 15 else left
        with contextlib.suppress(DetectError):
            seen[number] = detector.detect(frame_of(picture, number))
    assert list(seen) == [*range(LEARN_FRAMES, 15), *range(15 + LEARN_FRAMES, 36)]
    assert [result.roi for result in seen.values()] == [left] * (15 - LEARN_FRAMES) + [right] * (21 - LEARN_FRAMES)
    assert all(not result.detections for number, result in seen.items() if number < 35)
    (found,) = seen[35].detections
    assert found.box == pytest.approx((400 / 640, 200 / 360, 500 / 640, 300 / 360), abs=0.02)


@pytest.mark.parametrize("change", ["size", "gap", "back in time"])
def test_another_picture_is_learnt_again(change: str) -> None:
    """Another size, or a camera that was away, gives an error, neither motion nor an empty result."""
    detector = MotionDetector()
    pictures = list(still(30))
    for number, picture in enumerate(pictures[:20]):
        if number < LEARN_FRAMES:
            with pytest.raises(DetectError):
                detector.detect(frame_of(picture, number))
        else:
            assert not detector.detect(frame_of(picture, number)).detections
    number = {"size": 20, "gap": 20 + 60, "back in time": 3}[change]
    with pytest.raises(DetectError, match="not learnt yet"):
        detector.detect(frame_of(pictures[20][:240] if change == "size" else 255 - pictures[20], number))


def test_the_largest_box_comes_first() -> None:
    """Whatever its place in the picture: a listener may look at few boxes."""
    grey = np.full((360, 640, 3), 90, np.uint8)
    for small, large in (((20, 20), (400, 200)), ((500, 280), (60, 40))):
        moved = grey.copy()
        for (x, y), size in ((small, 40), (large, 90)):
            moved[y:y + size, x:x + size] = 230
        (found,) = boxes(detected([*[grey] * (LEARN_FRAMES + 2), moved])[-1:])
        areas = [(box.xmax - box.xmin) * (box.ymax - box.ymin) for box in found]
        assert len(areas) == 2
        assert areas[0] > 2 * areas[1]
