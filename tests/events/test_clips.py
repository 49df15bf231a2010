"""Clips while the daemon runs: on, off, and with folders that fail."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.support.daemon.cameras import make_settings, running
from tests.support.fakes import EPOCH, FakeClock, make_frame, make_result
from tests.support.waiting.fair_clock import PATIENCE_S
from tests.support.waiting.until import eventually, wait_until
from vedette.config.models import Config
from vedette.device.wall_clock import SETTLED_S
from vedette.events.clip_folder import ClipFolder
from vedette.events.clips import LONGEST_PX, TIDY_S, Clips
from vedette.types import DetectionResult


def config(folder: Path | None, **more: Any) -> Config:
    events = {"clips": {"folder": None if folder is None else str(folder)}, **more.pop("events", {})}
    return Config.model_validate({"events": events, **more})


def result(clock: FakeClock, width: int = 32, height: int = 24) -> DetectionResult:
    return make_result(make_frame(clock, width=width, height=height))


@contextmanager
def started(settings: Config, clock: FakeClock) -> Iterator[Clips]:
    clips = Clips(settings, clock, device="gate")
    clips.start()
    try:
        yield clips
    finally:
        assert clips.stop(PATIENCE_S)
        assert clips.worker.failure is None


def feed(clips: Clips, clock: FakeClock, seconds: float) -> None:
    """Two frames each second; each is taken before the next one comes."""
    for _ in range(round(seconds * 2)):
        clock.advance(0.5)
        clips.on_result(result(clock))
        assert wait_until(lambda: not len(clips._mailbox))


def one_event(clips: Clips, clock: FakeClock, event: str = "7-1", label: str = "car") -> None:
    clips.event_began(event, label, clock.now_ns)
    feed(clips, clock, 0.5)
    clips.event_ended(event, clock.now_ns)
    feed(clips, clock, 5.5)


def films(folder: Path) -> list[str]:
    """The complete clips: event and label."""
    return sorted(path.name.split(".", 3)[3] for path in folder.glob("*.avi"))


def test_an_event_is_recorded(tmp_path: Path) -> None:
    """With what was there before it. The next one has its own clip."""
    clock = FakeClock()
    with started(config(tmp_path), clock) as clips:
        feed(clips, clock, 1)
        one_event(clips, clock)
        assert wait_until(lambda: films(tmp_path) == ["7-1.car.avi"])
        one_event(clips, clock, "7-2", "a/b")
        assert wait_until(lambda: films(tmp_path) == ["7-1.car.avi", "7-2.a%2Fb.avi"])
        assert clips.reasons() == {}
        assert clips.replaced == clips.lost == 0


@pytest.mark.parametrize("step_s", [0.05, 5], ids=["fast", "slow"])
def test_a_film_that_waits_is_recorded_by_its_own_time(tmp_path: Path, step_s: float) -> None:
    """The detector may be faster or slower than the film. The clip has the 5 s before and after the event."""
    clock = FakeClock()
    film_ns = begun_ns = clock.now_ns
    with started(config(tmp_path), clock) as clips:
        for number in range(120):
            clock.advance(step_s)
            film_ns = begun_ns + number * 500_000_000
            shown = result(clock)
            clips.on_result(replace(shown, frame=replace(shown.frame, film_ns=film_ns)))
            assert wait_until(lambda: not len(clips._mailbox))
            if number == 60:
                clips.event_began("7-1", "car", film_ns)
            if number == 70:
                clips.event_ended("7-1", film_ns)
        assert wait_until(lambda: films(tmp_path) == ["7-1.car.avi"])
        film = cv2.VideoCapture(str(next(tmp_path.glob("*.avi"))))
        assert film.get(cv2.CAP_PROP_FRAME_COUNT) == pytest.approx(150, abs=6)      # 15 s, ten a second
        film.release()


@pytest.mark.parametrize("off", [
    Config(), config(None), "no events"], ids=["default", "no folder", "no events"])
def test_off_means_nothing_at_all(tmp_path: Path, off: Config | str) -> None:
    """No thread, no copy of a frame (its pixels are gone already), no file."""
    clock = FakeClock()
    settings = config(tmp_path, events={"enabled": False}) if isinstance(off, str) else off
    gone = memoryview(bytearray(6)).cast("B", (1, 2, 3))
    late = result(clock)
    late = replace(late, frame=replace(late.frame, pixels=gone))
    gone.release()
    with started(settings, clock) as clips:
        for _ in range(3):
            clips.on_result(late)
        clips.event_began("7-1", "car", clock.now_ns)
        clips.event_ended("7-1", clock.now_ns)
        assert not clips.is_on
        assert not clips.worker.alive
        assert not clips._events
        assert clips.reasons() == {}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("chosen", [{"events": {"labels": ["person"]}}, {"detector": {"allow": ["person"]}}])
def test_a_label_that_was_not_chosen_is_not_recorded(tmp_path: Path, chosen: dict[str, Any]) -> None:
    """Even if somebody reports it."""
    clock = FakeClock()
    with started(config(tmp_path, **chosen), clock) as clips:
        feed(clips, clock, 0.5)
        one_event(clips, clock)
        one_event(clips, clock, "7-2", "person")
        assert wait_until(lambda: films(tmp_path) == ["7-2.person.avi"])


def test_switched_off_nothing_is_kept(tmp_path: Path) -> None:
    """The clip under way goes, and so does the memory. Complete clips stay: they are the operator's."""
    clock = FakeClock()
    with started(config(tmp_path), clock) as clips:
        feed(clips, clock, 0.5)
        one_event(clips, clock)
        assert wait_until(lambda: films(tmp_path))
        clips.event_began("7-2", "car", clock.now_ns)
        feed(clips, clock, 0.5)
        assert wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
        clips.reload(config(None))
        assert wait_until(lambda: clips._recorder is None)
        assert films(tmp_path) == ["7-1.car.avi"]
        assert len(list(tmp_path.iterdir())) == 1


