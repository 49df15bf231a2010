"""The settings of the capture child: one frozen value that is sent over its socket.

Invariants: the value holds no secret, only the path of the file with the secret. Only the standard library is
imported, since the child must stay small. Defaults live in `config.models`, not here.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote, urlsplit, urlunsplit

from vedette.camera.restart_policy import open_limit_s
from vedette.camera.street.options import is_synthetic
from vedette.net.urls import PLACEHOLDERS, without_login

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind = Literal["auto", "picamera2", "device", "stream", "path", "synthetic"]
Polygon = tuple[tuple[float, float], ...]

_AROUND_PLACEHOLDERS = re.compile(f"({'|'.join(map(re.escape, PLACEHOLDERS))})")
CHILD_MODULE = "vedette.camera.child.main"
SLOTS = 3
"""One frame is with the detector, one waits for it, and one is being written."""
SCALED_BYTES = 1024 * 1024 * 3
"""Room behind a frame for the scaled part that the detector requests. Only what is used takes memory."""
V4L2_SELECT_TIMEOUT_S = 2
ENVIRON = {
    "OPENBLAS_NUM_THREADS": "1",             # each thread costs memory, and nothing here multiplies matrices
    "OPENCV_LOG_LEVEL": "SILENT",            # our own message names the failure, without the URL and its password
    "OPENCV_FFMPEG_LOGLEVEL": "-8",          # AV_LOG_QUIET
    "OPENCV_IO_MAX_IMAGE_PIXELS": str(64 * 2**20),
    "OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT": str(V4L2_SELECT_TIMEOUT_S),    # 10 by default
}
"""Variables of the capture child, which libraries read when they are loaded."""
STALL_S = 3.0
STALL_FRAMES = 3.0
KEYFRAMES_FPS = 0.1
"""Keyframes come this often, or the camera counts as slow, or as stalled. Nobody declares their rate."""


@dataclass(frozen=True, slots=True)
class CaptureSettings:
    """What to capture and how. `width` x `height` limit a frame before its rotation. Masks are 0-1 after it."""

    source: str
    width: int
    height: int
    fps: float
    rotate: int
    masks: tuple[Polygon, ...]
    frozen_after_s: float
    every_frame: bool
    loop: bool
    credentials_file: str | None
    decode: Literal["all", "keyframes"] = "all"
    focus: float | None = None
    controls: Mapping[str, Any] = field(default_factory=dict)
    gate_every_s: float | None = None
    """Seconds after which a still frame is wanted. None: all frames are."""
    slow_openings: int = 0
    """Openings before this one, in a row, that gave no frame in time."""

    @property
    def kind(self) -> Kind:
        """The kind of source that `source` names."""
        return kind_of(self.source)

    @property
    def may_return(self) -> bool:
        """Whether a source that gives no frames now may give some later. A device or a stream may, a path may not."""
        return self.kind != "path"

    @property
    def expected_fps(self) -> float:
        """Frames per second that a source must give, unless it declares fewer."""
        return min(self.fps, KEYFRAMES_FPS) if self.decode == "keyframes" else self.fps

    @property
    def stall_s(self) -> float:
        """So many seconds without a frame count as a stall."""
        return max(STALL_S, STALL_FRAMES / self.expected_fps)

    @property
    def silence_s(self) -> float:
        """So many seconds without a picture count as a stall, also while no keyframe is due."""
        return max(STALL_S, STALL_FRAMES / self.fps)

    @property
    def open_limit_s(self) -> float:
        """So many seconds may pass from the opening of the source to its first picture."""
        return max(open_limit_s(self.slow_openings), self.silence_s)

    @property
    def slot_bytes(self) -> int:
        """Bytes of the largest frame and of its scaled part."""
        return self.width * self.height * 3 + SCALED_BYTES

    def to_json(self) -> bytes:
        """Return the value as one message."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, message: bytes) -> CaptureSettings:
        """Return the value `to_json` wrote."""
        fields = json.loads(message)
        fields["masks"] = tuple(tuple((x, y) for x, y in polygon) for polygon in fields["masks"])
        return cls(**fields)


def kind_of(source: str) -> Kind:
    """Return the kind of a source, by its form alone."""
    if source == "auto":
        return "auto"
    if source.partition(":")[0] == "picamera2":
        return "picamera2"
    if is_synthetic(source):
        return "synthetic"
    if source.startswith("/dev/"):
        return "device"
    return "stream" if "://" in source and not source.startswith("file://") else "path"


def with_credentials(source: str, credentials_file: str | None) -> str:
    """Return the URL with the `user:password` from the file at its placeholders, else before its host.

    Never print the result.

    Raises: OSError when the file cannot be read; ValueError when it does not hold user:password.
    """
    if credentials_file is None:
        return source
    try:
        user, colon, password = Path(credentials_file).read_text(encoding="utf-8-sig").strip().partition(":")
    except UnicodeDecodeError:      # its message would show a byte of the secret
        raise ValueError(f"{credentials_file}: expected user:password in UTF-8") from None
    if not (user and colon) or "\n" in password:
        raise ValueError(f"{credentials_file}: expected user:password on one line")
    quoted = dict(zip(PLACEHOLDERS, (quote(user, safe=""), quote(password, safe="")), strict=True))
    if any(placeholder in source for placeholder in PLACEHOLDERS):
        return "".join(quoted.get(part, part) for part in _AROUND_PLACEHOLDERS.split(source))
    parts = urlsplit(without_login(source))
    return urlunsplit(parts._replace(netloc=f"{':'.join(quoted.values())}@{parts.netloc}"))
