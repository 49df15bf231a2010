"""Encodes a frame's pixels as JPEG, for snapshots and viewers, and finds out whether a JPEG has its end.

Invariants: the picture shows the frame's pixels with their masks; the file system is not used.
"""

from __future__ import annotations

import re

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]

QUALITY = 90
END = b"\xff\xd9"
FILLERS = (b"\x55" * 64, b"\xaa" * 64, b"".join(b"\xff%c" % marker + b"\x55" * 16 for marker in range(0xD0, 0xD8)) * 2)
"""Bytes that blocks can be decoded from: in the scan as it is, and behind each restart marker."""
_BEGIN = b"\xff\xd8\xff"
_NEXT_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")    # in a scan 0 or a restart marker may follow 0xFF
_SCAN = 0xDA
_END = 0xD9


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


def shrunk(picture: Picture, longest_px: int) -> Picture:
    """Return a BGR picture (height, width, 3) with at most so many pixels a side: the same one if it is that small."""
    share = longest_px / max(picture.shape[:2])
    if share >= 1:
        return picture
    size = (max(1, round(picture.shape[1] * share)), max(1, round(picture.shape[0] * share)))
    # Not INTER_AREA: it reads every pixel, and takes several times as long.
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def encode_within(pixels: memoryview, width: int, height: int, quality: int) -> bytes:
    """Return BGR pixels of shape (height, width, 3) as a JPEG that is at most so large in pixels; never scaled up.

    Raises: ValueError, as `encode`.
    """
    picture = np.asarray(pixels)
    share = min(width / picture.shape[1], height / picture.shape[0])
    return encode(shrunk(picture, max(1, round(max(picture.shape[:2]) * share))).data, quality)


def lacks_end(content: bytes) -> bool:
    """Whether this is a JPEG without its end marker. Some programs leave it out, and a broken download does."""
    if not content.startswith(_BEGIN):
        return False
    at = 2
    while at + 4 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == _END:
            return False
        at += 1 if marker == 0xFF else 2 + int.from_bytes(content[at + 2:at + 4], "big")
        if marker == _SCAN:
            found = _NEXT_MARKER.search(content, at)
            if found is None:
                return True
            at = found.start()
    return content[at:at + 2] != END
