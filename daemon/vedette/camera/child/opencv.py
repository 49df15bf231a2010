"""V4L2 devices, RTSP/HTTP streams and video files, through OpenCV.

Invariants:
- Time-outs are passed at construction, together with the backend. FFMPEG ignores later ones and blocks for 30 s.
- A frame has the time of its capture: from the driver, from the stream's own clock, or from its position in the film.
- There is one decoding thread. So the child stays small, and its CPU time separates waiting from decoding.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from vedette.camera.child.source import ReadStalled, checked, plausible_fps
from vedette.camera.settings import with_credentials
from vedette.errors import SourceEnded, SourceInvalid, SourceMissing
from vedette.net.urls import shown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vedette.camera.settings import CaptureSettings

OPEN_TIMEOUT_MS = 4000
READ_MARGIN_S = 0.5
"""The source gives up this long before the owner kills the child: a clean failure is cheaper than a new child."""
PIXELS_LIMIT = 64 * 2**20
OLDEST_DRIVER_STAMP_MS = 10_000


class _Capture:
    """The common part of devices, streams and files."""

    live = True
    reusable = True

    def __init__(self, capture: cv2.VideoCapture, what: str) -> None:
        self._capture = capture
        self._what = what
        self._scratch: NDArray[np.uint8] | None = None
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
            ok, image = self._capture.retrieve(into if into is not None else self._scratch)
        except cv2.error as error:
            raise SourceInvalid(f"{self._what}: {error.err}") from error
        if not ok:
            raise SourceInvalid(f"{self._what}: a frame could not be decoded")
        image = checked(image, self._what)
        if into is None:
            self._scratch = image
        return image

    def close(self) -> None:
        """Close the source."""
        self._capture.release()


class Stream(_Capture):
    """An RTSP or HTTP stream. Its end is a failure, since it may come back."""

    def __init__(self, settings: CaptureSettings) -> None:
        self._timeout_s = settings.stall_s - READ_MARGIN_S
        what = shown(settings.source)
        try:
            url = with_credentials(settings.source, settings.credentials_file)
        except (OSError, ValueError) as error:
            raise SourceMissing(f"camera credentials: {error}") from error
        began = time.monotonic()
        capture = _open_ffmpeg(url, self._timeout_s)
        if not capture.isOpened():
            took_s = time.monotonic() - began
            if took_s * 1000 >= OPEN_TIMEOUT_MS * 0.9:
                raise SourceMissing(f"{what}: no answer within {took_s:.0f} s")
            raise SourceMissing(f"{what}: refused, not found, or no video")
        super().__init__(capture, what)
        self._pts_base_ns: int | None = None

    def grab(self) -> int:
        """Wait for the next frame; see Source."""
        began_ns, cpu_ns = time.monotonic_ns(), time.thread_time_ns()
        ok = self._capture.grab()
        arrived_ns = time.monotonic_ns()
        if not ok:
            waited_s = (arrived_ns - began_ns) / 1e9
            if waited_s >= self._timeout_s * 0.9:
                raise ReadStalled(f"{self._what}: no frame for {waited_s:.1f} s")
            raise SourceMissing(f"{self._what}: the stream ended")
        waited_ns = arrived_ns - began_ns - (time.thread_time_ns() - cpu_ns)
        return self._captured_ns(arrived_ns, waited_ns)

    def _captured_ns(self, arrived_ns: int, waited_ns: int) -> int:
        """Return the capture time: the arrival if we waited for the frame, else as far back as its pts says.

        A frame that was already there comes from a backlog, and the present time would make it seem fresh. A frame that
        we waited for shows that there is no backlog. So a pts at a wrong rate (MJPEG: always 25/s) does no harm.
        """
        pts_ns = int(self._capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
        no_backlog = waited_ns * 2 > 1e9 / (self.fps or 25.0)
        if no_backlog or self._pts_base_ns is None:
            self._pts_base_ns = arrived_ns - pts_ns
        return min(arrived_ns, self._pts_base_ns + pts_ns)


class Film(_Capture):
    """A video file. `grab` returns the frame's position in the film, from 0, in ns."""

    live = False

    def __init__(self, settings: CaptureSettings) -> None:
        path = settings.source.removeprefix("file://")
        if not Path(path).exists():
            raise SourceMissing(f"{path}: no such file or folder")
        if not Path(path).is_file():
            raise SourceInvalid(f"{path}: expected a video file or a folder of images")
        capture = _open_ffmpeg(path, settings.stall_s - READ_MARGIN_S)
        if not capture.isOpened():
            raise SourceInvalid(f"{path}: OpenCV cannot open it as a video")
        super().__init__(capture, path)
        self._frames = 0
        self._last_ns = -1

    def grab(self) -> int:
        """Go to the next frame; see Source."""
        if not self._capture.grab():
            if not self._frames:
                raise SourceInvalid(f"{self._what}: none of its frames can be decoded")
            raise SourceEnded(f"{self._what}: played to its end, {self._frames} frames")
        position_ms = self._capture.get(cv2.CAP_PROP_POS_MSEC)
        by_count_ns = int(self._frames * 1e9 / (self.fps or 25.0))
        self._frames += 1
        stamp_ns = int(position_ms * 1e6) if math.isfinite(position_ms) else by_count_ns
        self._last_ns = stamp_ns if stamp_ns > self._last_ns else by_count_ns
        return self._last_ns


class Device(_Capture):
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

    def grab(self) -> int:
        """Wait for the next frame; see Source."""
        if not self._capture.grab():
            raise ReadStalled(f"{self._what}: the device gave no frame")
        now_ns = time.monotonic_ns()
        stamp_ns = int(self._capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)   # from the driver, CLOCK_MONOTONIC
        sane = 0 <= now_ns - stamp_ns <= OLDEST_DRIVER_STAMP_MS * 1_000_000
        return stamp_ns if sane else now_ns


def _open_ffmpeg(url: str, read_timeout_s: float) -> cv2.VideoCapture:
    return cv2.VideoCapture(url, cv2.CAP_FFMPEG, [
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, int(read_timeout_s * 1000),
        cv2.CAP_PROP_N_THREADS, 1])
