"""Scaling a frame to a model's input: the same bytes on every processor and with every OpenCV."""

import hashlib

import numpy as np
import pytest
from numpy.typing import NDArray

from vedette.types import Scaling
from vedette.vision.scale import Scaler


def picture(width: int, height: int) -> NDArray[np.uint8]:
    """Return a picture with edges and slopes, made by whole numbers only."""
    row, column = np.mgrid[:height, :width]
    return np.stack([(column * 7 + row * 13 + channel * 29 + (column * row >> 3)) % 256 for channel in range(3)],
                    axis=-1).astype(np.uint8)


@pytest.mark.parametrize(("frame", "scaling", "sha256"), [
    ((640, 360), Scaling(0, 0, 640, 360, 416, 234), "f9ab7a14b84a1a5a"),
    ((640, 480), Scaling(13, 7, 600, 471, 300, 300), "1a571d575248c165"),
    ((1280, 720), Scaling(0, 0, 1280, 720, 224, 126), "c0a087f89abe1d77"),
    ((100, 80), Scaling(0, 0, 100, 80, 320, 256), "ea39685d8d5809c0"),
], ids=["shrunk", "a part", "shrunk by more than two", "enlarged"])
def test_the_bytes_are_the_same_everywhere(frame: tuple[int, int], scaling: Scaling, sha256: str) -> None:
    """A device whose OpenCV rounds otherwise feeds its model other pixels. The digests are of x86-64, OpenCV 5."""
    target = np.empty((scaling.height, scaling.width, 3), np.uint8)
    Scaler(scaling).scale(picture(*frame), target)
    assert hashlib.sha256(target.tobytes()).hexdigest().startswith(sha256)
