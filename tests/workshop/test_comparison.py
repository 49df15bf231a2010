"""Steps are compared on the same pictures: the step at which it breaks is named, with its cause."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.support.models import bundles, constant_heads, tiny_detectors
from tests.support.models.writer import Graph, Op, Tensor, build, with_zip
from vedette.cli import main
from vedette.config.models import DetectorConfig
from vedette.tflite.file import read_model
from vedette.types import Box
from vedette.validate.average_precision import Truth
from vedette.vision.interpreter import Interpreter
from vedette.vision.model_spec import ModelSpec, resolve
from vedette.workshop.comparison import TOLERANCE, Comparison, compare, letter_of
from vedette.workshop.step import Step, read_pictures
from vedette.workshop.steps import NetworkStep, open_step


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundles.pack(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    return [bundles.picture(tmp_path), bundles.picture(tmp_path, "yard.png", (48, 60))]


def unproven(argument: str, _like: ModelSpec | None) -> Step:
    """Open a model of ours without the child that proves files of others first, which takes most of a test's time."""
    path = Path(argument)
    model = read_model(path)
    return NetworkStep("tflite", Interpreter(path), model, resolve(model, DetectorConfig(model=path)), exact=False)


def compared(paths: list[Path], pictures: list[Path], truth: Truth | None = None,
             opened: Callable[[str, ModelSpec | None], Step] = unproven) -> Comparison:
    steps: list[Step] = []
    try:
        for path in paths:
            steps.append(opened(str(path), steps[0].spec if steps else None))
        return compare(steps, read_pictures(pictures), truth)
    finally:
        for step in steps:
            step.close()


def float_pooling(factor: float = 1.0) -> bytes:
    """Average pooling as floats, multiplied by a factor, without labels."""
    tensors = [Tensor((1, 16, 16, 3), "float32", "image"), Tensor((1, 2, 2, 3), "float32", "mean"),
               Tensor((1,), "float32", "factor", data=struct.pack("<f", factor)),
               Tensor((1, 2, 2, 3), "float32", "heat")]
    ops = [Op("AVERAGE_POOL_2D", (0,), (1,), tiny_detectors.POOL), Op("MUL", (1, 2), (3,), (21, []))]
    return with_zip(build(Graph(tensors, ops, (0,), (3,))), {"vedette.json": tiny_detectors.STATED})


@pytest.mark.parametrize(("settings", "cause"), [
    ({"color": "bgr"}, "color: it agrees with rgb, but runs with bgr"),
    ({"resize": "stretch"}, "resize: it agrees with letterbox, but runs with stretch"),
    ({"normalization": {"mean": [0.0], "std": [512.0]}}, "normalization: it agrees with mean 0, std 256"),
])
def test_the_step_that_prepares_otherwise_is_named(sound: Path, pictures: list[Path], settings: dict[str, Any],
                                                   cause: str) -> None:
    """Of three steps, the one that gets other numbers than the first; the one before it agrees."""
    found = compared([sound, sound, bundles.altered(sound, **settings)], pictures)
    assert [step.breaks for step in found.steps] == [False, False, True]
    broken = found.broken
    assert broken
    assert (broken.letter, broken.exact) == ("C", False)
    assert broken.cause
    assert broken.cause.startswith(cause)
    assert found.steps[1].agreement.f1 == 1
    assert max(found.steps[1].box_px) == 0


def test_other_thresholds_are_named(sound: Path, pictures: list[Path]) -> None:
    """A step that leaves out what the first one reports, although both calculate the same."""
    other = bundles.altered(sound, thresholds={"score": 0.7, "iou": 0.5})
    cause = compared([sound, other], pictures).steps[1].cause
    assert cause
    assert cause.startswith("thresholds: it agrees with score 0.4")


def test_no_cause_is_invented(sound: Path, tmp_path: Path) -> None:
    """Scores that are all a fifth lower: other settings make it a little better, and none is the cause."""
    lower = tmp_path / "lower.tflite"
    lower.write_bytes(float_pooling(0.8))
    found = compared([sound, lower], [bundles.picture(tmp_path, size=(64, 64))], opened=open_step).steps[1]
    assert found.agreement.f1 == 1
    assert found.score_difference
    assert found.score_difference > TOLERANCE.score
    assert (found.breaks, found.cause) == (False, None)


@pytest.mark.parametrize(("labels", "cause"), [
    (b"background\nbackground\nleaf\n", "labels: shifted by one (one too many at the start)"),
    (b"background\nwall\nsky\n", "labels: it has 'wall' where the first step has 'leaf'"),
])
def test_other_labels_are_named(sound: Path, pictures: list[Path], labels: bytes, cause: str) -> None:
    """A list that is one off, where a label is never detected, and another name."""
    found = compared([sound, bundles.altered(sound, files={"labels.txt": labels})], pictures)
    assert found.steps[1].cause == cause


