"""Every decoder against its plain reference on random tensors, and the special cases of each family."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.models import writer
from tests.support.truth import decoder_references as reference
from tests.support.truth.decoder_references import Row, model, postprocess, spec
from vedette.errors import ModelUnsupported, OutputInvalid
from vedette.tflite.file import ModelFile, OpSpec, read_model
from vedette.tflite.metadata import TfliteMetadata
from vedette.tflite.tensors import TensorSpec
from vedette.types import Box
from vedette.vision.decoders import DECODERS
from vedette.vision.decoders.anchors import Anchors
from vedette.vision.decoders.base import Quantization
from vedette.vision.decoders.maker import is_probability
from vedette.vision.geometry import InputShape
from vedette.vision.limits import Limits

SHAPE = InputShape(64, 64, 3, planar=False)
CELLS = 64 + 16 + 4
ANCHORS = len(reference.retinanet_anchors(64, 64))
LABELS = ("cat", "dog", "???", "bird")
POSTPROCESSED = (spec((1, 10, 4), "float32", index=1), spec((1, 10), "float32", index=2),
                 spec((1, 10), "float32", index=3), spec((1,), "float32", index=4))

seeds = st.integers(0, 2**32 - 1)
thresholds = st.sampled_from((0.0, 0.1, 0.25, 0.5, 0.6, 0.9, 0.996))
dtypes = st.sampled_from((("int8", 1 / 212, -128), ("uint8", 0.004679371602833271, 1), ("int8", 0.0058, -126),
                          ("float32", 0, 0)))


def limits(score: float = 0.5, **changes: Any) -> Limits:
    return Limits(**{"score_threshold": score, "iou_threshold": 0.5, "max_detections": 25, "labels": {"dog": 0.8},
                     "allow": frozenset(), "deny": frozenset({"bird"}), **changes})


def decode(name: str, made: ModelFile, outputs: list[np.ndarray], wanted: Limits, labels: tuple[str, ...] = LABELS,
           shape: InputShape = SHAPE) -> list[Row]:
    decoder = DECODERS[name](made, shape)
    return [(found.score, found.class_id, *found.box)
            for found in decoder.decode(outputs, decoder.compile_limits(wanted, labels))]


def same(found: list[Row],
         expected: list[Row]) -> None:
    assert len(found) == len(expected)
    np.testing.assert_allclose(np.array(found).reshape(-1, 6), np.array(expected, float).reshape(-1, 6), rtol=1e-9,
                               atol=1e-9)


@given(seeds, thresholds, dtypes, st.booleans())
def test_yolov8_agrees_with_the_reference(seed: int, score: float, kind: tuple[str, float, int],
                                          cells_first: bool) -> None:
    """YOLOv8 in both axis orders, integer and float, gives the same boxes in the same order."""
    tensor = spec((1, CELLS, 8) if cells_first else (1, 8, CELLS), *kind)
    raw = reference.random_raw(np.random.default_rng(seed), tensor)
    wanted = limits(score)
    same(decode("yolov8", model(tensor), [raw], wanted),
         reference.yolov8(reference.real(raw, tensor), wanted.thresholds(LABELS), wanted.max_candidates, cells_first))


@given(seeds, thresholds, dtypes)
def test_yolov5_agrees_with_the_reference(seed: int, score: float, kind: tuple[str, float, int]) -> None:
    """YOLOv5: score is objectness times class."""
    tensor = spec((1, 3 * CELLS, 7), *kind)
    raw = reference.random_raw(np.random.default_rng(seed), tensor)
    wanted = limits(score)
    same(decode("yolov5", model(tensor), [raw], wanted),
         reference.yolov5(reference.real(raw, tensor), wanted.thresholds(LABELS), wanted.max_candidates))


@given(seeds, thresholds, st.booleans())
def test_end_to_end_agrees_with_the_reference(seed: int, score: float, pixels: bool) -> None:
    """End-to-end YOLO gives the same boxes in 0-1 and in pixels."""
    rng = np.random.default_rng(seed)
    raw = rng.random((1, 300, 6)).astype(np.float32)
    raw[0, :, 5] = rng.integers(0, 6, 300)
    raw[0, :, 4][rng.random(300) < 0.5] = 0
    if pixels:
        raw[0, :, :4] = 2.5 + raw[0, :, :4] * 61
    wanted = limits(score)
    same(decode("yolo_end2end", model(spec(raw.shape, "float32")), [raw], wanted),
         reference.end_to_end(raw.astype(float), wanted.thresholds(LABELS), wanted.max_candidates,
                              (64, 64) if pixels else (1, 1)))


@given(seeds, thresholds, st.permutations((0, 1, 2, 3)))
def test_ssd_agrees_with_the_reference_in_any_order(seed: int, score: float, order: list[int]) -> None:
    """SSD: the operation shows which output is which, and rows beyond its count are not read."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(0, 11))
    raw = [rng.random((1, 10, 4)), rng.integers(0, 6, (1, 10)), rng.random((1, 10)), np.array([count])]
    raw = [values.astype(np.float32) for values in raw]
    for values in raw[:3]:
        values[0, count:] = 1e34
    made = model(*(POSTPROCESSED[place] for place in order), ops=(postprocess(),))
    wanted = limits(score)
    same(decode("ssd", made, [raw[place] for place in order], wanted),
         reference.ssd(raw[0].astype(float), raw[1].astype(float), raw[2].astype(float), raw[3].astype(float),
                       wanted.thresholds(LABELS), wanted.max_candidates))


