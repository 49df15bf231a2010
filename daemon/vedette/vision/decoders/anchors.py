"""Raw boxes and scores against anchors, as MediaPipe Model Maker exports them.

Invariants: those of `base`; class id 0 is the background and never a candidate; the anchors are those the model names
in DETECTOR_METADATA, else RetinaNet's (levels 3-7, three scales, aspect ratios 1/2, 1, 2, three strides large).
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
from vedette.vision.decoders.base import Aim, Array, Decoder, Reals, Scale, candidates, corners, pick, probability
from vedette.vision.geometry import InputShape
from vedette.vision.nms import Candidate

METADATA = "DETECTOR_METADATA"
LEVELS = range(3, 8)
SCALES = 3
ASPECT_RATIOS = (0.5, 1.0, 2.0)
ANCHOR_STRIDES = 3.0
LARGEST_EXPONENT = 10.0
"""Sizes are exponents of e: a wild one is cut here, far beyond any frame, before it overflows."""


class Anchors(Decoder):
    """Boxes as offsets from anchors: y, x, height, width, sizes as exponents."""

    background: ClassVar[bool] = True

    def __init__(self, model: ModelFile, shape: InputShape) -> None:
        self._boxes_at, self._scores_at = _positions(model)
        self._offsets = Scale(model.outputs[self._boxes_at])
        scores = model.outputs[self._scores_at]
        self._anchors, self._coding = _stated(model) or (generated(shape), np.ones(4))
        if len(self._anchors) != scores.shape[1]:
            raise ModelUnsupported(f"outputs for {scores.shape[1]} anchors; expected {len(self._anchors)}, as "
                                   f"{METADATA} says or else RetinaNet has for an input of {shape}")
        super().__init__(scores, classes=scores.shape[2], logits=not probability(model, scores))

    def decode(self, outputs: Sequence[Array], aim: Aim) -> list[Candidate]:
        """Threshold the best class of every anchor, then decode the boxes of those that pass."""
        votes = outputs[self._scores_at][0, :, 1:]
        best = votes[:, 0] if votes.shape[1] == 1 else np.maximum.reduce(votes, axis=1)
        hits = self._reach(best, aim)
        if not hits.size:
            return []
        class_ids = votes[hits].argmax(axis=1) + 1
        scores = self._scores.real(best[hits])
        if self._logits:
            scores = 1.0 / (1.0 + np.exp(-scores))
        chosen = pick(scores, class_ids, aim)
        return candidates(self._boxes(outputs, hits[chosen]), scores[chosen], class_ids[chosen])

    def _boxes(self, outputs: Sequence[Array], places: Array) -> Reals:
        y, x, height, width = (self._offsets.real(outputs[self._boxes_at][0, places]) / self._coding).T
        anchors = self._anchors[places]
        centred: Reals = np.stack((x * anchors[:, 2] + anchors[:, 0], y * anchors[:, 3] + anchors[:, 1],
                            np.exp(np.minimum(width, LARGEST_EXPONENT)) * anchors[:, 2],
                            np.exp(np.minimum(height, LARGEST_EXPONENT)) * anchors[:, 3]), axis=1)
        return corners(centred)


def generated(shape: InputShape) -> Reals:
    """Return RetinaNet's anchors: rows of cx, cy, width, height in 0-1, ordered by level, row, column, scale, ratio."""
    return np.concatenate([_level(shape, 2.0**level) for level in LEVELS])


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
    """Return where boxes and scores stand among the outputs."""
    shapes = [spec.shape for spec in model.outputs]
    if len(shapes) != 2 or not all(map(_is_rows, model.outputs)) or shapes[0][1] != shapes[1][1] or (
            4 not in {shapes[0][2], shapes[1][2]}):
        raise ModelUnsupported("expected two outputs, boxes (1, anchors, 4) and scores (1, anchors, classes)")
    # Four classes look like boxes as well: then the tensor of probabilities holds the scores.
    scores_first = shapes[1][2] == 4 and (shapes[0][2] != 4 or probability(model, model.outputs[0]))
    return (1, 0) if scores_first else (0, 1)


def _is_rows(spec: TensorSpec) -> bool:
    return len(spec.shape) == 3 and spec.shape[0] == 1 and spec.shape[2] >= 2


def _stated(model: ModelFile) -> tuple[Reals, Reals] | None:
    """Return anchors and the scales y, x, height, width of their coding from DETECTOR_METADATA; None without it."""
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
        raise ModelUnsupported(f"{model.path}: {METADATA} names no anchors or no scales; expected both")
    return anchors, np.array(scales)


def _anchor_rows(root: Table) -> Iterator[tuple[float, ...]]:
    schema = (options := root.table(1)) and options.table(0)
    for anchor in schema.tables(0) if schema else ():
        yield tuple(anchor.real(slot) for slot in range(4))
