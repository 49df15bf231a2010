"""Whether a point lies inside a polygon, by the angles under which it sees the corners."""

from __future__ import annotations

import math
from collections.abc import Sequence

TINY = 1e-9


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
