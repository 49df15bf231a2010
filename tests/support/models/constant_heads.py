"""Writes models whose outputs are constants, in the shape and with the values of an exporter's head.

A model reads its image, multiplies the mean by nought and adds that to the constants, so that no runtime can fold the
graph. One thing is there: class 16 (or 0, where there is one class), score 0.8, box at the centre, a quarter of the
input wide and an eighth high.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.support.models.writer import Graph, Op, Tensor, build, with_zip

Array = NDArray[np.float32]
SIDE = 320
STRIDES = (8, 16, 32)
CELL = 1000         # the cell that sees the thing
SCORE = 0.8
CENTRE = (0.5, 0.5, 0.25, 0.125)
CORNERS = (0.375, 0.4375, 0.625, 0.5625)
_ADD, _MUL, _RESHAPE, _MEAN = 11, 21, 17, 27


def write(folder: Path, *outputs: Array, files: dict[str, bytes] | None = None, planar: bool = False,
          side: int = SIDE, scale: float | None = None) -> Path:
    """Write a model with these outputs, as INT8 from 0 up where there is a `scale`; returns its path."""
    image = (1, 3, side, side) if planar else (1, side, side, 3)
    tensors = [Tensor(image, "float32", "image"), Tensor((3,), "int32", "axes", data=struct.pack("<3i", 1, 2, 3)),
               Tensor((1, 1, 1, 1), "float32", "mean"), Tensor((1,), "float32", "nought", data=bytes(4)),
               Tensor((1, 1, 1, 1), "float32", "zero")]
    ops = [Op("MEAN", (0, 1), (2,), (_MEAN, [(0, "bool", True)])), Op("MUL", (2, 3), (4,), (_MUL, []))]
    results = []
    for number, values in enumerate(outputs):
        here, rank = len(tensors), values.ndim
        tensors += [Tensor((rank,), "int32", f"shape{number}", data=struct.pack(f"<{rank}i", *(1,) * rank)),
                    Tensor((1,) * rank, "float32", f"zero{number}"),
                    Tensor(values.shape, "float32", f"values{number}", data=values.astype("<f4").tobytes()),
                    Tensor(values.shape, "float32", f"output{number}")]
        ops += [Op("RESHAPE", (4, here), (here + 1,), (_RESHAPE, [])), Op("ADD", (here + 2, here + 1), (here + 3,),
                                                                         (_ADD, []))]
        if scale:
            tensors.append(Tensor(values.shape, "int8", f"quantized{number}", (scale,), (-128,)))
            ops.append(Op("QUANTIZE", (here + 3,), (here + 4,)))
        results.append(len(tensors) - 1)
    path = folder / "head.tflite"
    path.write_bytes(with_zip(build(Graph(tensors, ops, (0,), tuple(results))), files or {"licence": b"none"}))
    return path


def cells(strides: tuple[int, ...] = STRIDES) -> int:
    """Return the number of cells of the input."""
    return sum((SIDE // stride) ** 2 for stride in strides)


def boxes(count: int, *, pixels: bool, corners: bool = False) -> Array:
    """Return rows of boxes (cx, cy, width, height, or two corners) all over the input, with the thing at its cell."""
    random = np.random.default_rng(1)
    rows = np.hstack((random.uniform(0.06, 0.94, (count, 2)), random.uniform(0.05, 0.12, (count, 2))))
    rows[min(CELL, count - 1)] = CENTRE
    if corners:
        rows = np.hstack((rows[:, :2] - rows[:, 2:] / 2, rows[:, :2] + rows[:, 2:] / 2))
    return (rows * (SIDE if pixels else 1)).astype(np.float32)


def scores(count: int, classes: int, *, score: float = SCORE, most: float = 0.02) -> Array:
    """Return rows of scores: the thing's at its cell, low ones elsewhere."""
    rows = np.random.default_rng(2).uniform(0, most, (count, classes))
    rows[min(CELL, count - 1)] = 0
    rows[min(CELL, count - 1), 16 if classes > 16 else 0] = score
    return rows.astype(np.float32)


def v8(classes: int = 80, *, pixels: bool = False, extras: Array | None = None,
       strides: tuple[int, ...] = STRIDES) -> Array:
    """Return (1, 4+classes+extras, cells)."""
    count = cells(strides)
    parts = [boxes(count, pixels=pixels), scores(count, classes), *([] if extras is None else [extras])]
    return np.hstack(parts).T[None]


def v5(classes: int = 80, *, pixels: bool = False, extras: Array | None = None) -> Array:
    """Return (1, 3*cells, 5+classes+extras)."""
    count = 3 * cells()
    objectness = scores(count, 1, score=1.0)
    parts = [boxes(count, pixels=pixels), objectness, scores(count, classes), *([] if extras is None else [extras])]
    return np.hstack(parts)[None]


def objectness_rows(classes: int = 80, *, always: bool = False, raw: bool = False, unit: bool = False,
                    most: float = 0.9) -> Array:
    """Return (1, cells, 5+classes): YOLOX, or YOLOv6 with an objectness that is `always` 1.

    Far from anything YOLOX is sure of some class (up to `most`), and only its objectness is low. `raw`: the grid is not
    undone. `unit`: boxes are in 0-1.
    """
    count = cells()
    places = boxes(count, pixels=not unit)
    objectness = np.ones((count, 1)) if always else scores(count, 1, score=0.9, most=0.005)
    votes = scores(count, classes, most=0.02 if always else most)
    if raw:
        grid, strides = _grid()
        places = np.hstack((places[:, :2] / strides - grid, np.log(places[:, 2:] / strides)))
    return np.hstack((places, objectness, votes)).astype(np.float32)[None]


def rows_of(*columns: Array) -> Array:
    """Return (1, rows, columns)."""
    return np.hstack(columns).astype(np.float32)[None]


def uniform(low: float, high: float, *shape: int, seed: int = 3) -> Array:
    """Return noise."""
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def softmax(logits: Array) -> Array:
    """Return shares of 1 over the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: Array = (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)
    return shares


def heat_map(factor: int, classes: int = 4) -> Array:
    """Return FOMO's (1, rows, columns, classes): background all over, and class 1 in the middle."""
    side = SIDE // factor
    logits = np.zeros((1, side, side, classes), np.float32)
    logits[..., 0] = 6
    logits[0, side // 2, side // 2] = [0, 6, *(0,) * (classes - 2)]
    return softmax(logits)


def _grid() -> tuple[Array, Array]:
    corners, sizes = [], []
    for stride in STRIDES:
        x, y = np.meshgrid(np.arange(SIDE // stride), np.arange(SIDE // stride))
        corners.append(np.stack((x, y), axis=-1).reshape(-1, 2))
        sizes.append(np.full((x.size, 1), stride))
    return np.concatenate(corners).astype(np.float32), np.concatenate(sizes).astype(np.float32)
