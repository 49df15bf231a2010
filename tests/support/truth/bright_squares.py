"""A real INT8 model that detects something: bright 8 x 8 cells, as a FOMO heat map; and pictures for it.

One convolution of stride 8 sums a cell's bytes; a softmax turns the sum into the scores of background and `lamp`.
"""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np

from tests.support.models.writer import Graph, Op, Tensor, build, with_zip

SIZE = 32
CELLS = SIZE // 8
SUMMED = 8 * 8 * 3
_CONV = (1, [(0, "int8", 1), (1, "int32", 8), (2, "int32", 8), (4, "int32", 1), (5, "int32", 1)])


def model() -> bytes:
    """Return the `.tflite` file with its labels."""
    # real input 0..1; logit(lamp) = 16 * (mean - 0.5), logit(background) = -that
    weight_scale = 16 / SUMMED / 127
    bias_scale = weight_scale / 255
    weights = bytes([(-127) % 256] * SUMMED + [127] * SUMMED)
    bias = struct.pack("<2i", round(8 / bias_scale), round(-8 / bias_scale))
    tensors = [
        Tensor((1, SIZE, SIZE, 3), "int8", "image", (1 / 255,), (-128,)),
        Tensor((2, 8, 8, 3), "int8", "weights", (weight_scale,), (0,), weights),
        Tensor((2,), "int32", "bias", (bias_scale,), (0,), bias),
        Tensor((1, CELLS, CELLS, 2), "int8", "logits", (16 / 255,), (0,)),
        Tensor((1, CELLS, CELLS, 2), "int8", "heat", (1 / 256,), (-128,)),
    ]
    ops = [Op("CONV_2D", (0, 1, 2), (3,), _CONV), Op("SOFTMAX", (3,), (4,), (9, [(0, "float32", 1.0)]))]
    return with_zip(build(Graph(tensors, ops, (0,), (4,))), {"labels.txt": b"lamp\n"})


def write_model(folder: Path) -> Path:
    """Write the model into a folder; returns its path."""
    path = folder / "lamps.tflite"
    path.write_bytes(model())
    return path


def write_clip(folder: Path, frames: int = 30, *, lit: bool = True, fps: int = 10) -> Path:
    """Write a video of 128 x 128 with one lamp that wanders from cell to cell (or none); returns its path."""
    path = folder / ("lit.avi" if lit else "dark.avi")
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (128, 128))
    for number in range(frames):
        picture = np.full((128, 128, 3), 8 + number % 5, np.uint8)
        if lit:
            column = 32 * (number // 4 % CELLS)
            picture[32:64, column:column + 32] = 255
        writer.write(picture)
    writer.release()
    return path
