"""Reads the smallest constant tensors of a model: what its first operations add and multiply by.

Invariants: a tensor of more than `ELEMENTS_MAX` values is never read; a value that is not finite is no constant.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from vedette.tflite.flatbuffer import Table
    from vedette.tflite.tensors import TensorSpec

ELEMENTS_MAX = 4
_CODES = {"float32": "f", "float16": "e", "int8": "b", "uint8": "B"}


def read(tensors: Iterable[tuple[TensorSpec, Table]], buffers: Sequence[Table]) -> dict[int, tuple[float, ...]]:
    """Return the real values of each small constant, by the index of its tensor. Raises: Malformed."""
    found = {}
    for spec, table in tensors:
        code, count = _CODES.get(spec.dtype), math.prod(spec.shape)
        buffer = table.integer(2, "I")
        if code is None or not 0 < count <= ELEMENTS_MAX or not 0 < buffer < len(buffers):
            continue
        content = buffers[buffer].bytes_view(0)
        if len(content) == count * struct.calcsize(code):
            values = struct.unpack(f"<{count}{code}", content)
            if spec.quantised:
                values = tuple((value - spec.zero_point) * spec.scale for value in values)
            if all(map(math.isfinite, values)):
                found[spec.index] = values
    return found
