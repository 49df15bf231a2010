"""What is written around an event, to the tenth of a second."""

from __future__ import annotations

import resource
import signal
import struct
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.fakes import EPOCH
from vedette.events.clip_folder import ClipFolder
from vedette.events.clip_recorder import AFTER_S, BEFORE_S, LATE_S, MOST_S, RING_BYTES, RING_S, ClipRecorder, Shot
from vedette.vision import jpeg

S = 10 ** 9
PICTURES = [jpeg.encode(np.full((16, 32, 3), grey, np.uint8).data, 90) for grey in range(256)]
WIDE = jpeg.encode(np.zeros((16, 48, 3), np.uint8).data, 75)


def shot(at_s: float, shape: tuple[int, int] = (32, 16)) -> Shot:
    """A frame whose grey is its tenth of a second, modulo 251."""
    content = PICTURES[round(at_s * S) // (S // 10) % 251] if shape == (32, 16) else WIDE
    return Shot(round(at_s * S), EPOCH + timedelta(seconds=at_s), content, shape)


class Film:
    """A recorder whose frames come at a rate, from a time of 100 s on."""

    def __init__(self, folder: Path, mb: float = 10) -> None:
        self.folder = folder
        self.recorder = ClipRecorder(ClipFolder(folder, "gate", mb=mb, days=1))
        self.now_s = 100.0

    def run(self, seconds: float, per_s: int = 10) -> None:
        for _ in range(round(seconds * per_s)):
            self.recorder.add(shot(self.now_s))
            self.now_s = round(self.now_s + 1 / per_s, 3)
            self.recorder.tick(round(self.now_s * S))

    def began(self, event: str, ago_s: float = 0.0, label: str = "car") -> None:
        self.recorder.began(event, label, round((self.now_s - ago_s) * S), EPOCH)

    def ended(self, event: str, ago_s: float = 0.0) -> None:
        self.recorder.ended(event, round((self.now_s - ago_s) * S))

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


@pytest.fixture
def film(tmp_path: Path) -> Film:
    return Film(tmp_path)


def times(path: Path) -> list[float]:
    """When each picture of a clip was captured, as its grey says, and checked against the film's own time."""
    capture = cv2.VideoCapture(str(path))
    found: list[float] = []
    first = None
    while (read := capture.read())[0]:
        tenth = round(float(read[1].mean()))
        first = tenth if first is None else first
        slot = round(capture.get(cv2.CAP_PROP_POS_MSEC) / 100)
        assert (tenth - first) % 251 == slot % 251
        found.append(slot / 10)
    capture.release()
    return found


def test_a_clip_is_from_before_its_event_until_after_it(film: Film) -> None:
    """5 s before, which are known from memory, and 5 s after. Nothing else is ever written."""
    film.run(20)
    assert film.names() == []
    film.began("7-1", ago_s=1.0)
    film.run(3)
    film.ended("7-1")
    film.run(4)
    assert [name[0] for name in film.names()] == ["."]
    film.run(20)
    assert film.names() == ["2026-11-21T00-01-54.000Z.gate.7-1.car.avi"]
    shown = times(film.folder / film.names()[0])
    assert len(shown) == (BEFORE_S + 1 + 3 + AFTER_S) * 10 + 1
    assert shown[-1] == BEFORE_S + 1 + 3 + AFTER_S


@pytest.mark.parametrize("per_s", [1, 3, 5])
def test_times_are_kept_at_a_low_rate(film: Film, per_s: int) -> None:
    """A governed or slow detector gives fewer frames; a clip lasts as long as its event did."""
    film.run(20, per_s)
    film.began("7-1")
    film.run(10, per_s)
    film.ended("7-1")
    film.run(10, per_s)
    shown = times(film.folder / film.names()[0])
    assert len(shown) == pytest.approx(20 * per_s, abs=2)
    assert shown[-1] == pytest.approx(20, abs=1 / per_s)


def test_events_that_overlap_share_a_clip(film: Film) -> None:
    """It is named by the first, and goes on until 5 s after the last. An event after that has its own."""
    film.run(10)
    film.began("7-1", label="a/b")
    film.run(2)
    film.began("7-2")
    film.run(2)
    film.ended("7-1")
    film.run(10)
    film.ended("7-2")
    film.run(2)
    film.began("7-3")
    film.ended("7-3")
    film.run(9)
    film.began("7-4")
    film.ended("7-4")
    film.run(9)
    assert [name.split(".", 2)[2] for name in film.names()] == ["gate.7-1.a%2Fb.avi", "gate.7-4.car.avi"]
    assert times(film.folder / film.names()[0])[-1] == BEFORE_S + 2 + 2 + 10 + 2 + AFTER_S


def test_no_clip_is_longer_than_a_minute(film: Film) -> None:
    """Of a thing that stays, the first minute is there; a thing that comes later has a clip of its own."""
    film.run(10)
    film.began("7-1")
    film.run(100)
    assert len(film.names()) == 1
    assert times(film.folder / film.names()[0])[-1] == MOST_S
    film.began("7-2")
    film.ended("7-1")
    film.ended("7-2")
    film.run(10)
    assert len(film.names()) == 2


def test_a_camera_that_stops_leaves_a_complete_clip(film: Film) -> None:
    """Its time is over although no frame says so."""
    film.run(10)
    film.began("7-1")
    film.ended("7-1")
    film.recorder.tick(round((film.now_s + AFTER_S + LATE_S) * S))
    assert [name[0] for name in film.names()] == ["."]
    film.recorder.tick(round((film.now_s + AFTER_S + LATE_S + 0.1) * S))
    assert [name[0] for name in film.names()] == ["2"]
    assert times(film.folder / film.names()[0])[-1] == pytest.approx(BEFORE_S, abs=0.15)


def test_an_event_without_frames_is_no_clip(film: Film) -> None:
    """None before and none after, or those that come are too late."""
    film.began("7-1")
    film.ended("7-1")
    film.now_s += 60
    film.run(5)
    assert film.names() == []


def test_an_end_that_nobody_knows_changes_nothing(film: Film) -> None:
    """Of an event of before the start, or of one without a clip."""
    film.ended("7-0")
    film.run(6)
    film.began("7-1")
    film.ended("7-0")
    film.run(20)
    assert film.recorder.is_recording


def test_another_size_ends_the_clip(film: Film) -> None:
    """A film has one size. The next event has a clip of the new one, from its first frame on."""
    film.run(8)
    film.began("7-1")
    film.recorder.add(shot(film.now_s, (48, 16)))
    assert [name[-11:] for name in film.names()] == ["7-1.car.avi"]
    film.recorder.add(shot(film.now_s + 0.1, (48, 16)))
    film.began("7-2")
    film.recorder.finish()
    assert len(times(film.folder / film.names()[0])) == BEFORE_S * 10
    capture = cv2.VideoCapture(str(film.folder / film.names()[1]))
    assert (capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_COUNT)) == (48, 2)
    capture.release()


