"""The redacted JPEG of a frame, the only picture that the cloud gets: one part of the frame, masked, of bounded size.

Invariants: it contains nothing outside `roi` and nothing under a mask; it carries no metadata: no place, time or
device; it never exceeds its limits in bytes and pixels. The frame's own pixels are not changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vedette.types import WHOLE, Box
from vedette.vision import jpeg
from vedette.vision.geometry import roi_pixels
from vedette.vision.privacy_masks import hidden_pixels

QUALITIES = (85, 70, 55)
LONGEST_PX = 1920
LEAST_PX = 32
"""A side is not scaled below this; a picture that does not fit then is refused."""

Array = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class RedactedJpeg:
    """A JPEG of width x height pixels that shows the part `shown` of a frame."""

    content: bytes
    width: int
    height: int
    shown: Box

    def to_frame(self, box: Box) -> Box:
        """Convert a box of the picture (0-1) to one of the frame."""
        shown = self.shown
        wide, high = shown.xmax - shown.xmin, shown.ymax - shown.ymin
        return Box(shown.xmin + box.xmin * wide, shown.ymin + box.ymin * high,
                   shown.xmin + box.xmax * wide, shown.ymin + box.ymax * high)


def redacted_jpeg(pixels: memoryview, most_bytes: int, *, roi: Box = WHOLE,
             masks: Sequence[Sequence[tuple[float, float]]] = ()) -> RedactedJpeg:
    """Return the redacted JPEG of a frame (height, width, 3). `masks` are polygons in 0-1 of the frame.

    Raises: ValueError if it cannot be made as small as `most_bytes`.
    """
    picture, shown = _part(np.asarray(pixels), roi, masks)
    picture = _scaled(picture, min(1.0, LONGEST_PX / max(picture.shape[:2])))
    while True:
        for quality in QUALITIES:
            content = jpeg.encode(picture.data, quality)
            if len(content) <= most_bytes:
                return RedactedJpeg(content, picture.shape[1], picture.shape[0], shown)
        if min(picture.shape[:2]) <= LEAST_PX:
            raise ValueError(f"a frame of shape {pixels.shape}: its JPEG has {len(content)} bytes, "
                             f"expected at most {most_bytes}")
        picture = _scaled(picture, min(0.9, (most_bytes / len(content)) ** 0.5))


def _part(image: Array, roi: Box, masks: Sequence[Sequence[tuple[float, float]]]) -> tuple[Array, Box]:
    height, width = image.shape[:2]
    area = roi_pixels(width, height, roi)
    part = np.array(image[area.top:area.bottom, area.left:area.right])     # a copy: masks are painted into it
    part[hidden_pixels(masks, width, height)[area.top:area.bottom, area.left:area.right]] = 0
    return part, Box(area.left / width, area.top / height, area.right / width, area.bottom / height)


def _scaled(picture: Array, share: float) -> Array:
    if share >= 1:
        return picture
    size = (max(LEAST_PX, round(picture.shape[1] * share)), max(LEAST_PX, round(picture.shape[0] * share)))
    size = (min(size[0], picture.shape[1]), min(size[1], picture.shape[0]))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
