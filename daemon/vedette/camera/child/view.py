"""Measures what the camera is pointed at, once a second. Traffic and light do not change the result.

Invariants: the cost is one grey thumbnail a second, and the memory is fixed. What moves is left out: all values are
medians over `KEPT` measurements. Noise is left out: detail and focus count only what two measurements in a row share.
Light is left out: each edge counts relative to its neighbourhood. A picture with edges that repeats bit for bit is left
out, since its noise would count as fine detail that lasts.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np

from vedette.types import View

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

FINE_PX, COARSE_PX = 320, 80
"""Widths at which detail is measured. The first is about what a detector sees, the second shows what blur leaves."""
OUTLINE_SIZE = (32, 18)
KEPT = 10
LEAST_DETAIL = 4.0
"""Least detail of a picture that has something to recognize."""
_ACROSS, _DOWN, _NEAR = (5, 1), (1, 5), (9, 9)


class ViewWatch:
    """Takes one picture a second and returns the view."""

    def __init__(self) -> None:
        self._thumbnails: deque[Floats] = deque(maxlen=KEPT)
        self._details: deque[tuple[float, float]] = deque(maxlen=KEPT)
        self._last: tuple[Floats, Floats] | None = None

    def measure(self, picture: NDArray[np.uint8]) -> View | None:
        """Measure a BGR picture. Return the view, or None while there are too few of this size, or if it is frozen."""
        fine = _shrunk(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), FINE_PX).astype(np.float32)
        coarse = _shrunk(fine, COARSE_PX)
        edges = _edges(fine), _edges(coarse)
        last, self._last = self._last, edges
        if last is not None and np.array_equal(edges[0], last[0]) and (edges[1] ** 2).mean() >= LEAST_DETAIL:
            return None
        if last is None or last[0].shape != edges[0].shape:
            self._thumbnails.clear()
            self._details.clear()
            last = None
        self._thumbnails.append(_floats(cv2.resize(coarse, OUTLINE_SIZE, interpolation=cv2.INTER_AREA)))
        if last is not None:
            self._details.append((float((edges[0] * last[0]).mean()), float((edges[1] * last[1]).mean())))
        return self._view() if len(self._thumbnails) == KEPT else None

    def _view(self) -> View:
        fine, coarse = np.maximum(0.0, np.median(self._details, axis=0)).tolist()
        if coarse < LEAST_DETAIL:
            return View(round(coarse, 2), 0.0, b"")
        return View(round(coarse, 2), round(fine / coarse, 4),
                    outline(_floats(np.median(np.stack(self._thumbnails), axis=0))))


def outline(thumbnail: Floats) -> bytes:
    """Return the horizontal edges, then the vertical ones, of a grey thumbnail; each is one byte from -127 to 127."""
    return b"".join(_evened(thumbnail, way) for way in (_ACROSS, _DOWN))


def _evened(thumbnail: Floats, way: tuple[int, int]) -> bytes:
    """Return each edge relative to those near it, so that lit and dark areas count the same."""
    edges = thumbnail - cv2.blur(thumbnail, way)
    near = np.maximum(cv2.blur(edges * edges, _NEAR), 0.0)     # its running sums may end slightly below 0
    evened = edges / (np.sqrt(near) + 1.0)
    return np.clip(np.rint(evened * 40), -127, 127).astype(np.int8).tobytes()


def _edges(grey: Floats) -> Floats:
    return _floats(cv2.Laplacian(grey, cv2.CV_32F))


def _shrunk(grey: NDArray[np.uint8] | Floats | cv2.typing.MatLike, width: int) -> Floats:
    rows, columns = grey.shape[:2]
    if columns <= width:
        return _floats(np.asarray(grey))
    return _floats(cv2.resize(grey, (width, max(1, round(rows * width / columns))), interpolation=cv2.INTER_AREA))


def _floats(array: object) -> Floats:
    return cast("Floats", array)
