"""The best picture of an event: which frame wins, what of it is shown, and that the masks are in it."""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.daemon.cameras import make_settings, running
from tests.support.fakes import EPOCH
from tests.support.present import present
from tests.support.waiting.until import eventually
from vedette.events.best_picture import LONGEST_PX, MARGIN, BestPicture
from vedette.types import Box, Frame

Pixels = NDArray[np.uint8]
MIDDLE = Box(0.4, 0.4, 0.6, 0.6)


def chessboard(width: int = 640, height: int = 360, square: int = 8) -> Pixels:
    rows, columns = np.indices((height, width))
    return np.repeat((((rows // square + columns // square) % 2) * 200 + 20).astype(np.uint8)[..., None], 3, axis=2)


def frame(pixels: Pixels, seq: int = 1) -> Frame:
    return Frame(seq, np.ascontiguousarray(pixels).data, seq, EPOCH + timedelta(seconds=seq), seq)


def shown(picture: BestPicture) -> Pixels:
    return np.asarray(present(cv2.imdecode(np.frombuffer(picture.jpeg(), np.uint8), cv2.IMREAD_COLOR)), np.uint8)


@pytest.mark.parametrize(("box", "score", "kept"), [
    (Box(0.3, 0.3, 0.7, 0.7), 0.8, True), (Box(0.45, 0.45, 0.55, 0.55), 0.8, False),
    (MIDDLE, 0.9, True), (MIDDLE, 0.7, False),
    (Box(0.7, 0.4, 1.0, 0.65), 0.8, False), (Box(0.3, 0.3, 0.7, 0.7), 0.3, False),
], ids=["larger", "smaller", "surer", "less sure", "larger, but cut by the edge", "larger, but much less sure"])
def test_the_better_frame_wins(box: Box, score: float, kept: bool) -> None:
    """Size, score and edge each count; the time of the picture is that of the frame that won."""
    picture = BestPicture()
    assert picture.consider(frame(chessboard(), 1), MIDDLE, 0.8)
    assert picture.consider(frame(chessboard(), 2), box, score) is kept
    assert picture.captured_at == EPOCH + timedelta(seconds=2 if kept else 1)


def test_a_sharp_frame_beats_a_blurred_one() -> None:
    """Of two frames that are alike but for their sharpness, the sharp one wins in either order."""
    sharp = chessboard()
    blurred = np.asarray(cv2.blur(sharp, (9, 9)), np.uint8)
    for first, second in ((sharp, blurred), (blurred, sharp)):
        picture = BestPicture()
        assert picture.consider(frame(first, 1), MIDDLE, 0.8)
        assert picture.consider(frame(second, 2), MIDDLE, 0.8) is (second is sharp)


def test_a_frame_that_cannot_win_is_not_looked_at() -> None:
    """Its pixels are gone already, and nothing is read of them."""
    picture = BestPicture()
    picture.consider(frame(chessboard()), Box(0.1, 0.1, 0.9, 0.9), 0.9)
    gone = memoryview(bytearray(6)).cast("B", (1, 2, 3))
    late = replace(frame(chessboard()), pixels=gone)
    gone.release()
    assert not picture.consider(late, MIDDLE, 0.1)


def test_the_crop_shows_the_box_and_its_margin() -> None:
    """A white thing fills the box; around it is the margin, which ends at the frame's edge."""
    pixels = np.zeros((400, 400, 3), np.uint8)
    pixels[40:140, 0:100] = 255
    picture = BestPicture()
    assert picture.consider(frame(pixels), Box(0.0, 0.1, 0.25, 0.35), 0.9)
    seen = shown(picture)
    around = round(100 * MARGIN)
    assert seen.shape == (100 + 2 * around, 100 + around, 3)
    assert seen[around + 50, 50].min() > 240
    assert seen[around // 2, 50].max() < 15
    assert seen[around + 50, -around // 2].max() < 15


def test_a_large_crop_is_scaled_down_and_a_copy() -> None:
    """A picture is bounded in memory whatever the camera's size, and stays as it is when the frame is overwritten."""
    pixels = np.full((1500, 2000, 3), 200, np.uint8)
    picture = BestPicture()
    assert picture.consider(frame(pixels), Box(0.1, 0.0, 0.9, 1.0), 0.9)
    small = np.full((40, 40, 3), 200, np.uint8)
    other = BestPicture()
    assert other.consider(frame(small), MIDDLE, 0.9)
    pixels[:] = small[:] = 0
    assert max(shown(picture).shape) == LONGEST_PX
    assert shown(picture).min() > 190
    assert shown(other).min() > 190


def test_boxes_without_an_inside_are_no_picture() -> None:
    """Until a frame is kept there is nothing to encode, and no time."""
    picture = BestPicture()
    assert not any(picture.consider(frame(chessboard()), box, score) for box, score in (
        (Box(0.5, 0.5, 0.5, 0.7), 0.9), (Box(0.7, 0.7, 0.5, 0.5), 0.9), (MIDDLE, 0.0)))
    assert not picture
    with pytest.raises(ValueError, match="no picture"):
        picture.jpeg()
    with pytest.raises(ValueError, match="no picture"):
        _ = picture.captured_at


@pytest.mark.parametrize("box", [Box(0.9999, 0.9999, 1.0, 1.0), Box(0.0, 0.0, 1e-9, 1e-9), Box(-0.5, -0.5, 1.5, 1.5)])
def test_any_box_gives_a_picture(box: Box) -> None:
    """A box of less than a pixel, or one that ends outside, is shown as far as there are pixels."""
    picture = BestPicture()
    assert picture.consider(frame(chessboard(64, 36)), box, 0.9)
    assert shown(picture).size


def test_a_copy_stays_as_it_is() -> None:
    """What was published so far does not change when a better frame comes."""
    picture = BestPicture()
    picture.consider(frame(chessboard(), 1), MIDDLE, 0.8)
    before = copy.copy(picture)
    assert picture.consider(frame(chessboard(), 2), MIDDLE, 0.9)
    assert (before.captured_at, picture.captured_at) == (EPOCH + timedelta(seconds=1), EPOCH + timedelta(seconds=2))


def test_masks_are_in_the_picture(tmp_path: Path) -> None:
    """A frame of a real capture child: what a mask hides is black in the picture, the rest is not."""
    cv2.imwrite(str(tmp_path / "white.png"), np.full((240, 320, 3), 255, np.uint8))
    settings = make_settings(tmp_path, width=320, height=240, fps=5.0, loop=True,
                             masks=(((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)),))
    picture = BestPicture()
    with running(settings) as camera:
        captured = eventually(lambda: camera.take(1))
        assert picture.consider(captured, Box(0.25, 0.25, 0.75, 0.75), 0.9)
        camera.release(captured)
    seen = shown(picture)
    middle = seen.shape[1] // 2
    assert seen[:, :middle - 8].max() < 15
    assert seen[:, middle + 8:].min() > 240
