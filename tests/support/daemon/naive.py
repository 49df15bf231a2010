"""Daemons that publish false results, as many do: `python naive.py HOW CONFIG`, with `tcp://ORDER` as faulty.py.

`empty`: a frame that failed becomes an empty result; `repeat`: every other frame is given the boxes of
the one before; `hold`: the counts stay while nothing detects. `honest` does none of it, nor `hang`, whose detector
never returns from the 30th frame.
"""

from __future__ import annotations

import os
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from tests.support.daemon.faulty import open_faulty_camera
from vedette._lib import logs, stacks
from vedette.app import Daemon, Options
from vedette.device.identity import StateFolder, state_path
from vedette.errors import DetectError
from vedette.ports import Detector
from vedette.types import DetectionResult, Frame, Timing
from vedette.vision.local import LocalDetector

PROGRAM = (str(Path(__file__)),)
LAST_TURN = 30
NAIVE = ("empty", "repeat", "hold")


class NaiveDetector:
    """Always gives a result."""

    def __init__(self, detector: Detector, how: str) -> None:
        self._detector = detector
        self._how = how
        self._last: DetectionResult | None = None
        self._turn = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._detector, name)

    def detect(self, frame: Frame) -> DetectionResult:
        self._turn += 1
        if self._how == "hang" and self._turn == LAST_TURN:
            threading.Event().wait()
        if self._how == "repeat" and self._last is not None and self._turn % 2:
            return replace(self._last, frame=frame)
        try:
            self._last = self._detector.detect(frame)
        except DetectError:
            if self._how != "empty":
                raise
            return DetectionResult(frame=frame, detections=(), model=None, source="local", age_ms=1.0,
                                   timing=Timing(wait_ms=0, prepare_ms=0, invoke_ms=0, decode_ms=0))
        return self._last


class NaiveDaemon(Daemon):
    """`how` as above."""

    how = "honest"

    def _open_detector(self) -> LocalDetector | None:
        detector = super()._open_detector()
        return None if detector is None else cast(LocalDetector, NaiveDetector(detector, self.how))


def main() -> int:
    how, config = sys.argv[1:]
    logs.setup(20)
    stacks.dump_on_signals()
    options = Options(config_path=Path(config), overrides={})
    state = StateFolder(state_path(os.environ))
    NaiveDaemon.how = how
    try:
        daemon = NaiveDaemon(options, options.load(), state, camera_opener=open_faulty_camera)
        if how == "hold":
            daemon._pipeline.on_blind.clear()
        return daemon.run()
    finally:
        state.close()


if __name__ == "__main__":
    sys.exit(main())
