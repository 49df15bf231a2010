"""Cameras for tests: real children, a source that misbehaves on demand, clips made on the spot."""

import threading
import time
from collections import deque
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.waiting.fair_clock import starved_s
from vedette._lib.clock import SystemClock
from vedette.camera.remote import RemoteCamera
from vedette.camera.settings import STALL_S, CaptureSettings
from vedette.errors import SourceEnded

DEFAULTS = dict(width=640, height=480, fps=30.0, rotate=0, masks=(), frozen_after_s=60.0, every_frame=False, loop=False,
                credentials_file=None)


def make_settings(source, **changes) -> CaptureSettings:
    return CaptureSettings(source=str(source), **{**DEFAULTS, **changes})


def same_child(camera, before_s):
    """Whether no child was replaced; one that the machine starves for a stall may look as if it hung."""
    return camera.status().children_replaced == 0 or starved_s() - before_s > STALL_S


@contextmanager
def running(settings, child_module="vedette.camera.child.main", replacements=None):
    camera = RemoteCamera(settings, SystemClock(), child_module=child_module, replacements=replacements)
    camera.start()
    try:
        yield camera
    finally:
        camera.close()


def play_out(camera):
    """Take frames to the end of the source; returns their seq, captured_ns and middle pixel's grey. Raises its end."""
    frames = []
    with pytest.raises(SourceEnded) as end:
        _take_all(camera, frames)
    return frames, str(end.value)


def _take_all(camera, frames):
    while True:
        frame = camera.take(1)
        if frame:
            frames.append((frame.seq, frame.captured_ns, frame.pixels[frame.height // 2, frame.width // 2, 1]))
            camera.release(frame)


class Consumer:
    """Takes and releases every frame on a thread of its own, as a detector would, and counts them."""

    def __init__(self, camera, pause_s=0.0):
        self.taken = 0
        self.ages_ms = deque(maxlen=1000)    # bounded: campaigns watch this process for growth
        self._camera, self._pause_s = camera, pause_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stopping.set()
        self._thread.join(60)

    def _run(self):
        while not self._stopping.wait(self._pause_s):
            frame = self._camera.take(0.2)
            if frame:
                self.taken += 1
                self.ages_ms.append((time.monotonic_ns() - frame.captured_ns) / 1e6)
                self._camera.release(frame)


@pytest.fixture
def order(tmp_path):
    """The order of the faulty source: a function that gives it one."""
    path = tmp_path / "order"

    def give(words):
        fresh = tmp_path / "order.new"
        fresh.write_text(words)
        fresh.rename(path)
        return f"tcp://{path}"

    give("")
    return give


@pytest.fixture
def clip(tmp_path):
    """A maker of MJPEG clips whose frame i is a flat grey of 20 + 5 * i."""

    def make(frames=20, fps=10.0, size=(64, 48), name="clip.avi"):
        path = tmp_path / name
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, size)
        assert writer.isOpened()
        for i in range(frames):
            writer.write(np.full((size[1], size[0], 3), 20 + 5 * i, np.uint8))
        writer.release()
        return path

    return make


def real_video():
    path = Path(__file__).parents[4] / "shared" / "real" / "videos" / "car-detection.mp4"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return path
