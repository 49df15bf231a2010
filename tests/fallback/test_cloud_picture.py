"""The redacted JPEG that leaves the device: its size, its part of the frame, and no other content."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.present import present
from vedette.fallback.cloud_picture import LONGEST_PX, redacted_jpeg
from vedette.types import Box

RNG = np.random.default_rng(1)


def noise(height: int, width: int) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, 3), np.uint8)


def decoded(content: bytes) -> np.ndarray:
    return present(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR))


def markers(content: bytes) -> list[int]:
    """Return the JPEG's markers up to its first scan."""
    found, at = [], 2
    while content[at + 1] != 0xDA:
        found.append(content[at + 1])
        at += 2 + int.from_bytes(content[at + 2:at + 4], "big")
    return found


@pytest.mark.parametrize("most_bytes", [8_000, 50_000, 400_000])
def test_no_more_bytes_than_asked_for(most_bytes: int) -> None:
    """This holds even for noise, which compresses worst: first the quality falls, then the size; the shape stays."""
    sent = redacted_jpeg(noise(720, 1280).data, most_bytes)
    assert len(sent.content) <= most_bytes
    assert decoded(sent.content).shape == (sent.height, sent.width, 3)
    assert sent.width / sent.height == pytest.approx(1280 / 720, rel=0.05)


def test_a_frame_that_fits_keeps_its_pixels() -> None:
    """It is not scaled without need."""
    sent = redacted_jpeg(np.full((720, 1280, 3), 90, np.uint8).data, 200_000)
    assert (sent.width, sent.height, sent.shown) == (1280, 720, Box(0, 0, 1, 1))


def test_no_more_pixels_than_a_detector_can_use() -> None:
    """A large frame is scaled down even if it compresses well."""
    sent = redacted_jpeg(np.zeros((2160, 3840, 3), np.uint8).data, 10**7)
    assert (sent.width, sent.height) == (LONGEST_PX, 1080)


def test_a_picture_that_cannot_fit_is_refused() -> None:
    """It is not sent larger, and the search ends."""
    with pytest.raises(ValueError, match="expected at most 200"):
        redacted_jpeg(noise(40, 4000).data, 200)


def test_it_carries_no_metadata() -> None:
    """JFIF, tables and frame header: no EXIF, no other application's segment, no comment."""
    found = markers(redacted_jpeg(noise(90, 160).data, 100_000).content)
    assert set(found) <= {0xE0, 0xDB, 0xC0, 0xC4}
    assert found.count(0xE0) == 1


def test_masks_are_black_and_the_frame_stays_as_it_is() -> None:
    """The mask is painted into the copy only."""
    frame = np.full((100, 200, 3), 200, np.uint8)
    sent = decoded(redacted_jpeg(frame.data, 100_000, masks=[[(0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 1.0)]]).content)
    assert sent[:, 108:].max() <= 8
    assert sent[:, :92].min() >= 190
    assert frame.min() == 200


def test_nothing_outside_the_region_of_interest_is_sent() -> None:
    """Only the part is sent, and a mask has the same place in it as in the frame."""
    frame = np.zeros((100, 200, 3), np.uint8)
    frame[25:75, 50:150] = 200
    sent = redacted_jpeg(frame.data, 100_000, roi=Box(0.25, 0.25, 0.75, 0.75),
                    masks=[[(0.5, 0.5), (1.0, 0.5), (1.0, 1.0), (0.5, 1.0)]])
    picture = decoded(sent.content)
    assert picture.shape == (50, 100, 3)
    assert picture[34:, 60:].max() <= 8
    assert picture[:18].min() >= 190


UNIT = st.floats(0, 1)


@given(UNIT, UNIT, st.floats(0.1, 1), st.floats(0.1, 1), UNIT, UNIT)
def test_boxes_find_their_way_back(x: float, y: float, wide: float, high: float, left: float, top: float) -> None:
    """A point of the picture is the same point of the frame, within a pixel."""
    roi = Box(x * 0.9, y * 0.9, min(1.0, x * 0.9 + wide), min(1.0, y * 0.9 + high))
    sent = redacted_jpeg(np.zeros((90, 160, 3), np.uint8).data, 100_000, roi=roi)
    there = sent.to_frame(Box(left, top, 1.0, 1.0))
    assert there.xmin == pytest.approx(roi.xmin + left * (roi.xmax - roi.xmin), abs=1 / 160)
    assert there.ymin == pytest.approx(roi.ymin + top * (roi.ymax - roi.ymin), abs=1 / 90)
    assert (there.xmax, there.ymax) == pytest.approx((sent.shown.xmax, sent.shown.ymax))
