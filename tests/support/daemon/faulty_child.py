"""The capture child with a source that misbehaves on demand: `tcp://PATH` does what the file PATH says now.

Run by RemoteCamera as its child module; it is found through PYTHONPATH. What it shows is noise with one lamp, in
another cell of a 4 x 4 grid each time; `PATH.truth` has a line for each frame: its stamp, and the lit cell, - or ?.
"""

import ctypes
import signal
import threading
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vedette.camera.child.main import main
from vedette.camera.child.source import NoAnswer, PictureDamaged, ReadStalled, checked
from vedette.camera.settings import CaptureSettings
from vedette.errors import SourceMissing

FPS = 30.0
SHAPE = (48, 64, 3)
GRID = 4
Pixels = NDArray[np.uint8]


class FaultySource:
    """Frames with a lamp at 30/s, until an order changes that."""

    live = True
    reusable = True
    fps: float | None = FPS

    def __init__(self, settings: CaptureSettings) -> None:
        self._order = Path(settings.source.removeprefix("tcp://"))
        self._notes = Path(f"{self._order}.truth").open("a", buffering=1)  # noqa: SIM115 - as long as this process
        self._stamp_ns = 0
        self._random = np.random.default_rng()
        self._next_ns = time.monotonic_ns()
        self._picture: Pixels | None = None
        if self.order == "absent":
            raise SourceMissing("unplugged")
        if self.order == "slow start" and settings.slow_openings < 2:
            raise NoAnswer("no answer")
        if self.order == "hang in open":
            signal.pause()

    @property
    def order(self) -> str:
        return self._order.read_text()

    def grab(self) -> int:
        order = self.order
        if order == "hang in read":
            signal.pause()
        if order == "crash":
            ctypes.string_at(0)
        if order in ("fail", "hang in close"):
            raise SourceMissing("the plug was pulled")
        if order == "stall":
            raise ReadStalled("no frame")
        if order == "exit":
            raise SystemExit(3)
        self._next_ns += int(1e9 / (2000 if order == "too fast" else 2 if order == "slow" else FPS))
        threading.Event().wait(max(0, self._next_ns - time.monotonic_ns()) / 1e9)
        self._stamp_ns = 1 if order == "stuck clock" else self._next_ns
        return self._stamp_ns

    def read(self, into: Pixels | None) -> Pixels:
        order = self.order
        if order == "damaged" or (order == "one in ten damaged" and not self._random.integers(10)):
            raise PictureDamaged("a picture cannot be decoded")
        if order == "wrong shape":
            return checked(np.zeros((1, 921600), np.uint8), "device")
        if order != "frozen" or self._picture is None:
            self._picture = self._random.integers(20, 100, SHAPE, dtype=np.uint8)
        if order == "greedy":
            return np.zeros((2**17, 2**15, 3), np.uint8)
        if order == "black":
            self._picture = self._random.integers(0, 3, SHAPE, dtype=np.uint8)
        if order == "frozen":
            self._picture = np.full(SHAPE, 90, np.uint8)
        if order == "smaller":
            return self._noted("?", self._picture[:24, :32])
        if order in ("black", "frozen"):
            return self._noted("-", self._picture)
        cell = int(self._random.integers(GRID * GRID))
        top, left = cell // GRID * SHAPE[0] // GRID, cell % GRID * SHAPE[1] // GRID
        self._picture[top:top + SHAPE[0] // GRID, left:left + SHAPE[1] // GRID] = 255
        return self._noted(str(cell), self._picture)

    def _noted(self, truth: str, picture: Pixels) -> Pixels:
        self._notes.write(f"{self._stamp_ns} {truth}\n")
        return picture

    def close(self) -> None:
        if self.order == "hang in close":
            signal.pause()


if __name__ == "__main__":
    main(FaultySource)
