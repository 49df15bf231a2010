"""Keyframes: the pictures of an H.264 or H.265 stream that are decoded without any other picture.

Invariants: the capture only splits the stream into packets. A keyframe is decoded when it is read, on its own, as a
film of one picture in memory. Where it is not read, nothing is decoded.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import cv2

from vedette.errors import SourceInvalid

if TYPE_CHECKING:
    from typing import Any

    import numpy as np
    from numpy.typing import NDArray

_UNIT = re.compile(rb"\x00{2,3}\x01[\x00-\x7f]")
"""How a unit of H.264 and H.265 begins. In other codecs with such a start code, the highest bit behind it is set."""
_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"


class Keyframes:
    """Decodes what `capture` has grabbed. It must give packets (CAP_PROP_FORMAT is -1)."""

    def __init__(self, capture: cv2.VideoCapture, what: str) -> None:
        self._capture = capture
        self._what = what
        # RTSP may give the parameters of the stream once only. Those of a file have another form, and OpenCV adds them.
        parameters = self._packet(int(capture.get(cv2.CAP_PROP_CODEC_EXTRADATA_INDEX)))
        self._parameters = parameters if _UNIT.match(parameters) else b""
        self._film = os.memfd_create("keyframe")

    @property
    def here(self) -> bool:
        """Whether the grabbed picture is a keyframe."""
        return bool(self._capture.get(cv2.CAP_PROP_LRF_HAS_KEY_FRAME))

    def retrieve(self, into: NDArray[np.uint8] | None) -> tuple[bool, Any]:
        """Decode the grabbed keyframe, as VideoCapture.retrieve. Raises: SourceInvalid."""
        packet = self._packet()
        if not _UNIT.match(packet):
            raise SourceInvalid(f"{self._what}: neither H.264 nor H.265; expected one of them, or camera.decode: all")
        os.ftruncate(self._film, 0)
        os.pwrite(self._film, self._parameters + packet, 0)
        decoder = _open(f"/proc/self/fd/{self._film}")
        try:
            return decoder.read(into)
        finally:
            decoder.release()

    def close(self) -> None:
        """Give the memory back."""
        os.close(self._film)

    def _packet(self, index: int = 0) -> bytes:
        ok, packet = self._capture.retrieve(None, index)
        return packet.tobytes() if ok and packet is not None else b""


def _open(path: str) -> cv2.VideoCapture:
    """Open a film of one picture. FFmpeg may not decode here, as it does to learn the format: that would cost twice."""
    before = os.environ.get(_OPTIONS)
    os.environ[_OPTIONS] = "codec_whitelist;none"
    try:
        return cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    finally:
        if before is None:
            del os.environ[_OPTIONS]
        else:
            os.environ[_OPTIONS] = before
