"""The synthetic camera: the drawn street at the pace of a live camera, with the faults that the source's name asks for.

Invariants:
- Frame n belongs to the time n / fps: of the monotonic clock when live, of the film with `every_frame`. So the capture
  time of a frame gives its number and its truth, also after drops, reopening and restarts.
- The number alone decides what is shown, misbehaviour included. With `every_frame`, a camera that stalls or is slow
  only skips frames.
- A frame that is too late is not captured at all: a slow board sees a lower rate, not a backlog.
"""

from __future__ import annotations

import time
from math import ceil
from typing import TYPE_CHECKING

import cv2
import numpy as np

from vedette._lib.clock import pause
from vedette.camera.child.memory import return_free_memory
from vedette.camera.child.source import checked
from vedette.camera.street.faults import EFFECTS
from vedette.camera.street.options import parse_synthetic
from vedette.camera.street.scene import Scene

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from vedette.camera.settings import CaptureSettings
    from vedette.camera.street.options import Misbehaviour

    Pixels = NDArray[np.uint8]

SLOW_S = 5.0
DARK = 0.01     # of the light


class Synthetic:
    """The street as a source of frames."""

    reusable = True

    def __init__(self, settings: CaptureSettings, now_ns: Callable[[], int] = time.monotonic_ns,
                 sleep: Callable[[float], None] = pause) -> None:
        self.live = not settings.every_frame
        self.fps: float | None = settings.fps
        self._rate = settings.fps
        self._options = parse_synthetic(settings.source)
        self._size = (settings.width, settings.height)
        self._now_ns, self._sleep = now_ns, sleep
        self._tick = self._number_at(now_ns()) if self.live else -1
        self._scene = self._scene_of(self._size)
        self._other: Scene | None = None
        self._shape = (settings.height, settings.width, 3)

    def __repr__(self) -> str:
        return f"<Synthetic {self._options} frame {self._tick}>"

    def grab(self) -> int:
        """Wait for the next frame; see Source."""
        self._tick = self._next_tick()
        if self.live:
            self._wait_for(self._tick)
        if self._fault() == "repeat":    # the old frame keeps its old stamp; a frozen camera gives it a new one
            return self._stamp_ns(self._options.shown_number(self._tick, self._rate))
        return self._stamp_ns(self._tick)

    def read(self, into: Pixels | None) -> Pixels:
        """Draw the frame; see Source."""
        fault = self._fault()
        if fault == "garbage":
            return checked(np.zeros((1, self._size[0] * self._size[1]), np.uint8), "synthetic")
        if fault == "size":
            return self._smaller()
        picture = into if into is not None and into.shape == self._shape else np.empty(self._shape, np.uint8)
        self._scene.render(self._options.shown_number(self._tick, self._rate), picture)
        if fault == "dark":
            cv2.convertScaleAbs(picture, dst=picture, alpha=DARK)
        if fault in EFFECTS:
            EFFECTS[fault](picture, self._tick)
        if self._tick % ceil(self._rate) == 0:      # once a second; drawing takes and frees megabytes
            return_free_memory()
        return picture

    def close(self) -> None:
        """Do nothing: there is nothing to close."""

    def _next_tick(self) -> int:
        """Return the number of the next frame. A live source skips frames whose time has passed."""
        tick = max(self._tick + 1, self._number_at(self._now_ns())) if self.live else self._tick + 1
        fault = self._options.fault_at(tick, self._rate)
        if fault and fault.kind == "stall":
            return fault.end
        if fault and fault.kind == "slow":
            every = ceil(SLOW_S * self._rate)
            return min(-(-tick // every) * every, fault.end)
        return tick

    def _fault(self) -> Misbehaviour | None:
        fault = self._options.fault_at(self._tick, self._rate)
        return fault.kind if fault else None

    def _smaller(self) -> Pixels:
        width, height = max(8, self._size[0] // 2), max(8, self._size[1] // 2)
        self._other = self._other or self._scene_of((width, height))
        picture = np.empty((height, width, 3), np.uint8)
        self._other.render(self._tick, picture)
        return picture

    def _scene_of(self, size: tuple[int, int]) -> Scene:
        return Scene(self._options.seed, *size, self._rate, hard=self._options.hard,
                     quiet=self._options.quiet, hour=self._options.hour)

    def _number_at(self, moment_ns: int) -> int:
        return ceil(moment_ns * self._rate / 1e9)

    def _stamp_ns(self, number: int) -> int:
        return round(number * 1e9 / self._rate)

    def _wait_for(self, number: int) -> None:
        while (left_ns := self._stamp_ns(number) - self._now_ns()) > 0:
            self._sleep(left_ns / 1e9)
