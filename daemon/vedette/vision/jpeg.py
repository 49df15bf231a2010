"""Encodes a frame's pixels as JPEG, for snapshots.

Invariants: the picture shows the frame's pixels with their masks; the file system is not used.
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
        raise ValueError(f"pixels have shape {image.shape}; expected (height, width, 3)")
    try:
        encoded, picture = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    except cv2.error as failure:
        raise ValueError(f"pixels of shape {image.shape} cannot be encoded as JPEG: {failure}") from failure
    if not encoded:
        raise ValueError(f"pixels of shape {image.shape} cannot be encoded as JPEG")
    return picture.tobytes()
