"""A fake V4L2 driver: it answers the four ioctls that list a camera, from a description in the device's file.

It is no kernel: it shows that the answers are read and cut as <linux/videodev2.h> lays them out, and nothing else.
"""

import errno
import json
import os
import struct
from pathlib import Path
from typing import Any

CAPTURE, META, M2M, IO_MC = 0x04000001, 0x04800000, 0x04008000, 0x24000001
WEBCAM: dict[str, Any] = {
    "driver": "uvcvideo", "card": "HD Pro Webcam C920", "bus": "usb-0000:01:00.0-1.1", "can": CAPTURE, "formats": {
        "YUYV": [[640, 480, [[1, 30], [1, 15]]]],
        "MJPG": [[640, 480, [[1, 30]]], [1920, 1080, [[1, 30], [333_333, 10_000_000]]]]}}
STEPPED: dict[str, Any] = {
    "driver": "loop", "card": "Loop", "bus": "platform:loop", "can": CAPTURE,
    "formats": {"YUYV": {"min": [2, 1], "max": [8192, 4320], "times": [[1, 1000], [1, 1]]}}}


def plug(dev: Path, node: str, camera: dict[str, Any], by_id: str = "", by_path: str = "") -> Path:
    """Make the device file, and its stable names as udev makes them. Returns the device file."""
    dev.mkdir(exist_ok=True)
    (dev / node).write_text(json.dumps(camera))
    for folder, name in (("by-id", by_id), ("by-path", by_path)):
        if name:
            (dev / "v4l" / folder).mkdir(parents=True, exist_ok=True)
            (dev / "v4l" / folder / name).symlink_to(Path("../..") / node)
    return dev / node


def fake_ioctl(device: int, request: int, structure: bytearray) -> int:
    """Answer as the driver of the open file. Raises: OSError for another kind of file, and at the end of a list."""
    try:
        camera = json.loads(Path(f"/proc/self/fd/{device}").read_text())
    except ValueError:
        raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY)) from None
    kind, number, size = request & 0xFFFF, request & 0xFF, request >> 16 & 0x3FFF
    if len(structure) != size or kind >> 8 != ord("V"):
        raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
    answer = {0: _capability, 2: _format, 74: _size, 75: _interval}[number]
    try:
        answer(camera, structure)
    except IndexError:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL)) from None
    return 0


def _capability(camera: dict[str, Any], structure: bytearray) -> None:
    struct.pack_into("16s32s32sIII", structure, 0, *(camera[name].encode() for name in ("driver", "card", "bus")),
                     0x60600, camera["can"] | 0x80800000, camera["can"])


def _format(camera: dict[str, Any], structure: bytearray) -> None:
    index, kind = struct.unpack_from("II", structure)
    if kind != 1:
        raise IndexError
    name = list(camera["formats"])[index]
    struct.pack_into("32s4s", structure, 12, name.encode(), name.encode())


def _size(camera: dict[str, Any], structure: bytearray) -> None:
    index, pixels = struct.unpack_from("I4s", structure)
    sizes = camera["formats"][pixels.decode()]
    if isinstance(sizes, dict):
        (wide, high), (widest, highest) = sizes["min"], sizes["max"]
        if index:
            raise IndexError
        struct.pack_into("7I", structure, 8, 3, wide, widest, 2, high, highest, 1)
    else:
        struct.pack_into("3I", structure, 8, 1, *sizes[index][:2])


def _interval(camera: dict[str, Any], structure: bytearray) -> None:
    index, pixels, width, height = struct.unpack_from("I4sII", structure)
    sizes = camera["formats"][pixels.decode()]
    if isinstance(sizes, dict):
        if index:
            raise IndexError
        struct.pack_into("7I", structure, 16, 2, *sizes["times"][0], *sizes["times"][1], 0, 0)
    else:
        times = next(times for *size, times in sizes if size == [width, height])
        struct.pack_into("3I", structure, 16, 1, *times[index])