def test_switched_on_by_a_reload(tmp_path: Path) -> None:
    """The thread starts then; another reload changes nothing of a clip under way, if it is about something else."""
    clock = FakeClock()
    with started(config(None), clock) as clips:
        clips.reload(config(tmp_path))
        assert clips.worker.alive
        clips.event_began("7-1", "car", clock.now_ns)
        feed(clips, clock, 0.5)
        clips.reload(config(tmp_path, events={"keep_s": 9}))
        clips.event_ended("7-1", clock.now_ns)
        feed(clips, clock, 5.5)
        assert wait_until(lambda: films(tmp_path) == ["7-1.car.avi"])


def test_a_stop_completes_the_clip_under_way(tmp_path: Path) -> None:
    """Its event has not ended, and the daemon has: what there is can be played."""
    clock = FakeClock()
    with started(config(tmp_path), clock) as clips:
        clips.event_began("7-1", "car", clock.now_ns)
        feed(clips, clock, 2)
    assert films(tmp_path) == ["7-1.car.avi"]
    capture = cv2.VideoCapture(str(next(tmp_path.iterdir())))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 1.5 * 10 + 1
    capture.release()


def test_a_broken_folder_is_named_counted_and_tried_again(tmp_path: Path) -> None:
    """Before the first event already. Frames go on; when the folder is there, the reason goes, and clips come."""
    clock, folder = FakeClock(), tmp_path / "clips"
    with started(config(folder), clock) as clips:
        assert eventually(clips.reasons) == {"clips_failed": f"{folder}: No such file or directory"}
        one_event(clips, clock)
        assert eventually(lambda: clips.lost) == 1
        assert clips.reasons()["clips_failed"].endswith("; clips lost in this run: 1")
        folder.mkdir()
        clock.advance(TIDY_S + 1)
        assert wait_until(lambda: not clips.reasons())
        one_event(clips, clock, "7-2")
        assert wait_until(lambda: films(folder) == ["7-2.car.avi"])


def test_a_folder_that_goes_away_in_the_middle(tmp_path: Path) -> None:
    """A disk that is unplugged: the clip is lost and counted, and detection does not notice."""
    clock, folder = FakeClock(), tmp_path / "clips"
    folder.mkdir()
    with started(config(folder), clock) as clips:
        clips.event_began("7-1", "car", clock.now_ns)
        feed(clips, clock, 0.5)
        path = eventually(lambda: next(folder.iterdir(), None))
        path.unlink()
        folder.rmdir()
        feed(clips, clock, 1)
        assert wait_until(lambda: clips.lost == 1)
        assert "No such file" in clips.reasons()["clips_failed"]


