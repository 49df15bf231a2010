"""Films whose pictures come at chosen times, or are damaged: JPEGs as they are, in an MP4 file that OpenCV writes."""

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

FPS = 10
SIZE = (64, 48)


def grey_jpeg(number: int) -> bytes:
    """A flat picture of 20 + 5 * number."""
    return cv2.imencode(".jpg", np.full((SIZE[1], SIZE[0], 3), 20 + 5 * number, np.uint8))[1].tobytes()


def without_size(jpeg: bytes) -> bytes:
    """The same picture, damaged: its header says 0 x 0 pixels."""
    at = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:at] + bytes(4) + jpeg[at + 4:]


def write_film(path: Path, pictures: Iterable[tuple[int, bytes]]) -> Path:
    """Write the pictures, each a JPEG with its time in tenths of a second."""
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), FPS, SIZE,
                             [cv2.VIDEOWRITER_PROP_RAW_VIDEO, 1])
    assert writer.isOpened()
    for tenths, jpeg in pictures:
        writer.set(cv2.VIDEOWRITER_PROP_PTS, tenths)
        writer.set(cv2.VIDEOWRITER_PROP_KEY_FLAG, 1)
        writer.write(np.frombuffer(jpeg, np.uint8).reshape(1, -1))
    writer.release()
    return path
