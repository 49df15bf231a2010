"""Faults of the view: the camera is covered, moved or out of focus, or it rains.

Invariants: pure, in place. The frame's number alone decides what is drawn. At the edge that comes into view when the
camera moves, nothing new appears, so the truth stays what was drawn.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from vedette.camera.street.scene import LEAST_VISIBLE, TruthBox
from vedette.types import Box

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]

MOVED = (0.12, 0.06)
"""How far the camera is turned, in shares of width and height."""
BLUR = 0.008
"""Standard deviation of the blur, in shares of the width."""
_CLOTH, _SHINES_THROUGH = 30.0, 0.02
_HAZE, _HAZE_GREY, _STREAKS = 0.2, 150, 250


def cover(frame: Pixels, number: int) -> None:
    """Hang a cloth before the lens. Hardly any light comes through."""
    width = frame.shape[1]
    cv2.blur(frame, (width // 4, width // 4), dst=frame)
    cv2.convertScaleAbs(frame, dst=frame, alpha=_SHINES_THROUGH, beta=_CLOTH)
    noise = np.random.default_rng((7, number)).integers(0, 5, frame.shape, np.uint8)
    cv2.add(frame, noise, dst=frame)


def move(frame: Pixels, _number: int) -> None:
    """Turn the camera to the right and down."""
    height, width = frame.shape[:2]
    shift = np.array(((1, 0, -MOVED[0] * width), (0, 1, -MOVED[1] * height)))
    frame[:] = cv2.warpAffine(frame, shift, (width, height), borderMode=cv2.BORDER_REPLICATE)


def defocus(frame: Pixels, _number: int) -> None:
    """Put the lens out of focus."""
    cv2.GaussianBlur(frame, (0, 0), max(1.5, BLUR * frame.shape[1]), dst=frame)


def rain(frame: Pixels, number: int) -> None:
    """Draw rain: haze, and streaks at new positions in every frame."""
    height, width = frame.shape[:2]
    cv2.convertScaleAbs(frame, dst=frame, alpha=1 - _HAZE, beta=_HAZE * _HAZE_GREY)
    rng = np.random.default_rng((8, number))
    streaks = np.zeros((height, width), np.uint8)
    long = max(3, height // 18)
    for x, y in zip(rng.integers(0, width, _STREAKS), rng.integers(0, height, _STREAKS), strict=True):
        cv2.line(streaks, (int(x), int(y)), (int(x) + long // 4, int(y) + long), 45, 1)
    cv2.add(frame, cv2.merge([streaks] * 3), dst=frame)


EFFECTS = {"cover": cover, "move": move, "defocus": defocus, "rain": rain}


def moved_truth(truth: Sequence[TruthBox]) -> tuple[TruthBox, ...]:
    """Return the part of the truth that the moved camera sees."""
    return tuple(seen for each in truth if (seen := _moved(each)) is not None)


def _moved(truth: TruthBox) -> TruthBox | None:
    left, top, right, bottom = truth.box
    box = Box(max(0.0, left - MOVED[0]), max(0.0, top - MOVED[1]), right - MOVED[0], bottom - MOVED[1])
    if box.xmax <= 0 or box.ymax <= 0:
        return None
    kept = (box.xmax - box.xmin) * (box.ymax - box.ymin) / ((right - left) * (bottom - top))
    if kept * truth.visible < LEAST_VISIBLE:
        return None
    return replace(truth, box=box, visible=kept * truth.visible)
