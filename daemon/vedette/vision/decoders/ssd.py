"""Decodes SSD models whose graph ends in TFLite_Detection_PostProcess (exports of TF1 and TF2).

Invariants: the operation itself shows which output is which, in any order of the graph's outputs. Rows beyond the count
are never read: they are uninitialised memory (1e34 was seen). Boxes are ymin, xmin, ymax, xmax in 0-1.
Source: tensorflow/lite/kernels/detection_postprocess.cc.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from operator import attrgetter
from typing import ClassVar

from vedette.errors import ModelUnsupported, OutputInvalid
from vedette.tflite.file import DETECTION_POSTPROCESS, ModelFile
from vedette.types import Box
from vedette.vision.decoders.base import Array, DecodeLimits, Decoder
from vedette.vision.geometry import InputShape
from vedette.vision.nms import Candidate
from vedette.vision.normalization import MINUS_ONE_TO_ONE, Normalization


class Ssd(Decoder):
    """The operation has decoded the boxes and suppressed overlaps: this only reads its rows."""

    suppressed: ClassVar[bool] = True
    usual_normalization: ClassVar[Normalization] = MINUS_ONE_TO_ONE

    def __init__(self, model: ModelFile, _shape: InputShape) -> None:
        self._boxes, self._class_ids, self._score_rows, self._count = _positions(model)
        super().__init__(model.outputs[self._score_rows], classes=None)
        self.labels_needed = _classes_scored(model)

    def decode(self, outputs: Sequence[Array], limits: DecodeLimits) -> list[Candidate]:
        """Read as many rows as the operation states."""
        rows = self._rows(outputs)
        boxes = outputs[self._boxes][0, :rows].tolist()
        scores = outputs[self._score_rows][0, :rows].tolist()
        class_ids = outputs[self._class_ids][0, :rows].tolist()
        found, last = [], len(limits.thresholds) - 1
        for score, class_id, (ymin, xmin, ymax, xmax) in zip(scores, class_ids, boxes, strict=True):
            if score < limits.raw_threshold:
                continue
            if not (isfinite(score) and isfinite(ymin + xmin + ymax + xmax) and 0 <= class_id < 1e6):
                raise OutputInvalid(f"SSD row with score {score}, class {class_id}, box {ymin, xmin, ymax, xmax}; "
                                    "expected finite values and a class of 0 or more")
            if score >= limits.thresholds[min(int(class_id), last)]:
                found.append(Candidate(min(score, 1.0), int(class_id), Box(xmin, ymin, xmax, ymax)))
        found.sort(key=attrgetter("score"), reverse=True)
        return found[:limits.max_candidates]

    def _rows(self, outputs: Sequence[Array]) -> int:
        most = outputs[self._score_rows].shape[1]
        count = float(outputs[self._count].flat[0])
        if not (0 <= count <= most):
            raise OutputInvalid(f"SSD states {count} detections; expected 0 to {most}")
        return int(count)


def _classes_scored(model: ModelFile) -> int | None:
    """Return how many classes the operation knows: its second input has a column for each and for the background."""
    op = next(op for op in model.ops if op.name == DETECTION_POSTPROCESS)
    shapes = {spec.index: spec.shape for spec in model.tensors}
    shape = shapes.get(op.inputs[1], ()) if len(op.inputs) > 1 else ()
    return shape[-1] - 1 if len(shape) == 3 else None


def _positions(model: ModelFile) -> tuple[int, int, int, int]:
    """Return the positions of boxes, classes, scores and count in the model's outputs."""
    op = next((op for op in model.ops if op.name == DETECTION_POSTPROCESS), None)
    if op is None:
        raise ModelUnsupported(f"the graph has no {DETECTION_POSTPROCESS} operation")
    places = {spec.index: place for place, spec in enumerate(model.outputs)}
    if len(op.outputs) != 4 or not places.keys() >= set(op.outputs):
        raise ModelUnsupported(f"the four tensors of {DETECTION_POSTPROCESS} are not all outputs of the model")
    boxes, class_ids, scores, count = (places[index] for index in op.outputs)
    return boxes, class_ids, scores, count
