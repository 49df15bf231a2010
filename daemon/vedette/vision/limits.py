"""What counts as a detection: thresholds and lists, compiled for the classes of one model.

Invariants: frozen, so that a detector takes new limits between two frames in one assignment; placeholder labels
(`???`, `background`) are never detected; class ids beyond the labels obey the general threshold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PLACEHOLDERS = frozenset({"???", "background", ""})
NEVER = float("inf")
CANDIDATES_PER_DETECTION = 4
"""So many candidates are given to NMS for each detection wanted: a frame full of ties must stay cheap."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Thresholds (0-1), most detections of a frame, thresholds of single labels, labels wanted and unwanted."""

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
        """Return the score a label must reach, `NEVER` for one that is not wanted."""
        if label in PLACEHOLDERS or label in self.deny or (self.allow and label not in self.allow):
            return NEVER
        return self.labels.get(label, self.score_threshold)

    def thresholds(self, labels: tuple[str, ...]) -> NDArray[np.float64]:
        """Return the threshold of each class id; one more entry at the end is for every id beyond the labels."""
        beyond = NEVER if self.allow else self.score_threshold
        return np.array([*map(self.threshold_of, labels), beyond], dtype=np.float64)
