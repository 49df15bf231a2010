"""Scales like `scale.Scaler`, to the same bytes, with numpy alone: for the few frames that the camera has not scaled.

Invariants: OpenCV's INTER_LINEAR_EXACT is integer arithmetic, and so is this: weights of 8 bits, rounded once at the
end. It takes several times as long, so OpenCV is loaded where many frames come unscaled.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
_ONE = 256      # a weight of 1
_BAND = 16      # rows that are scaled at once


def linear(picture: Array, width: int, height: int) -> Array:
    """Return the picture (rows, columns, 3), uint8, in this size, as cv2.resize does with INTER_LINEAR_EXACT."""
    left, right, shares = _taps(picture.shape[1], width)
    above, below, falls = _taps(picture.shape[0], height)
    scaled = np.empty((height, width, 3), np.uint8)
    for begin in range(0, height, _BAND):       # a whole picture would take megabytes in between
        band = slice(begin, begin + _BAND)
        upper, lower = (rows[:, left] * (_ONE - shares) + rows[:, right] * shares
                        for rows in (picture[above[band]], picture[below[band]]))
        fall = falls[band, None]
        scaled[band] = (upper * (_ONE - fall) + lower * fall + _ONE * _ONE // 2) >> 16
    return scaled


def halved(picture: Array) -> Array:
    """Return the picture with each block of four pixels averaged, as cv2.resize does with INTER_AREA."""
    even, odd = picture[::2].astype(np.uint16), picture[1::2]
    rows = even + odd
    return np.asarray((rows[:, ::2] + rows[:, 1::2] + 2) >> 2, np.uint8)


def _taps(size: int, wanted: int) -> tuple[Array, Array, Array]:
    """Return, for each pixel wanted, the two pixels it lies between and the weight of the second."""
    at = (np.arange(wanted) + 0.5) * (1.0 / (wanted / size)) - 0.5
    first = np.floor(at).astype(np.int64)
    share = np.rint((at - first) * _ONE).astype(np.uint32)[:, None]
    outside = (first < 0) | (first >= size - 1)
    share[outside] = 0
    first = first.clip(0, size - 1)
    return first, (first + 1).clip(0, size - 1), share
