"""Compares two lists of detections of one frame: overlapping pairs with the same label, and detections without a pair.

Invariants: pure. Each detection is in at most one pair, and the pairs that overlap most are made first. This only
matches and counts; it does not decide what is good enough.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from vedette.types import Detection
from vedette.vision.geometry import iou

SAME_OBJECT_IOU = 0.5
"""Two boxes of one label that overlap at least this much show the same object."""


@dataclass(frozen=True, slots=True)
class Pair:
    """The detections of both sides of the same object."""

    one: Detection
    other: Detection
    iou: float

    @property
    def score_shift(self) -> float:
        """How much higher the other side's score is."""
        return (self.other.score or 0.0) - (self.one.score or 0.0)

    @property
    def score_difference(self) -> float:
        """How far the two scores are apart."""
        return abs(self.score_shift)


@dataclass(frozen=True, slots=True)
class Agreement:
    """The pairs, and what only one side or only the other detected; of one frame, or the sum of several."""

    pairs: tuple[Pair, ...] = ()
    only_one: tuple[Detection, ...] = ()
    only_other: tuple[Detection, ...] = ()

    @property
    def labels(self) -> frozenset[str]:
        """Every label that either side detected."""
        detections = (*(pair.one for pair in self.pairs), *self.only_one, *self.only_other)
        return frozenset(found.label for found in detections)

    @property
    def f1(self) -> float:
        """Twice the pairs, divided by all detections of both sides; 1 if there are none."""
        detections = 2 * len(self.pairs) + len(self.only_one) + len(self.only_other)
        return 2 * len(self.pairs) / detections if detections else 1.0

    @property
    def score_shift(self) -> float | None:
        """The mean of the pairs' score shifts."""
        return fmean(pair.score_shift for pair in self.pairs) if self.pairs else None

    @property
    def mean_iou(self) -> float | None:
        """The mean overlap of the pairs."""
        return fmean(pair.iou for pair in self.pairs) if self.pairs else None

    @property
    def distance(self) -> float:
        """How much the lists differ; 0 if they are equal.

        A detection without a pair counts 1, a pair counts its difference in score plus 1 minus its overlap.
        """
        apart = sum(pair.score_difference + 1.0 - pair.iou for pair in self.pairs)
        return apart + len(self.only_one) + len(self.only_other)

    def for_label(self, label: str) -> Agreement:
        """Return the part of one label."""
        return Agreement(tuple(pair for pair in self.pairs if pair.one.label == label),
                         tuple(found for found in self.only_one if found.label == label),
                         tuple(found for found in self.only_other if found.label == label))


def match(one: Sequence[Detection], other: Sequence[Detection]) -> Agreement:
    """Pair the detections of one frame."""
    # Negated, so that the largest overlap comes first, and equal overlaps in the order of the lists.
    overlaps = sorted((-iou(a.box, b.box), i, j) for i, a in enumerate(one) for j, b in enumerate(other)
                      if a.label == b.label)
    pairs: dict[int, tuple[int, float]] = {}
    taken: set[int] = set()
    for negated, i, j in overlaps:
        if -negated < SAME_OBJECT_IOU:
            break
        if i not in pairs and j not in taken:
            pairs[i] = (j, -negated)
            taken.add(j)
    return Agreement(tuple(Pair(one[i], other[j], overlap) for i, (j, overlap) in sorted(pairs.items())),
                     tuple(found for i, found in enumerate(one) if i not in pairs),
                     tuple(found for j, found in enumerate(other) if j not in taken))


def total(agreements: Iterable[Agreement]) -> Agreement:
    """Return the sum of the agreements of several frames."""
    parts = tuple(agreements)
    return Agreement(tuple(pair for part in parts for pair in part.pairs),
                     tuple(found for part in parts for found in part.only_one),
                     tuple(found for part in parts for found in part.only_other))
