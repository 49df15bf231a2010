"""RemoteCamera with real children that hang, stop, crash, send nonsense and end."""

import os
import signal
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.daemon.cameras import ClipMaker, Consumer, Order, Taken, make_settings, play_out, running, same_child
from tests.support.daemon.faulty import FAULTY_CHILD
from tests.support.present import present
from tests.support.waiting.fair_clock import starved_s
from tests.support.waiting.until import eventually, wait_until
from vedette.camera.remote import RemoteCamera
from vedette.camera.restart_policy import Replacements
from vedette.camera.wire import PictureReady
from vedette.errors import CameraStuck, SourceError, SourceInvalid, SourceMissing
from vedette.types import Frame

pytestmark = pytest.mark.slow


def accounts_balance(camera: RemoteCamera, taken: int) -> bool:
    status = camera.status()
    return status.captured == taken + sum(status.dropped.values()) + status.pending


def flowing(camera: RemoteCamera) -> bool:
    seen = camera.status().captured
    return eventually(lambda: camera.status().state == "capturing" and camera.status().captured > seen + 2)


@pytest.mark.parametrize(("fault", "state", "cause"), [
    ("hang in read", "stalled", "hangs"), ("hang in close", "offline", "plug"), ("crash", "offline", "SIGSEGV"),
    ("exit", "offline", "exit code 3"), ("fail", "offline", "plug"), ("stall", "stalled", "no frame"),
    ("wrong shape", "offline", "(1, 921600)")])
def test_a_fault_is_named_and_ends_with_its_cause(order: Order, fault: str, state: str, cause: str) -> None:
    """A source that hangs, crashes, ends or fails is named within 4 s and gives frames again once it works."""
    with running(make_settings(order("")), FAULTY_CHILD) as camera, Consumer(camera) as consumer:
        flowing(camera)
        order(fault)
        eventually(lambda: camera.status().state == state and cause in present(camera.status().cause), within_s=4)
        assert f"camera_{state}" in camera.reasons()
        order("")
        flowing(camera)
        assert camera.worker.failure is None
    assert accounts_balance(camera, consumer.taken)


@pytest.mark.parametrize(("number", "state"), [(signal.SIGKILL, "offline"), (signal.SIGSTOP, "stalled")])
def test_a_signalled_child_is_replaced(order: Order, number: signal.Signals, state: str) -> None:
    """A child that is killed or stopped from outside is named and replaced by one with another pid."""
    with running(make_settings(order("")), FAULTY_CHILD) as camera, Consumer(camera) as consumer:
        flowing(camera)
        pid, seq = camera.child_pid, camera.status().captured
        os.kill(pid, number)
        eventually(lambda: f"camera_{state}" in camera.reasons(), within_s=4)
        flowing(camera)
        assert camera.child_pid != pid
        assert camera.status().captured > seq
        assert camera.status().children_replaced == 1
    assert accounts_balance(camera, consumer.taken)


def test_a_frame_in_hand_outlives_its_child(order: Order) -> None:
    """The pixels of a frame that was taken stay as they were when the child dies and another one writes."""
    with running(make_settings(order("")), FAULTY_CHILD) as camera:
        frame = eventually(lambda: camera.take(0.2))
        before = frame.pixels.tobytes()
        os.kill(camera.child_pid, signal.SIGKILL)
        eventually(lambda: camera.status().children_replaced == 1)
        seqs = [frame.seq]
        for _ in range(5):
            later = eventually(lambda: camera.take(0.2))
            seqs.append(later.seq)
            camera.release(later)
        assert frame.pixels.tobytes() == before
        assert seqs == sorted(set(seqs))


