"""Results that no scene gives are a health reason; busy and varied scenes are not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest

from tests.support.fakes import MODEL, FakeClock, make_frame, make_result
from vedette.config.models import Config, DetectorConfig
from vedette.health.result_check import ResultCheck
from vedette.types import WHOLE, Box, Detection, Source

Frames = Iterable[Sequence[int]]
"""The class ids of each frame."""


def found(class_ids: Sequence[int], *, whole: bool = False) -> tuple[Detection, ...]:
    return tuple(Detection(f"class_{each}", each, 0.9, WHOLE if whole else Box(place / 999, 0.1, 0.99, 0.5))
                 for place, each in enumerate(class_ids))


def check(frames: Frames, *, most: int = 100, source: Source = "local", whole: bool = False,
          fps: float = 5) -> dict[str, str]:
    clock = FakeClock()
    tested = ResultCheck(Config(detector=DetectorConfig(max_detections=most)), clock)
    for seq, class_ids in enumerate(frames, 1):
        tested.on_result(replace(make_result(make_frame(clock, seq), found(class_ids, whole=whole)), source=source))
        clock.advance(1 / fps)
    return {str(code): detail for code, detail in tested.reasons().items()}


@pytest.mark.parametrize(("frames", "words"), [
    ([[0] * 100] * 30, "each of the last 30 results has 100 detections"),
    ([list(range(25))] * 30, "in each of the last 30 results, no class comes twice"),
    ([[2 * number, 2 * number + 1] for number in range(30)], "in the last 30 results, no class comes twice"),
    ([[number] if number % 2 else [] for number in range(60)], "in the last 30 results")])
def test_what_no_scene_gives(frames: Frames, words: str) -> None:
    """Full lists, and classes that never come twice, within a frame or over all frames."""
    assert words in check(frames)["results_implausible"]


@pytest.mark.parametrize("frames", [
    [[0] * 100] * 9,                                        # too few results
    [[0] * 100] * 20 + [[0] * 99],                          # one frame is not full
    [[0] * 99] * 30, [[]] * 30, [[0]] * 30,
    [list(range(15))] * 30,                                 # a desk with many things
    [[number % 12] for number in range(60)]])               # one thing after another
def test_what_a_scene_may_give(frames: Frames) -> None:
    """Busy, varied and empty scenes are none."""
    assert check(frames) == {}


def test_a_crowd_before_a_small_limit_is_none() -> None:
    """Ten people where ten are allowed is a crowd."""
    assert check([[0] * 10] * 30, most=10) == {}
    assert check([[0] * 20] * 30, most=20) != {}


def test_a_classifier_gives_each_class_once() -> None:
    """All boxes of a classifier are the whole frame."""
    assert check([list(range(25))] * 30, whole=True) == {}


def test_only_the_devices_own_model_counts() -> None:
    """What the cloud gives is another model's business."""
    assert check([[0] * 100] * 30, source="cloud") == {}


def test_a_few_slow_results_are_no_proof() -> None:
    """Ten results, and five seconds, whatever the rate."""
    assert check([[0] * 100] * 9, fps=1) == {}
    assert check([[0] * 100] * 12, fps=1) != {}
    assert check([[0] * 100] * 20, fps=30) == {}


def test_a_new_model_starts_anew() -> None:
    """What the model before it gave is no evidence against it."""
    clock = FakeClock()
    tested = ResultCheck(Config(), clock)
    for model, result_count, is_named in ((MODEL, 30, True), (replace(MODEL, sha256="cd" * 32), 9, False)):
        for seq in range(result_count):
            tested.on_result(replace(make_result(make_frame(clock, seq), found([0] * 100)), model=model))
            clock.advance(1)
        assert bool(tested.reasons()) is is_named
