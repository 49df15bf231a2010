"""Scalings whose bytes are known, and the picture that they scale."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vedette.types import Scaling
from vedette.vision.scale import Scaler

SCALINGS = {
    "shrunk": ((640, 360), Scaling(0, 0, 640, 360, 416, 234), "f9ab7a14b84a1a5a"),
    "a part": ((640, 480), Scaling(13, 7, 600, 471, 300, 300), "1a571d575248c165"),
    "shrunk by more than two": ((1280, 720), Scaling(0, 0, 1280, 720, 224, 126), "c0a087f89abe1d77"),
    "enlarged": ((100, 80), Scaling(0, 0, 100, 80, 320, 256), "ea39685d8d5809c0"),
}
"""Size of the picture, the scaling, and the begin of the SHA-256 of its bytes on x86-64 with OpenCV 5."""


def scaled(name: str) -> bytes:
    """Return what one of SCALINGS gives."""
    size, scaling, _ = SCALINGS[name]
    target = np.empty((scaling.height, scaling.width, 3), np.uint8)
    Scaler(scaling).scale(_picture(*size), target)
    return target.tobytes()


def _picture(width: int, height: int) -> NDArray[np.uint8]:
    """Return a picture with edges and slopes, made by whole numbers only."""
    row, column = np.mgrid[:height, :width]
    return np.stack([(column * 7 + row * 13 + channel * 29 + (column * row >> 3)) % 256 for channel in range(3)],
                    axis=-1).astype(np.uint8)
