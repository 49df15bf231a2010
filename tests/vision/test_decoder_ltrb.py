"""The box model's decoder against plain loops over real values, and what it refuses."""

from collections.abc import Callable
from math import exp
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.truth.decoder_references import Row, model, random_raw, ranked, real, spec
from vedette.errors import ModelUnsupported, OutputInvalid
from vedette.tflite.tensors import TensorSpec
from vedette.vision.decoders import DECODERS
from vedette.vision.geometry import InputShape
from vedette.vision.limits import Limits

SHAPE = InputShape(96, 64, 3, planar=False)
STRIDES = (8, 16, 32)
LABELS = ("cat", "dog", "???", "bird")
seeds = st.integers(0, 2**32 - 1)
thresholds = st.sampled_from((0.0, 0.1, 0.35, 0.5, 0.9, 0.996))
kinds = st.sampled_from((("int8", 0.09, 93), ("uint8", 0.07, 190), ("float32", 0, 0)))


def levels(kind: tuple[str, float, int], classes: int = 4, strides: tuple[int, int, int] = STRIDES) -> list[TensorSpec]:
    """Return the outputs' specs: logits and distances for each stride; each distance has its own scale."""
    specs = []
    for stride in strides:
        rows, columns = SHAPE.height // stride, SHAPE.width // stride
        specs.append(spec((1, rows, columns, classes), *kind))
        distances = kind if kind[0] == "float32" else (kind[0], 0.01 + stride / 1000, 5)
        specs.append(spec((1, rows, columns, 4), *distances))
    return specs


def limits(score: float, **changes: Any) -> Limits:
    return Limits(**{"score_threshold": score, "iou_threshold": 0.5, "max_detections": 25, "labels": {"dog": 0.8},
                     "allow": frozenset(), "deny": frozenset({"bird"}), **changes})


def reference(specs: list[TensorSpec], outputs: list[np.ndarray],
              wanted: Limits) -> list[Row]:
    """Decode every cell of every stride, in the order of the outputs."""
    rows = []
    for place in range(0, len(specs), 2):
        logits, distances = (real(outputs[at], specs[at])[0] for at in (place, place + 1))
        down, across = logits.shape[:2]
        for y in range(down):
            for x in range(across):
                class_id = int(np.argmax(outputs[place][0, y, x]))
                left, top, right, bottom = distances[y, x]
                rows.append((1 / (1 + exp(-logits[y, x, class_id])), class_id,
                             (x + 0.5 - left) / across, (y + 0.5 - top) / down,
                             (x + 0.5 + right) / across, (y + 0.5 + bottom) / down))
    return ranked(rows, wanted.thresholds(LABELS), wanted.max_candidates)


def decode(specs: list[TensorSpec], outputs: list[np.ndarray],
           wanted: Limits) -> list[Row]:
    decoder = DECODERS["ltrb"](model(*specs), SHAPE)
    return [(found.score, found.class_id, *found.box)
            for found in decoder.decode(outputs, decoder.compile_limits(wanted, LABELS))]


@given(seeds, thresholds, kinds)
def test_it_agrees_with_the_reference(seed: int, score: float, kind: tuple[str, float, int]) -> None:
    """Integer or float, thresholds of single labels, three strides with own scales: the same boxes in order."""
    rng = np.random.default_rng(seed)
    specs = levels(kind)
    outputs = [random_raw(rng, tensor) for tensor in specs]
    wanted = limits(score)
    expected = reference(specs, outputs, wanted)
    np.testing.assert_allclose(np.array(decode(specs, outputs, wanted)).reshape(-1, 6),
                               np.array(expected, float).reshape(-1, 6), rtol=1e-9, atol=1e-9)


def test_a_distance_counts_strides_from_the_centre_of_the_cell() -> None:
    """A cell with distances 1, 0.5, 2, 0 at stride 16 gives a box of three strides by half a stride."""
    specs = levels(("float32", 0, 0))
    outputs = [np.full(each.shape, -9.0, np.float32) for each in specs]
    outputs[2][0, 1, 3, 0] = 2.0
    outputs[3][0, 1, 3] = (1, 0.5, 2, 0)
    (score, class_id, *box), = decode(specs, outputs, limits(0.5))
    assert (score, class_id) == pytest.approx((1 / (1 + exp(-2)), 0))
    assert box == pytest.approx([(3.5 - 1) / 6, (1.5 - 0.5) / 4, (3.5 + 2) / 6, 1.5 / 4])


@pytest.mark.parametrize("change", [
    lambda specs: specs[:-1], lambda specs: specs[1:] + specs[:1], lambda specs: [specs[0], specs[3]],
    lambda specs: [*specs[:2], spec(specs[2].shape, "int8", 0.2, 93), *specs[3:]],
    lambda specs: [*specs[:4], *levels(("int8", 0.09, 93), classes=5)[4:]],
    lambda specs: [spec((1, 7, 12, 4)), spec((1, 7, 12, 4))], lambda _: [spec((1, 300, 6))]],
    ids=["odd", "shifted", "mixed", "two scales", "two numbers of classes", "does not divide", "other family"])
def test_other_outputs_are_refused(change: Callable[[list[TensorSpec]], list[TensorSpec]]) -> None:
    """Outputs that are not in pairs, have mixed sizes, scales or classes, or are of another family are refused."""
    with pytest.raises(ModelUnsupported, match=r"pairs of outputs|do not divide"):
        DECODERS["ltrb"](model(*change(levels(("int8", 0.09, 93)))), SHAPE)


@pytest.mark.parametrize("place", [0, 1])
def test_values_that_are_not_finite_raise(place: int) -> None:
    """NaN in logits, or in distances of cells that pass, raises OutputInvalid."""
    specs = levels(("float32", 0, 0))
    outputs = [np.full(each.shape, 3.0, np.float32) for each in specs]
    outputs[place][0, 0, 0] = np.nan
    with pytest.raises(OutputInvalid):
        decode(specs, outputs, limits(0.5))
