"""Fitting, rotation and masks, on arrays."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.daemon.cameras import make_settings
from vedette.camera.child.shape import Shaper, fitted_size

SIDES = st.integers(1, 8000)


class Still:
    """A source with one picture, which it writes into the slot if it fits."""

    live = True
    reusable = True
    fps: float | None = None

    def __init__(self, picture: np.ndarray) -> None:
        self.picture = picture

    def grab(self) -> int:
        return 0

    def close(self) -> None:
        """Nothing is open."""

    def read(self, into: np.ndarray | None) -> np.ndarray:
        if into is None or into.shape != self.picture.shape:
            return self.picture
        into[:] = self.picture
        return into


@given(SIDES, SIDES, SIDES, SIDES)
def test_fitted_sizes_fit_keep_the_aspect_and_never_grow(width: int, height: int, most_width: int,
                                                         most_height: int) -> None:
    """A fitted size lies within the limit, is no larger than the source, and keeps its aspect within a pixel."""
    fitted = fitted_size((width, height), (most_width, most_height))
    assert 1 <= fitted[0] <= min(width, most_width)
    assert 1 <= fitted[1] <= min(height, most_height)
    if min(fitted) > 1:
        assert abs(fitted[0] - fitted[1] * width / height) <= 1 + width / height


@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
@pytest.mark.parametrize("size", [(64, 48), (128, 96), (40, 30), (48, 64)])
def test_a_picture_lies_rotated_at_the_start_of_its_place(rotate: int, size: tuple[int, ...]) -> None:
    """Every rotation of every size equals numpy's rotation of the fitted picture, and lies in the slot itself."""
    settings = make_settings("x", width=64, height=48, rotate=rotate)
    ramp = np.linspace(0, 255, size[0] * size[1] * 3).reshape(size[1], size[0], 3).astype(np.uint8)
    slot = np.zeros(settings.slot_bytes, np.uint8)
    shaper = Shaper(settings)
    for _ in range(2):      # the second time the source can write straight into the slot
        picture = shaper.read(Still(ramp), slot)
        assert np.shares_memory(picture, slot)
        assert picture.ctypes.data == slot.ctypes.data
        assert picture.flags.c_contiguous
    if size[0] <= 64 and size[1] <= 48:
        assert np.array_equal(picture, np.rot90(ramp, -rotate // 90))
    assert shaper.size_changes == 0


def test_masks_are_black_after_rotation_and_leave_the_rest() -> None:
    """A mask is in 0-1 of the frame as configured: rotated."""
    settings = make_settings("x", width=64, height=48, rotate=90, masks=(((0, 0), (0.5, 0), (0.5, 0.5), (0, 0.5)),))
    slot = np.zeros(settings.slot_bytes, np.uint8)
    picture = Shaper(settings).read(Still(np.full((48, 64, 3), 200, np.uint8)), slot)
    assert picture.shape == (64, 48, 3)
    assert not picture[:32, :24].any()
    assert (picture[34:, :] == 200).all()
    assert (picture[:, 26:] == 200).all()