@given(seeds, thresholds, st.booleans())
def test_anchors_agree_with_the_reference(seed: int, score: float, scores_first: bool) -> None:
    """Raw boxes against RetinaNet's anchors, the outputs in either order; class 0 is the background."""
    rng = np.random.default_rng(seed)
    boxes = spec((1, ANCHORS, 4), "uint8", 0.024, 179, index=1)
    scores = spec((1, ANCHORS, 3), "uint8", 1 / 256, 0, index=2)
    raw = [reference.random_raw(rng, tensor) for tensor in (boxes, scores)]
    wanted, labels = limits(score), ("background", "cat", "dog")
    order = (1, 0) if scores_first else (0, 1)
    same(decode("anchors", model(*((boxes, scores)[place] for place in order)), [raw[place] for place in order], wanted,
                labels),
         reference.anchored(reference.real(raw[0], boxes), reference.real(raw[1], scores), wanted.thresholds(labels),
                            wanted.max_candidates, 64, 64))


@given(seeds, thresholds)
def test_fomo_agrees_with_the_reference(seed: int, score: float) -> None:
    """FOMO: touching cells of one class give one box around them."""
    tensor = spec((1, 8, 8, 4))
    raw = reference.random_raw(np.random.default_rng(seed), tensor)
    wanted, labels = limits(score, max_detections=100), ("background", "cat", "dog", "bird")
    found = decode("fomo", model(tensor), [raw], wanted, labels)
    expected = reference.fomo(reference.real(raw, tensor), wanted.thresholds(labels))
    same(sorted(found, key=lambda row: (-row[0], row[1:])), expected)


@given(seeds, thresholds)
def test_classifier_agrees_with_the_reference(seed: int, score: float) -> None:
    """A classifier's best classes become boxes of the whole frame, best first."""
    tensor = spec((1, 30))
    raw = reference.random_raw(np.random.default_rng(seed), tensor)
    wanted = limits(score)
    same(decode("classifier", model(tensor), [raw], wanted),
         reference.classes(reference.real(raw, tensor), wanted.thresholds(LABELS), wanted.max_candidates))


def test_logits_become_scores() -> None:
    """Without a softmax or logistic at the end, logits are converted to scores before the threshold."""
    tensor = spec((1, 3), "float32")
    found = decode("classifier", model(tensor), [np.array([[0.0, 3.0, 0.0]], np.float32)], limits(), ())
    assert np.array(found) == pytest.approx(np.array([(np.exp(3) / (np.exp(3) + 2), 1, 0, 0, 1, 1)]))
    boxes, scores = spec((1, ANCHORS, 4), "float32", index=1), spec((1, ANCHORS, 2), "float32", index=2)
    raw = np.full((1, ANCHORS, 2), -9, np.float32)
    raw[0, 5, 1] = 2.0
    found = decode("anchors", model(boxes, scores), [np.zeros((1, ANCHORS, 4), np.float32), raw], limits(), ())
    assert [row[:2] for row in found] == [pytest.approx((1 / (1 + np.exp(-2)), 1))]


