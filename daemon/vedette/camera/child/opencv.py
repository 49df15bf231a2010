"""V4L2 devices, through OpenCV. What streams and films share with them is here too.

Invariants:
- Time-outs are passed at construction, together with the backend. FFMPEG ignores later ones and blocks for 30 s.
- A frame has the time of its capture, from the driver.
- There is one decoding thread. So the child stays small, and its CPU time separates waiting from decoding.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from vedette.camera.child.keyframes import Keyframes
from vedette.camera.child.source import NoAnswer, PictureDamaged, ReadStalled, checked, plausible_fps
from vedette.camera.settings import V4L2_SELECT_TIMEOUT_S
from vedette.errors import SourceInvalid, SourceMissing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vedette.camera.settings import CaptureSettings

READ_MARGIN_S = 0.5
"""The source gives up this long before the owner kills the child: a clean failure is cheaper than a new child."""
PIXELS_LIMIT = 64 * 2**20
OLDEST_DRIVER_STAMP_MS = 10_000
DAMAGED_IN_A_ROW = 100
"""So many failed reads in a row are the end of a source. Behind its end a read fails in microseconds."""


class OpenCvSource:
    """The common part of devices, streams and files."""

    live = True
    reusable = True

    def __init__(self, capture: cv2.VideoCapture, what: str, *, keyframes: bool = False) -> None:
        self._capture = capture
        self._what = what
        self._keyframes = Keyframes(capture, what) if keyframes else None
        self.passed_over = 0
        """Pictures that came and are no keyframes, where only keyframes are decoded."""
        self.passed_over_s = 0.0
        """When the last of these came (monotonic)."""
        self._scratch: NDArray[np.uint8] | None = None
        self._ahead = False
        self.fps = plausible_fps(capture.get(cv2.CAP_PROP_FPS))
        width, height = capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
        if width * height > PIXELS_LIMIT:
            self.close()
            raise SourceInvalid(f"{what}: {width:.0f} x {height:.0f} pixels, expected at most {PIXELS_LIMIT}")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._what}>"

    def read(self, into: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        """Return the grabbed frame; see Source."""
        try:
            ok, image = (self._keyframes or self._capture).retrieve(into if into is not None else self._scratch)
        except cv2.error as error:
            kind = SourceInvalid if error.code == cv2.Error.StsNoMem else PictureDamaged
            raise kind(f"{self._what}: {error.err}") from error
        if not ok:
            raise PictureDamaged(f"{self._what}: a picture cannot be decoded")
        image = checked(image, self._what)
        if into is None:
            self._scratch = image
        return image

    def close(self) -> None:
        """Close the source."""
        self._capture.release()
        if self._keyframes is not None:
            self._keyframes.close()
            self._keyframes = None

    def _grab_picture(self, keyframe_within_s: float = math.inf) -> bool:
        """Grab the next picture, of keyframes the next keyframe. Return whether there was one, as VideoCapture.grab.

        Raises: ReadStalled if no keyframe came in time.
        """
        began = time.monotonic()
        while self._capture.grab():
            if self._keyframes is None or self._keyframes.here:
                return True
            self.passed_over += 1
            self.passed_over_s = time.monotonic()
            if self.passed_over_s - began > keyframe_within_s:
                raise ReadStalled(f"{self._what}: no keyframe for {keyframe_within_s:.0f} s, but other pictures")
        return False

    def _grabbed_ahead(self) -> bool:
        """Whether the frame behind a damaged one is grabbed already. Then the next call says no."""
        ahead, self._ahead = self._ahead, False
        return ahead


class Device(OpenCvSource):
    """A V4L2 device, named by its path. A stable path survives replugging."""

    def __init__(self, settings: CaptureSettings, path: str) -> None:
        if not Path(path).exists():
            raise SourceMissing(f"{path}: no such device")
        capture = cv2.VideoCapture(path, cv2.CAP_V4L2, [
            # Uncompressed YUYV fits into USB 2 only up to 640 x 480. A camera without MJPG ignores this.
            cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"), cv2.CAP_PROP_FRAME_WIDTH, settings.width,
            cv2.CAP_PROP_FRAME_HEIGHT, settings.height, cv2.CAP_PROP_FPS, round(settings.fps)])
        if not capture.isOpened():
            raise SourceMissing(f"{path}: cannot be opened as a camera (busy, no permission, or no capture device)")
        super().__init__(capture, path)
        self._first_by: float | None = time.monotonic() + settings.open_limit_s

    def grab(self) -> int:
        """Wait for the next frame; see Source."""
        began = time.monotonic()
        while not self._capture.grab():
            # Each try waits for V4L2_SELECT_TIMEOUT_S. A device that is gone fails at once.
            tried_s, began = time.monotonic() - began, time.monotonic()
            if self._first_by is None or began >= self._first_by or tried_s < V4L2_SELECT_TIMEOUT_S / 2:
                raise ReadStalled(f"{self._what}: the device gave no frame")
        self._first_by = None
        now_ns = time.monotonic_ns()
        stamp_ns = int(self._capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)   # from the driver, CLOCK_MONOTONIC
        sane = 0 <= now_ns - stamp_ns <= OLDEST_DRIVER_STAMP_MS * 1_000_000
        return stamp_ns if sane else now_ns


def open_ffmpeg(url: str, what: str, read_timeout_s: float, open_limit_s: float, *,
                keyframes: bool = False) -> cv2.VideoCapture:
    """Open a URL or a file, for Keyframes if asked. Check `isOpened()`. Raises: NoAnswer if it takes too long."""
    began = time.monotonic()
    capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG, [
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, int(open_limit_s * 1000),
        cv2.CAP_PROP_READ_TIMEOUT_MSEC, int(read_timeout_s * 1000), cv2.CAP_PROP_N_THREADS, 1,
        *((cv2.CAP_PROP_FORMAT, -1) if keyframes else ())])
    if not capture.isOpened() and (took_s := time.monotonic() - began) >= open_limit_s * 0.9:
        raise NoAnswer(f"{what}: no answer within {took_s:.0f} s")
    return capture
