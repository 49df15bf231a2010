"""The motion gate: what moves is never still, and light and noise do not move."""

from collections.abc import Callable, Iterable
from typing import cast

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from vedette.camera.child.gate import MotionGate
from vedette.camera.street.scene import Scene, TruthBox
from vedette.types import Box

SECOND = 1_000_000_000
PER_S = 5
Pixels = NDArray[np.uint8]


def backdrop(width: int = 640, height: int = 360) -> Pixels:
    """A street without noise, people and changes of light."""
    picture = np.empty((height, width, 3), np.uint8)
    Scene(3, width, height, 1, quiet=True, hour=12).render(100, picture)
    return cast("Pixels", cv2.GaussianBlur(picture, (5, 5), 0))


STREET = backdrop()
NOISE: NDArray[np.int16] = np.random.default_rng(1).normal(0, 3, (11, *STREET.shape)).round().astype(np.int16)


def noisy(picture: Pixels, number: int) -> Pixels:
    rows, columns = picture.shape[:2]
    grain = NOISE[number % len(NOISE), :rows, :columns]
    return cast("Pixels", np.clip(picture + grain, 0, 255).astype(np.uint8))


def with_thing(left: float, side: int = 14, grey: int = 25) -> Pixels:
    """The street with a square that is darker or brighter than what it hides."""
    picture = STREET.astype(int)
    picture[250:250 + side, int(left):int(left) + side] += grey
    return cast("Pixels", np.clip(picture, 0, 255).astype(np.uint8))


def stills(gate: MotionGate, pictures: Iterable[Pixels], begin: int = 0, per_s: float = PER_S) -> list[bool]:
    return [gate.is_still(picture, SECOND + int((begin + number) * SECOND / per_s))
            for number, picture in enumerate(pictures)]


def settled(every_s: float = 1000.0) -> MotionGate:
    """A gate that has seen the street for six seconds."""
    gate = MotionGate(every_s)
    assert stills(gate, (noisy(STREET, number) for number in range(30)))[-20:].count(False) <= 20 / PER_S / every_s
    return gate


def test_a_street_in_which_nothing_moves_is_still_after_a_second() -> None:
    """Noise is no motion. The first second is looked at, and then one picture every `every_s`."""
    looked = [number for number, still in
              enumerate(stills(MotionGate(4), (noisy(STREET, number) for number in range(60)))) if not still]
    assert looked == [0, 1, 2, 3, 4, 5, 25, 45]


def test_without_a_time_no_picture_is_still() -> None:
    """A gate that is not enabled is open."""
    assert not any(stills(MotionGate(None), [STREET] * 20))


@pytest.mark.parametrize("grey", [25, -25])
def test_a_small_thing_is_seen_at_once_and_for_a_second(grey: int) -> None:
    """The picture in which it appears is not still, nor are those of a second after it has left."""
    pictures = [STREET, with_thing(300, grey=grey), STREET, *[STREET] * 9]
    found = stills(settled(), (noisy(picture, 100 + number) for number, picture in enumerate(pictures)), 30)
    assert found[:3] == [True, False, False]
    assert found[-3:] == [True] * 3


@pytest.mark.parametrize("pixels_a_s", [4, 15, 200])
def test_a_thing_is_seen_however_slow_it_is(pixels_a_s: int) -> None:
    """While it moves, no picture is still."""
    pictures = (noisy(with_thing(100 + pixels_a_s * number / PER_S), 100 + number) for number in range(12))
    assert not any(stills(settled(), pictures, 30))


@pytest.mark.parametrize("change", [
    lambda picture, share: picture * (1 - 0.4 * share),                                          # a cloud
    lambda picture, share: picture + 40 * share,
    lambda picture, share: picture * (1 + 0.15 * share * np.linspace(-1, 1, 640)[:, None])])      # a low sun
def test_light_is_no_motion(change: Callable[[NDArray[np.float64], float], NDArray[np.float64]]) -> None:
    """Light that changes by several grey levels a second, evenly or from one side, leaves the street still."""
    pictures = (noisy(np.clip(change(STREET.astype(float), number / 100), 0, 255).astype(np.uint8), 100 + number)
                for number in range(100))
    assert all(stills(settled(), pictures, 30))


