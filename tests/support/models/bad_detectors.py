"""Writes detectors that the file reader accepts but that do harm when they are loaded or run. Real `.tflite` files.

All are FOMO heat maps of two labels, like `tiny_detectors`.
"""

from __future__ import annotations

from pathlib import Path

from tests.support.models.tiny_detectors import LABELS, POOL
from tests.support.models.writer import Graph, Op, Tensor, build, with_zip

_QUANTIZATION = ((1 / 256,), (-128,))


def divides_by_zero(folder: Path) -> Path:
    """Write a model that kills tflite-runtime at its first invoke (SIGFPE); LiteRT refuses the division."""
    tensors = [*_pooled(16), Tensor((4,), "int32", "zero", data=bytes(16)), Tensor((4,), "int32", "quotient")]
    ops = [Op("AVERAGE_POOL_2D", (0,), (1,), POOL), Op("DIV", (2, 2), (3,), (29, []))]
    return _written(folder, "divides", tensors, ops)


def takes_minutes(folder: Path) -> Path:
    """Write a model that loads at once and computes for a minute: eight convolutions of 512 channels, same weights."""
    side, wide = 256, 512
    weights = [Tensor((wide, 3, 3, wide), "int8", "weights", (0.01,), (0,), bytes(9 * wide * wide)),
               Tensor((wide,), "int32", "bias", (0.01 / 256,), (0,), bytes(4 * wide)),
               Tensor((wide, 1, 1, 3), "int8", "first", (0.01,), (0,), bytes(3 * wide)),
               Tensor((3, 8, 8, wide), "int8", "last", (0.01,), (0,), bytes(3 * 64 * wide)),
               Tensor((3,), "int32", "last bias", (0.01 / 256,), (0,), bytes(12))]
    tensors = [Tensor((1, side, side, 3), "int8", "image", *_QUANTIZATION), *weights,
               *(Tensor((1, side, side, wide), "int8", f"features{layer}", *_QUANTIZATION) for layer in range(9)),
               Tensor((1, side // 8, side // 8, 3), "int8", "heat", *_QUANTIZATION)]
    ops = [_convolution((0, 3, 2), 6), *(_convolution((6 + layer, 1, 2), 7 + layer) for layer in range(8)),
           _convolution((14, 4, 5), 15, 8)]
    return _written(folder, "minutes", tensors, ops)


def _convolution(inputs: tuple[int, int, int], output: int, stride: int = 1) -> Op:
    return Op("CONV_2D", inputs, (output,), (1, [(1, "int32", stride), (2, "int32", stride), (4, "int32", 1),
                                                 (5, "int32", 1)]))


def memory_hog(folder: Path) -> Path:
    """Write a model of a few hundred bytes that needs an arena of 430 MB."""
    return _written(folder, "hog", _pooled(12_000), [Op("AVERAGE_POOL_2D", (0,), (1,), POOL)])


def badly_quantised(folder: Path) -> Path:
    """Write a badly quantised model: its scale lets no score exceed 0.1, so none reaches the threshold."""
    heat = Tensor((1, 2, 2, 3), "int8", "heat", (0.1 / 256,), (-128,))
    return _written(folder, "little", [_pooled(16)[0], heat], [Op("AVERAGE_POOL_2D", (0,), (1,), POOL)])


def _pooled(side: int) -> list[Tensor]:
    return [Tensor((1, side, side, 3), "int8", "image", *_QUANTIZATION),
            Tensor((1, side // 8, side // 8, 3), "int8", "heat", *_QUANTIZATION)]


def _written(folder: Path, name: str, tensors: list[Tensor], ops: list[Op]) -> Path:
    outputs = (1,) if ops[0].name == "AVERAGE_POOL_2D" else (len(tensors) - 1,)
    path = folder / f"{name}.tflite"
    path.write_bytes(with_zip(build(Graph(tensors, ops, (0,), outputs)), {"labels.txt": LABELS}))
    return path
