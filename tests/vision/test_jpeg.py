"""JPEG pictures of frames."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tests.support.present import present
from vedette.vision import jpeg


def test_picture_shows_the_pixels() -> None:
    """A decoded picture has the frame's size and, within JPEG's loss, its colours in the same order."""
    pixels = np.zeros((24, 40, 3), np.uint8)
    pixels[:] = (200, 30, 90)
    decoded = present(cv2.imdecode(np.frombuffer(jpeg.encode(pixels.data, 95), np.uint8), cv2.IMREAD_COLOR))
    assert decoded.shape == pixels.shape
    assert np.abs(decoded.astype(int) - pixels).max() <= 8


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 4), (0, 8, 3), (1, 70_000, 3)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    """Pixels that cannot be a picture raise an error that names their shape."""
    with pytest.raises(ValueError, match=str(shape[-2])):
        jpeg.encode(np.zeros(shape, np.uint8).data)
