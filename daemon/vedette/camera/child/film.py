"""Video files, through OpenCV.

Invariants: a frame has its position in the film. A picture that cannot be decoded ends nothing: the film goes on behind
it, and both that picture and a film that ends too early are named.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from vedette.camera.child.opencv import DAMAGED_IN_A_ROW, OpenCvSource, open_ffmpeg
from vedette.camera.child.source import PictureDamaged
from vedette.camera.source_hint import missing
from vedette.errors import SourceEnded, SourceInvalid, SourceMissing
from vedette.net.urls import shown

if TYPE_CHECKING:
    from vedette.camera.settings import CaptureSettings
    from vedette.errors import SourceError

log = logging.getLogger(__name__)

DECLARED_MOST = 100_000
EARLY_END = 0.9
"""A film that ends before this share of its declared length was probably cut off."""


class Film(OpenCvSource):
    """A video file. `grab` returns the frame's position in the film, from 0, in ns."""

    live = False

    def __init__(self, settings: CaptureSettings) -> None:
        path = settings.source.removeprefix("file://")
        what = shown(path)
        if not Path(path).exists():
            raise SourceMissing(missing(path))
        if not Path(path).is_file():
            raise SourceInvalid(f"{what}: expected a video file or a folder of images")
        if not Path(path).stat().st_size:
            raise SourceInvalid(f"{what}: the file is empty; expected a video file")
        # A read that is only slow is no damage: the owner notices a stall.
        capture = open_ffmpeg(path, what, settings.open_limit_s, settings.open_limit_s,
                              keyframes=settings.decode == "keyframes")
        if not capture.isOpened():
            with Path(path).open("rb") as file:
                is_mp4 = file.read(8)[4:] == b"ftyp"
            hint = "; an MP4 that was cut off lacks its index" if is_mp4 else ""
            raise SourceInvalid(f"{what}: OpenCV cannot open it as a video{hint}")
        super().__init__(capture, what, keyframes=settings.decode == "keyframes")
        self._frames = self._damaged = 0
        self._declared = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self._last_ns = -1

    def grab(self) -> int:
        """Go to the next frame; see Source."""
        if not self._grabbed_ahead():
            self._grab_next()
        position_ms = self._capture.get(cv2.CAP_PROP_POS_MSEC)
        by_count_ns = int((self._frames + self.passed_over) * 1e9 / (self.fps or 25.0))
        self._frames += 1
        stamp_ns = int(position_ms * 1e6) if math.isfinite(position_ms) else by_count_ns
        self._last_ns = stamp_ns if stamp_ns > self._last_ns else by_count_ns
        return self._last_ns

    def _grab_next(self) -> None:
        """Grab the next frame that can be decoded. Raises: PictureDamaged if others came before it; as `grab`."""
        first = self._frames + self._damaged + 1
        most = max(DAMAGED_IN_A_ROW, min(self._declared - first, DECLARED_MOST))
        lost = 0
        while not self._grab_picture():
            lost += 1
            if lost > most:
                raise self._end()
        if lost:
            self._ahead = True
            self._damaged += lost
            which = f"picture {first}" if lost == 1 else f"{lost} pictures from number {first} on"
            raise PictureDamaged(f"{self._what}: {which} cannot be decoded")

    def _end(self) -> SourceError:
        if not self._frames:
            return SourceInvalid(f"{self._what}: none of its frames can be decoded")
        cause = f"{self._what}: played to its end, {self._frames} frames"
        if self._damaged:
            cause += f", {self._damaged} damaged"
        # Some files declare only their length, and the number is computed. So the time must be missing too.
        period_ns = 1e9 / (self.fps or 25.0)
        missing = round(self._declared - self._frames - self._damaged - self.passed_over)
        missing_ns = self._declared * period_ns - self._last_ns - period_ns
        if missing > 0 and missing_ns > period_ns / 2:
            cause += f", {missing} missing of the {self._declared:.0f} that it declares"
            if missing_ns > self._declared * period_ns * (1 - EARLY_END):
                log.warning("%s: the film is cut off or damaged", cause)
        return SourceEnded(cause)
