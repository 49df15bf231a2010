"""Decodes YOLOX and YOLOv6: (1, cells, 5+classes), cx, cy, width, height, objectness; score = objectness * class.

Invariants: those of `base`. There is one row for each cell, the finest stride first. YOLOX often leaves the grid to its
reader: then a centre counts in strides from its cell, and a size is an exponent of e, in strides. The values of the
whole output show whether that is so. YOLOv6 has the same rows with an objectness of 1 everywhere.
Sources: yolox/utils/demo_utils.py of YOLOX; yolov6/models/effidehead.py of YOLOv6.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from vedette.errors import ModelUnsupported
from vedette.tflite.file import ModelFile
from vedette.vision.decoders.base import (
    PIXELS_ABOVE,
    Array,
    Reals,
    to_normalized,
)
from vedette.vision.decoders.plausible import USUAL_CLASSES, boxes_doubt, full_doubt, scores_doubt, votes_doubt
from vedette.vision.decoders.yolo import STRIDES, ObjectnessDecoder, cells_of, only_output
from vedette.vision.geometry import InputShape, Resize
from vedette.vision.normalization import Color, Normalization

LARGEST_EXPONENT = 10.0
_ONE = 0.02     # by how much an objectness that is always 1 may differ from it


class YoloX(ObjectnessDecoder):
    """YOLOX: bytes in the order BGR; decoded boxes are in pixels or in 0-1."""

    usual_resize: ClassVar[Resize] = "letterbox"
    usual_normalization: ClassVar[Normalization] = Normalization((0.0,), (1.0,))
    usual_color: ClassVar[Color] = "bgr"

    def __init__(self, model: ModelFile, shape: InputShape) -> None:
        self._shape = shape
        output = only_output(model)
        cells = cells_of(shape)
        if output.shape[1] not in cells or output.shape[2] <= 5:
            raise ModelUnsupported(f"expected one output (1, {cells[0]}, 5+classes) for an input of {shape}")
        super().__init__(output, classes=output.shape[2] - 5)
        self._grid = _grid(shape, STRIDES[cells.index(output.shape[1])])

    def doubt(self, outputs: Sequence[Array] | None) -> str | None:
        """Return why this is hardly the head: no objectness, no scores, or no boxes."""
        if outputs is None:
            return None
        head = self._scores.dequantize(outputs[0][0])
        spec = self._scores.spec
        if self._is_decoded(outputs[0][0]) and (wrong := boxes_doubt(head[:, :4], spec, self._shape) or (
                self._unusual(head) if self.classes != USUAL_CLASSES[0] else None)):
            return wrong
        return scores_doubt(head[:, 4:], spec) or self._objectness_doubt(head[:, 4]) or full_doubt(
            head[:, 4] * head[:, 5:].max(axis=1))

    def _unusual(self, head: Reals) -> str | None:
        """Return why decoded boxes, followed by another number of columns than COCO's, are those of another head."""
        if head.shape[1] == 4 + USUAL_CLASSES[0]:
            return f"rows of 4 + {USUAL_CLASSES[0]} columns, which have no objectness"
        if head[:, :4].max() <= PIXELS_ABOVE:
            return "boxes in 0-1; expected pixels"
        return votes_doubt(head[:, 5:])

    def _objectness_doubt(self, objectness: Reals) -> str | None:
        return "an objectness of 1 everywhere" if objectness.min() >= 1 - _ONE else None

    def _centred(self, head: Array, rows: Array) -> Reals:
        boxes = self._scores.dequantize(head[rows, :4])
        if self._is_decoded(head):
            return to_normalized(boxes, self._shape)
        strides = self._grid[rows, 2:]
        size = np.array((self._shape.width, self._shape.height), np.float64)
        centres = (boxes[:, :2] + self._grid[rows, :2]) * strides / size
        sides = np.exp(np.minimum(boxes[:, 2:], LARGEST_EXPONENT)) * strides / size
        return np.hstack((centres, sides))

    def _is_decoded(self, head: Array) -> bool:
        """Whether boxes are in pixels or 0-1.

        Boxes in pixels reach far across the input, boxes in 0-1 have no negative size. An offset of some strides has
        neither property.
        """
        columns = self._scores.dequantize(np.stack((head[:, :4].min(axis=0), head[:, :4].max(axis=0))))
        low, high = columns
        far = high[0] > self._shape.width / 4 or high[1] > self._shape.height / 4
        return bool(far or (low[2:].min() >= 0 and high.max() <= 1.5))


class YoloV6(YoloX):
    """YOLOv6: RGB in 0-1. The objectness is no score of its own."""

    usual_normalization: ClassVar[Normalization] = Normalization((0.0,), (255.0,))
    usual_color: ClassVar[Color] = "rgb"

    def _unusual(self, head: Reals) -> str | None:
        return votes_doubt(head[:, 5:])

    def _objectness_doubt(self, objectness: Reals) -> str | None:
        if np.abs(objectness - 1).max() <= _ONE + self._scores.spec.scale:
            return None
        return f"an objectness from {objectness.min():.3g} to {objectness.max():.3g}; expected 1 everywhere"


def _grid(shape: InputShape, strides: Sequence[int]) -> Reals:
    """Return for each cell its column, its row and its stride (twice: for x and y)."""
    levels = []
    for stride in strides:
        x, y = np.meshgrid(np.arange(shape.width // stride), np.arange(shape.height // stride))
        levels.append(np.stack((x, y, np.full_like(x, stride), np.full_like(x, stride)), axis=-1).reshape(-1, 4))
    return np.concatenate(levels).astype(np.float64)
