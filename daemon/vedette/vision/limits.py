"""What counts as a detection: score thresholds, and the labels that are wanted or not.

Invariants: frozen, so that one assignment gives a detector new limits between two frames. Placeholder labels (`???`,
`background`) are never detected. Class ids beyond the labels have the general threshold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PLACEHOLDERS = frozenset({"???", "background", "", "Background", "BACKGROUND", "__background__", "_background_", "N/A",
                          "unlabeled"})
NEVER = float("inf")
CANDIDATES_PER_DETECTION = 4
"""NMS gets this many candidates for each wanted detection, so that a frame full of equal scores stays cheap."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Thresholds (0-1), most detections per frame, thresholds of single labels, allowed and denied labels."""

    score_threshold: float
    iou_threshold: float
    max_detections: int
    labels: Mapping[str, float]
    allow: frozenset[str]
    deny: frozenset[str]

    @property
    def max_candidates(self) -> int:
        """Most candidates of a frame, best first."""
        return CANDIDATES_PER_DETECTION * self.max_detections

    def threshold_of(self, label: str) -> float:
        """Return the score that a label must reach; `NEVER` for a label that is not wanted."""
        if label in PLACEHOLDERS or label in self.deny or (self.allow and label not in self.allow):
            return NEVER
        return self.labels.get(label, self.score_threshold)

    def thresholds(self, labels: tuple[str, ...]) -> NDArray[np.float64]:
        """Return the threshold of each class id; the last entry is for all ids beyond the labels."""
        beyond = NEVER if self.allow else self.score_threshold
        return np.array([*map(self.threshold_of, labels), beyond], dtype=np.float64)
