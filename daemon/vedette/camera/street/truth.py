"""The truth of a frame of the synthetic camera, by its capture time or by its number.

Invariants: this is for evaluation only, and runs in another process than the source. Under a misbehaviour, the truth is
that of the picture that is shown.
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
    """The things that can be seen in the frames of a synthetic source."""

    def __init__(self, source: str, width: int, height: int, fps: float) -> None:
        self._options = parse_synthetic(source)
        self._rate = fps
        self._scene = Scene(self._options.seed, width, height, fps, hard=self._options.hard,
                            quiet=self._options.quiet, hour=self._options.hour)
        self._picture = np.empty((height, width, 3), np.uint8)

    def captured(self, captured_ns: int) -> tuple[TruthBox, ...]:
        """Return the truth of a live frame by its capture time."""
        return self.numbered(round(captured_ns * self._rate / 1e9))

    def numbered(self, number: int) -> tuple[TruthBox, ...]:
        """Return the truth of a frame by its number. With `every_frame`, the first frame (seq 1) has number 0."""
        fault = self._options.fault_at(number, self._rate)
        if fault and fault.kind in {"dark", "garbage", "cover"}:
            return ()
        truth = self._scene.render(self._options.shown_number(number, self._rate), self._picture)
        return moved_truth(truth) if fault and fault.kind == "move" else truth
