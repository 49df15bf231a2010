"""The switch of the command `detection`: off pauses detection until it is switched on, also over restarts.

Invariants: what is off stays off at the next start while the command is allowed, and is on again where it is not, since
nobody could switch it on; the pause holds in this run even if the disk fails. Main thread.
"""

from __future__ import annotations

import logging
import os
from math import inf
from typing import TYPE_CHECKING

from vedette._lib.durable import replace_file, sync_folder

if TYPE_CHECKING:
    from pathlib import Path

    from vedette.detect.pipeline import Pipeline

log = logging.getLogger(__name__)

FILE = "detection_off"


class DetectionSwitch:
    """`folder`: the state folder. `allowed`: whether the device obeys the command."""

    def __init__(self, pipeline: Pipeline, folder: Path, *, allowed: bool) -> None:
        self.is_off = False
        self._pipeline = pipeline
        self._path = folder / FILE
        if self._path.exists():
            self._start(allowed=allowed)

    def __repr__(self) -> str:
        return f"<DetectionSwitch {'off' if self.is_off else 'on'}>"

    def pause(self, seconds: float) -> None:
        """Pause for so long. What is switched off must stay so: the caller asks `is_off` before."""
        self._pipeline.pause(seconds)

    def turn_off(self) -> None:
        """Pause without an end. Raises: OSError naming the file; then only this run knows it."""
        self._pipeline.pause(inf)
        self.is_off = True
        replace_file(self._path, b"")

    def turn_on(self) -> None:
        """End any pause. Raises: OSError naming the file; then the next run is off again."""
        self._pipeline.resume()
        self.is_off = False
        if self._path.exists():
            self._path.unlink()
            sync_folder(os, str(self._path.parent))

    def _start(self, *, allowed: bool) -> None:
        try:
            if allowed:
                log.warning("detection was switched off in an earlier run, and is off until it is switched on")
                self.turn_off()
            else:
                log.warning("detection was switched off in an earlier run; it is on again, because commands.allow does "
                            "not list `detection` any more")
                self.turn_on()
        except OSError as error:
            log.warning("%s: %s", error.filename, error.strerror)