@pytest.mark.parametrize(("ops", "tensor", "answer"), [
    ((OpSpec("LOGISTIC", False, (0,), (1,)),), spec((1, 3), "float32"), True),
    ((OpSpec("SOFTMAX", False, (0,), (9,)), OpSpec("DEQUANTIZE", False, (9,), (1,))), spec((1, 3), "float32"), True),
    ((OpSpec("FULLY_CONNECTED", False, (0,), (1,)),), spec((1, 3), "float32"), False),
    ((), spec((1, 3), "uint8", 1 / 256, 0), True), ((), spec((1, 3), "uint8", 0.1, 128), False),
    ((OpSpec("RESHAPE", False, (1,), (1,)),), spec((1, 3), "float32"), False)])
def test_which_outputs_are_probabilities(ops: tuple[OpSpec, ...], tensor: TensorSpec, answer: bool) -> None:
    """The operation that makes a tensor, or else its range, shows scores or logits; a graph with a loop ends too."""
    assert is_probability(model(tensor, ops=ops), tensor) is answer


@given(st.floats(-0.5, 1.5), st.floats(1e-4, 2.0), st.integers(-128, 127))
def test_the_integer_threshold_is_exact(threshold: float, scale: float, zero_point: int) -> None:
    """An integer passes the raw threshold exactly if its real value passes the real threshold."""
    tensor = Quantization(spec((1,), "int8", scale, zero_point))
    raw = np.arange(-128, 128, dtype=np.int8)
    assert ((raw.astype(float) >= tensor.raw_threshold(threshold)) == (tensor.dequantize(raw) >= threshold)).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_raise(bad: float) -> None:
    """NaN or infinity in scores, or in boxes that pass, raises OutputInvalid for every float family."""
    wanted = limits(0.5)
    for part in (slice(4, 8), 1):      # every class of a cell, then a corner of its box
        raw = np.full((1, 8, CELLS), 0.9, np.float32)
        raw[0, part, 3] = bad
        with pytest.raises(OutputInvalid):
            decode("yolov8", model(spec(raw.shape, "float32")), [raw], wanted)
    rows = np.full((1, 300, 6), 0.9, np.float32)
    rows[0, 7, 4] = bad
    with pytest.raises(OutputInvalid):
        decode("yolo_end2end", model(spec(rows.shape, "float32")), [rows], wanted)
    with pytest.raises(OutputInvalid):
        decode("classifier", model(spec((1, 3), "float32")), [np.array([[0.1, bad, 0.2]], np.float32)], wanted)


@pytest.mark.parametrize(("part", "bad"), [(0, np.nan), (1, np.nan), (1, -1), (1, 1e34), (2, np.nan), (2, np.inf),
                                           (3, np.nan), (3, -1), (3, 11)])
def test_invalid_ssd_rows_raise(part: int, bad: float) -> None:
    """A count outside the rows, a class below 0 or a value that is not finite raises OutputInvalid."""
    raw = [np.full((1, 10, 4), 0.5, np.float32), np.zeros((1, 10), np.float32), np.full((1, 10), 0.9, np.float32),
           np.array([3], np.float32)]
    raw[part].flat[0] = bad
    with pytest.raises(OutputInvalid):
        decode("ssd", model(*POSTPROCESSED, ops=(postprocess(),)), raw, limits())


def test_a_class_beyond_the_labels_has_the_general_threshold() -> None:
    """An id beyond the label list is detected and raises no IndexError."""
    raw = np.zeros((1, 300, 6), np.float32)
    raw[0, 0] = (0.1, 0.1, 0.5, 0.5, 0.9, 77)
    assert [row[1] for row in decode("yolo_end2end", model(spec(raw.shape, "float32")), [raw], limits())] == [77]


