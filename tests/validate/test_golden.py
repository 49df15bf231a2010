"""Golden frames: how far detections may be from the expected ones, by the tolerance that the bundle states."""

from __future__ import annotations

import pytest

from vedette.types import Box, Detection
from vedette.validate.golden import Golden, GoldenFrame, Tolerance, family_of, judge
from vedette.vision.limits import Limits

LIMITS = Limits(0.4, 0.5, 10, {}, frozenset(), frozenset())
WHOLE = Box(0.0, 0.0, 1.0, 1.0)


def seen(score: float = 0.9, box: Box = WHOLE, label: str = "cat") -> Detection:
    return Detection(label, 0, score, box)


def agrees(found: tuple[Detection, ...], *, family: str = "litert", expected: tuple[Detection, ...] = (seen(),),
           tolerance: Tolerance | None = None) -> bool:
    """Return the judgement of what was found, where one frame of LiteRT has the expected detections."""
    golden = Golden("x", tolerance or Tolerance(), (GoldenFrame("a.png", b"", {"litert": expected}),))
    return judge(golden, family, [found], LIMITS).agrees


@pytest.mark.parametrize(("share", "answer"), [(1.0, True), (0.92, True), (0.9, True), (0.88, False), (0.6, False)])
def test_a_box_overlaps_by_the_stated_share(share: float, answer: bool) -> None:
    """A box whose IoU with the expected one is below the tolerance is a difference, though both show one object."""
    assert agrees((seen(box=Box(0.0, 0.0, share, 1.0)),)) is answer
    assert agrees((seen(box=Box(0.0, 0.0, share, 1.0)),), tolerance=Tolerance(iou=0.55))


@pytest.mark.parametrize(("score", "answer"), [(0.9, True), (0.86, True), (0.94, True), (0.84, False), (0.96, False)])
def test_a_score_is_within_the_tolerance(score: float, answer: bool) -> None:
    """Above and below the expected one."""
    assert agrees((seen(score),)) is answer


@pytest.mark.parametrize(("score", "answer"), [(0.41, True), (0.44, True), (0.46, False)])
def test_a_detection_near_its_threshold_may_come_or_go(score: float, answer: bool) -> None:
    """Rounding decides about it. One that is surely above the threshold is missing, or was not expected."""
    extra = seen(score, Box(0.0, 0.0, 0.1, 0.1), "dog")
    assert agrees((seen(), extra)) is answer
    assert agrees((seen(),), expected=(seen(), extra)) is answer


def test_one_bad_frame_is_enough() -> None:
    """However many others agree."""
    frames = tuple(GoldenFrame(f"{name}.png", b"", {"litert": (seen(),)}) for name in "abc")
    golden = Golden("x", Tolerance(), frames)
    good, bad = (seen(),), (seen(0.5),)
    assert judge(golden, "litert", [good, good, good], LIMITS).agrees
    for place in range(3):
        found = [bad if place == number else good for number in range(3)]
        judgement = judge(golden, "litert", found, LIMITS)
        assert not judgement.agrees
        assert [bool(verdict.differences) for verdict in judgement.verdicts] == [each is bad for each in found]


def test_another_family_is_judged_by_f1_alone() -> None:
    """Scores and boxes may differ there, but most objects must be found."""
    five = tuple(seen(0.9, Box(place / 5, 0.0, (place + 1) / 5, 1.0)) for place in range(5))
    shifted = tuple(seen(0.6, Box(each.box.xmin, 0.0, each.box.xmax, 0.7)) for each in five)
    assert not agrees(shifted, expected=five)
    assert agrees(shifted, expected=five, family="other")
    assert agrees(shifted[:4], expected=five, family="other")
    assert not agrees(shifted[:3], expected=five, family="other")


def test_arm_rounds_otherwise_than_x86() -> None:
    """A bundle packed on a PC is judged by F1 on ARM: a real model moved a score there by 0.09, with equal inputs."""
    families = [family_of("litert", delegate=False, xnnpack_share=share, machine=machine)
                for machine in ("x86_64", "aarch64") for share in (0.9, 0.0)]
    assert families == ["litert", "litert-without-xnnpack", "litert-arm", "litert-without-xnnpack-arm"]
    assert family_of("tflite-runtime", delegate=True, xnnpack_share=1, machine="armv7l") == "tflite-runtime+xnnpack-arm"
    shifted = (seen(0.81),)
    assert not agrees(shifted, family=families[0])
    assert agrees(shifted, family=families[2])
    assert not agrees((), family=families[2])
