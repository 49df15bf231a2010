"""Frozen, black, impossible and slow, with arrays and an injected clock."""

import numpy as np
import pytest

from tests.support.present import present
from vedette.camera.child.watch import PictureWatch, RateWatch, same_picture

SECOND = 1_000_000_000


def noise(seed: int | None = None) -> np.ndarray:
    return np.random.default_rng(seed).integers(30, 220, (48, 64, 3), dtype=np.uint8)


def test_one_changed_byte_anywhere_is_another_picture() -> None:
    """same_picture compares every byte."""
    picture = noise(1)
    assert same_picture(picture, picture.copy())
    for row, column in ((0, 0), (13, 7), (47, 63)):
        other = picture.copy()
        other[row, column, 1] ^= 1
        assert not same_picture(picture, other)
    assert not same_picture(picture, picture[:24])


def test_frozen_after_the_time_and_reopened_once() -> None:
    """A repeated picture counts as frozen after its time and asks for one reopening, until another picture comes."""
    watch = PictureWatch(2.0)
    picture = noise(1)
    asked = 0
    for tick in range(60):
        watch.check(picture, picture, tick * SECOND // 10)
        assert ("camera_frozen" in watch.reasons()) == (tick >= 20)
        asked += watch.take_frozen()
    assert asked == 1
    watch.check(noise(2), picture, 7 * SECOND)
    assert watch.reasons() == ()


def test_a_picture_without_its_predecessor_is_no_evidence() -> None:
    """When the last picture was overwritten, the frozen time neither ends nor begins."""
    watch = PictureWatch(1.0)
    picture = noise(1)
    watch.check(picture, picture, 0)
    watch.check(picture, None, SECOND // 2)
    watch.check(picture, picture, SECOND)
    assert "camera_frozen" in watch.reasons()


def test_black_is_dark_and_flat_for_two_seconds() -> None:
    """Dark noise is black after 2 s; a dark scene with one bright spot is not."""
    watch, night = PictureWatch(60.0), PictureWatch(60.0)
    scene = np.zeros((480, 640, 3), np.uint8)
    scene[200:260, 300:380] = 200
    for second in range(4):
        watch.check(noise(second) // 110, None, second * SECOND)
        night.check(scene, None, second * SECOND)
        assert ("camera_black" in watch.reasons()) == (second >= 2)
    assert night.reasons() == ()
    assert present(watch.brightness) < 3
    watch.check(noise(9), None, 5 * SECOND)
    assert watch.reasons() == ()


@pytest.mark.parametrize(("asked", "declared", "rate", "reasons"), [
    (15, 30, 30, ()), (15, None, 15, ()), (15, None, 14, ()), (15, None, 5, ("camera_slow",)), (15, 5, 5, ()),
    (15, None, 100, ()), (15, None, 500, ("camera_rate",)), (15, 30, 12, ()), (120, 120, 120, ())])
def test_rates(asked: int, declared: int | None, rate: int, reasons: tuple[str, ...]) -> None:
    """A rate is slow below half of the configured and the declared one, and impossible far above both."""
    watch = RateWatch(asked, declared)
    for i in range(rate * 21):
        watch.arrived(SECOND + i * SECOND // rate, SECOND + i * SECOND // rate)
    assert watch.reasons() == reasons


def test_time_that_stands_still_is_impossible() -> None:
    """Time stamps that do not advance are reported until they advance."""
    watch = RateWatch(30, None)
    for i in range(100):
        watch.arrived(7, i * SECOND // 30)
    assert watch.reasons() == ("camera_rate",)
    for i in range(100, 200):
        watch.arrived(i, i * SECOND // 30)
    assert watch.reasons() == ()
