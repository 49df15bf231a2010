"""The capture child with a source that misbehaves on demand: `tcp://PATH` does what the file PATH says now.

Run by RemoteCamera as its child module; it is found through PYTHONPATH.
"""

import ctypes
import signal
import threading
import time
from pathlib import Path

import numpy as np

from vedette.camera.child import main
from vedette.camera.source import ReadStalled, checked
from vedette.errors import SourceMissing

FPS = 30.0
SHAPE = (48, 64, 3)


class FaultySource:
    """Frames of noise at 30/s, until told otherwise."""

    live = True
    reusable = True

    def __init__(self, settings):
        self.fps = FPS
        self._order = Path(settings.source.removeprefix("tcp://"))
        self._random = np.random.default_rng()
        self._next_ns = time.monotonic_ns()
        self._picture = None
        if self.order == "absent":
            raise SourceMissing("unplugged")
        if self.order == "hang in open":
            signal.pause()

    @property
    def order(self):
        return self._order.read_text()

    def grab(self):
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
        return 1 if order == "stuck clock" else self._next_ns

    def read(self, into):
        order = self.order
        if order == "wrong shape":
            return checked(np.zeros((1, 921600), np.uint8), "device")
        if order != "frozen" or self._picture is None:
            self._picture = self._random.integers(30, 220, SHAPE, dtype=np.uint8)
        if order == "greedy":
            return np.zeros((2**17, 2**15, 3), np.uint8)
        if order == "black":
            self._picture = self._random.integers(0, 3, SHAPE, dtype=np.uint8)
        if order == "frozen":
            self._picture = np.full(SHAPE, 90, np.uint8)
        if order == "smaller":
            return self._picture[:24, :32]
        return self._picture

    def close(self):
        if self.order == "hang in close":
            signal.pause()


if __name__ == "__main__":
    main(FaultySource)
