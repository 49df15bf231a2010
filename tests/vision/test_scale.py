"""Scaling a frame to a model's input: the same bytes on every processor and with every OpenCV."""

import hashlib
import subprocess
import sys

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.models.scalings import SCALINGS, scaled
from vedette.vision import plain_scale

SIDES = st.integers(1, 400)


@pytest.mark.parametrize("name", SCALINGS)
def test_the_bytes_are_the_same_everywhere(name: str) -> None:
    """A device whose OpenCV rounds otherwise feeds its model other pixels."""
    assert hashlib.sha256(scaled(name)).hexdigest().startswith(SCALINGS[name][2])


@given(SIDES, SIDES, SIDES, SIDES, st.integers(0, 2**32 - 1))
def test_numpy_scales_to_the_same_bytes(width: int, height: int, wide: int, tall: int, seed: int) -> None:
    """What is scaled before OpenCV is loaded equals what OpenCV makes of it, larger, smaller, and by blocks."""
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    twice = cv2.resize(picture, (2 * wide, 2 * tall), interpolation=cv2.INTER_LINEAR_EXACT)
    assert np.array_equal(plain_scale.linear(picture, 2 * wide, 2 * tall), twice)
    assert np.array_equal(plain_scale.linear(picture, wide, tall),
                          cv2.resize(picture, (wide, tall), interpolation=cv2.INTER_LINEAR_EXACT))
    assert np.array_equal(plain_scale.halved(twice), cv2.resize(twice, (wide, tall), interpolation=cv2.INTER_AREA))


def test_the_bytes_are_the_same_without_opencv() -> None:
    """A process that has not loaded OpenCV scales to the same bytes, and does not load it."""
    code = ("import hashlib, sys; from tests.support.models.scalings import SCALINGS, scaled; "
            "print(*(hashlib.sha256(scaled(name)).hexdigest().startswith(SCALINGS[name][2]) for name in SCALINGS)); "
            "print('cv2' in sys.modules)")
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert printed == ["True"] * len(SCALINGS) + ["False"]
