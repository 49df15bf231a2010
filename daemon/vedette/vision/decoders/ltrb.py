"""Decodes the box model's head: for each stride, class logits and the distances to the four sides of a box.

Invariants: those of `base`. Outputs come in pairs (1, rows, columns, classes) and (1, rows, columns, 4), in any order
of strides. The unit of a distance is the stride, measured from the centre of the cell. All logits share one scale and
zero point, so that one integer is the threshold of all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vedette.errors import ModelUnsupported
from vedette.tflite.file import ModelFile
from vedette.tflite.tensors import TensorSpec
from vedette.vision.decoders.base import (
    Array,
    DecodeLimits,
    Decoder,
    Quantization,
    Reals,
    make_candidates,
    require_finite,
    select_best,
)
from vedette.vision.decoders.plausible import full_doubt
from vedette.vision.geometry import InputShape
from vedette.vision.nms import Candidate

SMALLEST_CELL = 4
"""Pixels of a side. The finest stride of any head; a finer one would only take memory."""
_BACKWARDS = -1.0       # a side of a box may lie on the other side of the centre of its cell, but not far
_SIDES_MAX = 2          # a distance is at most so many times as long as the map


class Ltrb(Decoder):
    """Anchor-free: every cell gives its best class and the left, top, right and bottom of that object."""

    def __init__(self, model: ModelFile, shape: InputShape) -> None:
        logits, self._distances = model.outputs[::2], model.outputs[1::2]
        if not _paired(logits, self._distances):
            raise ModelUnsupported("expected pairs of outputs: logits (1, rows, columns, classes) of one scale, and "
                                   f"distances (1, rows, columns, 4); rows and columns must divide an input of {shape}")
        super().__init__(logits[0], classes=logits[0].shape[3], logits=True)
        levels = [_level(spec, shape) for spec in self._distances]
        self._centres, self._steps, self._zeros = (np.concatenate(parts) for parts in zip(*levels, strict=True))

    def doubt(self, outputs: Sequence[Array] | None) -> str | None:
        """Return why these are hardly logits and distances in strides: scores instead, pixels, or other offsets."""
        if outputs is None:
            return None
        logits = [self._scores.dequantize(level) for level in outputs[::2]]
        if min(level.min() for level in logits) >= 0:
            return "no class logit below 0"
        best = np.concatenate([level.max(axis=3).ravel() for level in logits])
        return full_doubt(1.0 / (1.0 + np.exp(-best))) or next(filter(None, map(
            _distances_doubt, outputs[1::2], self._distances)), None)

    def decode(self, outputs: Sequence[Array], limits: DecodeLimits) -> list[Candidate]:
        """Apply the threshold to the best class of every cell of every stride, then decode the cells that pass."""
        votes = np.concatenate([level.reshape(-1, level.shape[3]) for level in outputs[::2]])
        best = np.maximum.reduce(votes, axis=1)
        hits = self._reaching(best, limits)
        if not hits.size:
            return []
        class_ids = votes[hits].argmax(axis=1)
        scores = 1.0 / (1.0 + np.exp(-self._scores.dequantize(best[hits])))
        chosen = select_best(scores, class_ids, limits)
        return make_candidates(self._boxes(outputs, hits[chosen]), scores[chosen], class_ids[chosen])

    def _boxes(self, outputs: Sequence[Array], cells: Array) -> Reals:
        raw = np.concatenate([level.reshape(-1, 4) for level in outputs[1::2]])[cells].astype(np.float64)
        require_finite(raw, self._distances[0])
        reach = (raw - self._zeros[cells]) * self._steps[cells]
        boxes: Reals = np.hstack((self._centres[cells] - reach[:, :2], self._centres[cells] + reach[:, 2:]))
        return boxes


def _distances_doubt(raw: Array, spec: TensorSpec) -> str | None:
    reach, longest = Quantization(spec).dequantize(raw), _SIDES_MAX * max(spec.shape[1:3])
    if reach.min() < _BACKWARDS or reach.max() > longest:
        return f"distances from {reach.min():.3g} to {reach.max():.3g}; expected {_BACKWARDS} to {longest} strides"
    return None


def _paired(logits: Sequence[TensorSpec], distances: Sequence[TensorSpec]) -> bool:
    first = logits[0] if logits else None
    return first is not None and len(logits) == len(distances) and all(
        len(votes.shape) == 4 and votes.shape[0] == 1 and min(votes.shape) > 0 and box.shape == (*votes.shape[:3], 4)
        and (votes.shape[3], votes.scale, votes.zero_point) == (first.shape[3], first.scale, first.zero_point)
        for votes, box in zip(logits, distances, strict=True))


def _level(spec: TensorSpec, shape: InputShape) -> tuple[Reals, Reals, Reals]:
    """Return for each cell its centre (x, y), the length of one raw unit of its four distances, and the raw zero.

    Centres and lengths are in 0-1 of the input.
    """
    _, rows, columns, _ = spec.shape
    if shape.height % rows or shape.width % columns:
        raise ModelUnsupported(f"output {spec}: its rows and columns do not divide an input of {shape}")
    if rows * columns * SMALLEST_CELL**2 > shape.height * shape.width:
        raise ModelUnsupported(f"output {spec}: a cell for less than {SMALLEST_CELL}x{SMALLEST_CELL} pixels")
    x, y = np.meshgrid((np.arange(columns) + 0.5) / columns, (np.arange(rows) + 0.5) / rows)
    centres = np.stack((x, y), axis=-1).reshape(-1, 2)
    step = (spec.scale or 1.0) / np.array((columns, rows, columns, rows), np.float64)
    count = rows * columns
    return centres, np.tile(step, (count, 1)), np.full((count, 1), float(spec.zero_point))
