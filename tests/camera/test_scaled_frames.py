"""Frames that bring along what the detector would have to scale: the same bytes, and only as a hint."""

import os
import signal

import cv2
import numpy as np
import pytest

from tests.support.daemon.cameras import make_settings, running
from tests.support.waiting.until import eventually
from vedette.types import Scaling
from vedette.vision.scale import Scaler

REQUEST = Scaling(10, 20, 310, 220, 64, 48)


def next_scaled(camera, wish):
    """Take frames until one brings the wish along; the caller releases it."""
    def take():
        frame = camera.take(1)
        if frame is None or frame.scaling == wish:
            return frame
        camera.release(frame)
        return None
    return eventually(take)


@pytest.fixture
def noise(tmp_path):
    """A folder of pictures in which no two pixels are alike."""
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (240, 320, 3), np.uint8)
        cv2.imwrite(str(tmp_path / f"{number}.png"), pixels)
    return tmp_path


@pytest.mark.parametrize("wish", [REQUEST, Scaling(0, 0, 320, 240, 100, 40), Scaling(0, 0, 20, 20, 200, 200)])
def test_the_child_scales_as_the_detector_would(noise, wish):
    """The part that came along equals the one made from the same frame here, for shrinking and for growing."""
    with running(make_settings(noise, every_frame=True, loop=True)) as camera:
        camera.scale_to(wish)
        frame = next_scaled(camera, wish)
        here = np.empty((wish.height, wish.width, 3), np.uint8)
        Scaler(wish).scale(np.asarray(frame.pixels), here)
        assert np.array_equal(np.asarray(frame.scaled), here)
        camera.release(frame)


def test_the_wish_outlives_the_child(noise):
    """A child that replaces a killed one is told of the wish as well."""
    with running(make_settings(noise, every_frame=True, loop=True)) as camera:
        camera.scale_to(REQUEST)
        camera.release(next_scaled(camera, REQUEST))
        pid = camera.child_pid
        os.kill(pid, signal.SIGKILL)

        def from_another_child():
            frame = camera.take(1)
            if frame is not None:
                scaling = frame.scaling
                camera.release(frame)
                return camera.child_pid != pid and scaling == REQUEST
            return False
        eventually(from_another_child)


@pytest.mark.parametrize("wish", [Scaling(0, 0, 321, 240, 64, 48), Scaling(0, 0, 320, 240, 9000, 9000), None])
def test_a_wish_that_cannot_be_had_is_left_out(noise, wish):
    """A part outside the frame, or one too large for the place, costs the hint and never the frame."""
    with running(make_settings(noise, every_frame=True, loop=True)) as camera:
        camera.scale_to(REQUEST)
        camera.release(next_scaled(camera, REQUEST))
        camera.scale_to(wish)
        frame = next_scaled(camera, None)
        assert frame.scaled is None
        assert (frame.width, frame.height) == (320, 240)
        camera.release(frame)
