"""Places a frame in the model's input, and maps boxes between the input and the frame.

Invariants: pure and exact, no arrays. Boxes are in 0-1 with the origin top left: of the model's input, or of the whole
frame. A box that is mapped to the input and back is the same box. A box mapped to the frame is never outside the region
of interest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vedette.types import WHOLE, Box

Resize = Literal["letterbox", "stretch"]
LEAST_SIDE = 1e-4
"""A thinner box counts as a line. Rounding leaves such slivers when boxes are cut, and messages have four decimals."""


@dataclass(frozen=True, slots=True)
class Area:
    """A rectangle of whole pixels."""

    left: int
    top: int
    width: int
    height: int

    @property
    def right(self) -> int:
        """First column beyond it."""
        return self.left + self.width

    @property
    def bottom(self) -> int:
        """First row beyond it."""
        return self.top + self.height


@dataclass(frozen=True, slots=True)
class InputShape:
    """Shape of an image input: pixels, channels (1 or 3), and whether channels are planes (NCHW) or not (NHWC)."""

    width: int
    height: int
    channels: int
    planar: bool

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> InputShape | None:
        """Return the image shape of a tensor's shape; None if it is not one image."""
        if len(shape) != 4 or shape[0] != 1 or min(shape) < 1:
            return None
        if shape[3] in (1, 3):
            return cls(width=shape[2], height=shape[1], channels=shape[3], planar=False)
        if shape[1] in (1, 3):
            return cls(width=shape[3], height=shape[2], channels=shape[1], planar=True)
        return None

    def __str__(self) -> str:
        return f"{self.width}x{self.height}x{self.channels} {'NCHW' if self.planar else 'NHWC'}"


@dataclass(frozen=True, slots=True)
class Placement:
    """The part `source` of a frame (its `roi`, 0-1) is scaled to the part `content` of the model's input, in pixels."""

    frame_width: int
    frame_height: int
    input_width: int
    input_height: int
    source: Area
    content: Area
    roi: Box

    @property
    def padded(self) -> bool:
        """Whether a part of the input does not show the frame."""
        return (self.content.width, self.content.height) != (self.input_width, self.input_height)

    def shows(self, box: Box) -> bool:
        """Whether a part of a box of the input (0-1) lies in the frame, so that it is not all padding."""
        visible = self.to_frame(box)
        return visible.xmax - visible.xmin > LEAST_SIDE and visible.ymax - visible.ymin > LEAST_SIDE

    def to_input(self, box: Box) -> Box:
        """Map a box of the frame (0-1) to the model's input (0-1)."""
        x_scale, x_shift, y_scale, y_shift = self._axes()
        return Box((box.xmin - x_shift) / x_scale, (box.ymin - y_shift) / y_scale,
                   (box.xmax - x_shift) / x_scale, (box.ymax - y_shift) / y_scale)

    def to_frame(self, box: Box) -> Box:
        """Map a box of the model's input (0-1) to the frame (0-1), cut to the part that the model was given."""
        x_scale, x_shift, y_scale, y_shift = self._axes()
        source = self.source
        mapped = Box(box.xmin * x_scale + x_shift, box.ymin * y_scale + y_shift,
                     box.xmax * x_scale + x_shift, box.ymax * y_scale + y_shift)
        return clip(mapped, Box(source.left / self.frame_width, source.top / self.frame_height,
                                source.right / self.frame_width, source.bottom / self.frame_height))

    def _axes(self) -> tuple[float, float, float, float]:
        """Return scale and shift of x, then of y: frame = input * scale + shift."""
        source, content = self.source, self.content
        x_pixels, y_pixels = source.width / content.width, source.height / content.height
        return (self.input_width * x_pixels / self.frame_width,
                (source.left - content.left * x_pixels) / self.frame_width,
                self.input_height * y_pixels / self.frame_height,
                (source.top - content.top * y_pixels) / self.frame_height)


def place(frame_width: int, frame_height: int, roi: Box, shape: InputShape, resize: Resize) -> Placement:
    """Fit the region of interest of a frame into the model's input; letterbox keeps its aspect ratio and centres it."""
    source = roi_pixels(frame_width, frame_height, roi)
    input_width, input_height = shape.width, shape.height
    if resize == "stretch":
        content = Area(0, 0, input_width, input_height)
    else:
        ratio = min(input_width / source.width, input_height / source.height)
        width = max(1, round(source.width * ratio))
        height = max(1, round(source.height * ratio))
        content = Area((input_width - width) // 2, (input_height - height) // 2, width, height)
    return Placement(frame_width, frame_height, input_width, input_height, source, content, roi)


def clip(box: Box, limits: Box = WHOLE) -> Box:
    """Cut a box to `limits`; a box outside of them becomes a line or a point on their edge."""
    return Box(min(max(box.xmin, limits.xmin), limits.xmax), min(max(box.ymin, limits.ymin), limits.ymax),
               min(max(box.xmax, limits.xmin), limits.xmax), min(max(box.ymax, limits.ymin), limits.ymax))


def area(box: Box) -> float:
    """Return the area of a box; 0 if a maximum is below its minimum."""
    return max(0.0, box.xmax - box.xmin) * max(0.0, box.ymax - box.ymin)


def iou(one: Box, other: Box) -> float:
    """Return intersection over union, 0-1; 0 if both are empty."""
    width = min(one.xmax, other.xmax) - max(one.xmin, other.xmin)
    height = min(one.ymax, other.ymax) - max(one.ymin, other.ymin)
    if width <= 0.0 or height <= 0.0:
        return 0.0
    shared = width * height
    return shared / (area(one) + area(other) - shared)


def roi_pixels(frame_width: int, frame_height: int, roi: Box) -> Area:
    """Return the pixels of a region of interest (0-1) of a frame, at least one pixel wide and high."""
    left = min(int(roi.xmin * frame_width), frame_width - 1)
    top = min(int(roi.ymin * frame_height), frame_height - 1)
    right = max(left + 1, min(frame_width, round(roi.xmax * frame_width)))
    bottom = max(top + 1, min(frame_height, round(roi.ymax * frame_height)))
    return Area(left, top, right - left, bottom - top)
