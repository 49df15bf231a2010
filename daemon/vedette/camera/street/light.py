"""The light on the street, and how lens and sensor record it.

Invariants: pure values. The hour decides everything but the noise, which comes from the frame's own generator.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]

_MAP = (27, 48)      # rows and columns of the light map; light has no edges
_GAIN = 160.0        # of the light map: 255 stands for 1.6
_NOISE_STEP = 32.0   # standard deviation of the noise tile
_DRIFT = 64          # the tile is larger than a frame by this, and every frame takes another part of it


@dataclass(frozen=True, slots=True)
class Light:
    """How a frame is lit and taken. Gains are of blue, green, red; `lamps` are (x, y) in shares of the frame."""

    gains: tuple[float, float, float]
    slope: tuple[float, float]
    """Change of the light across the frame, to the right and down."""
    lamps: tuple[tuple[float, float], ...] = ()
    lamp_gain: float = 0.0
    shadow_strength: float = 0.4
    fog: float = 0.0
    """The share of the contrast that is lost."""
    noise: float = 2.0
    """Standard deviation in grey levels."""
    blur_px: float = 0.0
    """Blur of the lens, in pixels of the model's input."""


def light_at(hour: float, lamps: tuple[tuple[float, float], ...]) -> Light:
    """Return the light of an hour (0-24): night with lamps, a warm low sun, a white noon."""
    sun = -cos(hour / 24 * 2 * pi)                             # -1 at midnight, 1 at noon
    day = min(1.0, max(0.0, sun * 1.6 + 0.55))                 # 0 by night, 1 from morning to evening
    low = max(0.0, 1 - abs(sun - 0.05) / 0.35)                 # 1 when the sun stands at the horizon
    gain = 0.36 + 0.66 * day
    return Light(gains=(gain * (1.12 - 0.12 * day - 0.25 * low), gain * (1.0 - 0.05 * low), gain * (0.9 + 0.12 * day)),
                 slope=(0.25 * low, 0.1), lamps=lamps, lamp_gain=0.5 * (1 - day), shadow_strength=0.15 + 0.35 * day,
                 fog=0.12 * low, noise=1.5 + 4.0 * (1 - day))


def any_light(rng: np.random.Generator) -> Light:
    """Return a random hour, weather, lens and sensor."""
    lamps = tuple((float(x), float(y)) for x, y in rng.uniform(0, 1, (rng.integers(1, 4), 2)))
    dark = rng.random() < 0.25
    gain = rng.uniform(0.3, 0.55) if dark else rng.uniform(0.55, 1.25)
    blue, green, red = (gain * rng.uniform(0.85, 1.15) for _ in range(3))
    return Light(gains=(blue, green, red), slope=(rng.uniform(-0.4, 0.4), rng.uniform(-0.3, 0.3)), lamps=lamps,
                 lamp_gain=rng.uniform(0.2, 0.9) if dark else 0.0, shadow_strength=rng.uniform(0.1, 0.55),
                 fog=rng.uniform(0, 0.4) if rng.random() < 0.25 else 0.0,
                 noise=rng.uniform(3, 9) if dark else rng.uniform(0.5, 5),
                 blur_px=rng.uniform(0.3, 0.9) if rng.random() < 0.35 else 0.0)


def noise_tile(width: int, height: int) -> Pixels:
    """Return the noise tile. Every frame of this size takes a part of it."""
    rng, tile = np.random.default_rng(0), np.empty((height + _DRIFT, width + _DRIFT, 3), np.uint8)
    for row in tile:    # all at once would need twelve times the memory of the tile
        row[:] = np.clip(128 + _NOISE_STEP * rng.standard_normal(row.shape, np.float32), 0, 255)
    return tile


def expose(frame: Pixels, light: Light, tile: Pixels, rng: np.random.Generator, unit: float) -> None:
    """Change the evenly lit frame into the camera's picture, in place."""
    height, width = frame.shape[:2]
    cv2.multiply(frame, cv2.resize(_light_map(light), (width, height)), dst=frame, scale=1 / _GAIN)
    if light.blur_px:
        cv2.GaussianBlur(frame, (0, 0), light.blur_px * unit, dst=frame)
    x, y = rng.integers(0, _DRIFT, 2)
    share = light.noise / _NOISE_STEP
    haze = 150 * light.fog * sum(light.gains) / 3
    cv2.addWeighted(frame, 1 - light.fog, tile[y:y + height, x:x + width], share, haze - 128 * share, dst=frame)


def _light_map(light: Light) -> Pixels:
    y, x = np.mgrid[0:1:_MAP[0] * 1j, 0:1:_MAP[1] * 1j]
    lamps = sum((np.exp(-((x - lamp_x) ** 2 + (y - lamp_y) ** 2) / 0.06) for lamp_x, lamp_y in light.lamps),
                np.zeros(_MAP))
    even = 1 + light.slope[0] * (x - 0.5) + light.slope[1] * (y - 0.5)
    warm = np.array((0.75, 0.95, 1.1))
    lit = even[..., None] * np.array(light.gains) + light.lamp_gain * lamps[..., None] * warm
    return np.asarray(np.clip(lit * _GAIN, 0, 255), np.uint8)