@pytest.mark.parametrize("other", [np.roll(STREET, 60, axis=1), STREET[:, ::-1], 255 - STREET, STREET // 3])
def test_another_picture_is_not_still(other: Pixels) -> None:
    """A camera that turns, or a light that goes off, changes all of it, so that nothing stands out."""
    assert stills(settled(), [noisy(other, 100)], 30) == [False]


def test_a_thing_that_stays_becomes_background_and_its_leaving_is_motion() -> None:
    """What stands still for long is still. Where it stood, something changes when it leaves."""
    gate = settled()
    found = stills(gate, (noisy(with_thing(300, grey=40), 100 + number) for number in range(150)), 30)
    assert not found[0]
    assert found[-1]
    assert stills(gate, [noisy(STREET, 300)], 180) == [False]


@pytest.mark.parametrize("at_ns", [1, 6 * SECOND + SECOND * 4 // PER_S])
def test_a_clock_that_does_not_advance_hides_nothing(at_ns: int) -> None:
    """A picture as old as the last one, or older, is not still: a film begins again, or a driver stamps badly."""
    gate = settled()
    assert not gate.is_still(STREET, at_ns)
    assert not gate.is_still(STREET, at_ns)


def test_a_picture_of_another_size_is_not_still() -> None:
    """It cannot be compared, so it is a new beginning."""
    gate = settled()
    assert stills(gate, [STREET[:180]], 30) == [False]
    assert not any(stills(gate, [STREET[:180]] * 5, 31))


@pytest.mark.parametrize("size", [(1280, 720), (320, 180), (160, 90), (48, 27), (3, 2000), (1, 1)])
def test_any_size_is_compared(size: tuple[int, int]) -> None:
    """Large, small and strange pictures are still when nothing changes."""
    picture = cv2.resize(STREET, size)
    assert stills(MotionGate(100), [np.asarray(picture, np.uint8)] * 12)[-1]


def overlap(one: Box, other: Box) -> float:
    width = min(one.xmax, other.xmax) - max(one.xmin, other.xmin)
    height = min(one.ymax, other.ymax) - max(one.ymin, other.ymin)
    shared = max(0.0, width) * max(0.0, height)
    return shared / ((one.xmax - one.xmin) * (one.ymax - one.ymin) + (other.xmax - other.xmin)
                     * (other.ymax - other.ymin) - shared)


@pytest.mark.slow
@pytest.mark.parametrize("hour", [12, 0, None])
def test_nothing_that_passes_on_the_quiet_street_is_missed(hour: float | None) -> None:
    """Each thing in a still picture was in the newest picture that was not still, in the same place."""
    scene, picture = Scene(69, 640, 360, PER_S, quiet=True, hour=hour), np.empty((360, 640, 3), np.uint8)
    gate, things, missed, still_ones = MotionGate(10), 0, 0, 0
    shown: list[TruthBox] = []
    for number in range(200):
        truth = scene.render(number, picture)
        things += len(truth)
        if gate.is_still(picture, (number + 1) * SECOND // PER_S):
            still_ones += 1
            missed += sum(not any(thing.label == each.label and overlap(thing.box, each.box) >= 0.5 for each in shown)
                          for thing in truth)
        else:
            shown = list(truth)
    assert things > 20
    assert still_ones > 50
    assert missed == 0


def test_still_frames_are_kept_back_but_two_a_second() -> None:
    """Those of a closed gate are counted until the next frame that is handed over."""
    gate, handed_over, counted = MotionGate(10), [], []
    for number in range(40):
        if not gate.keeps_back(SECOND + number * SECOND // 20, is_open=number >= 30):
            handed_over.append(number)
            counted.append(gate.take_kept_back())
    assert handed_over == [0, 10, 20, *range(30, 40)]
    assert counted == [0, 9, 9, 9, *[0] * 9]


def test_a_look_of_the_daemon_counts() -> None:
    """The next one is due `every_s` after a still frame that was handed over because the gate was open."""
    gate = settled(every_s=2)
    pictures = (noisy(STREET, number) for number in range(30, 60))
    assert stills(gate, [next(pictures), next(pictures)], 30) == [True, True]
    assert not gate.keeps_back(0, is_open=True)
    assert stills(gate, [next(pictures) for _ in range(11)], 32) == [True] * 9 + [False, True]
