"""Streams through OpenCV from real servers on loopback: MJPEG that stalls or ends, RTSP that never answers."""

import os
import re
import resource
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon.cameras import ClipMaker, Consumer, Order, make_settings, running, same_child
from tests.support.daemon.faulty import FAULTY_CHILD
from tests.support.network.mjpeg_server import MjpegServer
from tests.support.present import present
from tests.support.waiting.fair_clock import fair_s, starved_s
from tests.support.waiting.until import eventually
from vedette.camera.remote import RemoteCamera

pytestmark = pytest.mark.slow


@pytest.fixture
def mjpeg() -> Iterator[MjpegServer]:
    with MjpegServer() as server:
        yield server


def comes_to(camera: RemoteCamera, state: str, within_s: float) -> None:
    eventually(lambda: camera.status().state == state, within_s=within_s)


def test_a_stream_that_stalls_or_ends_comes_back(mjpeg: MjpegServer) -> None:
    """A stalled stream is reported as stalled, an ended one as offline. Both come back, without a new child."""
    before_s = starved_s()
    with running(make_settings(mjpeg.url)) as camera, Consumer(camera):
        eventually(lambda: camera.status().state == "capturing")
        for mode, state in (("stall", "stalled"), ("end", "offline")):
            mjpeg.mode = mode
            comes_to(camera, state, within_s=4)
            mjpeg.mode = "flow"
            comes_to(camera, "capturing", within_s=10)
        assert same_child(camera, before_s)


def memory_limit(camera: RemoteCamera) -> int:
    return resource.prlimit(camera.child_pid, resource.RLIMIT_DATA)[0]


def memory_taken(camera: RemoteCamera) -> int:
    """Return what RLIMIT_DATA counts of the child, in bytes."""
    status = Path(f"/proc/{camera.child_pid}/status").read_text()
    return int(present(re.search(r"VmData:\s+(\d+) kB", status))[1]) * 1024


def test_a_picture_of_gigabytes_is_refused_by_the_memory_limit(mjpeg: MjpegServer) -> None:
    """A JPEG of 2 GB is reported with the memory limit. The same child plays the frames that follow."""
    before_s = starved_s()
    mjpeg.mode = "huge"     # at a rate that leaves half a minute for one picture: a busy machine swallows slowly
    with running(make_settings(mjpeg.url, fps=0.1)) as camera, Consumer(camera):
        figures = re.compile(r"the child took \d+ of the (\d+) MiB of memory")
        found = eventually(lambda: figures.search(camera.status().cause or ""))
        assert camera.status().state == "offline"
        assert int(found[1]) == memory_limit(camera) >> 20
        eventually(lambda: len(mjpeg.swallowed) > 2)
        assert max(mjpeg.swallowed) < memory_limit(camera)
        mjpeg.mode = "flow"
        eventually(lambda: camera.status().state == "capturing")
        assert same_child(camera, before_s)


def test_a_picture_beyond_the_memory_limit_is_reported(order: Order) -> None:
    """A picture that needs too much memory is a failure of the source with a message. The child survives it."""
    before_s = starved_s()
    with running(make_settings(order("greedy")), FAULTY_CHILD) as camera:
        eventually(lambda: re.search(r"needs more than the \d+ MiB of memory", camera.status().cause or ""))
        order("noise")
        eventually(lambda: camera.status().state == "capturing")
        assert same_child(camera, before_s)


def test_a_large_film_takes_half_of_the_memory_limit_at_most(clip: ClipMaker) -> None:
    """A film far larger than the size asked for, decoded and scaled down, is far from the limit of that size."""
    film = clip(frames=3, size=(3840, 2160))
    with running(make_settings(film, loop=True, every_frame=True)) as camera, Consumer(camera) as consumer:
        eventually(lambda: consumer.taken > 12)
        assert memory_taken(camera) * 2 < memory_limit(camera)


def test_frames_of_a_stream_slower_than_its_pts_stay_fresh(mjpeg: MjpegServer) -> None:
    """MJPEG has no time. Frames that we waited for get the time of their arrival, whatever their pts says."""
    with running(make_settings(mjpeg.url)) as camera, Consumer(camera) as consumer:
        eventually(lambda: consumer.taken > 40)
        assert sorted(list(consumer.ages_ms)[20:])[10] < 500