def test_memory_is_bounded_in_time_and_in_bytes(film: Film) -> None:
    """Ten seconds, or less if a picture is very large."""
    film.run(60)
    assert len(film.recorder._ring) == RING_S * 10 + 1
    assert film.recorder._ring_bytes == sum(len(each.jpeg) for each in film.recorder._ring)
    for tenth in range(30):
        film.recorder.add(Shot(round(film.now_s * S) + tenth * S // 10, EPOCH, bytes(1_000_000), (32, 16)))
    assert film.recorder._ring_bytes <= RING_BYTES


def test_the_quota_holds_while_a_clip_grows(tmp_path: Path) -> None:
    """Older clips go for it; alone too large, it ends early, and can be played."""
    film = Film(tmp_path, mb=0.06)
    film.run(10)
    most = 0
    for number in range(12):
        film.began(f"7-{number}")
        for _ in range(50):
            film.run(0.2)
            most = max(most, sum(path.stat().st_size for path in tmp_path.iterdir()))
        film.ended(f"7-{number}")
        film.run(12)
    assert 40_000 < most <= 60_000
    assert film.names()[-1].split(".")[3] == "7-11"
    long = Film(tmp_path, mb=0.045)
    long.run(10)
    long.began("8-1")
    long.run(60)
    assert [name.split(".")[3] for name in long.names()] == ["8-1"]
    assert 3 < times(tmp_path / long.names()[0])[-1] < MOST_S - 1


def test_a_quota_that_is_too_small_for_a_picture_writes_nothing(tmp_path: Path) -> None:
    """Not even an empty file."""
    film = Film(tmp_path, mb=0.0001)
    film.run(10)
    film.began("7-1")
    film.run(10)
    assert film.names() == []


@pytest.fixture
def _small_files() -> Iterator[None]:
    """No file of this process may have more than 45 kB, as on a disk that is full in the middle of a clip."""
    before, limits = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (45_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, before)


@pytest.mark.usefixtures("_small_files")
def test_a_disk_that_fails_in_the_middle_leaves_nothing(film: Film) -> None:
    """The next event is recorded again."""
    film.run(10)
    film.began("7-1")
    with pytest.raises(OSError, match="large"):
        film.run(60)
    assert film.recorder.abandon()
    assert film.names() == []
    film.began("7-2")
    film.recorder.finish()
    assert len(film.names()) == 1
    assert not film.recorder.abandon()


def test_an_index_is_not_longer_than_allowed_for(film: Film) -> None:
    """What a file has apart from its pictures, at most; the quota counts on it."""
    film.run(10)
    film.began("7-1")
    film.run(60)
    content = (film.folder / film.names()[0]).read_bytes()
    pictures = sum(size for _, _, _, size in struct.iter_unpack(
        "<4sIII", content[content.rindex(b"idx1") + 8:]))
    assert len(content) - pictures < 16_000
