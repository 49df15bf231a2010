"""The empty street: houses, pavements and road in perspective, by even daylight.

Invariants: positions are in shares of the frame, so one seed gives the same street at every size. The ground is a
plane, so a thing that stands lower in the frame is larger, in proportion to its distance from the horizon.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from vedette.camera.street.objects import paint, tinted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vedette.camera.street.sprite import Colour

    Pixels = NDArray[np.uint8]

MODEL_SIDE = 192
"""Pixels of the longer side of the box model's input. Sizes of things are measured in these pixels."""
_GRAIN = (90, 160)      # rows and columns of a texture, whatever the size of the frame


@dataclass(frozen=True, slots=True)
class Ground:
    """The plane on which everything stands, as the camera sees it. Rows are in pixels from the top."""

    width: int
    height: int
    horizon: float
    camera_m: float
    """Height of the camera above the ground."""
    back: float
    """Row where the ground ends at the houses."""

    @property
    def unit(self) -> float:
        """Pixels of the frame for one pixel of the model's input."""
        return max(self.width, self.height) / MODEL_SIDE

    def scale(self, row: float) -> float:
        """Return the pixels of a metre at this row."""
        return (row - self.horizon) / self.camera_m

    def row(self, scale: float) -> float:
        """Return the row where a metre has so many pixels."""
        return self.horizon + scale * self.camera_m

    def between(self, share: float) -> float:
        """Return a row of the ground: 0 at the houses, 1 at the bottom of the frame."""
        return self.back + share * (self.height - self.back)


@dataclass(frozen=True, slots=True)
class Street:
    """The empty street and the ground it shows."""

    pixels: Pixels
    ground: Ground


KERBS = (0.16, 0.62)
"""Shares of the ground where the road of the demo's street begins and ends."""


def demo_street(rng: np.random.Generator, width: int, height: int) -> Street:
    """Return the street of the demo: seen from a first floor, people 10 to 40 pixels tall in the model's input."""
    unit = max(width, height) / MODEL_SIDE
    far, near = rng.uniform(9.5, 11.5) * unit, rng.uniform(21, 24) * unit      # pixels a metre
    back = rng.uniform(0.4, 0.48) * height
    camera_m = (height - back) / (near - far)
    return _street(rng, Ground(width, height, back - far * camera_m, camera_m, back), KERBS)


def any_street(rng: np.random.Generator, width: int, height: int) -> Street:
    """Return a street from any height and distance, with the road anywhere."""
    unit = max(width, height) / MODEL_SIDE
    horizon = rng.uniform(-0.3, 0.45) * height
    camera_m = (height - horizon) / (np.exp(rng.uniform(np.log(10), np.log(90))) * unit)
    back = max(0.0, horizon) + rng.uniform(0.02, 0.35) * height
    begin = rng.uniform(0.0, 0.5)
    return _street(rng, Ground(width, height, horizon, camera_m, back), (begin, begin + rng.uniform(0.2, 0.8)))


def _street(rng: np.random.Generator, ground: Ground, kerbs: tuple[float, float]) -> Street:
    pixels = np.empty((ground.height, ground.width, 3), np.uint8)
    _sky(rng, pixels, ground)
    _houses(rng, pixels, ground)
    _pavement(rng, pixels, ground)
    _road(rng, pixels, ground, kerbs)
    return Street(_mottled(rng, pixels), ground)


def _sky(rng: np.random.Generator, pixels: Pixels, ground: Ground) -> None:
    high, low = np.array((225, 190, 150)) * rng.uniform(0.7, 1.1), np.array((235, 225, 215))
    share = np.linspace(0, 1, ground.height)[:, None]
    pixels[:] = (high * (1 - share) + low * share).astype(np.uint8)[:, None]


def _houses(rng: np.random.Generator, pixels: Pixels, ground: Ground) -> None:
    metre, foot = max(2.0 * ground.unit, ground.scale(ground.back)), round(ground.back) + 1
    left = -rng.uniform(0, 6) * metre
    while left < ground.width:
        wide, tall = rng.uniform(5, 12) * metre, rng.uniform(4, 9) * metre
        if rng.random() < 0.85:
            _house(rng, pixels, (left, foot - tall, left + wide, foot), metre)
        else:
            hedge = tinted((60, 115, 75), rng.uniform(0.5, 1))
            _rectangle(pixels, (left, foot - 0.8 * metre, left + wide, foot), hedge)
        left += wide