def test_credentials_go_to_the_server_and_nowhere_else(mjpeg: MjpegServer, tmp_path: Path) -> None:
    """The password reaches the server, but not the status, argv or environment of the child."""
    secret = tmp_path / "secret"
    secret.write_text("watch:pa:ss@word\n")
    mjpeg.protected = True
    with running(make_settings(mjpeg.url, credentials_file=str(secret))) as camera:
        eventually(lambda: camera.status().state == "capturing")
        assert present(mjpeg.authorization) == "Basic d2F0Y2g6cGE6c3NAd29yZA=="
        process = Path(f"/proc/{camera.child_pid}")
        assert b"ss@word" not in (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        mjpeg.mode = "end"
        eventually(lambda: camera.status().state == "offline")
        assert "ss@word" not in repr(camera.status())


def test_unreadable_credentials_are_named(mjpeg: MjpegServer, tmp_path: Path) -> None:
    """A missing credentials file is the cause, with its path."""
    with running(make_settings(mjpeg.url, credentials_file=str(tmp_path / "gone"))) as camera:
        eventually(lambda: "gone" in (camera.status().cause or ""))


def test_an_rtsp_black_hole_is_named(tmp_path: Path) -> None:
    """A host that accepts and never answers is reported within 6 s."""
    with socket.create_server(("127.0.0.1", 0)) as hole:
        url = f"rtsp://user:hidden@127.0.0.1:{hole.getsockname()[1]}/cam"
        with running(make_settings(url)) as camera:
            eventually(lambda: "no answer" in (camera.status().cause or ""), within_s=6.5)
            assert camera.reasons().keys() == {"camera_offline"}
            assert "hidden" not in repr(camera.status())


def test_a_refused_connection_is_named_at_once() -> None:
    """A port where nothing listens is offline within a second or two, not after a time-out."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    began = fair_s()
    with running(make_settings(f"rtsp://127.0.0.1:{port}/cam")) as camera:
        eventually(lambda: "refused" in (camera.status().cause or ""))
        assert fair_s() - began < 4


def test_an_absent_device_and_no_camera_at_all_are_offline() -> None:
    """The daemon waits for a missing device. `picamera2` without the package says so."""
    with running(make_settings("/dev/v4l/by-id/none")) as camera:
        eventually(lambda: "no such device" in (camera.status().cause or ""))
    with running(make_settings("picamera2")) as camera:
        eventually(lambda: "picamera2" in (camera.status().cause or ""))


def test_a_damaged_picture_does_not_end_a_stream(mjpeg: MjpegServer) -> None:
    """The stream goes on behind a picture that cannot be decoded. It is not opened again, and health has the damage."""
    mjpeg.mode = "damaged"
    with running(make_settings(mjpeg.url)) as camera, Consumer(camera):
        eventually(lambda: camera.status().captured > 25)
        assert "camera_damaged" in camera.reasons()
        assert camera.status().reopened == 0


def test_a_camera_that_starts_slowly_is_waited_for(mjpeg: MjpegServer) -> None:
    """The delay is reported at once. The camera is asked once only, since each request may start it anew."""
    mjpeg.late_s = 4.5
    with running(make_settings(mjpeg.url)) as camera, Consumer(camera):
        eventually(lambda: "no answer within 4 s; it is still being opened" in (camera.status().cause or ""))
        assert camera.reasons().keys() == {"camera_offline"}
        eventually(lambda: camera.status().state == "capturing")
    assert mjpeg.asked == 1


def test_a_source_that_never_answers_in_time_gets_more_time(order: Order) -> None:
    """Each opening may take longer than the one before, in a new child too, up to minutes. A frame ends that."""
    with running(make_settings(order("slow start")), FAULTY_CHILD) as camera:
        eventually(lambda: camera.status().state == "capturing")
        assert camera.status().reopened == 2
        os.kill(camera.child_pid, signal.SIGKILL)
        eventually(lambda: camera.status().children_replaced == 1 and camera.status().state == "capturing")
        assert camera.status().reopened == 4


def test_a_snapshot_address_is_polled(mjpeg: MjpegServer) -> None:
    """An address that gives one JPEG for each request is asked `fps` times a second. Nothing is reopened."""
    mjpeg.mode = "snapshot"
    with running(make_settings(mjpeg.url, fps=10.0)) as camera, Consumer(camera) as consumer:
        eventually(lambda: consumer.taken >= 5)
        began, asked = time.monotonic(), mjpeg.asked
        eventually(lambda: consumer.taken >= 15)
        assert mjpeg.asked - asked <= 10 * (time.monotonic() - began) + 3
        assert camera.status().reopened == 0
        mjpeg.mode = "end"
        comes_to(camera, "offline", within_s=4)
        mjpeg.mode = "snapshot"
        comes_to(camera, "capturing", within_s=10)
