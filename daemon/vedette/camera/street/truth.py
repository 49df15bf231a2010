"""The truth of a frame of the synthetic camera, found by its capture time or its number.

Invariants: for evaluation only, in another process than the source; what the source shows under a misbehaviour is what
the truth is of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vedette.camera.street.faults import moved_truth
from vedette.camera.street.options import parse_synthetic
from vedette.camera.street.scene import Scene

if TYPE_CHECKING:
    from vedette.camera.street.scene import TruthBox


class SyntheticTruth:
    """What is to be seen in the frames of a synthetic source. For evaluation, in another process than the source."""

    def __init__(self, source: str, width: int, height: int, fps: float) -> None:
        self._told = parse_synthetic(source)
        self._rate = fps
        self._scene = Scene(self._told.seed, width, height, fps, hard=self._told.hard)
        self._picture = np.empty((height, width, 3), np.uint8)

    def captured(self, captured_ns: int) -> tuple[TruthBox, ...]:
        """Return the truth of a live frame by its capture time."""
        return self.numbered(round(captured_ns * self._rate / 1e9))

    def numbered(self, number: int) -> tuple[TruthBox, ...]:
        """Return the truth of a frame by its number: with every frame wanted, the first (seq 1) has number 0."""
        fault = self._told.fault_at(number, self._rate)
        if fault and fault.kind in {"dark", "garbage", "cover"}:
            return ()
        truth = self._scene.render(self._told.shown(number, self._rate), self._picture)
        return moved_truth(truth) if fault and fault.kind == "move" else truth
