"""Frames of the drawn street with their truth. Models are evaluated on them.

Stills are spread over streets and hours; a moving street is as the camera shows it.

Invariants: the same seed gives the same stills. No model was trained on those of the default seed. Demo stills are
spread evenly over `STREETS` streets and one day of light. Each hard still has a new street.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from vedette.camera.street.scene import DAY_S, HELD_OUT_SEED, Scene, TruthBox
from vedette.types import Frame

if TYPE_CHECKING:
    from vedette.camera.street.options import SyntheticSource

STREETS = 10
DEMO_SIZE, HARD_SIZE = (640, 360), (384, 384)
FPS = 30.0


@dataclass(frozen=True, slots=True)
class Still:
    """One frame, numbered from 1, and the things that can be seen in it."""

    frame: Frame
    truth: tuple[TruthBox, ...]


def stills(count: int, *, hard: bool = False, seed: int = HELD_OUT_SEED) -> Iterator[Still]:
    """Draw `count` stills one by one."""
    return _drawn(islice(_hard(seed) if hard else _demo(seed, count), count), HARD_SIZE if hard else DEMO_SIZE, FPS)


def moving(source: SyntheticSource, count: int, rate: float) -> Iterator[Still]:
    """Draw `count` frames of a street in which things move, `rate` frames a second, one by one."""
    scene = Scene(source.seed, *DEMO_SIZE, rate, quiet=source.quiet, hour=source.hour)
    return _drawn(((scene, number) for number in range(count)), DEMO_SIZE, rate)


def _drawn(scenes: Iterable[tuple[Scene, int]], size: tuple[int, int], fps: float) -> Iterator[Still]:
    for seq, (scene, number) in enumerate(scenes, 1):
        picture = np.empty((size[1], size[0], 3), np.uint8)
        truth = scene.render(number, picture)
        captured_ns = round(number * 1e9 / fps)
        yield Still(Frame(seq, picture.data, captured_ns, datetime.fromtimestamp(captured_ns / 1e9, UTC), captured_ns),
                    truth)


def _demo(seed: int, count: int) -> Iterator[tuple[Scene, int]]:
    each = ceil(count / STREETS)
    step = round(DAY_S * FPS / each)
    for street in range(STREETS):
        scene = Scene(seed + street, *DEMO_SIZE, FPS)
        yield from ((scene, number * step) for number in range(each))


def _hard(seed: int) -> Iterator[tuple[Scene, int]]:
    scene, number = Scene(seed, *HARD_SIZE, FPS, hard=True), 0
    while True:
        yield scene, number
        number += 1
