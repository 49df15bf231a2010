"""What a model's input must be: the order of its colours, its normalization, and the value of each byte.

Invariants: no OpenCV here, since the probe child does not need it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vedette.tflite.tensors import TensorSpec

Array = NDArray[Any]
Color = Literal["rgb", "bgr"]


@dataclass(frozen=True, slots=True)
class Normalization:
    """What a model was trained on: (byte - mean) / std. One number for all channels, or one per channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


ZERO_TO_ONE = Normalization((0.0,), (255.0,))
MINUS_ONE_TO_ONE = Normalization((127.5,), (127.5,))
BYTES = Normalization((0.0,), (1.0,))


def byte_table(spec: TensorSpec, normalization: Normalization | None, channels: int) -> Array:
    """Return the value of each byte in each channel: (256, channels) of the tensor's type.

    Without a normalization the values of an integer tensor are the bytes, minus 128 if signed; those of a float tensor
    are 0-1.
    """
    dtype = np.dtype(spec.dtype)
    integer = dtype.kind in "iu"
    values = np.arange(256, dtype=np.float64)[:, None]
    if normalization is not None:
        values = (values - np.array(normalization.mean)) / np.array(normalization.std)
        if spec.quantised:
            values = values / spec.scale + spec.zero_point
    elif not integer:
        values = values / 255
    elif dtype == np.int8:
        values = values - 128
    if integer:
        limits = np.iinfo(dtype)
        values = np.rint(values).clip(limits.min, limits.max)
    return np.ascontiguousarray(np.broadcast_to(values, (256, channels)).astype(dtype))


def quantized_as_bytes(spec: TensorSpec) -> bool:
    """Whether a tensor's quantization maps the bytes 0-255 to real values of 0-1, -1 to 1, or 0-255."""
    return normalization_of(spec) is not None


def normalization_of(spec: TensorSpec) -> Normalization | None:
    """Return the usual normalization whose numbers have one integer for each byte in this tensor; None for others."""
    raw = byte_table(spec, None, 1).astype(int)
    usual = (ZERO_TO_ONE, MINUS_ONE_TO_ONE, BYTES)
    return next((each for each in usual if int(np.abs(byte_table(spec, each, 1).astype(int) - raw).max()) <= 1), None)
