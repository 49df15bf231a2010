"""`camera.decode: keyframes`, with real streams and films: nothing but keyframes is decoded, the rest is as always."""

from __future__ import annotations

import os
from contextlib import closing, suppress
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.daemon.cameras import ClipMaker, Consumer, make_settings, play_out, running, same_child
from tests.support.network import h264
from tests.support.network.rtsp_camera import FPS, H264Camera
from tests.support.waiting.fair_clock import starved_s
from tests.support.waiting.until import eventually
from vedette.camera.child.film import Film
from vedette.camera.child.source import ReadStalled
from vedette.camera.child.stream import Stream
from vedette.camera.child.watch import RateWatch
from vedette.camera.open import capture_settings
from vedette.camera.settings import CaptureSettings
from vedette.config.models import CameraConfig
from vedette.errors import SourceEnded, SourceInvalid

BRIGHT = 150
"""Keyframes of the camera are brighter, its other pictures are not."""


@pytest.mark.slow
def test_only_keyframes_of_a_stream_become_frames() -> None:
    """Each is as fresh as any frame, and what lies between them is not captured. A silent stream is told as ever."""
    with H264Camera(group=FPS // 3) as server, running(make_settings(server.url, decode="keyframes")) as camera:
        ages = []
        for _ in range(4):
            frame = eventually(lambda: camera.take(1))
            ages.append(frame.handed_over_ns - frame.captured_ns)
            assert frame.pixels[50, 60, 1] > BRIGHT
            camera.release(frame)
        assert sorted(ages)[1] < 1e9
        assert camera.status().captured <= server.keyframes
        assert not camera.reasons()
        server.fall_silent()
        eventually(lambda: camera.status().state == "stalled", within_s=5)


@pytest.mark.slow
def test_a_stream_between_two_keyframes_is_neither_stalled_nor_hung() -> None:
    """A group of pictures may be longer than a stall. The end of a stream is told as ever."""
    before_s = starved_s()
    with H264Camera(group=7 * FPS // 2) as server, running(make_settings(server.url, decode="keyframes")) as camera, \
            Consumer(camera) as consumer:
        eventually(lambda: consumer.taken == 2)
        assert camera.status().interruptions == 0
        server.hang_up()
        eventually(lambda: camera.status().state == "offline", within_s=2)
        eventually(lambda: consumer.taken == 3)
        assert same_child(camera, before_s)


class Impatient(CaptureSettings):
    """Settings of somebody who waits for a keyframe as long as for any frame."""

    @property
    def stall_s(self) -> float:
        return self.silence_s


@pytest.mark.slow
def test_a_stream_without_keyframes_is_named() -> None:
    """Other pictures come, so the child neither hangs nor is the stream silent: it says what is missing."""
    with H264Camera(group=10**6) as server:
        settings = Impatient(**asdict(make_settings(server.url, decode="keyframes")))
        with closing(Stream(settings, open_limit_s=60.0)) as stream:
            stream.grab()
            with pytest.raises(ReadStalled, match="no keyframe for 2 s, but other pictures"):
                stream.grab()


def decoded(path: Path, decode: str) -> dict[int, NDArray[np.uint8]]:
    """Every frame of a film by its position."""
    film, frames = Film(make_settings(path, decode=decode, every_frame=True)), {}
    with closing(film), suppress(SourceEnded):
        while True:
            position_ns = film.grab()
            frames[position_ns] = film.read(None).copy()
    return frames


def are_keyframes(frames: dict[int, NDArray[np.uint8]], of: dict[int, NDArray[np.uint8]]) -> bool:
    """Whether these are frames of the whole film, bit for bit and at their positions."""
    return all(position in of and np.array_equal(frame, of[position]) for position, frame in frames.items())


def test_keyframes_of_a_film_are_those_of_the_whole_film(tmp_path: Path) -> None:
    """They come at their positions, also in a film that says no times."""
    (tmp_path / "film.h264").write_bytes(h264.film(30, group=10))
    keyframes = decoded(tmp_path / "film.h264", "keyframes")
    assert len(keyframes) == 3
    assert are_keyframes(keyframes, of=decoded(tmp_path / "film.h264", "all"))


@pytest.mark.slow
def test_keyframes_of_a_real_film_are_those_of_the_whole_film(real: Path) -> None:
    """So it is with an MP4 of a real encoder."""
    keyframes = decoded(real / "videos/car-detection.mp4", "keyframes")
    assert len(keyframes) == 7
    assert are_keyframes(keyframes, of=decoded(real / "videos/car-detection.mp4", "all"))


def test_the_daemon_plays_a_film_of_keyframes(tmp_path: Path) -> None:
    """A frame goes through the child into memory like any other, and the film ends like any other."""
    (tmp_path / "film.h264").write_bytes(h264.film(30, group=10))
    with running(make_settings(tmp_path / "film.h264", decode="keyframes", every_frame=True)) as camera:
        frames, end = play_out(camera)
    assert [seq for seq, _, _ in frames] == [1, 2, 3]
    assert "3 frames" in end
    assert "missing" not in end


def test_a_film_without_keyframes_of_h264_is_refused_with_the_way_out(clip: ClipMaker) -> None:
    """The cause names the key."""
    film = Film(make_settings(clip(), decode="keyframes"))
    film.grab()
    with pytest.raises(SourceInvalid, match=r"neither H\.264 nor H\.265; .* camera\.decode: all"):
        film.read(None)
    film.close()


def test_a_damaged_keyframe_is_skipped(tmp_path: Path) -> None:
    """The film goes on behind it."""
    whole = h264.film(30, group=10)
    second = whole.index(h264.SPS, len(whole) // 3)
    head = whole.index(b"\0\0\0\1", whole.index(h264.PPS, second)) + 5
    (tmp_path / "film.h264").write_bytes(whole[:head] + b"\xff" * 40 + whole[head + 40:])
    with running(make_settings(tmp_path / "film.h264", decode="keyframes", every_frame=True)) as camera:
        frames, _ = play_out(camera)
    assert [seq for seq, _, _ in frames] == [1, 2]


def test_rare_keyframes_are_not_slow() -> None:
    """Nobody says how often keyframes come: one every ten seconds is right, one every half minute is not."""
    settings = make_settings("rtsp://gate/main", decode="keyframes")
    for period_s, reasons in ((10, ()), (30, ("camera_slow",))):
        rates = RateWatch(settings.expected_fps, 25)
        for at_s in range(0, 300, period_s):
            rates.arrived(at_s * 10**9, at_s * 10**9)
        assert rates.reasons() == reasons


def test_a_camera_of_the_machine_has_keyframes_only() -> None:
    """The key changes nothing for it: neither its rate nor its stall."""
    for source in ("auto", "/dev/video0", "picamera2"):
        assert capture_settings(CameraConfig(source=source, decode="keyframes")).decode == "all"
    assert capture_settings(CameraConfig(source="rtsp://gate/main", decode="keyframes")).decode == "keyframes"


def test_ffmpeg_keeps_the_options_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding changes them for a moment, and the next opening of a stream finds them again."""
    monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;udp")
    (tmp_path / "film.h264").write_bytes(h264.film(2, group=2))
    assert len(decoded(tmp_path / "film.h264", "keyframes")) == 1
    assert os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] == "rtsp_transport;udp"
    assert cv2.VideoCapture(str(tmp_path / "film.h264"), cv2.CAP_FFMPEG).read()[0]
