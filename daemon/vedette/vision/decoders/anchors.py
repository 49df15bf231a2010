"""Decodes raw boxes and scores relative to anchors, as MediaPipe Model Maker exports them.

Invariants: those of `base`. Class id 0 is the background and never a candidate. The anchors are those that the model
states in DETECTOR_METADATA, else RetinaNet's (levels 3-7, three scales, aspect ratios 1/2, 1, 2, three strides large).
Sources: official/vision/ops/anchor.py of TensorFlow Model Garden; MediaPipe's object_detector_metadata_schema.fbs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil
from typing import ClassVar

import numpy as np

from vedette.errors import ModelUnsupported
from vedette.tflite.file import ModelFile
from vedette.tflite.flatbuffer import Buffer, Malformed, Table
from vedette.tflite.tensors import TensorSpec
from vedette.vision.decoders.base import (
    Array,
    DecodeLimits,
    Decoder,
    Quantization,
    Reals,
    corners,
    make_candidates,
    select_best,
)
from vedette.vision.decoders.maker import is_probability
from vedette.vision.geometry import InputShape
from vedette.vision.nms import Candidate
from vedette.vision.normalization import MINUS_ONE_TO_ONE, Normalization

METADATA = "DETECTOR_METADATA"
LEVELS = range(3, 8)
SCALES = 3
ASPECT_RATIOS = (0.5, 1.0, 2.0)
ANCHOR_STRIDES = 3.0
LARGEST_EXPONENT = 10.0
"""Sizes are exponents of e. A larger exponent is cut to this one, far beyond any frame, so that it cannot overflow."""


class Anchors(Decoder):
    """Boxes are offsets from anchors: y, x, height, width; the sizes are exponents."""

    background: ClassVar[bool] = True
    labels_settle: ClassVar[bool] = True
    usual_normalization: ClassVar[Normalization] = MINUS_ONE_TO_ONE

    def __init__(self, model: ModelFile, shape: InputShape) -> None:
        self._boxes_at, self._scores_at = _positions(model)
        self._offsets = Quantization(model.outputs[self._boxes_at])
        scores = model.outputs[self._scores_at]
        stated = _stated_anchors(model)
        self._assumed = stated is None
        expected = _retinanet_count(shape) if stated is None else len(stated[0])
        if scores.shape[1] != expected:
            raise ModelUnsupported(f"outputs for {scores.shape[1]} anchors; expected {expected}, the number in "
                                   f"{METADATA} or RetinaNet's for an input of {shape}")
        self._anchors, self._coding = stated or (retinanet_anchors(shape), np.ones(4))
        super().__init__(scores, classes=scores.shape[2], logits=not is_probability(model, scores))

    def doubt(self, outputs: Sequence[Array] | None) -> str | None:
        """Return why this is hardly Model Maker's: it always writes labels, and the first one is the background."""
        if outputs is None or not self._assumed:
            return None
        return (f"neither anchors in {METADATA} nor a list of {self.classes} labels that begins with the background; "
                "other exporters have other anchors")

    def decode(self, outputs: Sequence[Array], limits: DecodeLimits) -> list[Candidate]:
        """Apply the threshold to the best class of every anchor, then decode the boxes of those that pass."""
        votes = outputs[self._scores_at][0, :, 1:]
        best = votes[:, 0] if votes.shape[1] == 1 else np.maximum.reduce(votes, axis=1)
        # Where no operation shows it: logits of so many anchors are never all above 0.
        are_logits = self._logits and self._scores.dequantize(votes.min(keepdims=True)).min() < 0
        hits = self._reaching(best, limits) if are_logits == self._logits else np.flatnonzero(
            self._scores.dequantize(best) >= limits.thresholds.min())
        if not hits.size:
            return []
        class_ids = votes[hits].argmax(axis=1) + 1
        scores = self._scores.dequantize(best[hits])
        if are_logits:
            scores = 1.0 / (1.0 + np.exp(-scores))
        chosen = select_best(scores, class_ids, limits)
        return make_candidates(self._boxes(outputs, hits[chosen]), scores[chosen], class_ids[chosen])

    def _boxes(self, outputs: Sequence[Array], places: Array) -> Reals:
        y, x, height, width = (self._offsets.dequantize(outputs[self._boxes_at][0, places]) / self._coding).T
        anchors = self._anchors[places]
        centred: Reals = np.stack((x * anchors[:, 2] + anchors[:, 0], y * anchors[:, 3] + anchors[:, 1],
                            np.exp(np.minimum(width, LARGEST_EXPONENT)) * anchors[:, 2],
                            np.exp(np.minimum(height, LARGEST_EXPONENT)) * anchors[:, 3]), axis=1)
        return corners(centred)


