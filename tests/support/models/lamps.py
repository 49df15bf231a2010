"""Bundles of models that detect lamps (tests/support/truth/bright_squares.py): good ones, and ones that go bad.

Each bad one passes the probe, because the probe shows it noise and no lamp.
"""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

from tests.support.models.writer import Graph, Op, Tensor, build, with_zip
from tests.support.truth.bright_squares import CELLS, SIZE, SUMMED

_CONV = (1, [(0, "int8", 1), (1, "int32", 8), (2, "int32", 8), (4, "int32", 1), (5, "int32", 1)])
_SAME = (1, [(1, "int32", 1), (2, "int32", 1), (4, "int32", 1), (5, "int32", 1)])
_WEIGHT = 16 / SUMMED / 127
_WEIGHTS = bytes([(-127) % 256] * SUMMED + [127] * SUMMED)
_DEEP = 64


def _cells(tensors: list[Tensor], ops: list[Op], brightness: float, name: str) -> int:
    """Add the convolution whose logits say which cells are brighter than `brightness`; returns its output."""
    bias = round(16 * brightness / (_WEIGHT / 255))
    first = len(tensors)
    tensors += [Tensor((2, 8, 8, 3), "int8", f"{name} weights", (_WEIGHT,), (0,), _WEIGHTS),
                Tensor((2,), "int32", f"{name} bias", (_WEIGHT / 255,), (0,), struct.pack("<2i", bias, -bias)),
                Tensor((1, CELLS, CELLS, 2), "int8", name, (16 / 255,), (0,))]
    ops.append(Op("CONV_2D", (0, first, first + 1), (first + 2,), _CONV))
    return first + 2


def flatbuffer(*, brightness: float = 0.5, raises: bool = False, layers: int = 0) -> bytes:
    """Return the graph. `raises`: its invoke fails when a frame shows a lamp; `layers`: extra layers without effect."""
    tensors = [Tensor((1, SIZE, SIZE, 3), "int8", "image", (1 / 255,), (-128,))]
    ops: list[Op] = []
    logits = _cells(tensors, ops, brightness, "logits")
    if raises:
        bright = _cells(tensors, ops, 0.75, "bright")
        here = len(tensors)
        tensors += [Tensor((1,), "int32", "axis", data=struct.pack("<i", 3)),
                    Tensor((1, CELLS, CELLS), "int32", "which"),
                    Tensor((1,), "int32", "only one", data=struct.pack("<i", 7)),
                    Tensor((1, CELLS, CELLS), "int32", "taken")]
        ops += [Op("ARG_MAX", (bright, here), (here + 1,), (40, [(0, "int8", 2)])),
                Op("GATHER", (here + 2, here + 1), (here + 3,), (23, []))]
    if layers:
        logits = _burdened(tensors, ops, logits, layers)
    heat = len(tensors)
    tensors.append(Tensor((1, CELLS, CELLS, 2), "int8", "heat", (1 / 256,), (-128,)))
    ops.append(Op("SOFTMAX", (logits,), (heat,), (9, [(0, "float32", 1.0)])))
    return build(Graph(tensors, ops, (0,), (heat,)))


def _burdened(tensors: list[Tensor], ops: list[Op], logits: int, layers: int) -> int:
    """Add layers whose output, times zero, is added to the logits."""
    features, deep = 0, 3
    for number in range(layers):
        here = len(tensors)
        tensors += [Tensor((_DEEP, 3, 3, deep), "int8", f"weights {number}", (0.01,), (0,), bytes(_DEEP * 9 * deep)),
                    Tensor((_DEEP,), "int32", f"bias {number}", (0.01 / 255,), (0,), bytes(4 * _DEEP)),
                    Tensor((1, SIZE, SIZE, _DEEP), "int8", f"features {number}", (1 / 255,), (-128,))]
        ops.append(Op("CONV_2D", (features, here, here + 1), (here + 2,), _SAME))
        features, deep = here + 2, _DEEP
    here = len(tensors)
    tensors += [Tensor((2, 8, 8, _DEEP), "int8", "nothing", (0.01,), (0,), bytes(2 * 64 * _DEEP)),
                Tensor((2,), "int32", "no bias", (0.01 / 255,), (0,), bytes(8)),
                Tensor((1, CELLS, CELLS, 2), "int8", "zeros", (16 / 255,), (0,)),
                Tensor((1, CELLS, CELLS, 2), "int8", "sums", (16 / 255,), (0,))]
    ops += [Op("CONV_2D", (features, here, here + 1), (here + 2,), _CONV),
            Op("ADD", (logits, here + 2), (here + 3,), (11, []))]
    return here + 3


def write(folder: Path, version: str, *, brightness: float = 0.5, raises: bool = False, layers: int = 0,
          labels: bytes = b"lamp\n") -> Path:
    """Write the bundle `lamps` of this version; returns its path."""
    graph = flatbuffer(brightness=brightness, raises=raises, layers=layers)
    settings = {"name": "lamps", "version": version, "sha256": hashlib.sha256(graph).hexdigest(), "decoder": "fomo"}
    path = folder / f"lamps-{version}.tflite"
    path.write_bytes(with_zip(graph, {"labels.txt": labels, "vedette.json": json.dumps(settings).encode()}))
    return path


def blind(folder: Path, version: str) -> Path:
    """Write a model that detects nothing: only a cell brighter than white would count."""
    return write(folder, version, brightness=1.5)


def raising(folder: Path, version: str) -> Path:
    """Write a model whose invoke fails on a frame with a lamp in it."""
    return write(folder, version, raises=True)


def slow(folder: Path, version: str) -> Path:
    """Write a model that takes many times as long."""
    return write(folder, version, layers=12)
