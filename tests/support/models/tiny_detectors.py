"""Writes a detector that is small enough to calculate by hand: average pooling, read as a FOMO heat map.

16x16 pixels in, 2x2 cells out, three channels: red is the background, green is `leaf`, blue is `sky`. A cell is
detected where its mean colour reaches the threshold. Its channels are no distribution, so it states its decoder.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from tests.support.models.writer import Graph, Op, Tensor, build, with_zip
from vedette.types import Frame

LABELS = b"background\nleaf\nsky\n"
STATED = b'{"decoder": "fomo"}'
POOL = (5, [(0, "int8", 1), (1, "int32", 8), (2, "int32", 8), (3, "int32", 8), (4, "int32", 8)])


def write(folder: Path, files: dict[str, bytes] | None = None, claims: tuple[int, ...] = (1, 2, 2, 3),
          dtype: str = "int8") -> Path:
    """Write the model and return its path. `claims` is the shape that the file states for its output."""
    quantization = ((1 / 256,), (-128,)) if dtype == "int8" else ()
    tensors = [Tensor((1, 16, 16, 3), dtype, "image", *quantization), Tensor(claims, dtype, "heat", *quantization)]
    path = folder / "pooling.tflite"
    path.write_bytes(with_zip(build(Graph(tensors, [Op("AVERAGE_POOL_2D", (0,), (1,), POOL)], (0,), (1,))),
                              {"labels.txt": LABELS, "vedette.json": STATED, **(files or {})}))
    return path


def frame(width: int, height: int, *patches: tuple[slice, slice, int], captured_ns: int = 0) -> Frame:
    """Return a black frame with patches (rows, columns, BGR channel) of full brightness."""
    pixels = np.zeros((height, width, 3), np.uint8)
    for rows, columns, channel in patches:
        pixels[rows, columns, channel] = 255
    return Frame(7, pixels.data, captured_ns, datetime.now(UTC), captured_ns)
