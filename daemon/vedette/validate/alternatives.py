"""Lists other ways to feed a model, to try when its golden frames do not agree.

Invariants: pure. Each alternative changes one setting. Alternatives that give the model the same numbers are left out.
Typical mistakes are: swapped channels, stretch instead of letterbox, a normalization that is off by a factor, is for
0-1 instead of bytes, or belongs to another family.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from vedette.tflite.tensors import TensorSpec
from vedette.vision.model_spec import ModelSpec
from vedette.vision.normalization import MINUS_ONE_TO_ONE, ZERO_TO_ONE, Normalization, byte_table

Part = Literal["color", "resize", "normalization"]

_BYTE = 255.0
_FACTORS = (0.5, 2.0, 1 / _BYTE, _BYTE, 0.25, 4.0, 0.5 ** 0.5, 2.0 ** 0.5, 0.5 ** 1.5, 2.0 ** 1.5)
_USUAL = (
    ZERO_TO_ONE, MINUS_ONE_TO_ONE, Normalization((0.0,), (1.0,)), Normalization((128.0,), (128.0,)),
    Normalization((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)))     # ImageNet's


@dataclass(frozen=True, slots=True)
class Alternative:
    """Settings that differ in one part, and a text for each of the two values."""

    part: Part
    stated: str
    tried: str
    spec: ModelSpec


def alternatives(spec: ModelSpec, tensor: TensorSpec) -> Iterator[Alternative]:
    """Yield every other way to fill the input tensor, the most likely mistakes first."""
    other_color: Literal["rgb", "bgr"] = "bgr" if spec.color == "rgb" else "rgb"
    if spec.input.channels == 3:
        yield Alternative("color", spec.color, other_color, replace(spec, color=other_color))
    other_resize: Literal["letterbox", "stretch"] = "letterbox" if spec.resize == "stretch" else "stretch"
    yield Alternative("resize", spec.resize, other_resize, replace(spec, resize=other_resize))
    tables = [byte_table(tensor, spec.normalization, spec.input.channels)]
    stated = spec.normalization or bytes_normalization(tensor)
    for normalization in (None, *_normalizations(stated)):
        if normalization is not None and len(normalization.mean) not in {1, spec.input.channels}:
            continue
        table = byte_table(tensor, normalization, spec.input.channels)
        if not any(np.array_equal(table, known) for known in tables):
            tables.append(table)
            tried = normalization or bytes_normalization(tensor)
            yield Alternative("normalization", f"{shown(stated)}{_factor(stated, tried)}", shown(tried),
                              replace(spec, normalization=normalization))


def bytes_normalization(tensor: TensorSpec) -> Normalization:
    """Return the normalization that has the same effect as feeding the bytes unchanged."""
    if not tensor.quantised:
        return ZERO_TO_ONE
    lowest = np.iinfo(np.dtype(tensor.dtype)).min
    return Normalization((float(tensor.zero_point - lowest),), (1.0 / tensor.scale,))


def shown(normalization: Normalization) -> str:
    """Return a text for a normalization."""
    mean, std = (", ".join(f"{number:.6g}" for number in numbers)
                 for numbers in (normalization.mean, normalization.std))
    return f"mean {mean}, std {std}"


def _factor(stated: Normalization, tried: Normalization) -> str:
    """Return a text for the factor between the scales, if it is the same for all channels."""
    factors = {round(one / other, 3) for one, other in zip(stated.std, tried.std, strict=False)}
    return f" (off by a factor of {factors.pop():g})" if len(factors) == 1 and factors != {1.0} else ""


def _normalizations(stated: Normalization) -> Iterator[Normalization]:
    yield from _USUAL
    for factor in _FACTORS:
        std = tuple(number * factor for number in stated.std)
        yield Normalization(stated.mean, std)
        yield Normalization(tuple(number * factor for number in stated.mean), std)
