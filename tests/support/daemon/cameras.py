"""Cameras for tests: real children, a source that misbehaves on demand, clips made by the test."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, Self

import cv2
import numpy as np
import pytest

from tests.support.waiting.fair_clock import PATIENCE_S, starved_s
from vedette._lib.clock import SystemClock
from vedette.camera.remote import RemoteCamera
from vedette.camera.restart_policy import Replacements
from vedette.camera.settings import STALL_S, CaptureSettings
from vedette.errors import SourceEnded
from vedette.ports import Camera

Order = Callable[[str], str]
"""Orders a fault of the faulty source; returns the address of that source."""
Taken = tuple[int, int, int]
"""A frame's seq, captured_ns and the grey of its middle pixel."""


class ClipMaker(Protocol):
    """Makes an MJPEG clip whose frame i is a flat grey of 20 + 5 * i."""

    def __call__(self, frames: int = ..., fps: float = ..., size: tuple[int, int] = ..., name: str = ...) -> Path:
        """Return the path of the clip."""


DEFAULTS = CaptureSettings(source="", width=640, height=480, fps=30.0, rotate=0, masks=(), frozen_after_s=60.0,
                           every_frame=False, loop=False, credentials_file=None)


def make_settings(source: Path | str, **changes: Any) -> CaptureSettings:
    """The settings of a source; `changes` are fields of CaptureSettings."""
    return replace(DEFAULTS, source=str(source), **changes)


def same_child(camera: RemoteCamera, before_s: float) -> bool:
    """Whether no child was replaced; a child without processor time for a stall looks as if it hung."""
    return camera.status().children_replaced == 0 or starved_s() - before_s > STALL_S


@contextmanager
def running(settings: CaptureSettings, child_module: str = "vedette.camera.child.main",
            replacements: Replacements | None = None) -> Iterator[RemoteCamera]:
    camera = RemoteCamera(settings, SystemClock(), child_module=child_module, replacements=replacements)
    camera.start()
    try:
        yield camera
    finally:
        camera.close()


def play_out(camera: Camera) -> tuple[list[Taken], str]:
    """Take frames to the end of the source; returns their seq, captured_ns and middle pixel's grey. Raises its end."""
    frames: list[Taken] = []
    with pytest.raises(SourceEnded) as end:
        _take_all(camera, frames)
    return frames, str(end.value)


def _take_all(camera: Camera, frames: list[Taken]) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < until_s:
        frame = camera.take(1)
        if frame:
            frames.append((frame.seq, frame.captured_ns, frame.pixels[frame.height // 2, frame.width // 2, 1]))
            camera.release(frame)
    pytest.fail(f"no end: {camera.status()}")


class Consumer:
    """Takes and releases every frame on a thread of its own, as a detector would, and counts them."""

    def __init__(self, camera: Camera, pause_s: float = 0.0) -> None:
        self.taken = 0
        self.ages_ms: deque[float] = deque(maxlen=1000)    # bounded: campaigns watch this process for growth
        self._camera, self._pause_s = camera, pause_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(60)

    def _run(self) -> None:
        while not self._stopping.wait(self._pause_s):
            frame = self._camera.take(0.2)
            if frame:
                self.taken += 1
                self.ages_ms.append((time.monotonic_ns() - frame.captured_ns) / 1e6)
                self._camera.release(frame)


@pytest.fixture
def order(tmp_path: Path) -> Order:
    """The order of the faulty source: a function that gives it one."""
    path = tmp_path / "order"

    def give(order: str) -> str:
        fresh = tmp_path / "order.new"
        fresh.write_text(order)
        fresh.rename(path)
        return f"tcp://{path}"

    give("")
    return give


@pytest.fixture
def clip(tmp_path: Path) -> ClipMaker:
    """A maker of MJPEG clips whose frame i is a flat grey of 20 + 5 * i."""

    def make(frames: int = 20, fps: float = 10.0, size: tuple[int, int] = (64, 48), name: str = "clip.avi") -> Path:
        path = tmp_path / name
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, size)
        assert writer.isOpened()
        for i in range(frames):
            writer.write(np.full((size[1], size[0], 3), 20 + 5 * i, np.uint8))
        writer.release()
        return path

    return make


def real_video() -> Path:
    path = Path(__file__).parents[4] / "shared" / "real" / "videos" / "car-detection.mp4"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return path
