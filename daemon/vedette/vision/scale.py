"""Scales a part of a frame to the size of a model's input, in the daemon or in the capture child.

Invariants: the same pixels give the same bytes in both processes and on every processor, with OpenCV or without.
OpenCV's INTER_LINEAR rounds differently on ARM and x86, and boxes then differ. INTER_LINEAR_EXACT does not.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vedette.types import Scaling
from vedette.vision import plain_scale

Array = NDArray[Any]
SKIPS_PIXELS = 2.0
"""Bilinear scaling uses four pixels, so it skips some when it shrinks by more than this. In that case the part is first
scaled to twice the size, and blocks of four pixels are averaged. That uses more pixels than bilinear scaling, and is
faster than INTER_AREA alone."""
PLAIN_FRAMES = 8
"""So many frames are scaled without OpenCV, if it is not loaded. The camera scales the frames after them, as a rule."""


class Scaler:
    """Applies one scaling to every frame. One thread uses it."""

    def __init__(self, scaling: Scaling) -> None:
        self.scaling = scaling
        self._plain_left = PLAIN_FRAMES
        ratio = min((scaling.right - scaling.left) / scaling.width, (scaling.bottom - scaling.top) / scaling.height)
        self._double = (np.empty((2 * scaling.height, 2 * scaling.width, 3), np.uint8)
                        if ratio > SKIPS_PIXELS else None)

    def scale(self, picture: Array, target: Array) -> None:
        """Fill `target` (height, width, 3) of the scaling from the whole picture (rows, columns, 3); both are uint8."""
        left, top, right, bottom, width, height = self.scaling
        part = picture[top:bottom, left:right]
        if self._plain_left and "cv2" not in sys.modules:
            self._plain_left -= 1
            target[:] = (plain_scale.linear(part, width, height) if self._double is None else
                         plain_scale.halved(plain_scale.linear(part, 2 * width, 2 * height)))
            return
        import cv2
        if self._double is None:
            cv2.resize(part, (width, height), dst=target, interpolation=cv2.INTER_LINEAR_EXACT)
            return
        cv2.resize(part, (2 * width, 2 * height), dst=self._double, interpolation=cv2.INTER_LINEAR_EXACT)
        cv2.resize(self._double, (width, height), dst=target, interpolation=cv2.INTER_AREA)
