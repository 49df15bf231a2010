"""V4L2 devices and RTSP/HTTP streams, through OpenCV. What films share with them is here too.

Invariants:
- Time-outs are passed at construction, together with the backend. FFMPEG ignores later ones and blocks for 30 s.
- A frame has the time of its capture: from the driver, or from the stream's own clock.
- There is one decoding thread. So the child stays small, and its CPU time separates waiting from decoding.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from vedette.camera.child.memory import near_limit
from vedette.camera.child.source import PictureDamaged, ReadStalled, checked, plausible_fps
from vedette.camera.settings import with_credentials
from vedette.errors import SourceInvalid, SourceMissing
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
DAMAGED_IN_A_ROW = 100
"""So many failed reads in a row are the end of a source. Behind its end a read fails in microseconds."""


class OpenCvSource:
    """The common part of devices, streams and files."""

    live = True
    reusable = True

    def __init__(self, capture: cv2.VideoCapture, what: str) -> None:
        self._capture = capture
        self._what = what
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
            ok, image = self._capture.retrieve(into if into is not None else self._scratch)
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

    def _grabbed_ahead(self) -> bool:
        """Whether the frame behind a damaged one is grabbed already. Then the next call says no."""
        ahead, self._ahead = self._ahead, False
        return ahead


class Stream(OpenCvSource):
    """An RTSP or HTTP stream. Its end is a failure, since it may come back."""

    def __init__(self, settings: CaptureSettings) -> None:
        self._timeout_s = settings.stall_s - READ_MARGIN_S
        what = shown(settings.source)
        try:
            url = with_credentials(settings.source, settings.credentials_file)
        except (OSError, ValueError) as error:
            raise SourceMissing(f"camera credentials: {error}") from error
        began = time.monotonic()
        capture = open_ffmpeg(url, self._timeout_s)
        if not capture.isOpened():
            took_s = time.monotonic() - began
            if took_s * 1000 >= OPEN_TIMEOUT_MS * 0.9:
                raise SourceMissing(f"{what}: no answer within {took_s:.0f} s")
            raise SourceMissing(f"{what}: refused, not found, or no video")
        super().__init__(capture, what)
        self._pts_base_ns: int | None = None

    def grab(self) -> int:
        """Wait for the next frame; see Source."""
        if self._grabbed_ahead():
            return self._captured_ns(time.monotonic_ns(), 0)
        began_ns, cpu_ns = time.monotonic_ns(), time.thread_time_ns()
        damaged = 0
        while not self._capture.grab():
            waited_s = (time.monotonic_ns() - began_ns) / 1e9
            if waited_s >= self._timeout_s * 0.9:
                raise ReadStalled(f"{self._what}: no frame for {waited_s:.1f} s")
            damaged += 1
            if damaged > DAMAGED_IN_A_ROW or near_limit():
                raise SourceMissing(f"{self._what}: the stream ended")
        if damaged:
            self._ahead = True
            raise PictureDamaged(f"{self._what}: {damaged} pictures cannot be decoded")
        arrived_ns = time.monotonic_ns()
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

    def grab(self) -> int:
        """Wait for the next frame; see Source."""
        if not self._capture.grab():
            raise ReadStalled(f"{self._what}: the device gave no frame")
        now_ns = time.monotonic_ns()
        stamp_ns = int(self._capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)   # from the driver, CLOCK_MONOTONIC
        sane = 0 <= now_ns - stamp_ns <= OLDEST_DRIVER_STAMP_MS * 1_000_000
        return stamp_ns if sane else now_ns


def open_ffmpeg(url: str, read_timeout_s: float) -> cv2.VideoCapture:
    """Open a URL or a file. Check `isOpened()` of the result."""
    return cv2.VideoCapture(url, cv2.CAP_FFMPEG, [
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, int(read_timeout_s * 1000),
        cv2.CAP_PROP_N_THREADS, 1])
