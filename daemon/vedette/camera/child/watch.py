"""Notices pictures and rates that a working camera does not give: frozen, black, impossible, slow.

Invariants: each frame costs the comparison of a few rows, or of the whole picture while those rows are equal. Once a
second a strided sample and a thumbnail are added. The memory is fixed. A reason ends with the first evidence against
it. Only a live source has a rate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from vedette.camera.brightness import light_of
from vedette.camera.child.view import ViewWatch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from vedette.types import ReasonCode, View

SAMPLE_NS = 1_000_000_000
BLACK_BRIGHTNESS = 8.0
BLACK_CONTRAST = 3.0
BLACK_AFTER_NS = 2_000_000_000
IMPOSSIBLE_TIMES = 4.0
IMPOSSIBLE_WINDOWS = 2
"""Windows in a row. A stream that delivers its backlog after connecting is fast for a moment."""
UNKNOWN_FPS = 60.0
SLOW_NS = 10_000_000_000
SLOW_SHARE = 0.5


class PictureWatch:
    """Checks the pictures, one after the other."""

    def __init__(self, frozen_after_s: float) -> None:
        self.brightness: float | None = None
        self.contrast: float | None = None
        self._view = ViewWatch()
        self._new_view: View | None = None
        self._reopen_wanted = False
        self._frozen_after_ns = int(frozen_after_s * 1e9)
        self._unchanged_since_ns: int | None = None
        self._frozen = False
        self._sampled_ns: int | None = None
        self._black_since_ns: int | None = None
        self._black = False

    def check(self, picture: NDArray[np.uint8], previous: NDArray[np.uint8] | None, now_ns: int) -> None:
        """Check one picture. `previous` is the one before it, or None when it was overwritten."""
        if previous is not None:
            self._check_frozen(picture, previous, now_ns)
        if self._sampled_ns is None or now_ns - self._sampled_ns >= SAMPLE_NS:
            self._sampled_ns = now_ns
            self._check_black(picture, now_ns)
            self._new_view = self._view.measure(picture)

    def take_view(self) -> View | None:
        """Return the view if it was measured since the last call, else None."""
        view, self._new_view = self._new_view, None
        return view

    def take_frozen(self) -> bool:
        """Whether the picture froze since the last call. Then the source is reopened, once."""
        wanted, self._reopen_wanted = self._reopen_wanted, False
        return wanted

    def reasons(self) -> tuple[ReasonCode, ...]:
        """Return the health reason codes that hold now."""
        return codes_that_hold({"camera_frozen": self._frozen, "camera_black": self._black})

    def _check_frozen(self, picture: NDArray[np.uint8], previous: NDArray[np.uint8], now_ns: int) -> None:
        if not same_picture(picture, previous):
            self._unchanged_since_ns = None
            self._frozen = self._reopen_wanted = False
            return
        if self._unchanged_since_ns is None:
            self._unchanged_since_ns = now_ns
        if not self._frozen and now_ns - self._unchanged_since_ns >= self._frozen_after_ns:
            self._frozen = self._reopen_wanted = True

    def _check_black(self, picture: NDArray[np.uint8], now_ns: int) -> None:
        self.brightness, self.contrast = light_of(picture)
        if self.brightness >= BLACK_BRIGHTNESS or self.contrast >= BLACK_CONTRAST:
            self._black_since_ns = None
        elif self._black_since_ns is None:
            self._black_since_ns = now_ns
        self._black = self._black_since_ns is not None and now_ns - self._black_since_ns >= BLACK_AFTER_NS


class _Window:
    """Frames per second over periods of at least `length_ns`."""

    def __init__(self, length_ns: int) -> None:
        self._length_ns = length_ns
        self._from_ns: int | None = None
        self._frames = 0

    def add(self, now_ns: int) -> float | None:
        """Count a frame. Return the rate when a period is complete, else None."""
        if self._from_ns is None:
            self._from_ns = now_ns
            return None
        self._frames += 1
        length_ns = now_ns - self._from_ns
        if length_ns < self._length_ns:
            return None
        rate = self._frames / length_ns * 1e9
        self._from_ns, self._frames = now_ns, 0
        return rate


class RateWatch:
    """Checks the frame rate of a live source, whether or not the frames are kept."""

    def __init__(self, asked_fps: float, declared_fps: float | None) -> None:
        self._impossible_fps = IMPOSSIBLE_TIMES * max(asked_fps, declared_fps or UNKNOWN_FPS)
        self._slow_fps = SLOW_SHARE * min(asked_fps, declared_fps or asked_fps)
        self._second, self._while = _Window(SAMPLE_NS), _Window(SLOW_NS)
        self._last_ns = 0
        self._seen = 0
        self._not_advancing = 0
        self._impossible_windows = 0
        self._slow = False

    def arrived(self, captured_ns: int, now_ns: int) -> None:
        """A frame was grabbed."""
        self._seen += 1
        self._not_advancing += captured_ns <= self._last_ns
        self._last_ns = captured_ns
        rate = self._second.add(now_ns)
        if rate is not None:
            impossible = rate > self._impossible_fps or self._not_advancing * 2 > self._seen
            self._impossible_windows = self._impossible_windows + 1 if impossible else 0
            self._seen = self._not_advancing = 0
        rate = self._while.add(now_ns)
        if rate is not None:
            self._slow = rate < self._slow_fps

    def reasons(self) -> tuple[ReasonCode, ...]:
        """Return the health reason codes that hold now."""
        impossible = self._impossible_windows >= IMPOSSIBLE_WINDOWS
        return codes_that_hold({"camera_rate": impossible, "camera_slow": self._slow})


def codes_that_hold(holds: Mapping[ReasonCode, bool]) -> tuple[ReasonCode, ...]:
    """Return the codes whose value is true, in their order."""
    return tuple(code for code, is_so in holds.items() if is_so)


def same_picture(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    """Whether both are the same bit for bit. A few rows come first: the noise of a live camera shows in any of them."""
    if one.shape != other.shape:
        return False
    step = max(1, one.shape[0] // 4)
    if not np.array_equal(one[::step], other[::step]):
        return False
    return cv2.norm(one, other, cv2.NORM_INF) == 0
