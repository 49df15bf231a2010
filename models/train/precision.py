"""COCO's average precision, in numpy.

Invariants: the result is that of pycocotools, and a test compares the two. Detections come best first. Each truth box
is matched once, by the best free detection. Precision is made non-increasing and read at 101 recalls. A class without
truth is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vedette.types import Box

    Reals = NDArray[np.float64]

IOUS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)


class Scored(NamedTuple):
    """One detection."""

    class_id: int
    score: float
    box: Box


class Labelled(NamedTuple):
    """One thing in the scene."""

    class_id: int
    box: Box


@dataclass(frozen=True, slots=True)
class Precision:
    """Average precision over IoU 0.5-0.95, at 0.5, and the latter of each class (None: not in these scenes)."""

    ap: float
    ap50: float
    ap50_of_class: tuple[float | None, ...]


def precision_of(found: Sequence[Sequence[Scored]], truth: Sequence[Sequence[Labelled]], classes: int) -> Precision:
    """Compare the detections of each scene with the truth."""
    rows = [_of_class(found, truth, class_id) for class_id in range(classes)]
    known = np.array([row for row in rows if row is not None])
    return Precision(float(known.mean()), float(known[:, 0].mean()),
                     tuple(None if row is None else float(row[0]) for row in rows))


def _of_class(found: Sequence[Sequence[Scored]], truth: Sequence[Sequence[Labelled]], class_id: int) -> Reals | None:
    """Return the average precision of one class at each of IOUS."""
    scores, hits, things = [], [], 0
    for seen, there in zip(found, truth, strict=True):
        ours = sorted((each for each in seen if each.class_id == class_id), key=lambda each: -each.score)
        boxes = [each.box for each in there if each.class_id == class_id]
        things += len(boxes)
        scores += [each.score for each in ours]
        hits.append(_matched([each.box for each in ours], boxes))
    if not things:
        return None
    order = np.argsort(-np.array(scores), kind="stable")
    right = np.concatenate(hits)[order].cumsum(axis=0)                    # detections, ious
    recall, precision = right / things, right / np.arange(1, len(order) + 1)[:, None]
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    return np.array([_read(recall[:, place], precision[:, place]) for place in range(len(IOUS))])


def _matched(ours: list[Box], boxes: list[Box]) -> NDArray[np.bool_]:
    """Return which detections (best first) are right at each of IOUS."""
    right = np.zeros((len(ours), len(IOUS)), np.bool_)
    if not ours or not boxes:
        return right
    overlaps = _overlaps(np.array(ours), np.array(boxes))
    for place, least in enumerate(IOUS):
        free = np.ones(len(boxes), np.bool_)
        for number, row in enumerate(overlaps):
            best = int(np.where(free, row, -1.0).argmax())
            if free[best] and row[best] >= least:
                free[best], right[number, place] = False, True
    return right


def _read(recall: Reals, precision: Reals) -> float:
    places = np.searchsorted(recall, RECALLS, side="left")
    return float(np.append(precision, 0.0)[places].mean())


def _overlaps(a: Reals, b: Reals) -> Reals:
    low, high = np.maximum(a[:, None, :2], b[:, :2]), np.minimum(a[:, None, 2:], b[:, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = [np.prod(box[:, 2:] - box[:, :2], axis=1) for box in (a, b)]
    result: Reals = shared / (areas[0][:, None] + areas[1] - shared)
    return result
