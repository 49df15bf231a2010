"""Frames as JPEG pictures, for snapshots.

Invariants: the picture is what the frame's pixels show, masks and all; nothing of the file system is touched.
"""

from __future__ import annotations

import cv2
import numpy as np

QUALITY = 90


def encode(pixels: memoryview, quality: int = QUALITY) -> bytes:
    """Return BGR pixels of shape (height, width, 3) as a JPEG file. `quality` is 1-100.

    Raises: ValueError for pixels of another shape, or larger than JPEG can be (65,535 a side).
    """
    image = np.asarray(pixels)
    if image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(f"expected pixels of shape (height, width, 3), got {image.shape}")
    try:
        encoded, picture = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    except cv2.error as failure:
        raise ValueError(f"pixels of shape {image.shape} cannot be a JPEG: {failure}") from failure
    if not encoded:
        raise ValueError(f"pixels of shape {image.shape} cannot be a JPEG")
    return picture.tobytes()
