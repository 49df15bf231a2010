"""The advice that a stream costs more than the detection in it."""

from __future__ import annotations

import os

import pytest

from tests.support.daemon.cameras import Consumer, Order, make_settings
from tests.support.daemon.faulty import FAULTY_CHILD
from tests.support.fakes import EPOCH
from tests.support.waiting.until import eventually
from vedette._lib.clock import SystemClock
from vedette.camera.decoding_cost import WINDOW_S, DecodingCost
from vedette.camera.remote import RemoteCamera
from vedette.health.reasons import state_of
from vedette.types import CameraStatus


class Windows:
    """Windows of a DecodingCost whose child is this process: what it took and what the rest took are said."""

    def __init__(self) -> None:
        self.own_s = 0.0
        self.child_s = 0.0
        self.frames = self.still = 0
        self.now_s = 0.0
        self.cost = DecodingCost(own_s=lambda: self.own_s, child_s=lambda _: self.child_s)
        self.cost.measure(0, os.getpid(), self.camera)

    @property
    def camera(self) -> CameraStatus:
        """The camera's counts: each frame was taken, or was still."""
        return CameraStatus("capturing", EPOCH, None, "fake", self.frames + self.still, {"still": self.still})

    def pass_one(self, child_share: float, own_share: float, frames: int = 600, pid: int | None = None) -> bool:
        """Let one window pass; returns whether the advice holds."""
        self.now_s += WINDOW_S
        self.child_s += child_share * WINDOW_S
        self.own_s += own_share * WINDOW_S
        self.frames += frames
        self.cost.measure(self.now_s, pid or os.getpid(), self.camera)
        return bool(self.cost.reasons())


def test_the_advice_holds_until_the_opposite_is_clear() -> None:
    """It begins where the stream takes clearly more than all else, and ends where it takes less."""
    windows = Windows()
    assert not windows.pass_one(0.22, 0.20)
    assert windows.pass_one(0.30, 0.20)
    assert windows.cost.reasons() == {"decoding_costly": "30% of a core for the stream, 20% for all else"}
    assert windows.pass_one(0.22, 0.20)
    assert not windows.pass_one(0.18, 0.20)
    assert not windows.pass_one(0.22, 0.20)


def test_no_advice_without_need_or_ground() -> None:
    """A cheap stream, a window in which nobody detected, and a new child are no ground."""
    windows = Windows()
    assert not windows.pass_one(0.04, 0.01)
    assert not windows.pass_one(0.50, 0.01, frames=0)
    assert not windows.pass_one(0.50, 0.01, pid=os.getppid())
    assert windows.pass_one(0.50, 0.01, pid=os.getppid())


def test_a_detector_that_rests_is_no_ground() -> None:
    """Where frames were still, the detector took less than it would take."""
    windows = Windows()
    windows.still = 1
    assert not windows.pass_one(0.50, 0.01)
    assert windows.pass_one(0.50, 0.01)


def test_advice_leaves_the_device_ok() -> None:
    """A reason may be no problem: then it decides nothing."""
    assert state_of({"decoding_costly"}) == "ok"
    assert state_of({"decoding_costly", "hot"}) == "degraded"


@pytest.mark.slow
def test_a_camera_measures_its_child(order: Order) -> None:
    """The processor time is the real one of a child whose source keeps it busy."""
    camera = RemoteCamera(make_settings(order("too fast")), SystemClock(), child_module=FAULTY_CHILD,
                          cost=DecodingCost(window_s=0.5, own_s=lambda: 0.0))
    camera.start()
    try:
        with Consumer(camera):
            eventually(lambda: "decoding_costly" in camera.reasons())
    finally:
        camera.close()
