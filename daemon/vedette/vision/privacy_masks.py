"""Finds the pixels that privacy masks hide, and paints them black.

Invariants:
- A pixel is hidden if any part of it lies inside a mask or on its edge. Each mask counts alone, so masks that overlap
  never uncover each other.
- A point is inside a polygon if the polygon winds around it at all (non-zero winding). So the centre of a polygon that
  crosses itself is inside. OpenCV's `fillPoly` takes such a centre for a hole.
- The pixels are found once for each frame size; after that one pass over the masks' rows paints them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

Polygon = Sequence[tuple[float, float]]
_VISIBLE, _HIDDEN = 255, 0


class PrivacyMasks:
    """Paints the same masks into frame after frame. One thread uses it. `polygons` are in 0-1 of the frame."""

    def __init__(self, polygons: Sequence[Polygon]) -> None:
        self._polygons = polygons
        self._size: tuple[int, int] | None = None
        self._rows = slice(0, 0)
        self._keep = np.empty((0, 0, 3), np.uint8)

    def paint(self, picture: NDArray[np.uint8]) -> None:
        """Make each hidden pixel of a whole frame (height, width, 3) black."""
        height, width = picture.shape[:2]
        if not self._polygons:
            return
        if self._size != (width, height):
            self._find(width, height)
        cv2.bitwise_and(picture[self._rows], self._keep, dst=picture[self._rows])

    def _find(self, width: int, height: int) -> None:
        hidden = hidden_pixels(self._polygons, width, height)
        rows = np.flatnonzero(hidden.any(axis=1))
        self._rows = slice(int(rows[0]), int(rows[-1]) + 1)
        keep = np.where(hidden[self._rows], np.uint8(_HIDDEN), np.uint8(_VISIBLE))
        self._keep = np.repeat(keep[:, :, None], 3, axis=2)
        self._size = (width, height)


def hidden_pixels(polygons: Sequence[Polygon], width: int, height: int) -> NDArray[np.bool_]:
    """Return which pixels (height, width) of a frame the polygons hide, in 0-1 of the frame."""
    hidden = np.zeros((height, width), np.bool_)
    for polygon in polygons:
        corners = np.round(np.array(polygon, np.float64) * (width, height), 6)
        _hide(hidden, corners)
        # The polygon between the pixels that are nearest to the corners is hidden too, with the outline that OpenCV
        # draws: other programs round in this way, and a mask had better hide a little more than less.
        nearest = np.rint(corners)
        _hide(hidden, nearest + 0.5)
        cv2.fillPoly(hidden.view(np.uint8), [nearest.astype(np.int32)], (1,))
    return hidden


def _hide(hidden: NDArray[np.bool_], corners: NDArray[np.float64]) -> None:
    """Hide what a polygon, in pixels, winds around, and each pixel that one of its edges touches."""
    limit = (hidden.shape[1] - 1, hidden.shape[0] - 1)
    left, top = np.minimum(np.floor(corners.min(axis=0)), limit).astype(np.intp)
    right, bottom = np.minimum(np.floor(corners.max(axis=0)), limit).astype(np.intp) + 1
    hidden, corners = hidden[top:bottom, left:right], corners - (left, top)
    height, width = hidden.shape
    turns = np.zeros((height, width + 1), np.int32)     # how the winding changes from one column to the next
    edges = np.zeros((height, width + 1), np.int32)     # +1 where the touched part of a row begins, -1 after its end
    for (x0, y0), (x1, y1) in pairwise([*corners, corners[0]]):
        _add_turns(turns, (x0, y0), (x1, y1))
        _add_edge(edges, (x0, y0), (x1, y1))
    hidden |= np.cumsum(turns, axis=1)[:, :width] != 0
    hidden |= np.cumsum(edges, axis=1)[:, :width] > 0


def _add_turns(turns: NDArray[np.int32], start: tuple[float, float], end: tuple[float, float]) -> None:
    """Count an edge where it passes the centres of rows: every pixel whose centre lies to its right is wound once."""
    height, columns = turns.shape
    (x0, y0), (x1, y1) = start, end
    first, after = (int(np.ceil(min(max(y - 0.5, 0.0), height))) for y in sorted((y0, y1)))
    if first >= after:
        return
    rows = np.arange(first, after)
    crossed = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
    column = np.clip(np.ceil(crossed - 0.5), 0, columns - 1).astype(np.intp)
    turns[rows, column] += 1 if y1 > y0 else -1


def _add_edge(edges: NDArray[np.int32], start: tuple[float, float], end: tuple[float, float]) -> None:
    """Mark the pixels that an edge touches: in each row, all columns from where it enters to where it leaves."""
    height, columns = edges.shape
    (x0, y0), (x1, y1) = sorted((start, end), key=_height_of)
    first, last = (int(np.clip(np.floor(y), 0, height - 1)) for y in (y0, y1))
    rows = np.arange(first, last + 1)
    if y1 > y0:
        slope = (x1 - x0) / (y1 - y0)
        enters = x0 + (np.clip(rows, y0, y1) - y0) * slope
        leaves = x0 + (np.clip(rows + 1, y0, y1) - y0) * slope
    else:
        enters, leaves = np.full(len(rows), x0), np.full(len(rows), x1)
    left = np.clip(np.floor(np.minimum(enters, leaves)), 0, columns - 2).astype(np.intp)
    right = np.clip(np.floor(np.maximum(enters, leaves)), 0, columns - 2).astype(np.intp)
    edges[rows, left] += 1
    edges[rows, right + 1] -= 1


def _height_of(point: tuple[float, float]) -> float:
    return point[1]
