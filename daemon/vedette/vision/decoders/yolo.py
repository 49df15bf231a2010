"""Decodes the YOLO heads: v5 with objectness, v8 and 11 without, and end-to-end exports that need no NMS.

Invariants: those of `base`. Each cell gives its best class only, as in Ultralytics' `predict`. A raw head is recognized
by its number of cells, which follows from the input size and the strides.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from vedette.errors import ModelUnsupported
from vedette.tflite.file import ModelFile
from vedette.tflite.tensors import TensorSpec
from vedette.vision.decoders.base import (
    Array,
    DecodeLimits,
    Decoder,
    Reals,
    corners,
    make_candidates,
    select_best,
    to_normalized,
)
from vedette.vision.decoders.plausible import (
    USUAL_CLASSES,
    boxes_doubt,
    extras_of,
    full_doubt,
    scores_doubt,
    votes_doubt,
)
from vedette.vision.geometry import InputShape, Resize
from vedette.vision.nms import Candidate

STRIDES = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (16, 32))     # the usual head, P6, P2, tiny ones
ANCHORS_PER_CELL = 3                                          # YOLOv5
END_TO_END_ROWS_MAX = 1000
CLASS_ID_MAX = 1_000_000
CERTAIN = 0.98                                                # a score in every cell that is no score
_WHOLE = 1e-3                                                 # by how much a class id may differ from an integer
_SLACK = 0.01                                                 # by how much corners may change places
_FEW = 0.05
_ROWS_TO_JUDGE = 50


class YoloV8(Decoder):
    """YOLOv8, 11 and similar: (1, 4+classes, cells) or (1, cells, 4+classes), cx, cy, width, height."""

    usual_resize: ClassVar[Resize] = "letterbox"
    labels_settle: ClassVar[bool] = True
    rest_are_classes: ClassVar[bool] = True

    def __init__(self, model: ModelFile, shape: InputShape) -> None:
        self._shape = shape
        output = only_output(model)
        cells = cells_of(shape)
        if not set(output.shape[1:]) & set(cells) or min(output.shape[1:]) <= 4:
            raise ModelUnsupported(f"expected one output (1, 4+classes, {cells[0]}) for an input of {shape}")
        # Where both axes could be cells, the more usual strides decide.
        self._cells_first = next(output.shape[1] == count for count in cells if count in output.shape[1:])
        super().__init__(output, classes=output.shape[2 if self._cells_first else 1] - 4)

    def doubt(self, outputs: Sequence[Array] | None) -> str | None:
        """Return why this is hardly the head: channels that are no scores, or boxes that are none."""
        if outputs is None:
            return None
        head = self._scores.dequantize(outputs[0][0])
        rows = head if self._cells_first else head.T
        wrong = self._rows_doubt(rows)
        extras = extras_of(rows.shape[1], 0)
        return f"{wrong} ({extras})" if wrong and extras else wrong

    def _rows_doubt(self, rows: Reals) -> str | None:
        votes, spec = rows[:, 4:], self._scores.spec
        if votes.shape[1] > 1 and votes[:, 0].min() >= CERTAIN:
            return "a score of 1 in every cell, which is the objectness of YOLOv6"
        wrong = scores_doubt(votes, spec) or boxes_doubt(rows[:, :4], spec, self._shape) or full_doubt(
            votes.max(axis=1))
        if wrong is None and self._cells_first and rows.shape[1] - 5 == USUAL_CLASSES[0]:
            return "rows of 5 + 80 columns, which are those of YOLOX and YOLOv6"
        return wrong

    def decode(self, outputs: Sequence[Array], limits: DecodeLimits) -> list[Candidate]:
        """Apply the threshold to the best class of every cell, then decode the cells that pass."""
        head = outputs[0][0].T if self._cells_first else outputs[0][0]
        best = np.maximum.reduce(head[4:], axis=0)
        hits = self._reaching(best, limits)
        if not hits.size:
            return []
        class_ids = head[4:, hits].argmax(axis=0)
        scores = self._scores.dequantize(best[hits])
        chosen = select_best(scores, class_ids, limits)
        centred = self._scores.dequantize(head[:4, hits[chosen]].T)
        return make_candidates(corners(to_normalized(centred, self._shape)), scores[chosen], class_ids[chosen])


class ObjectnessDecoder(Decoder):
    """Rows of cx, cy, width, height, objectness and class scores; score = objectness * class."""

    def decode(self, outputs: Sequence[Array], limits: DecodeLimits) -> list[Candidate]:
        """Apply the threshold to the objectness, which no score exceeds, then decode the rows that pass."""
        head = outputs[0][0]
        hits = self._reaching(head[:, 4], limits)
        if not hits.size:
            return []
        votes = head[hits, 5:]
        class_ids = votes.argmax(axis=1)
        best = np.take_along_axis(votes, class_ids[:, None], axis=1)[:, 0]
        # With one scale for pixels and scores a class score can reach 1.2. It is cut: no product may exceed objectness.
        scores = self._scores.dequantize(head[hits, 4]) * np.minimum(self._scores.dequantize(best), 1.0)
        chosen = select_best(scores, class_ids, limits)
        return make_candidates(corners(self._centred(head, hits[chosen])), scores[chosen], class_ids[chosen])

    @abstractmethod
    def _centred(self, head: Array, rows: Array) -> Reals:
        """Return cx, cy, width, height of some rows, in 0-1."""


class YoloV5(ObjectnessDecoder):
    """YOLOv5: (1, 3*cells, 5+classes), cx, cy, width, height, objectness; score = objectness * class."""

    usual_resize: ClassVar[Resize] = "letterbox"
    labels_settle: ClassVar[bool] = True
    rest_are_classes: ClassVar[bool] = True

    def __init__(self, model: ModelFile, shape: InputShape) -> None:
        self._shape = shape
        output = only_output(model)
        rows = [ANCHORS_PER_CELL * cells for cells in cells_of(shape)]
        if output.shape[1] not in rows or output.shape[2] <= 5:
            raise ModelUnsupported(f"expected one output (1, {rows[0]}, 5+classes) for an input of {shape}")
        super().__init__(output, classes=output.shape[2] - 5)

    def doubt(self, outputs: Sequence[Array] | None) -> str | None:
        """Return why this is hardly the head: columns that are no scores, or boxes that are none."""
        if outputs is None:
            return None
        spec = self._scores.spec
        rows = self._scores.dequantize(outputs[0][0])
        if wrong := votes_doubt(rows[:, 5:]):
            extras = extras_of(rows.shape[1] - 1, 0)
            return f"{wrong} (besides the objectness, {extras})" if extras else wrong
        return scores_doubt(rows[:, 4:], spec) or boxes_doubt(rows[:, :4], spec, self._shape) or full_doubt(
            rows[:, 4] * rows[:, 5:].max(axis=1))

    def _centred(self, head: Array, rows: Array) -> Reals:
        return to_normalized(self._scores.dequantize(head[rows, :4]), self._shape)


class YoloEndToEnd(Decoder):
    """YOLOv10 and 26: (1, 300, 6), xmin, ymin, xmax, ymax, score, class; coordinates in 0-1 or pixels."""

    suppressed: ClassVar[bool] = True
    usual_resize: ClassVar[Resize] = "letterbox"

    def __init__(self, model: ModelFile, shape: InputShape) -> None:
        self._shape = shape
        output = only_output(model)
        if output.shape[2] != 6 or not 0 < output.shape[1] <= END_TO_END_ROWS_MAX:
            raise ModelUnsupported(f"expected one output (1, rows, 6) of 1 to {END_TO_END_ROWS_MAX} rows")
        super().__init__(output, classes=None)

    def doubt(self, outputs: Sequence[Array] | None) -> str | None:
        """Return why these are hardly detections: columns that are no scores, no class ids, or no corners."""
        if outputs is None:
            return None
        spec = self._scores.spec
        rows = self._scores.dequantize(outputs[0][0])
        class_ids = rows[:, 5]
        whole = np.abs(class_ids - np.rint(class_ids)).max() <= _WHOLE + spec.scale and class_ids.min() >= -_WHOLE
        if not whole:
            return "a sixth column that is no class id"
        if (rows[:, 2:4] < rows[:, :2] - _SLACK - spec.scale).any(axis=1).mean() > _FEW:
            return "boxes whose right or bottom lies before their left or top"
        return scores_doubt(rows[:, 4:5], spec) or (
            full_doubt(rows[:, 4]) if len(rows) > _ROWS_TO_JUDGE else None)

    def decode(self, outputs: Sequence[Array], limits: DecodeLimits) -> list[Candidate]:
        """Take the rows that reach their threshold."""
        rows = outputs[0][0]
        hits = self._reaching(rows[:, 4], limits)
        if not hits.size:
            return []
        real = self._scores.dequantize(rows[hits])
        class_ids = np.rint(real[:, 5]).clip(0, CLASS_ID_MAX).astype(np.intp)
        chosen = select_best(real[:, 4], class_ids, limits)
        return make_candidates(to_normalized(real[chosen, :4], self._shape), real[chosen, 4], class_ids[chosen])


def only_output(model: ModelFile) -> TensorSpec:
    """Return the one output, of three axes. Raises: ModelUnsupported."""
    if len(model.outputs) != 1 or len(model.outputs[0].shape) != 3 or model.outputs[0].shape[0] != 1:
        raise ModelUnsupported("expected one output with three axes, the first of length 1")
    return model.outputs[0]


def cells_of(shape: InputShape) -> list[int]:
    """Return how many cells an input has with each set of strides."""
    return [sum((shape.width // stride) * (shape.height // stride) for stride in strides) for strides in STRIDES]