def _house(rng: np.random.Generator, pixels: Pixels, box: tuple[float, float, float, float], metre: float) -> None:
    left, top, right, foot = box
    wall = tinted(paint(rng, 90), rng.uniform(0.6, 1.0))
    _rectangle(pixels, box, wall)
    course = 0.35 * metre
    if course >= 3:      # finer rows of bricks only flicker
        for row in np.arange(foot, top, -course):
            _rectangle(pixels, (left, row, right, row + 1), tinted(wall, 0.88))
    step, glass = rng.uniform(1.6, 2.6) * metre, tinted((110, 95, 80), rng.uniform(0.5, 1.4))
    frame, wide, tall = paint(rng, 60), rng.uniform(0.4, 0.6) * step, rng.uniform(1.0, 1.5) * metre
    for sill in np.arange(foot - 1.1 * metre, top + tall, -rng.uniform(2.4, 3.0) * metre):
        for x in np.arange(left + 0.3 * step, right - wide, step):
            edge = 0.08 * metre
            _rectangle(pixels, (x - edge, sill - tall - edge, x + wide + edge, sill + edge), frame)
            _rectangle(pixels, (x, sill - tall, x + wide, sill), tinted(glass, rng.uniform(0.6, 1.3)))
    door = rng.uniform(left, right)
    _rectangle(pixels, (door, foot - 2.1 * metre, door + 1.0 * metre, foot), paint(rng))


def _pavement(rng: np.random.Generator, pixels: Pixels, ground: Ground) -> None:
    lawn = rng.random() < 0.2
    colour = tinted((70, 130, 90) if lawn else (160, 165, 168), rng.uniform(0.55, 1.15))
    _rectangle(pixels, (0, ground.back, ground.width, ground.height), colour)
    if lawn:
        return
    joint, tile_m = tinted(colour, rng.uniform(0.8, 0.93)), rng.uniform(0.7, 1.6)
    depth = 1.0
    while (row := ground.row(ground.scale(ground.height) / depth)) > ground.back:
        _rectangle(pixels, (0, row, ground.width, row + 1), joint)
        depth += 0.12 * tile_m
    vanish, span = ground.width / 2, tile_m * ground.scale(ground.height)
    for step in range(-30, 31):
        foot, top = vanish + step * span, vanish + step * tile_m * ground.scale(ground.back)
        cv2.line(pixels, (round(top), round(ground.back)), (round(foot), ground.height), joint, 1, cv2.LINE_AA)


def _road(rng: np.random.Generator, pixels: Pixels, ground: Ground, kerbs: tuple[float, float]) -> None:
    begin, end = map(ground.between, kerbs)
    asphalt = tinted((92, 90, 88), rng.uniform(0.6, 1.3))
    _rectangle(pixels, (0, begin, ground.width, end), asphalt)
    for row, share in ((begin, 1.35), (end, 1.5)):
        _rectangle(pixels, (0, row, ground.width, row + 0.15 * ground.scale(row)), tinted(asphalt, share))
    middle = ground.row((ground.scale(begin) + ground.scale(end)) / 2)
    metre = ground.scale(middle)
    for x in np.arange(rng.uniform(-3, 0) * metre, ground.width, 3 * metre):
        _rectangle(pixels, (x, middle, x + 1.4 * metre, middle + 0.12 * metre), (205, 208, 210))
    for _ in range(rng.integers(0, 4)):
        row = rng.uniform(begin, end)
        size = rng.uniform(0.2, 0.8) * ground.scale(row)
        cv2.ellipse(pixels, (int(rng.uniform(0, ground.width)), int(row)), (max(1, int(size)), max(1, int(size / 3))),
                    0, 0, 360, tinted(asphalt, rng.uniform(0.6, 0.85)), -1)


def _mottled(rng: np.random.Generator, pixels: Pixels) -> Pixels:
    size = (pixels.shape[1], pixels.shape[0])
    coarse = cv2.resize(rng.normal(0, 1, (12, 20)).astype(np.float32), (_GRAIN[1], _GRAIN[0]))
    grain = rng.normal(0, 1, _GRAIN).astype(np.float32) * rng.uniform(2, 7) + coarse * rng.uniform(3, 12)
    wide = cv2.resize(np.clip(grain + 128, 0, 255).astype(np.uint8), size)
    return np.asarray(cv2.addWeighted(pixels, 1.0, cv2.merge([wide] * 3), 1.0, -128), np.uint8)


def _rectangle(pixels: Pixels, box: tuple[float, float, float, float], colour: Colour) -> None:
    left, top, right, bottom = (max(0, round(edge)) for edge in box)
    pixels[top:max(bottom, top + 1), left:right] = colour
