"""Whether a point lies inside a polygon, by the angles under which it sees the corners."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

TINY = 1e-9
_THOUSAND = 1000


def turns_around(polygon: Sequence[tuple[float, float]], x: float, y: float) -> bool:
    """Return whether the polygon winds around the point. A point on an edge is not inside."""
    total = 0.0
    for (ax, ay), (bx, by) in zip(polygon, (*polygon[1:], polygon[0]), strict=True):
        ax, ay, bx, by = ax - x, ay - y, bx - x, by - y  # noqa: PLW2901 - seen from the point
        cross, dot = ax * by - ay * bx, ax * bx + ay * by
        if abs(cross) < TINY and dot <= 0:
            return False
        total += math.atan2(cross, dot)
    return abs(total) > math.pi


def touched_pixels(polygons: Iterable[Sequence[tuple[int, int]]], width: int, height: int) -> NDArray[np.bool_]:
    """Return which pixels (height, width) have one of nine points inside a polygon, exactly, in whole numbers.

    Corners are in thousandths of the frame. A point on an edge counts for neither side.
    """
    x, y = (np.arange(4 * side)[np.arange(4 * side) % 4 > 0] * _THOUSAND for side in (width, height))
    inside = np.zeros((len(y), len(x)), np.bool_)
    for polygon in polygons:
        corners = [(4 * width * cx, 4 * height * cy) for cx, cy in polygon]
        turns = np.zeros(inside.shape, np.int64)
        for (ax, ay), (bx, by) in zip(corners, (*corners[1:], corners[0]), strict=True):
            side = (bx - ax) * (y[:, None] - ay) - (x[None] - ax) * (by - ay)
            turns += ((ay <= y) & (y < by))[:, None] & (side > 0)
            turns -= ((by <= y) & (y < ay))[:, None] & (side < 0)
        inside |= turns != 0
    return np.asarray(inside.reshape(height, 3, width, 3).any(axis=(1, 3)))