def ordered(camera: RemoteCamera, pictures: dict[int, bytes], width: int, height: int) -> tuple[Frame, bytes]:
    """A copy of a frame, and the picture that was ordered of it. A child that died gave none."""
    def once() -> tuple[Frame, bytes] | None:
        frame = eventually(lambda: camera.take(0.2))
        kept = replace(frame, pixels=memoryview(frame.pixels.tobytes()).cast("B", (frame.height, frame.width, 3)))
        assert camera.order_picture(frame, width, height, 95)
        camera.release(frame)
        wait_until(lambda: frame.seq in pictures or camera.status().captured > frame.seq + 20)
        return (kept, pictures[frame.seq]) if frame.seq in pictures else None
    return eventually(once)


def test_the_child_encodes_the_frame_that_is_given_back(order: Order) -> None:
    """The picture is that of this frame, scaled down, also from the next child. A frame that is not held gives none."""
    pictures: dict[int, bytes] = {}
    with running(make_settings(order("")), FAULTY_CHILD) as camera:
        camera.on_picture = pictures.__setitem__
        for width, height in ((160, 160), (9999, 9999), (50, 10)):
            frame, jpeg = ordered(camera, pictures, width, height)
            assert not camera.order_picture(frame, width, height, 95)
            picture = present(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR))
            share = min(width / frame.width, height / frame.height, 1)
            assert picture.shape == (round(frame.height * share), round(frame.width * share), 3)
            wanted = cv2.resize(np.asarray(frame.pixels), picture.shape[1::-1], interpolation=cv2.INTER_AREA)
            assert abs(wanted.astype(int) - picture).mean() < 20
        os.kill(camera.child_pid, signal.SIGKILL)
        eventually(lambda: camera.status().children_replaced == 1)
        assert ordered(camera, pictures, 160, 160)[1].startswith(b"\xff\xd8")
        flowing(camera)
        assert camera.status().children_replaced == 1


def test_a_frozen_camera_is_noticed_while_somebody_views(order: Order) -> None:
    """The pictures leave the frames as they are, because the child compares each with the one before."""
    pictures: dict[int, bytes] = {}
    with running(make_settings(order("frozen"), frozen_after_s=0.5), FAULTY_CHILD) as camera:
        camera.on_picture = pictures.__setitem__
        eventually(lambda: ordered(camera, pictures, 64, 64) and "camera_frozen" in camera.reasons())


@pytest.mark.parametrize("size_bytes", [-1, 10**9])
def test_a_picture_that_cannot_be_is_refused(order: Order, size_bytes: int) -> None:
    """Its size is below nothing, or beyond its slot."""
    with running(make_settings(order("")), FAULTY_CHILD) as camera, pytest.raises(ValueError, match="shape"):
        camera._session.picture(PictureReady(1, size_bytes))


@pytest.mark.parametrize("lie", [
    "no such place", "too large", "negative", "future", "old seq", "wrong type", "nan", "another kind",
    "a number for still", "kept back itself", "kept back less", "scaled too large", "half a scaling", "half a view",
    "short outline", "odd outline",
    "negative view", "negative brightness", "noise", "twice"])
def test_a_lying_child_is_replaced(order: Order, lie: str) -> None:
    """A child whose message cannot be true is replaced."""
    with running(make_settings(order(lie)), "tests.camera.lying_child") as camera:
        status = eventually(lambda: camera.status() if camera.status().children_replaced else None)
        assert status.captured == (1 if lie == "twice" else 0)
        assert "camera_offline" in camera.reasons()


def test_children_that_never_give_a_frame_end_in_stuck(order: Order) -> None:
    """After too many replacements in a row without a frame, the worker fails with CameraStuck."""
    with running(make_settings(order("crash")), FAULTY_CHILD, Replacements(limit=3)) as camera:
        eventually(lambda: camera.worker.failure)
        assert isinstance(camera.worker.failure, CameraStuck)
        assert camera.worker.failure.exit_code == 74
        assert "SIGSEGV" in str(camera.worker.failure)