def test_equal_scores_are_limited() -> None:
    """If all cells have one score, there are at most `max_candidates`, in the order of the tensor."""
    tensor = spec((1, 5, CELLS))
    raw = np.full(tensor.shape, 100, np.int8)
    raw[0, 0] = np.arange(CELLS)
    wanted = limits(0.5, max_detections=5)
    found = decode("yolov8", model(tensor), [raw], wanted)
    assert len(found) == wanted.max_candidates
    assert [row[2] for row in found] == sorted(row[2] for row in found)


def test_more_classes_than_cells() -> None:
    """A list of thousands of names is counted on its own axis, whichever comes first."""
    for shape in ((1, 4 + 4585, CELLS), (1, CELLS, 4 + 4585)):
        assert DECODERS["yolov8"](model(spec(shape)), SHAPE).classes == 4585


def test_no_wanted_label_gives_no_detection() -> None:
    """If every label is denied, no integer passes, and no array is compared with infinity."""
    tensor = spec((1, 5, CELLS))
    nothing = limits(allow=frozenset({"nobody"}))
    assert decode("yolov8", model(tensor), [np.full(tensor.shape, 127, np.int8)], nothing, ("cat",)) == []


@pytest.mark.parametrize(("name", "outputs", "words"), [
    ("ssd", [spec((1, 10, 4))], "no TFLite_Detection_PostProcess"),
    ("yolov8", [spec((1, 8, 77))], r"\(1, 4\+classes, 84\)"), ("yolov8", [spec((1, 4, CELLS))], "4.classes"),
    ("yolov8", [spec((1, 8, CELLS)), spec((1, 32, 16, 16))], "one output"),
    ("yolov5", [spec((1, CELLS, 7))], r"\(1, 252, 5\+classes\)"), ("yolov5", [spec((1, 8))], "three axes"),
    ("yolo_end2end", [spec((1, 300, 7))], r"\(1, rows, 6\)"), ("yolo_end2end", [spec((1, 2000, 6))], "1000 rows"),
    ("anchors", [spec((1, 30, 4)), spec((1, 30, 2))], f"30 anchors; expected {ANCHORS}"),
    ("anchors", [spec((1, 30, 4)), spec((1, 31, 2))], "two outputs"),
    ("fomo", [spec((1, 7, 8, 4))], "height/8"), ("fomo", [spec((1, 8, 8, 1))], "height/8"),
    ("classifier", [spec((1, 1))], "two classes or more"), ("classifier", [spec((2, 10))], "classes")])
def test_the_error_says_why_a_decoder_does_not_fit(name: str, outputs: list[TensorSpec], words: str) -> None:
    """Each error names the expected shape."""
    with pytest.raises(ModelUnsupported, match=words):
        DECODERS[name](model(*outputs), SHAPE)


def test_outputs_after_the_ssd_operation_are_refused() -> None:
    """A graph that continues after the post-process is refused, since nobody knows which output is which."""
    with pytest.raises(ModelUnsupported, match="not all outputs"):
        DECODERS["ssd"](model(*POSTPROCESSED, ops=(postprocess((1, 2, 3, 9)),)), SHAPE)


def test_cells_that_touch_at_a_corner_are_one_object() -> None:
    """FOMO: two cells of one class that touch at a side or a corner give one box; cells of two classes do not."""
    raw = np.full((1, 8, 8, 3), -128, np.int8)
    raw[0, 2, 2, 1] = raw[0, 3, 3, 1] = 100
    raw[0, 2, 3, 2] = 120
    decoder = DECODERS["fomo"](model(spec(raw.shape)), SHAPE)
    found = decoder.decode([raw], decoder.compile_limits(limits(), ("background", "cat", "mouse")))
    assert [(each.class_id, each.box) for each in found] == [
        (2, Box(3 / 8, 2 / 8, 4 / 8, 3 / 8)), (1, Box(2 / 8, 2 / 8, 4 / 8, 4 / 8))]


