"""The motion gate: says in which pictures nothing moves, so that the detector may do without them.

Each picture is compared, small and grey, with the running mean of those before it. What changes alike over a third of
the picture is light. What is left moves, if it stands out from the changes everywhere: noise, and what light does to
edges. The numbers below were chosen on streets of the seeds 301 to 307.

Invariants:
- A picture in which something moves is not still, nor are those of `HOLD_NS` after it, the first ones, and one every
  `every_s`.
- Time is that of the pictures, so a film played fast gives the same answers. A picture whose time does not advance is
  not still.
- However much changes everywhere, a change of `MOST` grey levels is motion: the camera moves, or a light goes on.
- While the gate is closed, still frames of a live source are kept back and counted; two a second are not.
- Cost and memory depend on the width of the compared picture, hardly on that of the frame.
"""

from __future__ import annotations

from math import exp
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

WIDTH_PX = 160
MEMORY_S = 4.0
"""Time constant of the running mean. What stops becomes background; what leaves then, moves."""
HOLD_NS = 1_000_000_000
REPORT_NS = 500_000_000
"""A still frame is handed over this often although nobody detects in it: it shows that the camera works."""
LIGHT_PX, THING_PX = 51, 3
"""Sides of the squares over which light is alike, and over which the change of a thing is averaged."""
LEAST, MOST = 2.5, 16.0
"""A smaller change, in grey levels, is never motion; a larger one always is."""
OUTSTANDING = 5.0
"""In between, a change is motion if it is so many times as large as usual in this picture, in standard deviations."""
_DEVIATION = 1.4826
"""Standard deviation of normal values whose median distance from 0 is 1."""


class MotionGate:
    """Takes one picture after the other. `every_s`: a look at least this often. None: no picture is still."""

    def __init__(self, every_s: float | None) -> None:
        self._every_ns = None if every_s is None else int(every_s * 1e9)
        self._background: Floats | None = None
        self._last_ns = self._moved_ns = self._looked_ns = 0
        self._reported_ns = self._kept_back = 0

    def is_still(self, picture: NDArray[np.uint8], at_ns: int) -> bool:
        """Take a BGR picture and its time. Return whether the detector may do without it."""
        if self._every_ns is None:
            return False
        passed_ns, self._last_ns = at_ns - self._last_ns, at_ns
        if self._moves(_small(picture), passed_ns / 1e9):
            self._moved_ns = at_ns
        if at_ns - self._moved_ns <= HOLD_NS or at_ns - self._looked_ns >= self._every_ns:
            self._looked_ns = at_ns
        return at_ns != self._looked_ns

    def keeps_back(self, now_ns: int, *, is_open: bool) -> bool:
        """Count a still frame that need not be handed over, if it need not; return whether that is so.

        With an open gate the detector gets it, so it is a look.
        """
        if is_open:
            self._looked_ns = self._last_ns
        if is_open or now_ns - self._reported_ns >= REPORT_NS:
            self._reported_ns = now_ns
            return False
        self._kept_back += 1
        return True

    def take_kept_back(self) -> int:
        """Return how many frames were kept back since the last call."""
        kept_back, self._kept_back = self._kept_back, 0
        return kept_back

    def _moves(self, small: Floats, passed_s: float) -> bool:
        """Compare with the background, then learn. The first picture, and one out of order, counts as motion."""
        if self._background is None or self._background.shape != small.shape or passed_s <= 0:
            self._background = small
            return True
        change = small - self._background
        cv2.accumulateWeighted(small, self._background, 1 - exp(-passed_s / MEMORY_S))
        change = np.abs(cv2.blur(change - cv2.blur(change, (LIGHT_PX, LIGHT_PX)), (THING_PX, THING_PX)))
        usual = _DEVIATION * float(np.median(change[::2, ::2]))
        return float(change.max()) > min(max(LEAST, OUTSTANDING * usual), MOST)


def _small(picture: NDArray[np.uint8]) -> Floats:
    """Return the picture small and grey. Few pixels of a large one are read: reading all takes several times longer."""
    height, width = picture.shape[:2]
    size = min(width, WIDTH_PX), max(1, round(height * min(1.0, WIDTH_PX / width)))
    if width > 2 * WIDTH_PX:
        picture = cast("NDArray[np.uint8]", cv2.resize(picture, (size[0] * 2, size[1] * 2)))
    small = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), size, interpolation=cv2.INTER_AREA)
    return small.astype(np.float32)
