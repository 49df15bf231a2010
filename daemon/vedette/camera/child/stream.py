"""RTSP and HTTP streams, through OpenCV's FFmpeg.

Invariants: opening, the first frame and each later frame have a time limit. A frame has the time of its capture, from
the stream's own clock. A picture that cannot be decoded does not end the stream.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import cv2

from vedette.camera.child.memory import near_limit
from vedette.camera.child.opencv import DAMAGED_IN_A_ROW, READ_MARGIN_S, OpenCvSource, open_ffmpeg
from vedette.camera.child.source import PictureDamaged, ReadStalled
from vedette.camera.settings import with_credentials
from vedette.errors import SourceMissing
from vedette.net.urls import shown

if TYPE_CHECKING:
    from vedette.camera.settings import CaptureSettings

FIRST_WITHIN_S = 0.5


class StreamEnded(SourceMissing):
    """The server closed the stream."""


class Stream(OpenCvSource):
    """An RTSP or HTTP stream. Its end is a failure, since it may come back. It opens within `open_limit_s`."""

    def __init__(self, settings: CaptureSettings, open_limit_s: float) -> None:
        keyframes = settings.decode == "keyframes"
        self._timeout_s = settings.silence_s - READ_MARGIN_S
        what = shown(settings.source)
        try:
            url = with_credentials(settings.source, settings.credentials_file)
        except (OSError, ValueError) as error:
            raise SourceMissing(f"camera credentials: {error}") from error
        began = time.monotonic()
        capture = open_ffmpeg(url, what, self._timeout_s, open_limit_s, keyframes=keyframes)
        took_s = time.monotonic() - began
        if not capture.isOpened():
            raise SourceMissing(f"{what}: refused, not found, or no video")
        super().__init__(capture, what, keyframes=keyframes)
        self._first_within_s = max(FIRST_WITHIN_S, open_limit_s - took_s)
        self._keyframe_within_s = settings.stall_s - READ_MARGIN_S
        self._first_keyframe_within_s = self._first_within_s + settings.stall_s - settings.silence_s
        self.frames = 0
        """Frames that came since the stream was opened."""
        self._pts_base_ns: int | None = None

    def grab(self) -> int:
        """Wait for the next frame; see Source."""
        began_ns, cpu_ns = time.monotonic_ns(), time.thread_time_ns()
        if not self._grabbed_ahead():
            self._grab_next()
        self.frames += 1
        arrived_ns = time.monotonic_ns()
        waited_ns = arrived_ns - began_ns - (time.thread_time_ns() - cpu_ns)
        return self._captured_ns(arrived_ns, waited_ns)

    def _grab_next(self) -> None:
        """Grab the next frame that can be decoded. Raises: PictureDamaged if others came before it; as `grab`."""
        began = tried = time.monotonic()
        damaged = 0
        while not self._grab_picture(self._keyframe_within_s if self.frames else self._first_keyframe_within_s):
            now = time.monotonic()
            began, tried = max(began, self.passed_over_s), max(tried, self.passed_over_s)
            if now - began >= (self._timeout_s if self.frames else self._first_within_s) * 0.9:
                raise ReadStalled(f"{self._what}: no frame for {now - began:.1f} s")
            damaged += now - tried < self._timeout_s * 0.9    # else OpenCV's time-out ended this read
            if damaged > DAMAGED_IN_A_ROW or near_limit():
                raise StreamEnded(f"{self._what}: the stream ended")
            tried = now
        if damaged:
            self._ahead = True
            raise PictureDamaged(f"{self._what}: {damaged} pictures cannot be decoded")

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
