"""Writes a frame into the model's input tensor: crops, scales, converts colours, quantises.

Invariants:
- The camera gives the part that the model sees, scaled and in RGB. Where it did not, that is done here.
- Pixels are written to the tensor once, in the cheapest way for it (`vision/paint.py`).
- There is no float arithmetic per frame, and nothing is allocated while frames keep their size and region.
- Padding is written when the geometry changes, and never again (the runtimes keep their inputs: a test checks that).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vedette.tflite.tensors import TensorSpec
from vedette.types import Box, Frame, Scaling
from vedette.vision.geometry import Area, InputShape, Placement, Resize, place
from vedette.vision.normalization import Color, Normalization, byte_table
from vedette.vision.paint import paint_pixels, paint_planes, to_rgb
from vedette.vision.scale import Scaler

Array = NDArray[Any]
PADDING_BYTE = 114      # grey: Ultralytics trains with it


class InputWriter:
    """Fills one input tensor. The thread that invokes owns it."""

    def __init__(self, view: Array, spec: TensorSpec, shape: InputShape, *, color: Color, resize: Resize,
                 normalization: Normalization | None) -> None:
        self._view = view[0]
        self._shape = shape
        self._color: Color = color
        self._resize: Resize = resize
        self._table = byte_table(spec, normalization, shape.channels)
        self._placement: Placement | None = None
        self._scaler: Scaler | None = None

    @property
    def scaling(self) -> Scaling | None:
        """The scaling that the camera may do in advance, for frames of the last size; None if none is needed."""
        return self._scaler.scaling if self._scaler else None

    def write(self, frame: Frame, roi: Box) -> Placement:
        """Fill the tensor from a part of a frame (0-1); returns where it lies in the tensor."""
        placement, wanted = self._placement, (frame.width, frame.height, roi)
        if placement is None or (placement.frame_width, placement.frame_height, placement.roi) != wanted:
            placement = self._place(*wanted)
        self._paint(self._scaled(frame, placement.source))
        return placement

    def _scaled(self, frame: Frame, part: Area) -> Array:
        """Return the part of the frame in the size of the content and in RGB, from the camera or else made here."""
        pixels = np.asarray(frame.pixels)
        if self._scaler is None:
            return to_rgb(pixels[part.top:part.bottom, part.left:part.right], self._rgb)
        if frame.scaled is not None and frame.scaling == self._scaler.scaling:
            return np.asarray(frame.scaled)
        self._scaler.scale(pixels, self._scratch)
        return to_rgb(self._scratch, self._rgb)

    def _place(self, width: int, height: int, roi: Box) -> Placement:
        """Prepare for a new size or region: padding, scratch buffer, and the part of the tensor that takes pixels."""
        placement = place(width, height, roi, self._shape, self._resize)
        part, padding = placement.content, self._table[PADDING_BYTE]
        rows, columns = slice(part.top, part.bottom), slice(part.left, part.right)
        self._scratch, self._rgb = np.empty((2, part.height, part.width, 3), np.uint8)
        source = placement.source
        same_size = (source.width, source.height) == (part.width, part.height)
        self._scaler = None if same_size else Scaler(
            Scaling(source.left, source.top, source.right, source.bottom, part.width, part.height))
        if self._shape.planar:
            self._view[:] = padding[:, None, None]
            self._paint = paint_planes(self._view[:, rows, columns], self._table, self._color)
        else:
            self._view[:] = padding
            self._paint = paint_pixels(self._view[rows, columns], self._table, self._color)
        self._placement = placement
        return placement