def test_the_first_values_are_those_of_the_picture(sound: Path, tmp_path: Path) -> None:
    """Real values of the first pixels that show the picture, in the colour order of each step."""
    picture = tmp_path / "blue.png"
    cv2.imwrite(str(picture), np.full((20, 64, 3), (255, 51, 0), np.uint8))
    first, other = compared([sound, bundles.altered(sound, color="bgr")], [picture]).steps
    assert first.first_values == pytest.approx([0, 0.2, 1] * 3 + [0], abs=0.005)
    assert other.first_values == pytest.approx([1, 0.2, 0] * 3 + [1], abs=0.005)


def test_a_file_without_labels_gets_those_of_the_first(sound: Path, tmp_path: Path, pictures: list[Path]) -> None:
    """A float file, as exporters write it: the labels and thresholds of the bundle, and a warning."""
    path = tmp_path / "float.tflite"
    path.write_bytes(float_pooling())
    first = unproven(str(sound), None)
    step = open_step(str(path), first.spec)
    try:
        assert step.spec
        assert step.spec.labels == ("background", "leaf", "sky")
        assert step.spec.limits.score_threshold == 0.4
        assert any("states no labels" in note for note in step.notes)
        assert compare([first, step], read_pictures(pictures[:1])).steps[1].agreement.labels == {"leaf", "sky"}
    finally:
        first.close()
        step.close()


def test_boxes_are_compared_in_pixels_of_the_input(sound: Path, pictures: list[Path]) -> None:
    """Cells of 8 pixels, and a step that finds them through another scaling of a picture of 64x40."""
    found = compared([sound, bundles.altered(sound, resize="stretch")], pictures[:1])
    assert len(found.steps[1].box_px) == len(found.steps[1].agreement.pairs)
    assert max(found.steps[1].box_px) <= 16


def test_precision_counts_the_pictures_that_the_truth_has(sound: Path, pictures: list[Path]) -> None:
    """Of two pictures the truth knows one; a third of its images is in no picture."""
    pytest.importorskip("pycocotools", reason="COCO AP needs the eval extra")
    truth = Truth.of_labels(["leaf", "sky"])
    truth.add(1, 64, 40, [("leaf", Box(0.0, 0.0, 0.5, 0.5)), ("sky", Box(0.5, 0.5, 1.0, 1.0))])
    truth.add(2, 64, 40, [("leaf", Box(0.0, 0.0, 0.5, 0.5))])
    truth.document["images"][0]["file_name"] = pictures[0].name
    first, other = compared([sound, bundles.altered(sound, color="bgr")], pictures, truth).steps
    assert first.precision
    assert other.precision
    assert first.precision.labels.keys() == {"leaf", "sky"}
    assert first.precision.labels["leaf"].things == 1
    assert first.precision.ap50 > other.precision.ap50


@pytest.mark.parametrize("scale", [320 / 255, 640 / 255])
def test_boxes_in_pixels_that_share_a_scale_with_scores_are_named(tmp_path: Path, scale: float) -> None:
    """Of a plain INT8 export: its scores have a step of more than 1. With the larger one none can reach a threshold."""
    whole, pixels = tmp_path / "whole", tmp_path / "pixels"
    whole.mkdir()
    pixels.mkdir()
    first = constant_heads.write(whole, constant_heads.v8())
    second = constant_heads.write(pixels, constant_heads.v8(pixels=True), scale=scale)
    found = compared([first, second], [bundles.picture(tmp_path)], opened=open_step)
    assert found.broken
    assert found.broken.cause
    assert found.broken.cause.startswith("boxes in pixels: boxes and scores share one output with a scale of")


def test_nothing_in_the_first_step_is_said(sound: Path, tmp_path: Path) -> None:
    """No cause can be found where the step to compare with finds nothing."""
    blind = bundles.altered(sound, thresholds={"score": 0.99})
    found = compared([blind, sound], [bundles.picture(tmp_path)])
    assert found.broken
    assert found.broken.cause
    assert "the first step finds nothing" in found.broken.cause


def test_the_command_compares_a_folder(sound: Path, pictures: list[Path], tmp_path: Path,
                                       capsys: pytest.CaptureFixture[str]) -> None:
    """With three steps there is no pair of A and B; every step has its figures, and the text names the broken one."""
    wrong = bundles.altered(sound, color="bgr")
    capsys.readouterr()
    assert main(["model", "compare", str(sound), str(sound), str(wrong), "--images", str(pictures[0].parent)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[0] == "step"
    assert lines[-2:] == ["C breaks: color: it agrees with rgb, but runs with bgr", "breaks at C"]


def test_a_pair_keeps_its_keys_and_has_steps(sound: Path, pictures: list[Path],
                                             capsys: pytest.CaptureFixture[str]) -> None:
    """The keys that programs read today, and those of the steps."""
    capsys.readouterr()
    assert main(["model", "compare", str(sound), str(sound), str(pictures[0]), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed.keys() >= {"a", "b", "frames", "agreement", "both", "only_a", "only_b", "score_shift", "iou",
                              "labels", "latency_ratio", "worst", "steps", "breaks_at"}
    assert printed["a"]["runtime"] in {"litert", "tflite-runtime"}
    assert printed["steps"][1]["box_px"] == 0


def test_steps_have_letters() -> None:
    """Also the 27th."""
    assert [letter_of(place) for place in (0, 25, 26)] == ["A", "Z", "A2"]
