"""Which V4L2 cameras this machine has, what they are called, and which pictures they give.

Invariants: only the standard library; a device is asked and never changed, so a camera that another process uses is
listed as well; the device files of the Pi's own image processor are no cameras, and picamera2 drives what is behind.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

DEVICE_PATTERNS = ("v4l/by-id/*", "v4l/by-path/*", "video*")
"""Names of V4L2 devices below /dev, stable ones first: /dev/video0 may be another camera after a replug."""
Ioctl = Callable[[int, int, bytearray], object]

# From linux/videodev2.h. Each request has its direction, the size of its structure, the letter V and a number.
_QUERYCAP, _ENUM_FMT, _ENUM_FRAMESIZES, _ENUM_FRAMEINTERVALS = 0x80685600, 0xC0405602, 0xC02C564A, 0xC034564B
_CAPABILITY = struct.Struct("16s 32s 32s 3I 12x")       # driver, card, bus, version, capabilities, device_caps
_FORMAT = struct.Struct("3I 32s I 16x")                 # index, type, flags, description, pixelformat
_SIZE = struct.Struct("3I 6I 8x")                       # index, pixelformat, type; width, height or min, max, step
_INTERVAL = struct.Struct("5I 6I 8x")                   # index, pixelformat, width, height, type; fractions of a second
_CAPTURE, _MEMORY_TO_MEMORY, _MEDIA_CONTROLLER, _OF_DEVICE = 0x1, 0x0000C000, 0x20000000, 0x80000000
_VIDEO_CAPTURE = 1
_DISCRETE = 1
_LIMIT = 500
"""So many answers to one question are asked for. A driver that never ends its list is not believed."""
PI_OWN = {"bcm2835-isp", "pispbe", "unicam", "rp1-cfe"}
"""Drivers of the Pi's own camera path. What they give are no pictures yet, or none without picamera2."""


@dataclass(frozen=True, slots=True)
class Mode:
    """One format and size, and the frames per second at which the camera gives it, highest first."""

    format: str
    width: int
    height: int
    fps: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class V4L2Camera:
    """One camera. `path` is its stable name, if it has one. With a `problem` its modes are not known."""

    path: str
    name: str
    place: str
    modes: tuple[Mode, ...]
    problem: str | None = None


def cameras(dev: Path = Path("/dev"), ioctl: Ioctl = fcntl.ioctl) -> list[V4L2Camera]:
    """Return the V4L2 cameras, those with stable names first."""
    found: dict[Path, V4L2Camera] = {}
    for pattern in DEVICE_PATTERNS:
        for path in sorted(dev.glob(pattern), key=lambda each: (len(each.name), each.name)):
            node = path.resolve()
            if node not in found and (camera := _camera(path, ioctl)):
                found[node] = camera
    return list(found.values())


def _camera(path: Path, ioctl: Ioctl) -> V4L2Camera | None:
    """Return the camera of a device file, or None when it is something else."""
    try:
        device = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    except PermissionError:
        return V4L2Camera(str(path), path.name, "", (), "no permission: add the user to the group video")
    except OSError as error:
        gone = error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO)
        return None if gone else V4L2Camera(str(path), path.name, "", (), str(error.strerror))
    try:
        driver, card, bus, _, capabilities, of_device = _CAPABILITY.unpack(
            _ask(ioctl, device, _QUERYCAP, bytearray(_CAPABILITY.size)))
        can = of_device if capabilities & _OF_DEVICE else capabilities
        if not can & _CAPTURE or can & (_MEMORY_TO_MEMORY | _MEDIA_CONTROLLER) or {_text(driver), _text(card)} & PI_OWN:
            return None
        return V4L2Camera(str(path), _text(card), _text(bus), tuple(_modes(ioctl, device)))
    except OSError:
        return None
    finally:
        os.close(device)


def _modes(ioctl: Ioctl, device: int) -> Iterator[Mode]:
    for _, _, _, _, pixels in _listed(ioctl, device, _ENUM_FMT, _FORMAT, (_VIDEO_CAPTURE, 0, b"", 0)):
        for _, _, kind, *size in _listed(ioctl, device, _ENUM_FRAMESIZES, _SIZE, (pixels, *[0] * 7)):
            # Any size in steps: the smallest and the largest one stand for all.
            sizes = [(size[0], size[1])] if kind == _DISCRETE else [(size[0], size[3]), (size[1], size[4])]
            for width, height in sizes:
                yield Mode(_fourcc(pixels), width, height, tuple(_rates(ioctl, device, pixels, width, height)))


def _rates(ioctl: Ioctl, device: int, pixels: int, width: int, height: int) -> list[float]:
    rates = set()
    for _, _, _, _, kind, *times in _listed(ioctl, device, _ENUM_FRAMEINTERVALS, _INTERVAL,
                                            (pixels, width, height, *[0] * 7)):
        fractions = [times[:2]] if kind == _DISCRETE else [times[:2], times[2:4]]
        rates |= {round(below / above, 2) for above, below in fractions if above}
    return sorted(rates, reverse=True)


def _listed(ioctl: Ioctl, device: int, request: int, form: struct.Struct,
            question: tuple[object, ...]) -> Iterator[tuple[int, ...]]:
    """Ask with index 0, 1, 2 … until the driver says that there is no more."""
    with suppress(OSError):
        for index in range(_LIMIT):
            answer = form.unpack(_ask(ioctl, device, request, bytearray(form.pack(index, *question))))
            yield answer
            if request != _ENUM_FMT and answer[4 if form is _INTERVAL else 2] != _DISCRETE:
                return


def _ask(ioctl: Ioctl, device: int, request: int, structure: bytearray) -> bytearray:
    ioctl(device, request, structure)
    return structure


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode(errors="replace")


def _fourcc(pixels: int) -> str:
    return struct.pack("<I", pixels & 0x7FFFFFFF).decode("latin-1").strip()