def test_a_step_of_the_clock_deletes_no_clip(tmp_path: Path) -> None:
    """A clock that is ten years ahead for some minutes costs nothing. The age holds as soon as the time has settled."""
    clock = FakeClock()
    recent = ClipFolder(tmp_path, "gate", mb=1, days=1).paths_for(clock.utc_now(), "6-1", "car")[1]
    recent.write_bytes(b"clip")
    os.utime(recent, (EPOCH.timestamp(),) * 2)

    def tidied(clips: Clips, seconds: float) -> bool:
        clock.advance(seconds)
        due_ns = clips._tidy_ns
        clips.on_result(result(clock))      # wakes the thread
        assert wait_until(lambda: clips._tidy_ns != due_ns or not clips.worker.alive)
        return not recent.exists()

    with started(config(tmp_path), clock) as clips:
        assert wait_until(lambda: clips._tidy_ns > 0)
        clock.epoch = EPOCH + timedelta(days=3650)
        assert not any(tidied(clips, SETTLED_S / 5) for _ in range(4))
        clock.epoch = EPOCH
        assert not any(tidied(clips, SETTLED_S / 5) for _ in range(9))
        clock.epoch = EPOCH + timedelta(days=8)
        assert [tidied(clips, SETTLED_S + TIDY_S) for _ in range(3)][1:] == [True, True]


class StuckClock(FakeClock):
    """A clock that the thread asks when it works in the folder, and that does not answer: a disk that hangs."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = threading.Event()
        self.asked = threading.Event()

    def utc_now(self) -> Any:
        self.asked.set()
        assert self.answer.wait(PATIENCE_S)
        return super().utc_now()


def test_a_folder_that_never_answers_disturbs_nothing(tmp_path: Path) -> None:
    """Frames are replaced and counted, events wait, nothing blocks; the reason says it. A stop is bounded."""
    clock = StuckClock()
    with started(config(tmp_path), clock) as clips:
        assert clock.asked.wait(PATIENCE_S)
        for number in range(50):
            clock.advance(0.1)
            clips.on_result(result(clock))
            clips.event_began(f"7-{number}", "car", clock.now_ns)
        assert clips.replaced == 49
        clips.worker.beat(1e-9)      # ten seconds are over
        assert "no answer" in eventually(clips.reasons)["clips_failed"]
        assert not clips.stop(0.01)
        clock.answer.set()


def test_switched_off_and_stopped_at_once(tmp_path: Path) -> None:
    """A clip under way is not completed after it was switched off, even if the thread is busy until the stop."""
    clock = StuckClock()
    clock.answer.set()
    with started(config(tmp_path), clock) as clips:
        feed(clips, clock, 1)
        clock.answer.clear()
        clock.asked.clear()
        clips.event_began("7-1", "car", clock.now_ns)
        assert clock.asked.wait(PATIENCE_S)
        clips.reload(config(None))
        assert not clips.stop(0.01)
        clock.answer.set()
    assert list(tmp_path.iterdir()) == []


def test_ten_frames_a_second_are_enough(tmp_path: Path) -> None:
    """Of a camera with 30 frames a second each third one is copied; not one twice."""
    clock = FakeClock()
    clips = Clips(config(tmp_path), clock, device="gate")
    copied = 0
    for _ in range(90):
        clock.advance(1 / 30)
        clips.on_result(result(clock))
        copied += clips._mailbox.take(0) is not None
    assert copied == pytest.approx(30, abs=1)


def test_large_frames_are_scaled_down(tmp_path: Path) -> None:
    """A clip has at most 1280 pixels a side, in the shape of the frame."""
    clock = FakeClock()
    with started(config(tmp_path), clock) as clips:
        clips.event_began("7-1", "car", clock.now_ns)
        clips.on_result(result(clock, 2560, 1440))
        assert wait_until(lambda: list(tmp_path.iterdir()))
    capture = cv2.VideoCapture(str(next(tmp_path.iterdir())))
    shown = capture.read()[1]
    capture.release()
    assert shown.shape == (720, LONGEST_PX, 3)


def test_masks_are_in_the_clip(tmp_path: Path) -> None:
    """Frames of a real capture child: what a mask hides is black in the clip, the rest is not."""
    (tmp_path / "images").mkdir()
    (tmp_path / "clips").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "white.png"), np.full((240, 320, 3), 255, np.uint8))
    settings = make_settings(tmp_path / "images", width=320, height=240, fps=5.0, loop=True,
                             masks=(((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)),))
    clock = FakeClock()
    with running(settings) as camera, started(config(tmp_path / "clips"), clock) as clips:
        frame = eventually(lambda: camera.take(1))
        clips.event_began("7-1", "car", frame.captured_ns)
        clips.on_result(make_result(frame))
        camera.release(frame)
        assert wait_until(lambda: list((tmp_path / "clips").iterdir()))
    capture = cv2.VideoCapture(str(next((tmp_path / "clips").iterdir())))
    shown = capture.read()[1]
    capture.release()
    assert shown[:, :150].max() < 15
    assert shown[:, 170:].min() > 240
