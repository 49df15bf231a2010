"""What it costs the scores when one block of a model becomes INT8.

Invariants: one calibration serves all blocks. The cost is the ratio of signal to noise against the float model on the
same pictures, in decibels: 20 dB means that the noise has a hundredth of the power of the scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vedette.vision.model_spec import build_decoder
from vedette.workshop.running import Running

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vedette.tflite.file import ModelFile
    from vedette.vision.model_spec import ModelSpec
    from vedette.workshop.layers import Block

    Reals = NDArray[np.float64]

PICTURES = 6
SILENT_DB = 99.0        # no noise at all
_BOX = 4
_NOISE_SHARE, _BYTES_SHARE, _PRODUCTS_SHARE = 0.05, 0.02, 0.1


@dataclass(frozen=True, slots=True)
class BlockCost:
    """What one block costs: the scores' signal-to-noise ratio where only this block is INT8, and its float bytes."""

    block: str
    sqnr_db: float
    bytes_float: int


class Scores:
    """The scores of the float model on some pictures, to compare others with."""

    def __init__(self, model: ModelFile, spec: ModelSpec, content: bytes,
                 pictures: Sequence[NDArray[np.float32]]) -> None:
        self._pictures = pictures
        self._classes = build_decoder(model, spec).classes or 0
        self._float = self._of(content)

    def ratio(self, content: bytes) -> float:
        """Return the signal-to-noise ratio of another form of the model, in dB, by the mean noise of its outputs."""
        noises = []
        for wanted, given in zip(self._float, self._of(content), strict=True):
            signal, noise = float(np.square(wanted).sum()), float(np.square(wanted - given).sum())
            if signal > 0.0:
                noises.append(noise / signal)
        noise = float(np.mean(noises)) if noises else 0.0
        return SILENT_DB if noise <= 0.0 else min(SILENT_DB, -10.0 * float(np.log10(noise)))

    def _of(self, content: bytes) -> list[Reals]:
        """Return the scores in each output, for all pictures."""
        running = Running(content)
        found = [[self._only_scores(output) for output in running.outputs(picture)] for picture in self._pictures]
        return [np.stack(each) for each in zip(*found, strict=True)]

    def _only_scores(self, values: Reals) -> Reals:
        """Leave out the boxes where they are in the tensor of the scores: four rows or columns before the classes."""
        if values.ndim == 3 and self._classes:
            for axis in (1, 2):
                if values.shape[axis] in {self._classes + _BOX, self._classes + _BOX + 1}:
                    return values[:, _BOX:] if axis == 1 else values[:, :, _BOX:]
        return values


def choose(costs: Sequence[BlockCost], blocks: Sequence[Block], size: int) -> tuple[Block, ...]:
    """Return the blocks that make the most noise and cost little: in bytes of a file of `size`, and calculations."""
    noises = {cost.block: 10.0 ** (-cost.sqnr_db / 10.0) for cost in costs}
    known = {block.name: block for block in blocks}
    total, products = sum(noises.values()), sum(block.products for block in blocks)
    chosen: tuple[Block, ...] = ()
    for name in sorted(noises, key=noises.__getitem__, reverse=True):
        now = (*chosen, known[name])
        affordable = (sum(each.bytes_float for each in now) * 3 / 4 <= _BYTES_SHARE * size
                      and sum(each.products for each in now) <= _PRODUCTS_SHARE * products)
        if noises[name] >= _NOISE_SHARE * total and affordable:
            chosen = now
    return chosen
