"""Scenes for training: drawn once, letterboxed to the network's input, kept in one file.

Invariants: the seeds for evaluation are never used for training. Pixels are scaled exactly as the product scales them
(bilinear, grey bars), so that the network sees the same pictures in use.
"""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from vedette.camera.street.scene import DAY_S, HELD_OUT_SEED, Scene

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from vedette.camera.street.scene import TruthBox

SIDE = 192
"""Pixels of the network's square input."""
THINGS_MAX = 32
PADDING_BYTE = 114
HARD_SIZE = (384, 384)
DEMO_SIZES = ((640, 360), (640, 360), (640, 360), (640, 480), (1280, 720))
FRAMES_OF_A_DEMO = 6
TRAIN_SEED = 1
FPS = 30.0
HELD_OUT_STREETS = 10
CHUNK = 60


class Shrunk(NamedTuple):
    """A letterboxed frame, its truth, and the position of the frame in the input: left, top, width, height."""

    pixels: NDArray[np.uint8]
    truth: tuple[TruthBox, ...]
    place: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Scenes:
    """`pixels` (n, SIDE, SIDE, 3) BGR; `boxes` (n, THINGS_MAX, 4) in pixels; `labels` (n, THINGS_MAX), -1: none."""

    pixels: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.pixels)


def training_scenes(folder: Path, hard: int, demo: int) -> Scenes:
    """Draw the training set into `folder`, or open it if it is complete."""
    total = hard + demo
    name = f"scenes-{hard}-{demo}"
    done = folder / f"{name}.npz"
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.memmap(folder / f"{name}.u8", np.uint8, "w+", shape=(total, SIDE, SIDE, 3))
        boxes, labels = np.zeros((total, THINGS_MAX, 4), np.float32), np.full((total, THINGS_MAX), -1, np.int64)
        starts = range(0, total, CHUNK)
        with ProcessPoolExecutor(os.cpu_count(), initializer=cv2.setNumThreads, initargs=(1,)) as pool:
            for start, part in zip(starts, pool.map(_chunk, starts, repeat(hard), repeat(total)), strict=True):
                end = start + len(part)
                pixels[start:end], boxes[start:end], labels[start:end] = part.pixels, part.boxes, part.labels
        pixels.flush()
        np.savez(done, boxes=boxes, labels=labels)
    with np.load(done) as truth:
        return Scenes(np.memmap(folder / f"{name}.u8", np.uint8, "r", shape=(total, SIDE, SIDE, 3)),
                      truth["boxes"], truth["labels"])


def held_out_hard(count: int) -> Scenes:
    """Return the hard scenes for evaluation."""
    return _gathered(_hard_scenes(HELD_OUT_SEED, range(count)), count)


def held_out_demo(count: int) -> Scenes:
    """Return frames of the demo streets for evaluation, evenly over one day."""
    frames = count // HELD_OUT_STREETS
    step = round(DAY_S * FPS / frames)
    return _gathered((shrunk(picture, truth) for street in range(HELD_OUT_STREETS)
                      for picture, truth in _frames(Scene(HELD_OUT_SEED + street, *DEMO_SIZES[0], FPS), DEMO_SIZES[0],
                                                    range(0, frames * step, step))), frames * HELD_OUT_STREETS)


def shrunk(picture: NDArray[np.uint8], truth: tuple[TruthBox, ...]) -> Shrunk:
    """Letterbox a frame as the product does."""
    height, width = picture.shape[:2]
    share = SIDE / max(width, height)
    size = round(width * share), round(height * share)
    left, top = (SIDE - size[0]) // 2, (SIDE - size[1]) // 2
    square = np.full((SIDE, SIDE, 3), PADDING_BYTE, np.uint8)
    square[top:top + size[1], left:left + size[0]] = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)
    return Shrunk(square, truth, (left, top, *size))


def _chunk(start: int, hard: int, total: int) -> Scenes:
    numbers = range(start, min(start + CHUNK, total))
    if numbers[-1] < hard:
        return _gathered(_hard_scenes(TRAIN_SEED, numbers), len(numbers))
    return _gathered(_demo_scenes(numbers), len(numbers))


def _hard_scenes(seed: int, numbers: range) -> Iterator[Shrunk]:
    for picture, truth in _frames(Scene(seed, *HARD_SIZE, FPS, hard=True), HARD_SIZE, numbers):
        yield shrunk(picture, truth)


def _demo_scenes(numbers: range) -> Iterator[Shrunk]:
    for seed in range(numbers[0], numbers[-1] + 1, FRAMES_OF_A_DEMO):
        size = DEMO_SIZES[seed // FRAMES_OF_A_DEMO % len(DEMO_SIZES)]
        moments = np.random.default_rng(seed).integers(0, 200_000, min(FRAMES_OF_A_DEMO, numbers[-1] + 1 - seed))
        for picture, truth in _frames(Scene(seed, *size, FPS), size, moments.tolist()):
            yield shrunk(picture, truth)


def _frames(scene: Scene, size: tuple[int, int],
            numbers: Iterable[int]) -> Iterator[tuple[NDArray[np.uint8], tuple[TruthBox, ...]]]:
    """Yield one picture, redrawn for every number."""
    picture = np.empty((size[1], size[0], 3), np.uint8)
    for number in numbers:
        yield picture, scene.render(number, picture)


def _gathered(frames: Iterable[Shrunk], count: int) -> Scenes:
    pixels = np.empty((count, SIDE, SIDE, 3), np.uint8)
    boxes, labels = np.zeros((count, THINGS_MAX, 4), np.float32), np.full((count, THINGS_MAX), -1, np.int64)
    for index, frame in enumerate(frames):
        pixels[index] = frame.pixels
        left, top, width, height = frame.place
        for number, thing in enumerate(frame.truth[:THINGS_MAX]):
            boxes[index, number] = np.array(thing.box) * (width, height, width, height) + (left, top, left, top)
            labels[index, number] = thing.class_id
    return Scenes(pixels, boxes, labels)