def test_an_absent_device_is_waited_for(order: Order) -> None:
    """A missing source needs no new child. It is reopened until it is there."""
    before_s = starved_s()
    with running(make_settings(order("absent")), FAULTY_CHILD) as camera:
        eventually(lambda: camera.status().cause == "unplugged" and camera.status().reopened >= 2)
        order("")
        flowing(camera)
        assert same_child(camera, before_s)


@pytest.mark.parametrize(("picture", "reason"), [("frozen", "camera_frozen"), ("black", "camera_black"),
                                                 ("too fast", "camera_rate"), ("stuck clock", "camera_rate")])
def test_a_picture_that_no_camera_gives_is_named(order: Order, picture: str, reason: str) -> None:
    """Frozen, black and impossible streams are reported while they last, and not longer."""
    before_s = starved_s()
    with running(make_settings(order(""), frozen_after_s=2.0), FAULTY_CHILD) as camera:
        flowing(camera)
        order(picture)
        eventually(lambda: reason in camera.reasons(), within_s=7)
        assert (camera.status().state == "frozen") == (picture == "frozen")
        assert same_child(camera, before_s)
        order("")
        eventually(lambda: not camera.reasons() and camera.status().state == "capturing")
        assert camera.status().reopened == (1 if picture == "frozen" else 0)


def test_a_change_of_size_is_noted(order: Order) -> None:
    """A source that changes its size continues, and health reports it."""
    with running(make_settings(order("")), FAULTY_CHILD) as camera:
        flowing(camera)
        order("smaller")
        eventually(lambda: camera.status().width == 32 and "camera_size" in camera.reasons())


def test_slow_consumer_keeps_the_newest_and_the_accounts(order: Order) -> None:
    """A consumer at 4 per second does not slow the capture, and the counts still add up."""
    with running(make_settings(order("")), FAULTY_CHILD) as camera:
        with Consumer(camera, pause_s=0.25) as consumer:
            eventually(lambda: consumer.taken >= 6)
            assert camera.status().fps > 15
        status = camera.status()
        assert status.dropped["replaced"] > consumer.taken
    assert accounts_balance(camera, consumer.taken)


def test_a_frame_never_taken_is_pending(order: Order) -> None:
    """Newer frames replace those that nobody takes, and one stays pending after the end."""
    with running(make_settings(order("")), FAULTY_CHILD) as camera:
        eventually(lambda: camera.status().captured > 5)
    assert camera.status().pending == 1
    assert accounts_balance(camera, 0)


def test_with_all_slots_held_frames_are_busy(order: Order) -> None:
    """A detector that holds all slots makes the child drop frames. They are counted with the next frame."""
    with running(make_settings(order("")), FAULTY_CHILD) as camera:
        held = [eventually(lambda: camera.take(0.2)) for _ in range(3)]
        eventually(lambda: camera.worker.alive and not camera.take(0.2))
        for frame in held:
            camera.release(present(frame))
        eventually(lambda: camera.status().dropped["busy"] > 0)
    assert accounts_balance(camera, len(held))


def test_copy_next_takes_no_frame_away(order: Order) -> None:
    """copy_next gives a copy of a frame, and the detector still gets that frame."""
    with running(make_settings(order("")), FAULTY_CHILD) as camera:
        copy = present(camera.copy_next(60))
        assert copy.pixels.shape == (48, 64, 3)
        frame = eventually(lambda: camera.take(0.2))
        assert frame.seq >= copy.seq
        order("hang in read")
        eventually(lambda: camera.status().state == "stalled", within_s=6)
        assert camera.copy_next(0.05) is None


def test_release_twice_frees_once(order: Order) -> None:
    """A frame that is released twice gives its slot back only once."""
    before_s = starved_s()
    with running(make_settings(order("")), FAULTY_CHILD) as camera:
        for _ in range(10):
            frame = eventually(lambda: camera.take(0.2))
            camera.release(frame)
            camera.release(frame)
        assert same_child(camera, before_s)


