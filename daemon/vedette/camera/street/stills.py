"""Stills of the drawn street with their truth, spread over streets and hours. Models are evaluated on them.

Invariants: the same seed gives the same stills. No model was trained on those of the default seed. Demo stills are
spread evenly over `STREETS` streets and one day of light. Each hard still has a new street.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from math import ceil

import numpy as np

from vedette.camera.street.scene import DAY_S, HELD_OUT_SEED, Scene, TruthBox
from vedette.types import Frame

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
    for seq, (scene, number) in enumerate(islice(_hard(seed) if hard else _demo(seed, count), count), 1):
        width, height = HARD_SIZE if hard else DEMO_SIZE
        picture = np.empty((height, width, 3), np.uint8)
        truth = scene.render(number, picture)
        captured_ns = round(number * 1e9 / FPS)
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
