"""The best picture of one event: a crop of the frame in which its thing is seen best.

Invariants: at most one crop is held, of at most LONGEST_PX a side, so 1 MB; it is a copy, so it does not change when
the frame is given back; it shows the frame's pixels, so the masks are in it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from math import ceil, floor, sqrt
from typing import TYPE_CHECKING

import cv2
import numpy as np

from vedette.vision import jpeg

if TYPE_CHECKING:
    from vedette.types import Box, Frame

MARGIN = 0.2
"""What is shown around the box, at each of its sides: a share of the box's width or height."""
LONGEST_PX = 576
QUALITY = 85
_EDGE, _CUT = 0.005, 0.3
"""A box that ends this close to the frame's edge is cut by it, and is worth this share."""
_GREY_PX = 96
_HALF_SHARP = 16.0
"""Standard deviation of the Laplacian, in grey levels, at which a crop is worth half of a perfectly sharp one."""


@dataclass(frozen=True, slots=True)
class _Kept:
    crop: jpeg.Picture
    captured_at: datetime
    captured_ns: int
    quality: float


class BestPicture:
    """Keeps the best of the frames that it is offered. `copy.copy` gives one that stays as this one is now.

    The quality is size x score x edge x sharpness, each in 0-1:

    - size: the square root of the box's share of the frame.
    - score: that of the detection.
    - edge: 1, or 0.3 for a box that the edge of the frame cuts.
    - sharpness: (d + 1) / (d + 16). d is the standard deviation of the Laplacian, in grey levels, of the box in grey,
      scaled down to 96 pixels a side.
    """

    def __init__(self) -> None:
        self._kept: _Kept | None = None

    def __repr__(self) -> str:
        kept = self._kept
        return f"<BestPicture {f'{kept.crop.shape[1]}x{kept.crop.shape[0]} {kept.quality:.3f}' if kept else 'none'}>"

    def __bool__(self) -> bool:
        """Whether there is a picture. Any thread."""
        return self._kept is not None

    @property
    def captured_at(self) -> datetime:
        """When the frame of the picture was captured. Any thread. Raises: ValueError if there is none."""
        return self._present().captured_at

    @property
    def captured_ns(self) -> int:
        """The same on the monotonic clock. Any thread. Raises: ValueError if there is none."""
        return self._present().captured_ns

    def stamp(self, captured_at: datetime) -> None:
        """Correct when the frame was captured: the clock was not set then. Raises: ValueError if there is none."""
        self._kept = replace(self._present(), captured_at=captured_at)

    def consider(self, frame: Frame, box: Box, score: float) -> bool:
        """Keep a copy of this box of the frame if it is better than what is kept; returns whether it is.

        Detect thread, while the frame's pixels are valid. A frame that cannot win costs no look at its pixels.
        """
        most = sqrt(max(0.0, box.xmax - box.xmin) * max(0.0, box.ymax - box.ymin)) * score * _edge(box)
        best = self._kept.quality if self._kept else 0.0
        if most <= best:
            return False
        pixels = np.asarray(frame.pixels)
        quality = most * _sharpness(_cut_out(pixels, box, 0.0))
        if quality <= best:
            return False
        crop = _cut_out(pixels, box, MARGIN)
        small = jpeg.shrunk(crop, LONGEST_PX)
        self._kept = _Kept(crop.copy() if small is crop else small, frame.captured_at, frame.captured_ns,
                           quality)
        return True

    def jpeg(self) -> bytes:
        """Return the picture as a JPEG file. Any thread. Raises: ValueError if there is none."""
        return jpeg.encode(self._present().crop.data, QUALITY)

    def _present(self) -> _Kept:
        kept = self._kept
        if kept is None:
            raise ValueError("no picture was kept")
        return kept


def _edge(box: Box) -> float:
    inside = min(box.xmin, box.ymin) > _EDGE and max(box.xmax, box.ymax) < 1 - _EDGE
    return 1.0 if inside else _CUT


def _cut_out(pixels: jpeg.Picture, box: Box, margin: float) -> jpeg.Picture:
    """Return the pixels of the box and of a margin around it: at least one, a view."""
    spans = []
    for size, low, high in ((pixels.shape[0], box.ymin, box.ymax), (pixels.shape[1], box.xmin, box.xmax)):
        around = (high - low) * margin
        begin = min(max(0, floor((low - around) * size)), size - 1)
        spans.append(slice(begin, max(begin + 1, min(size, ceil((high + around) * size)))))
    return pixels[spans[0], spans[1]]


def _sharpness(crop: jpeg.Picture) -> float:
    grey = cv2.cvtColor(jpeg.shrunk(crop, _GREY_PX), cv2.COLOR_BGR2GRAY)
    _, deviation = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))
    return float((deviation[0, 0] + 1) / (deviation[0, 0] + _HALF_SHARP))
