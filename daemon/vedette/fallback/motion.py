"""The last fallback, without any model: boxes labelled `motion` around what moves before a learnt background.

Invariants:
- A frame raises if the background is not learnt yet, or if the whole picture changed (a light went on, the camera
  moved): such a frame cannot be examined, and that is not the same as no motion.
- How fast the background is learnt depends on time, not on the frame rate. Things that stand still for long become
  background.
- Boxes lie within the part of the frame that a model would see; the largest comes first. One thread, but any may set
  `roi`: from the next frame on, the background of that part is learnt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from vedette._lib.clock import SystemClock
from vedette.errors import DetectError
from vedette.types import WHOLE, Box, Detection, DetectionResult, Timing
from vedette.vision.geometry import Area, roi_pixels

if TYPE_CHECKING:
    from vedette.ports import Clock
    from vedette.types import Frame

LABEL = "motion"
WIDTH_PX = 320
"""The width of the compared picture: noise averages out in it, and a person across the street is still ten pixels."""
MEMORY_S = 10.0
LEARN_FRAMES, LEARN_S, LEARN_FRAMES_LEAST = 8, 1.0, 4
"""The background is learnt after LEARN_FRAMES, or after LEARN_S with at least LEARN_FRAMES_LEAST."""
GAP_S = 5.0
"""After a longer gap between frames the background is learnt again."""
CHANGED_SHARE = 0.4
"""If more of the picture differs, the whole picture changed."""
LEAST_SHARE = 0.0006
"""A smaller box is not reported."""
MOST_BOXES = 50
VAR_THRESHOLD = 25.0

Array = NDArray[np.uint8]


class MotionDetector:
    """Detects motion in one camera's frames, in their order."""

    def __init__(self, roi: Box = WHOLE, clock: Clock | None = None) -> None:
        self.roi = roi
        self._clock = clock or SystemClock()
        self._small, self._round = np.ones((2, 2), np.uint8), np.ones((5, 5), np.uint8)
        self._background: cv2.BackgroundSubtractorMOG2 | None = None
        self._compares: tuple[Area, int, int] | None = None
        """The part that the background is of, and the width and height of its frames."""
        self._began_ns = self._last_ns = 0
        self._learnt = 0

    def __repr__(self) -> str:
        return f"<MotionDetector {self._learnt} frames learnt>"

    def detect(self, frame: Frame) -> DetectionResult:
        """Return what moves. Raises: DetectError if this frame does not show it."""
        now_ns = self._clock.monotonic_ns
        taken_ns = now_ns()
        roi = self.roi
        area = roi_pixels(frame.width, frame.height, roi)
        picture = _compared(np.asarray(frame.pixels), area)
        prepared_ns = now_ns()
        moving = self._moving(picture, area, frame)
        compared_ns = now_ns()
        boxes = self._boxes(moving, area, frame)
        ready_ns = now_ns()
        return DetectionResult(
            frame=frame, detections=tuple(Detection(LABEL, None, None, box) for box in boxes), model=None,
            source="motion", roi=roi,
            timing=Timing(wait_ms=(taken_ns - frame.handed_over_ns) / 1e6,
                          prepare_ms=(prepared_ns - taken_ns) / 1e6,
                          invoke_ms=(compared_ns - prepared_ns) / 1e6,
                          decode_ms=(ready_ns - compared_ns) / 1e6),
            age_ms=(ready_ns - frame.captured_ns) / 1e6)

    def _moving(self, picture: Array, area: Area, frame: Frame) -> Array:
        """Compare with the background, then learn; returns 255 where something moves."""
        gap_s = (frame.captured_ns - self._last_ns) / 1e9
        compares = area, frame.width, frame.height
        if self._background is None or compares != self._compares or not 0 <= gap_s <= GAP_S:
            self._begin(frame)
            self._compares = compares
        self._last_ns = frame.captured_ns
        self._learnt += 1
        rate = max(1 / self._learnt, min(1.0, gap_s / MEMORY_S))
        assert self._background is not None  # noqa: S101 - for the type checker: _begin made it
        moving = np.asarray(self._background.apply(picture, learningRate=rate), np.uint8)
        if self._learning(frame):
            raise DetectError(f"frame {frame.seq}: the background is not learnt yet")
        changed = cv2.countNonZero(moving) / moving.size
        if changed > CHANGED_SHARE:
            self._begin(frame)
            raise DetectError(f"frame {frame.seq}: {changed:.0%} of the picture changed at once, expected at most "
                              f"{CHANGED_SHARE:.0%}; the background is learnt again")
        return moving

    def _begin(self, frame: Frame) -> None:
        self._background = cv2.createBackgroundSubtractorMOG2(varThreshold=VAR_THRESHOLD, detectShadows=False)
        self._began_ns, self._learnt = frame.captured_ns, 0

    def _learning(self, frame: Frame) -> bool:
        long_enough = frame.captured_ns - self._began_ns >= LEARN_S * 1e9 and self._learnt > LEARN_FRAMES_LEAST
        return self._learnt <= LEARN_FRAMES and not long_enough

    def _boxes(self, moving: Array, area: Area, frame: Frame) -> list[Box]:
        """Remove specks, close gaps, and return the boxes that are left, in 0-1 of the frame."""
        whole = cv2.morphologyEx(cv2.morphologyEx(moving, cv2.MORPH_OPEN, self._small), cv2.MORPH_CLOSE, self._round)
        _, _, found, _ = cv2.connectedComponentsWithStats(whole)
        height, width = moving.shape
        large = sorted((each for each in found[1:].tolist() if each[2] * each[3] >= LEAST_SHARE * moving.size),
                       key=lambda each: -each[2] * each[3])
        return [_to_frame(each[:4], area, width, height, frame) for each in large[:MOST_BOXES]]


def _compared(pixels: Array, area: Area) -> Array:
    part = pixels[area.top:area.bottom, area.left:area.right]
    share = min(1.0, WIDTH_PX / area.width)
    size = (max(1, round(area.width * share)), max(1, round(area.height * share)))
    grey = cv2.cvtColor(cv2.resize(part, size, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY)
    return np.asarray(cv2.GaussianBlur(grey, (3, 3), 0), np.uint8)


def _to_frame(corner: list[int], area: Area, width: int, height: int, frame: Frame) -> Box:
    left, top, wide, high = corner
    x, y = area.width / width, area.height / height
    return Box((area.left + left * x) / frame.width, (area.top + top * y) / frame.height,
               (area.left + (left + wide) * x) / frame.width, (area.top + (top + high) * y) / frame.height)
