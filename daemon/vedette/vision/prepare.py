"""Writes a frame into the model's input tensor: crops, scales, converts colours, quantises.

Invariants:
- Pixels are scaled into a small scratch buffer and written to the tensor once, in the cheapest way for the tensor: if
  its integers are the bytes, by a colour conversion into the tensor, else by a table of 256 entries per channel.
- There is no float arithmetic per frame, and nothing is allocated while frames keep their size.
- Padding is written when the geometry changes, and never again (the runtimes keep their inputs: a test checks that).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vedette.tflite.tensors import TensorSpec
from vedette.types import Box, Frame, Scaling
from vedette.vision.geometry import Area, InputShape, Placement, Resize, place
from vedette.vision.normalization import Color, Normalization, byte_table
from vedette.vision.scale import Scaler

Array = NDArray[Any]
Paint = Callable[[Array], None]
"""Takes BGR pixels of the right size and writes the tensor's values."""
PADDING_BYTE = 114      # grey: Ultralytics trains with it
_SIGN = np.uint8(0x80)  # an int8 that means byte - 128 is the byte with this bit inverted


class InputWriter:
    """Fills one input tensor. The thread that invokes owns it."""

    def __init__(self, view: Array, spec: TensorSpec, shape: InputShape, *, roi: Box, color: Color, resize: Resize,
                 normalization: Normalization | None) -> None:
        self._view = view[0]
        self._shape = shape
        self._roi = roi
        self._color: Color = color
        self._resize: Resize = resize
        self._table = byte_table(spec, normalization, shape.channels)
        self._placement: Placement | None = None
        self._scaler: Scaler | None = None

    @property
    def scaling(self) -> Scaling | None:
        """The scaling that the camera may do in advance, for frames of the last size; None if none is needed."""
        return self._scaler.scaling if self._scaler else None

    def write(self, frame: Frame) -> Placement:
        """Fill the tensor from a frame; returns where the frame lies in the tensor."""
        placement = self._placement
        if placement is None or (placement.frame_width, placement.frame_height) != (frame.width, frame.height):
            placement = self._place(frame.width, frame.height)
        self._paint(self._scaled(frame, placement.source))
        return placement

    def _scaled(self, frame: Frame, part: Area) -> Array:
        """Return the part of the frame in the size of the content, scaled by the camera or else here."""
        if self._scaler is None:
            return np.asarray(frame.pixels)[part.top:part.bottom, part.left:part.right]
        if frame.scaled is not None and frame.scaling == self._scaler.scaling:
            return np.asarray(frame.scaled)
        self._scaler.scale(np.asarray(frame.pixels), self._scratch)
        return self._scratch

    def _place(self, width: int, height: int) -> Placement:
        """Prepare for a new frame size: padding, scratch buffer, and the part of the tensor that takes pixels."""
        placement = place(width, height, self._roi, self._shape, self._resize)
        part, padding = placement.content, self._table[PADDING_BYTE]
        rows, columns = slice(part.top, part.bottom), slice(part.left, part.right)
        self._scratch = np.empty((part.height, part.width, 3), np.uint8)
        source = placement.source
        same_size = (source.width, source.height) == (part.width, part.height)
        self._scaler = None if same_size else Scaler(
            Scaling(source.left, source.top, source.right, source.bottom, part.width, part.height))
        if self._shape.planar:
            self._view[:] = padding[:, None, None]
            self._paint = _planes(self._view[:, rows, columns], self._table, self._color)
        else:
            self._view[:] = padding
            self._paint = _pixels(self._view[rows, columns], self._table, self._color)
        self._placement = placement
        return placement


def _pixels(content: Array, table: Array, color: Color) -> Paint:
    """Return the function that fills a tensor of pixels: (height, width, channels)."""
    to_color = cv2.COLOR_BGR2GRAY if content.shape[2] == 1 else cv2.COLOR_BGR2RGB
    keep_order = content.shape[2] == 3 and color == "bgr"
    raw = content.view(np.uint8) if content.dtype.itemsize == 1 else None
    flip = raw is not None and _is_raw(table, _SIGN)
    if raw is not None and (flip or _is_raw(table, np.uint8(0))):
        def paint(pixels: Array) -> None:
            if keep_order:
                np.copyto(raw, pixels)
            else:
                cv2.cvtColor(pixels, to_color, dst=raw)
            if flip:
                np.bitwise_xor(raw, _SIGN, out=raw)
        return paint

    lut = table.reshape(1, 256, -1)
    coloured = np.empty(content.shape, np.uint8)

    def paint_by_table(pixels: Array) -> None:
        cv2.LUT(pixels if keep_order else cv2.cvtColor(pixels, to_color, dst=coloured), lut, dst=content)
    return paint_by_table


def _planes(content: Array, table: Array, color: Color) -> Paint:
    """Return the function that fills a tensor of planes: (channels, height, width)."""
    plane = np.empty(content.shape[1:], np.uint8)
    luts = [np.ascontiguousarray(column).reshape(1, 256) for column in table.T]
    order = range(3) if color == "bgr" else (2, 1, 0)

    def paint_grey(pixels: Array) -> None:
        cv2.LUT(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY, dst=plane), luts[0], dst=content[0])

    def paint(pixels: Array) -> None:
        for channel, lut, target in zip(order, luts, content, strict=True):
            cv2.LUT(cv2.extractChannel(pixels, channel, dst=plane), lut, dst=target)
    return paint_grey if content.shape[0] == 1 else paint


def _is_raw(table: Array, sign: np.uint8) -> bool:
    """Whether a table of one-byte values maps every byte to itself, apart from `sign`."""
    expected = np.arange(256, dtype=np.uint8) ^ sign
    return bool((table.view(np.uint8) == expected[:, None]).all())
