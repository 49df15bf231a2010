"""Each reason of the camera has its own cause, for as long as it is reported."""

from __future__ import annotations

import pytest

from tests.support.fakes import FakeClock
from vedette.camera.camera_state import NAMED_FOR_S, CameraStateTracker


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def tracker(clock: FakeClock) -> CameraStateTracker:
    tracker = CameraStateTracker(clock)
    tracker.frame(())
    return tracker


def test_a_black_picture_that_is_frozen_has_two_reasons(tracker: CameraStateTracker) -> None:
    """The cause of one is not the cause of the other."""
    tracker.frame(("camera_frozen", "camera_black"))
    assert tracker.reasons() == {"camera_frozen": "the same picture again and again", "camera_black": ""}


def test_a_short_stall_keeps_its_cause(tracker: CameraStateTracker, clock: FakeClock) -> None:
    """It is reported for a while after the camera gives frames again, and so is why."""
    tracker.trouble("stalled", "no frame for 3 s")
    assert tracker.reasons() == {"camera_stalled": "no frame for 3 s"}
    tracker.frame(("camera_black",))
    assert tracker.reasons() == {"camera_stalled": "no frame for 3 s", "camera_black": ""}
    clock.advance(NAMED_FOR_S)
    assert tracker.reasons() == {"camera_black": ""}


def test_a_source_that_was_played_to_its_end_is_no_trouble(tracker: CameraStateTracker, clock: FakeClock) -> None:
    """Also if it had one on the way."""
    tracker.trouble("stalled", "no frame for 3 s")
    tracker.frame(())
    tracker.ended("the file ended")
    clock.advance(NAMED_FOR_S)
    assert (tracker.state, tracker.reasons()) == ("offline", {})
