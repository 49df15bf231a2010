"""Candidates as tests use them: with long time limits, on frames of the drawn street."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.fakes import make_result
from vedette.camera.street.scene import HELD_OUT_SEED, Scene
from vedette.config.models import DetectorConfig
from vedette.errors import ModelError
from vedette.types import Frame
from vedette.validate.candidate import Candidate
from vedette.validate.frame_tap import FrameTap, TappedFrame

BOX = Path(__file__).parents[3] / "models" / "vedette-street.tflite"
ONE = DetectorConfig(threads=1)


def patient(path: Path, detector: DetectorConfig, **settings: Any) -> Candidate:
    """Return a candidate with long time limits for an overloaded machine, unless `settings` has others."""
    return Candidate(path, detector, **{"probe_timeout_s": 120, "compare_timeout_s": 120, **settings})


def children() -> list[int]:
    """Process ids of this process's children that already run a child's module."""
    pids = [pid for task in Path("/proc/self/task").glob("*/children") for pid in task.read_text().split()]
    return [int(pid) for pid in pids if b"_child\0" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def street(number: int = 700, width: int = 288, height: int = 162) -> Frame:
    """Return a frame of the drawn street."""
    pixels = np.empty((height, width, 3), np.uint8)
    Scene(HELD_OUT_SEED, width, height, 30.0).render(number, pixels)
    return Frame(number, pixels.data, time.monotonic_ns(), datetime.now(UTC), time.monotonic_ns())


def tapped(tap: FrameTap, frame: Frame) -> TappedFrame | None:
    """Send a frame through the tap; returns it as tapped."""
    tap.request()
    tap(make_result(frame))
    return tap.wait(0)


def refused(path: Path, kind: type[ModelError], words: str, **settings: object) -> str:
    """Probe a file that must be refused with this error; returns its message."""
    candidate = patient(path, ONE, **settings)
    with pytest.raises(kind, match=words) as refusal:
        candidate.probe()
    assert str(path) in str(refusal.value)
    assert candidate.pid is None
    return str(refusal.value)
