"""Sprites: cut-out pictures of single things, and how one is pasted over a frame.

Invariants:
- A sprite is drawn in metres, x from its middle, y up from the ground. It is drawn larger than it is shown and shrunk
  by area, which antialiases it. Colours are premultiplied by alpha, so no dark rim appears.
- Where alpha is 0, the colours are 0. So a sprite without its empty edges gives the same picture.
- `ids` has for every pixel of a frame the number of the thing that is visible there. Visible shares are counted in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]

Colour = tuple[int, int, int]
"""Blue, green, red."""
Point = tuple[float, float]

SOLID = 40
"""Alpha (of 255) from which a pixel shows the thing: thin spokes count, a faint edge does not."""
_SHIFT = 4      # cv2 draws at 1/16 pixel


@dataclass(frozen=True, slots=True)
class Sprite:
    """One thing at `density` pixels a metre, without the empty edges of its canvas.

    Colours and coverage have the shapes (rows, columns, 3) and (rows, columns). They begin at column `left` and row
    `top` of the canvas, which has `size` (columns, rows).
    """

    colours: Pixels
    alpha: Pixels
    density: float
    left: int
    top: int
    size: tuple[int, int]

    def at_scale(self, scale: float, *, mirrored: bool, blur_px: int) -> Sprite:
        """Return the sprite at `scale` pixels a metre, blurred sideways by `blur_px`."""
        columns, rows = self.size
        size = max(1, round(columns * scale / self.density)), max(1, round(rows * scale / self.density))
        colours, alpha = (cv2.resize(self._on_canvas(part), size, interpolation=cv2.INTER_AREA)
                          for part in (self.colours, self.alpha))
        if mirrored:
            colours, alpha = cv2.flip(colours, 1), cv2.flip(alpha, 1)
        if blur_px > 1:
            colours, alpha = cv2.blur(colours, (blur_px, 1)), cv2.blur(alpha, (blur_px, 1))
        return _cut_out(np.asarray(colours, np.uint8), np.asarray(alpha, np.uint8), scale)

    def _on_canvas(self, part: Pixels) -> Pixels:
        (columns, rows), (height, width) = self.size, self.alpha.shape
        return np.asarray(cv2.copyMakeBorder(part, self.top, rows - self.top - height, self.left,
                                             columns - self.left - width, cv2.BORDER_CONSTANT), np.uint8)


def _cut_out(colours: Pixels, alpha: Pixels, density: float) -> Sprite:
    """Return a sprite of these pictures of a whole canvas."""
    left, top, wide, tall = cv2.boundingRect(alpha)
    full = np.s_[top:top + tall, left:left + wide]
    return Sprite(colours[full].copy(), alpha[full].copy(), density, left, top, (alpha.shape[1], alpha.shape[0]))


class Canvas:
    """The area in which a sprite is drawn: `width_m` wide, half on each side of the middle, and `height_m` high."""

    def __init__(self, width_m: float, height_m: float, density: float) -> None:
        self._density = density
        self._middle_m, self._top_m = width_m / 2, height_m
        self._pixels = np.zeros((ceil(height_m * density), ceil(width_m * density), 4), np.uint8)

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        """Fill a polygon."""
        cv2.fillPoly(self._pixels, [np.array([self._pixel(point) for point in points], np.int32)], (*colour, 255),
                     shift=_SHIFT)

    def line(self, begin: Point, end: Point, thickness_m: float, colour: Colour) -> None:
        """Draw a line with round ends."""
        cv2.line(self._pixels, self._pixel(begin), self._pixel(end), (*colour, 255), self._thickness_px(thickness_m),
                 shift=_SHIFT)

    def disc(self, centre: Point, radii: Point, colour: Colour) -> None:
        """Fill an ellipse."""
        cv2.ellipse(self._pixels, self._pixel(centre), self._axes(radii), 0, 0, 360, (*colour, 255), -1, shift=_SHIFT)

    def ring(self, centre: Point, radius: float, thickness_m: float, colour: Colour) -> None:
        """Draw a circle."""
        cv2.ellipse(self._pixels, self._pixel(centre), self._axes((radius, radius)), 0, 0, 360, (*colour, 255),
                    self._thickness_px(thickness_m), shift=_SHIFT)

    def speckle(self, rng: np.random.Generator, strength: int) -> None:
        """Give everything drawn so far the uneven surface of a material."""
        rows, columns = self._pixels.shape[:2]
        grain = rng.integers(0, strength + 1, (ceil(rows / 3), ceil(columns / 3)), np.uint8)
        grain = cv2.resize(grain, (columns, rows))
        for channel in np.moveaxis(self._pixels, 2, 0)[:3]:     # one by one, in place: a canvas may have megabytes
            np.subtract(np.maximum(channel, grain), grain, out=channel)

    def sprite(self) -> Sprite:
        """Return the drawing as a sprite."""
        return _cut_out(self._pixels[..., :3], self._pixels[..., 3].copy(), self._density)

    def _pixel(self, point: Point) -> tuple[int, int]:
        unit = self._density * (1 << _SHIFT)
        return round((point[0] + self._middle_m) * unit), round((self._top_m - point[1]) * unit)

    def _axes(self, radii: Point) -> tuple[int, int]:
        unit = self._density * (1 << _SHIFT)
        return max(1, round(radii[0] * unit)), max(1, round(radii[1] * unit))

    def _thickness_px(self, metres: float) -> int:
        return max(1, round(metres * self._density))


def paste(frame: Pixels, ids: Pixels, sprite: Sprite, left: int, top: int, ident: int) -> int:
    """Paste a sprite over the frame and its number over `ids`. Return how many pixels it has, visible or not."""
    rows, columns = sprite.alpha.shape
    height, width = ids.shape
    y0, y1, x0, x1 = max(0, top), min(height, top + rows), max(0, left), min(width, left + columns)
    if y0 < y1 and x0 < x1:
        cut = np.s_[y0 - top:y1 - top, x0 - left:x1 - left]
        alpha = sprite.alpha[cut]
        under = frame[y0:y1, x0:x1]
        cv2.multiply(under, cv2.cvtColor(cv2.bitwise_not(alpha), cv2.COLOR_GRAY2BGR), dst=under, scale=1 / 255)
        cv2.add(under, sprite.colours[cut], dst=under)
        ids[y0:y1, x0:x1][alpha >= SOLID] = ident
    return int(np.count_nonzero(sprite.alpha >= SOLID))


def darken_ellipse(frame: Pixels, centre: tuple[float, float], radii: tuple[float, float], strength: float) -> None:
    """Darken an ellipse of the frame, softly: the shadow where a thing touches the ground."""
    left, top = round(centre[0] - radii[0]), round(centre[1] - radii[1])
    size = max(1, round(2 * radii[0])), max(1, round(2 * radii[1]))
    height, width = frame.shape[:2]
    y0, y1, x0, x1 = max(0, top), min(height, top + size[1]), max(0, left), min(width, left + size[0])
    if y0 < y1 and x0 < x1:
        kept = cv2.resize(_SHADOW, size, interpolation=cv2.INTER_LINEAR)[y0 - top:y1 - top, x0 - left:x1 - left]
        under = frame[y0:y1, x0:x1]
        cv2.multiply(under, cv2.cvtColor(cv2.addWeighted(kept, strength, kept, 0, 255 * (1 - strength)),
                                         cv2.COLOR_GRAY2BGR), dst=under, scale=1 / 255)


def _soft_ellipse() -> Pixels:
    y, x = np.mgrid[-1:1:24j, -1:1:48j]
    return np.asarray(255 * np.clip(np.hypot(x, y), 0.25, 1.0), np.uint8)


_SHADOW = _soft_ellipse()
