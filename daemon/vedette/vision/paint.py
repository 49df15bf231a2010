"""Writes RGB pixels into a tensor, in the cheapest way for it.

Invariants: if the tensor's integers are the bytes, one operation on all of them writes it, else a table of 256 entries
per channel. OpenCV is loaded only for what numpy cannot do as fast: other colours than RGB, and tables.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vedette.vision.normalization import Color

Array = NDArray[Any]
Paint = Callable[[Array], None]
"""Takes RGB pixels of the right size and writes the tensor's values."""
_SIGN = np.uint8(0x80)  # an int8 that means byte - 128 is the byte with this bit inverted


def to_rgb(bgr: Array, rgb: Array) -> Array:
    """Fill `rgb` from pixels in BGR, and return it."""
    if "cv2" not in sys.modules:
        np.copyto(rgb, bgr[..., ::-1])
        return rgb
    import cv2
    cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB, dst=rgb)
    return rgb


def paint_pixels(content: Array, table: Array, color: Color) -> Paint:
    """Return the function that fills a tensor of pixels: (height, width, channels)."""
    raw = content.view(np.uint8) if content.dtype.itemsize == 1 else None
    flip = raw is not None and _is_raw(table, _SIGN)
    if raw is not None and not flip and not _is_raw(table, np.uint8(0)):
        raw = None
    if raw is not None and content.shape[2] == 3 and color == "rgb":
        def copy(pixels: Array) -> None:
            if flip:
                np.bitwise_xor(pixels, _SIGN, out=raw)
            else:
                np.copyto(raw, pixels)
        return copy

    import cv2
    to_color = cv2.COLOR_RGB2GRAY if content.shape[2] == 1 else cv2.COLOR_RGB2BGR
    if raw is not None:
        def paint(pixels: Array) -> None:
            cv2.cvtColor(pixels, to_color, dst=raw)
            if flip:
                np.bitwise_xor(raw, _SIGN, out=raw)
        return paint

    keep_order = content.shape[2] == 3 and color == "rgb"
    lut = table.reshape(1, 256, -1)
    coloured = np.empty(content.shape, np.uint8)

    def paint_by_table(pixels: Array) -> None:
        cv2.LUT(pixels if keep_order else cv2.cvtColor(pixels, to_color, dst=coloured), lut, dst=content)
    return paint_by_table


def paint_planes(content: Array, table: Array, color: Color) -> Paint:
    """Return the function that fills a tensor of planes: (channels, height, width)."""
    import cv2
    plane = np.empty(content.shape[1:], np.uint8)
    luts = [np.ascontiguousarray(column).reshape(1, 256) for column in table.T]
    order = range(3) if color == "rgb" else (2, 1, 0)

    def paint_grey(pixels: Array) -> None:
        cv2.LUT(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY, dst=plane), luts[0], dst=content[0])

    def paint(pixels: Array) -> None:
        for channel, lut, target in zip(order, luts, content, strict=True):
            cv2.LUT(cv2.extractChannel(pixels, channel, dst=plane), lut, dst=target)
    return paint_grey if content.shape[0] == 1 else paint


def _is_raw(table: Array, sign: np.uint8) -> bool:
    """Whether a table of one-byte values maps every byte to itself, apart from `sign`."""
    expected = np.arange(256, dtype=np.uint8) ^ sign
    return bool((table.view(np.uint8) == expected[:, None]).all())
