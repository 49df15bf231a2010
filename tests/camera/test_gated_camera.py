"""A camera with a motion gate: still frames are counted, and serve everything but the detector."""

import os
import signal

import pytest

from tests.support.daemon.cameras import ClipMaker, Consumer, Order, make_settings, play_out, running
from tests.support.daemon.faulty import FAULTY_CHILD
from tests.support.waiting.until import eventually
from vedette._lib.clock import SystemClock
from vedette.camera.remote import RemoteCamera
from vedette.camera.session import Session
from vedette.camera.settings import CHILD_MODULE
from vedette.camera.wire import FrameReady

pytestmark = pytest.mark.slow
QUIET = make_settings("synthetic?quiet=1&hour=12", width=160, height=90, gate_every_s=1000.0)


def rests(camera: RemoteCamera) -> bool:
    """Wait until frames are still."""
    before = camera.status().dropped.get("still", 0)
    return eventually(lambda: camera.status().dropped.get("still", 0) > before + 2, within_s=60)


@pytest.mark.parametrize(("every_s", "taken"), [(100.0, [*range(1, 12)]), (2.0, [*range(1, 12), 31])])
def test_a_film_in_which_only_light_changes_is_still(clip: ClipMaker, every_s: float, taken: list[int]) -> None:
    """By the film's own time, however fast it plays: a second is looked at, then one frame every `every_s`."""
    settings = make_settings(clip(40), every_frame=True, gate_every_s=every_s)
    with running(settings) as camera:
        camera.open_gate(wanted=False)
        frames, _ = play_out(camera)
        status = camera.status()
    assert [seq for seq, _, _ in frames] == taken
    assert status.captured == 40
    assert status.dropped == {"busy": 0, "replaced": 0, "still": 40 - len(taken)}


def test_a_frame_after_still_ones_says_so(clip: ClipMaker) -> None:
    """Who measures times between frames must know in which of them nobody looked."""
    with running(make_settings(clip(32), every_frame=True, gate_every_s=2.0)) as camera:
        camera.open_gate(wanted=False)
        frames = []
        while (frame := eventually(lambda: camera.take(0.2))).seq < 31:
            frames.append(frame.after_still)
            camera.release(frame)
    assert (frames, frame.after_still) == ([False] * 11, True)


def test_an_open_gate_gives_every_frame(clip: ClipMaker) -> None:
    """Nobody has to close it, and a command that takes single frames does not."""
    with running(make_settings(clip(40), every_frame=True, gate_every_s=100.0)) as camera:
        frames, _ = play_out(camera)
        assert len(frames) == 40


def test_a_still_camera_works_for_all_but_the_detector() -> None:
    """It captures at its rate, has a light, and gives copies; the gate opens at the next frame when that is wanted."""
    with running(QUIET) as camera, Consumer(camera) as consumer:
        camera.open_gate(wanted=False)
        rests(camera)
        assert camera.status().dropped["still"] > 3
        copy = camera.copy_next(60)
        assert copy is not None
        assert (copy.width, copy.height) == (160, 90)
        assert (camera.status().state, camera.status().fps > 2) == ("capturing", True)
        assert camera.status().brightness
        assert "camera_stalled" not in camera.reasons()
        taken = consumer.taken
        camera.open_gate(wanted=True)
        eventually(lambda: consumer.taken > taken + 5)
        still = camera.status().dropped["still"]
        eventually(lambda: consumer.taken > taken + 12)
        assert camera.status().dropped["still"] == still
    status = camera.status()
    assert status.captured == consumer.taken + sum(status.dropped.values()) + status.pending


def test_still_frames_stay_in_the_child() -> None:
    """While the gate is closed, few of them cross the border of the process, and all count."""
    kept_back = handed_over = 0
    session = Session(QUIET, CHILD_MODULE, 1, SystemClock())
    session.request(None, gate_is_open=False)
    try:
        while kept_back < 20:
            session.wait_for_message(1)
            message = session.receive()
            if isinstance(message, FrameReady):
                kept_back += message.kept_back
                handed_over += message.still
                session.give_back(message.slot)
    finally:
        session.end(gracefully=True)
    assert 0 < handed_over < kept_back


def test_a_frozen_or_dead_camera_is_named_behind_a_closed_gate(order: Order) -> None:
    """The picture that repeats is still, and it is frozen; a child that dies is replaced, and the gate begins anew."""
    settings = make_settings(order("black"), frozen_after_s=1.0, gate_every_s=1000.0)
    with running(settings, FAULTY_CHILD) as camera, Consumer(camera) as consumer:
        camera.open_gate(wanted=False)
        rests(camera)
        order("frozen")
        eventually(lambda: "camera_frozen" in camera.reasons() and camera.status().state == "frozen", within_s=60)
        order("black")
        eventually(lambda: camera.status().state == "capturing", within_s=60)
        rests(camera)
        taken = consumer.taken
        os.kill(camera.child_pid, signal.SIGKILL)
        eventually(lambda: camera.status().children_replaced == 1 and consumer.taken > taken, within_s=60)
        rests(camera)
    status = camera.status()
    assert status.captured == consumer.taken + sum(status.dropped.values()) + status.pending
