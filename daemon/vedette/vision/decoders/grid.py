"""Decodes models without boxes: FOMO's heat map of centroids, and classifiers of the whole frame.

Invariants: those of `base`. Class id 0 is the background of FOMO, and of a classifier with 1001 classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import ClassVar

import numpy as np

from vedette.errors import ModelUnsupported
from vedette.tflite.file import ModelFile
from vedette.tflite.tensors import TensorSpec
from vedette.types import WHOLE, Box
from vedette.vision.decoders.base import (
    Array,
    DecodeLimits,
    Decoder,
    Quantization,
    Reals,
    make_candidates,
    select_best,
)
from vedette.vision.decoders.maker import is_probability, maker_of
from vedette.vision.geometry import InputShape
from vedette.vision.nms import Candidate
from vedette.vision.normalization import MINUS_ONE_TO_ONE, Normalization

Cell = tuple[int, int]      # row, column
FACTORS = (8, 16)
"""Pixels of a cell's side, as Edge Impulse cuts its backbones."""
CROWDED_SHARE = 0.5
_ROUNDING = 0.05


class Fomo(Decoder):
    """(1, rows, columns, classes): cells of one class that touch are one object; its box encloses them."""

    suppressed: ClassVar[bool] = True
    background: ClassVar[bool] = True

    def __init__(self, model: ModelFile, shape: InputShape) -> None:
        if len(model.outputs) != 1 or not _is_heat_map(model.outputs[0], shape):
            raise ModelUnsupported("expected one output (1, height/8, width/8, classes with background)")
        output = model.outputs[0]
        super().__init__(output, classes=output.shape[3])
        self._factor = shape.height / output.shape[1]
        self._maker = maker_of(model, output)

    def doubt(self, outputs: Sequence[Array] | None) -> str | None:
        """Return why this is hardly FOMO: the size of its cells, or values that are no distribution over channels."""
        if self._factor not in FACTORS:
            return f"cells of {self._factor:g} pixels; expected {' or '.join(map(str, FACTORS))}"
        if outputs is None:
            return None
        cells = self._scores.dequantize(outputs[0][0]).reshape(-1, outputs[0].shape[3])
        if self._maker != "SOFTMAX" and not is_distribution(cells, self._scores):
            return "the channels of a cell are no distribution (they do not add up to 1)"
        if (cells[:, 0] < 0.5).mean() > CROWDED_SHARE:
            return "more than half of a drawn picture is not the background"
        return None

    def decode(self, outputs: Sequence[Array], limits: DecodeLimits) -> list[Candidate]:
        """Apply the threshold to the best class of every cell, then join the cells that pass."""
        heat = outputs[0][0, :, :, 1:]
        best = np.maximum.reduce(heat, axis=2)
        rows, columns = np.divmod(self._reaching(best.reshape(-1), limits), best.shape[1])
        if not rows.size:
            return []
        class_ids = heat[rows, columns].argmax(axis=1) + 1
        scores = self._scores.dequantize(best[rows, columns])
        objects: dict[int, dict[Cell, float]] = {}
        for place in select_best(scores, class_ids, limits).tolist():
            cell = int(rows[place]), int(columns[place])
            objects.setdefault(int(class_ids[place]), {})[cell] = float(scores[place])
        return sorted((Candidate(min(score, 1.0), class_id, _around(group, *best.shape))
                       for class_id, cells in objects.items() for score, group in _join(cells)),
                      key=attrgetter("score"), reverse=True)


class Classifier(Decoder):
    """(1, classes): every class that reaches its threshold is a detection of the whole frame."""

    suppressed: ClassVar[bool] = True
    usual_normalization: ClassVar[Normalization] = MINUS_ONE_TO_ONE
    labels_settle: ClassVar[bool] = True

    def __init__(self, model: ModelFile, _shape: InputShape) -> None:
        shapes = [spec.shape for spec in model.outputs]
        if len(shapes) != 1 or len(shapes[0]) != 2 or shapes[0][0] != 1 or shapes[0][1] < 2:
            raise ModelUnsupported("expected one output (1, classes) of two classes or more")
        output = model.outputs[0]
        super().__init__(output, classes=output.shape[1], logits=not is_probability(model, output))
        self._maker = maker_of(model, output)

    def doubt(self, outputs: Sequence[Array] | None) -> str | None:
        """Return why this is hardly a classifier: a vector of numbers that are no distribution."""
        if outputs is None or self._maker == "SOFTMAX":
            return None
        row = self._scores.dequantize(outputs[0])
        return None if is_distribution(row, self._scores) else (
            f"its {self.classes} numbers are no distribution (they do not add up to 1), and no list has a label for "
            "each")

    def decode(self, outputs: Sequence[Array], limits: DecodeLimits) -> list[Candidate]:
        """Convert every output value to a score, since a softmax needs all of them.

        Shares that already add up to 1 stay as they are, whatever operation made them.
        """
        scores = self._scores.dequantize(outputs[0][0])
        if self._logits and not is_distribution(scores[None], self._scores):
            scores = np.exp(scores - scores.max())
            scores /= scores.sum()
        class_ids = np.arange(scores.size)
        chosen = select_best(scores, class_ids, limits)
        return make_candidates(np.tile(np.array(WHOLE), (chosen.size, 1)), scores[chosen], class_ids[chosen])


def is_distribution(rows: Reals, quantization: Quantization) -> bool:
    """Whether each row holds shares of 1."""
    rounding = _ROUNDING + quantization.spec.scale * rows.shape[1] / 2
    return bool(rows.min() >= -_ROUNDING and np.abs(rows.sum(axis=1) - 1).max() <= rounding)


def _is_heat_map(output: TensorSpec, shape: InputShape) -> bool:
    if len(output.shape) != 4 or output.shape[0] != 1 or min(output.shape) < 1 or output.shape[3] < 2:
        return False
    rows, columns = output.shape[1:3]
    pixels = shape.height // rows
    return pixels > 1 and (rows * pixels, columns * pixels) == (shape.height, shape.width)


def _join(cells: dict[Cell, float]) -> list[tuple[float, list[Cell]]]:
    """Group cells that touch, also at a corner; returns the best score and the cells of each group."""
    groups = []
    waiting = dict(cells)
    while waiting:
        start = next(iter(waiting))
        best, group, edge = waiting.pop(start), [start], [start]
        while edge:
            row, column = edge.pop()
            for near in [(row + down, column + right) for down in (-1, 0, 1) for right in (-1, 0, 1)]:
                if near in waiting:
                    best = max(best, waiting.pop(near))
                    group.append(near)
                    edge.append(near)
        groups.append((best, group))
    return groups


def _around(group: list[Cell], rows: int, columns: int) -> Box:
    ys, xs = [cell[0] for cell in group], [cell[1] for cell in group]
    return Box(min(xs) / columns, min(ys) / rows, (max(xs) + 1) / columns, (max(ys) + 1) / rows)
