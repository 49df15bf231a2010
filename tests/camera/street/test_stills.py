"""Stills of the drawn street are the same for everybody, and spread over streets and hours."""

from collections import Counter

import numpy as np
import pytest

from vedette.camera.street.scene import HELD_OUT_SEED, Scene
from vedette.camera.street.stills import DEMO_SIZE, FPS, STREETS, stills

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("hard", [False, True])
def test_the_same_seed_gives_the_same_stills(hard: bool) -> None:
    """Pixels and truth repeat, and another seed gives others."""
    once, again, other = (list(stills(3, hard=hard, seed=seed)) for seed in (3, 3, 4))
    assert [each.truth for each in once] == [each.truth for each in again] != [each.truth for each in other]
    for one, two in zip(once, again, strict=True):
        assert np.array_equal(one.frame.pixels, two.frame.pixels)
    assert [each.frame.seq for each in once] == [1, 2, 3]


def test_the_demo_goes_through_streets_and_hours() -> None:
    """Twenty stills are two of each of ten streets, morning and night, drawn as the camera draws them."""
    shown = list(stills(20))
    picture = np.empty((DEMO_SIZE[1], DEMO_SIZE[0], 3), np.uint8)
    for number in (0, 1, 19):
        street, of_street = divmod(number, 20 // STREETS)
        frame_number = of_street * 2700
        truth = Scene(HELD_OUT_SEED + street, *DEMO_SIZE, FPS).render(frame_number, picture)
        assert shown[number].truth == truth
        assert np.array_equal(shown[number].frame.pixels, picture)


def test_as_many_as_asked_for() -> None:
    """The count may be any number, also one that is not a multiple of the streets."""
    assert [len(list(stills(count))) for count in (1, 7, 11)] == [1, 7, 11]


@pytest.mark.parametrize(("hard", "things", "brightness"), [
    (False, {"person": 403, "bicycle": 160, "car": 151, "dog": 150, "parcel": 148, "cone": 192}, 89.883),
    (True, {"person": 127, "bicycle": 75, "car": 79, "dog": 93, "parcel": 64, "cone": 62}, 67.240)])
def test_the_held_out_stills_are_those_of_the_card(hard: bool, things: dict[str, int], brightness: float) -> None:
    """Figures can be compared only while the stills stay the same: the first hundred, and the light of the first.

    Not a digest: OpenCV's versions draw edges a little differently.
    """
    shown = list(stills(100, hard=hard))
    assert Counter(thing.label for still in shown for thing in still.truth) == things
    assert np.asarray(shown[0].frame.pixels).mean() == pytest.approx(brightness, abs=0.01)