def detector_metadata(anchors: list[tuple[float, float, float, float]], scales: tuple[float, ...] = (10.0, 10.0, 5.0,
                      5.0)) -> bytes:
    """Build MediaPipe's DETECTOR_METADATA: anchors (cx, cy, width, height), scales (x, y, width, height)."""
    b = flatbuffers.Builder(256)
    rows = [writer._table(b, {}, [(slot, "float32", value) for slot, value in enumerate(row)]) for row in anchors]
    fixed = writer._table(b, {0: writer.offsets(b, rows)})
    options = writer._table(b, {}, [(6 + slot, "float32", value) for slot, value in enumerate(scales)])
    b.Finish(writer._table(b, {1: writer._table(b, {0: fixed}), 2: options}))
    return bytes(b.Output())


def stating(content: bytes) -> ModelFile:
    made = model(spec((1, 2, 4), "float32", index=1), spec((1, 2, 2), "uint8", 1 / 256, 0, index=2))
    return replace(made, tflite_metadata=TfliteMetadata("", "", "", (), (), {"DETECTOR_METADATA": content}))


def test_stated_anchors_are_used() -> None:
    """Anchors and scales in DETECTOR_METADATA are used instead of RetinaNet's."""
    made = stating(detector_metadata([(0.5, 0.5, 0.2, 0.4), (0.25, 0.75, 0.1, 0.1)]))
    boxes = np.array([[[1.0, 2.0, 0.0, 5 * np.log(2)], [0, 0, 0, 0]]], np.float32)      # y, x, height, width
    found = decode("anchors", made, [boxes, np.array([[[0, 230], [0, 20]]], np.uint8)], limits(), ())
    # The centre moves by 2/10 of the width 0.2 and 1/10 of the height 0.4; the width doubles.
    assert [row[2:] for row in found] == [pytest.approx((0.54 - 0.2, 0.54 - 0.2, 0.54 + 0.2, 0.54 + 0.2))]


@pytest.mark.parametrize(("content", "words"), [
    (b"", "damaged"), (b"\xff" * 40, "damaged"), (detector_metadata([]), "states no anchors"),
    (detector_metadata([(0, 0, 1, 1)] * 2, (0, 0, 0, 0)), "no scales"),
    (detector_metadata([(0, 0, 1, 1)] * 3), "for 2 anchors; expected 3"),
    (detector_metadata([(float("nan"), 0, 1, 1)] * 2), "states no anchors")])
def test_invalid_stated_anchors_are_refused(content: bytes, words: str) -> None:
    """DETECTOR_METADATA that is damaged, empty or has another number of anchors is refused by name."""
    with pytest.raises(ModelUnsupported, match=words):
        DECODERS["anchors"](stating(content), SHAPE)


def test_anchors_of_a_real_model_are_retinanets(real: Path) -> None:
    """The anchors that MediaPipe Model Maker wrote into a real model equal the generated ones."""
    read = read_model(real / "models" / "mediapipe_modelmaker_256_car_uint8.tflite")
    silent = replace(read, tflite_metadata=None)
    shape = InputShape(256, 256, 3, planar=False)
    stated, generated = DECODERS["anchors"](read, shape), DECODERS["anchors"](silent, shape)
    assert isinstance(stated, Anchors)
    assert isinstance(generated, Anchors)
    np.testing.assert_allclose(stated._anchors, generated._anchors, atol=1e-6)
    np.testing.assert_allclose(stated._coding, generated._coding)


def test_the_guide_has_a_row_for_each_decoder() -> None:
    """docs/models.md lists every decoder once in its table, says how each reads its outputs, and lists no other one."""
    guide = (Path(__file__).parents[2] / "docs/models.md").read_text(encoding="utf-8")
    section = guide.split("## Which models work")[1].split("\n## ")[0]
    for pattern in (r"^\| `(\w+)` \| [^|]+ \| [^|]+ \|$", r"^- `(\w+)`: "):
        assert sorted(re.findall(pattern, section, re.MULTILINE)) == sorted(DECODERS), pattern
