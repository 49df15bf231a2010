"""Other ways in which a model could be fed: what to try when its golden frames differ.

Invariants: pure; each alternative changes one thing of the settings; those that would put the same numbers into the
model are left out. Mistakes people make: channels swapped, stretched instead of letterboxed, a normalization that is
off by a factor, counted in 0-1 instead of bytes, or another family's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from vedette.tflite.tensors import TensorSpec
from vedette.vision.model_spec import ModelSpec
from vedette.vision.prepare import Normalization, byte_table

Part = Literal["color", "resize", "normalization"]

_BYTE = 255.0
_FACTORS = (0.5, 2.0, 1 / _BYTE, _BYTE, 0.25, 4.0, 0.5 ** 0.5, 2.0 ** 0.5, 0.5 ** 1.5, 2.0 ** 1.5)
_USUAL = (
    Normalization((0.0,), (_BYTE,)), Normalization((127.5,), (127.5,)), Normalization((0.0,), (1.0,)),
    Normalization((128.0,), (128.0,)),
    Normalization((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)))     # ImageNet's


@dataclass(frozen=True, slots=True)
class Alternative:
    """Settings that differ in one part, and both values of it in words."""

    part: Part
    stated: str
    tried: str
    spec: ModelSpec


def alternatives(spec: ModelSpec, tensor: TensorSpec) -> Iterator[Alternative]:
    """Yield every other way to fill the input tensor, the likeliest mistakes first."""
    other_color: Literal["rgb", "bgr"] = "bgr" if spec.color == "rgb" else "rgb"
    if spec.input.channels == 3:
        yield Alternative("color", spec.color, other_color, replace(spec, color=other_color))
    other_resize: Literal["letterbox", "stretch"] = "letterbox" if spec.resize == "stretch" else "stretch"
    yield Alternative("resize", spec.resize, other_resize, replace(spec, resize=other_resize))
    tables = [byte_table(tensor, spec.normalization, spec.input.channels)]
    stated = spec.normalization or of_bytes(tensor)
    for normalization in (None, *_normalizations(stated)):
        if normalization is not None and len(normalization.mean) not in {1, spec.input.channels}:
            continue
        table = byte_table(tensor, normalization, spec.input.channels)
        if not any(np.array_equal(table, known) for known in tables):
            tables.append(table)
            meant = normalization or of_bytes(tensor)
            yield Alternative("normalization", f"{_words(stated)}{_factor(stated, meant)}", _words(meant),
                              replace(spec, normalization=normalization))


def of_bytes(tensor: TensorSpec) -> Normalization:
    """Return the normalization that amounts to feeding the bytes themselves."""
    if not tensor.quantised:
        return _USUAL[0]
    lowest = np.iinfo(np.dtype(tensor.dtype)).min
    return Normalization((float(tensor.zero_point - lowest),), (1.0 / tensor.scale,))


def _words(normalization: Normalization) -> str:
    mean, std = (", ".join(f"{number:.6g}" for number in numbers)
                 for numbers in (normalization.mean, normalization.std))
    return f"mean {mean}, std {std}"


def _factor(stated: Normalization, meant: Normalization) -> str:
    """Say by how much a scale is off, where it is the same for all channels."""
    factors = {round(one / other, 3) for one, other in zip(stated.std, meant.std, strict=False)}
    return f" (off by a factor of {factors.pop():g})" if len(factors) == 1 and factors != {1.0} else ""


def _normalizations(stated: Normalization) -> Iterator[Normalization]:
    yield from _USUAL
    for factor in _FACTORS:
        std = tuple(number * factor for number in stated.std)
        yield Normalization(stated.mean, std)
        yield Normalization(tuple(number * factor for number in stated.mean), std)
