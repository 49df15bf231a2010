"""How far two lists of detections of one frame agree: pairs of one label that lie over each other, and what is left.

Invariants: pure; each detection is in one pair at most, and the pairs that overlap most are made first; nothing is
judged here, only matched and counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from vedette.types import Detection
from vedette.vision.geometry import iou

SAME_THING_IOU = 0.5
"""Boxes of one label that overlap at least so much stand for one thing."""


@dataclass(frozen=True, slots=True)
class Pair:
    """What one side and the other say of the same thing."""

    one: Detection
    other: Detection
    iou: float

    @property
    def score_shift(self) -> float:
        """How much higher the other side's score is."""
        return (self.other.score or 0.0) - (self.one.score or 0.0)


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of one frame or, added up, of many: the pairs, and what only one side and only the other sees."""

    pairs: tuple[Pair, ...] = ()
    only_one: tuple[Detection, ...] = ()
    only_other: tuple[Detection, ...] = ()

    @property
    def labels(self) -> frozenset[str]:
        """Every label that either side sees."""
        seen = (*(pair.one for pair in self.pairs), *self.only_one, *self.only_other)
        return frozenset(found.label for found in seen)

    @property
    def f1(self) -> float:
        """Twice the pairs over all detections of both sides: 1 where nobody sees anything."""
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
        """0 for equal lists, more the more they differ: what no pair has counts 1, a pair by its score and overlap."""
        apart = sum(abs(pair.score_shift) + 1.0 - pair.iou for pair in self.pairs)
        return apart + len(self.only_one) + len(self.only_other)

    def of(self, label: str) -> Agreement:
        """The part that one label has in it."""
        return Agreement(tuple(pair for pair in self.pairs if pair.one.label == label),
                         tuple(found for found in self.only_one if found.label == label),
                         tuple(found for found in self.only_other if found.label == label))


def match(one: Sequence[Detection], other: Sequence[Detection]) -> Agreement:
    """Pair the detections of one frame."""
    overlaps = sorted(((iou(a.box, b.box), i, j) for i, a in enumerate(one) for j, b in enumerate(other)
                       if a.label == b.label), key=lambda entry: (-entry[0], entry[1:]))
    pairs: dict[int, tuple[int, float]] = {}
    taken: set[int] = set()
    for overlap, i, j in overlaps:
        if overlap < SAME_THING_IOU:
            break
        if i not in pairs and j not in taken:
            pairs[i] = (j, overlap)
            taken.add(j)
    return Agreement(tuple(Pair(one[i], other[j], overlap) for i, (j, overlap) in sorted(pairs.items())),
                     tuple(found for i, found in enumerate(one) if i not in pairs),
                     tuple(found for j, found in enumerate(other) if j not in taken))


def total(agreements: Iterable[Agreement]) -> Agreement:
    """Add up the frames."""
    parts = tuple(agreements)
    return Agreement(tuple(pair for part in parts for pair in part.pairs),
                     tuple(found for part in parts for found in part.only_one),
                     tuple(found for part in parts for found in part.only_other))
