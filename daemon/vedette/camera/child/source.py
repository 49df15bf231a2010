"""What every source of frames is to the capture child.

Invariants: `grab` and `read` alternate or `grab` follows `grab` (a frame nobody wants is cheap); both are bounded by
time-outs or the owner kills the child; foreign exceptions become SourceError before they leave a source.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from vedette.errors import SourceInvalid, SourceMissing

if TYPE_CHECKING:
    from numpy.typing import NDArray


class ReadStalled(SourceMissing):
    """The source is there and gave nothing in time."""


class Source(Protocol):
    """An open source. Constructing it opens it."""

    live: bool
    """Frames come by themselves, at their own time; else each waits until it is asked for."""
    reusable: bool
    """Another one can be opened in this process after it failed."""
    fps: float | None
    """Frames per second as the source declares them, None when it does not or lies."""

    def grab(self) -> int:
        """Wait for the next frame; returns when it was captured (monotonic ns), or its place in the film if not live.

        Raises: SourceEnded, SourceMissing, ReadStalled, SourceInvalid.
        """

    def read(self, into: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        """Return the grabbed frame as (height, width, 3) BGR; written to `into`, and that returned, if it fits exactly.

        What is returned otherwise is valid until the next `grab`. Raises as `grab`.
        """

    def close(self) -> None:
        """Let go of the source."""


def checked(image: Any, what: str) -> NDArray[np.uint8]:
    """Return the image if it is one. Raises: SourceInvalid naming what came instead.

    OpenCV's V4L2 backend "succeeds" with (1, 921600) when the device has no pixel format it can convert.
    """
    if not isinstance(image, np.ndarray):
        raise SourceInvalid(f"{what}: expected a picture, got {type(image).__name__}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise SourceInvalid(f"{what}: expected a picture of (height, width, 3) bytes, got {image.shape} {image.dtype}")
    return image


def plausible_fps(declared: float) -> float | None:
    """Return the declared rate if a camera can have it (RTSP streams declare 0, 90000 and nan)."""
    return declared if 0.05 <= declared <= 1000 else None


def boottime_to_monotonic_ns(stamp_ns: int) -> int:
    """Return a CLOCK_BOOTTIME moment on CLOCK_MONOTONIC; they differ by the time the board was suspended."""
    return stamp_ns - (time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns())