def test_every_frame_of_a_film_arrives(clip: ClipMaker) -> None:
    """With every_frame the child waits for the detector. Each frame comes once, in order, then the end."""
    with running(make_settings(clip(frames=25), every_frame=True)) as camera:
        frames, end = play_out(camera)
        assert "25 frames" in end
        assert [seq for seq, _, _ in frames] == list(range(1, 26))
        assert [grey for _, _, grey in frames] == pytest.approx([20 + 5 * i for i in range(25)], abs=2)
        assert camera.status().captured == 25


def test_every_frame_arrives_once_though_a_child_dies(clip: ClipMaker) -> None:
    """The child that replaces a killed one continues the film: each picture comes exactly once."""
    with running(make_settings(clip(frames=25), every_frame=True)) as camera:
        seen: list[Taken] = []
        while len(seen) < 5:
            frame = eventually(lambda: camera.take(1))
            seen.append((frame.seq, frame.captured_ns, frame.pixels[24, 32, 1]))
            camera.release(frame)
        os.kill(camera.child_pid, signal.SIGKILL)
        rest, _ = play_out(camera)
        seen += rest
    assert [seq for seq, _, _ in seen] == list(range(1, 26))
    greys = [grey for _, _, grey in seen]
    assert greys == sorted(set(greys))


def test_every_frame_has_the_time_of_the_film(clip: ClipMaker) -> None:
    """However fast the detector is, frames are a period of the film apart; where it begins again, time stands still."""
    times_s: list[float] = []
    with running(make_settings(clip(frames=5, fps=4.0), every_frame=True, loop=True)) as camera:
        for _ in range(12):
            frame = eventually(lambda: camera.take(1))
            times_s.append(frame.scene_s)
            camera.release(frame)
    steps_s = [after - before for before, after in pairwise(times_s)]
    assert steps_s == pytest.approx(([0.25] * 4 + [0.0]) * 2 + [0.25], abs=0.001)


def test_a_film_in_real_time_drops_like_a_camera(clip: ClipMaker) -> None:
    """A film in real time takes its own length, with at most `fps` frames per second."""
    with running(make_settings(clip(frames=12, fps=12.0), fps=6.0)) as camera:
        frames, _ = play_out(camera)
        assert len(frames) == 6
        assert (frames[-1][1] - frames[0][1]) / 1e9 == pytest.approx(10 / 12, abs=0.02)


def test_a_film_that_loops_never_ends(clip: ClipMaker) -> None:
    """With `loop` a film begins again at its end."""
    with running(make_settings(clip(frames=5), every_frame=True, loop=True)) as camera:
        for _ in range(12):
            camera.release(eventually(lambda: camera.take(1)))
        assert camera.status().reopened >= 2


def test_a_missing_file_and_a_file_that_is_no_video_are_final(tmp_path: Path) -> None:
    """For a path that is missing, empty or text, take() raises an error with its name."""
    text, empty = tmp_path / "text.mp4", tmp_path / "empty.mp4"
    text.write_text("not a video\n" * 100)
    empty.touch()
    for source, error in [(tmp_path / "none.mp4", SourceMissing), (text, SourceInvalid), (empty, SourceInvalid),
                          (tmp_path / ("x" * 300), SourceMissing)]:
        refused(source, error)


def refused(source: Path, error: type[SourceError]) -> None:
    with running(make_settings(source)) as camera:
        eventually(lambda: camera.status().cause != "starting")
        with pytest.raises(error, match=source.name):
            camera.take(1)
        assert camera.reasons().keys() == {"camera_offline"}


def test_close_is_quick_safe_twice_and_leaves_no_process(order: Order) -> None:
    """close() ends the child, may be called again, and works on a camera that was never started."""
    with running(make_settings(order("")), FAULTY_CHILD) as camera:
        flowing(camera)
        pid = camera.child_pid
    camera.close()
    assert not Path(f"/proc/{pid}").exists()
