"""The protocol of every source of frames in the capture child.

Invariants: `read` follows `grab`. `grab` may follow `grab`, so that an unwanted frame is cheap. Both have time-outs, or
the owner kills the child. A source turns foreign exceptions into SourceError.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from vedette.errors import SourceInvalid, SourceMissing

if TYPE_CHECKING:
    from numpy.typing import NDArray


class ReadStalled(SourceMissing):
    """The source is there but gave no frame in time."""


class NoAnswer(SourceMissing):
    """The source took longer to open than it may. More time may help, and another attempt as short as this one not."""


class PictureDamaged(SourceInvalid):
    """One picture, or a few, could not be decoded. The next `grab` may give the picture behind them."""


class Source(Protocol):
    """An open source. The constructor opens it."""

    live: bool
    """Whether frames come at their own time. If not, each frame waits until it is grabbed."""
    reusable: bool
    """Whether this process can open the source again after a failure."""
    fps: float | None
    """Frames per second that the source declares, or None when it declares none or an implausible rate."""

    def grab(self) -> int:
        """Wait for the next frame. Return its capture time (monotonic ns), or its position in the film if not live.

        Raises: SourceEnded, SourceMissing, ReadStalled, SourceInvalid, PictureDamaged.
        """

    def read(self, into: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        """Return the grabbed frame as (height, width, 3) BGR. If it fits exactly, write it to `into`, return `into`.

        Any other array is valid until the next `grab`. Raises as `grab`.
        """

    def close(self) -> None:
        """Close the source."""


def checked(image: Any, what: str) -> NDArray[np.uint8]:
    """Return the image after checking its type and shape. Raises: SourceInvalid, which names what came instead.

    OpenCV's V4L2 backend "succeeds" with (1, 921600) when it cannot convert any pixel format of the device.
    """
    if not isinstance(image, np.ndarray):
        raise SourceInvalid(f"{what}: expected a picture, got {type(image).__name__}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise SourceInvalid(f"{what}: expected a picture of (height, width, 3) bytes, got {image.shape} {image.dtype}")
    return image


def plausible_fps(declared: float) -> float | None:
    """Return the declared rate if it is plausible, else None. RTSP streams declare 0, 90000 and nan."""
    return declared if 0.05 <= declared <= 1000 else None


def boottime_to_monotonic_ns(stamp_ns: int) -> int:
    """Convert a time of CLOCK_BOOTTIME to CLOCK_MONOTONIC. They differ by the time the board was suspended."""
    return stamp_ns - (time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns())