def retinanet_anchors(shape: InputShape) -> Reals:
    """Return RetinaNet's anchors: rows of cx, cy, width, height in 0-1, by level, row, column, scale and ratio."""
    return np.concatenate([_level(shape, 2.0**level) for level in LEVELS])


def _retinanet_count(shape: InputShape) -> int:
    cells: int = sum(ceil(shape.width / (1 << level)) * ceil(shape.height / (1 << level)) for level in LEVELS)
    return cells * SCALES * len(ASPECT_RATIOS)


def _level(shape: InputShape, stride: float) -> Reals:
    sizes = np.array([(size * ratio**0.5, size / ratio**0.5)
                      for size in (ANCHOR_STRIDES * stride * 2.0 ** (step / SCALES) for step in range(SCALES))
                      for ratio in ASPECT_RATIOS])
    xs = np.arange(stride / 2, ceil(shape.width / stride) * stride, stride)
    ys = np.arange(stride / 2, ceil(shape.height / stride) * stride, stride)
    centres = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 1, 2)
    rows = np.concatenate(np.broadcast_arrays(centres, sizes[None]), axis=2).reshape(-1, 4)
    unit: Reals = rows / np.array((shape.width, shape.height) * 2)
    return unit


def _positions(model: ModelFile) -> tuple[int, int]:
    """Return the positions of boxes and scores in the outputs."""
    shapes = [spec.shape for spec in model.outputs]
    if len(shapes) != 2 or not all(map(_is_rows, model.outputs)) or shapes[0][1] != shapes[1][1] or (
            4 not in {shapes[0][2], shapes[1][2]}):
        raise ModelUnsupported("expected two outputs, boxes (1, anchors, 4) and scores (1, anchors, classes)")
    # Scores of four classes have the shape of boxes. Then the tensor of probabilities holds the scores.
    scores_first = shapes[1][2] == 4 and (shapes[0][2] != 4 or is_probability(model, model.outputs[0]))
    return (1, 0) if scores_first else (0, 1)


def _is_rows(spec: TensorSpec) -> bool:
    return len(spec.shape) == 3 and spec.shape[0] == 1 and spec.shape[2] >= 2


def _stated_anchors(model: ModelFile) -> tuple[Reals, Reals] | None:
    """Return anchors and their coding scales (y, x, height, width) from DETECTOR_METADATA; None without it."""
    if model.tflite_metadata is None or METADATA not in model.tflite_metadata.custom:
        return None
    try:
        root = Buffer(memoryview(model.tflite_metadata.custom[METADATA])).root()
        anchors = np.array(list(_anchor_rows(root)), dtype=np.float64)
        options = root.table(2)
        scales = [options.real(slot) if options else 0.0 for slot in (7, 6, 9, 8)]
    except Malformed as error:
        raise ModelUnsupported(f"{model.path}: {METADATA} is damaged: {error}") from error
    if not anchors.size or not np.isfinite(anchors).all() or not all(scale > 0 for scale in scales):
        raise ModelUnsupported(f"{model.path}: {METADATA} states no anchors or no scales; expected both")
    return anchors, np.array(scales)


def _anchor_rows(root: Table) -> Iterator[tuple[float, ...]]:
    schema = (options := root.table(1)) and options.table(0)
    for anchor in schema.tables(0) if schema else ():
        yield tuple(anchor.real(slot) for slot in range(4))
