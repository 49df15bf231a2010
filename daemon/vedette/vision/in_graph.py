"""Reads from the first operations of a graph what its input must be: bytes, or numbers of 0-1 or -1 to 1.

Keras' Rescaling and Normalization, and the normalization of many other exporters, are operations of the graph.

Invariants: only multiplication and addition of constants count, in any order, with changes of type and form between
them, or a quantization of the input itself. What the operations make of a byte decides; anything else shows nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from vedette.tflite.file import ModelFile, OpSpec
from vedette.vision.normalization import BYTES, MINUS_ONE_TO_ONE, ZERO_TO_ONE, Normalization, normalization_of

Reals = NDArray[np.float64]
_WORDS = {BYTES: "bytes", ZERO_TO_ONE: "0-1", MINUS_ONE_TO_ONE: "-1 to 1"}
_STEPS_MAX = 12
_CHANGES_OF_FORM = frozenset({"CAST", "QUANTIZE", "DEQUANTIZE", "RESHAPE", "TRANSPOSE", "PAD", "PADV2", "EXPAND_DIMS",
                              "SQUEEZE", "REVERSE_V2", "STRIDED_SLICE", "GATHER", "RESIZE_BILINEAR",
                              "RESIZE_NEAREST_NEIGHBOR"})
_SPAN_MAX = 8.0         # bytes become numbers of about -4 to 4 at most
_MEAN_OF_BYTES = 16.0   # no mean of numbers of 0-1 is as large
_SPAN_OF_BYTES = 100.0  # numbers of 0-1 or -1 to 1 become bytes
_ROUNDING = 0.05


def expected_input(model: ModelFile) -> tuple[Normalization, str] | None:
    """Return what the graph itself expects in its input, and which operations show it; None where none do."""
    factor, shift, used = np.ones(1), np.zeros(1), []
    constants = _constants(model)
    for op, other in _chain(model, constants):
        if op.name == "MUL":
            factor, shift = factor * other, shift * other
        elif op.name == "DIV":
            factor, shift = factor / other, shift / other
        elif op.name == "ADD":
            shift = shift + other
        elif constants.get(op.inputs[0]) is not None:      # constant - pixels
            factor, shift = -factor, other - shift
        else:
            shift = shift - other
        used.append(op.name)
    if not used and (found := _quantized_at_once(model)):
        return found, f"the graph quantizes its input at once, and the integers stand for {_WORDS[found]}"
    if not used or not np.isfinite(factor).all() or not factor.all():
        return None
    found = _judge(np.abs(factor), -shift / factor)
    if found is None:
        return None
    return found, f"the graph begins with {', '.join(used)}, so its input is {_WORDS[found]}"


def _judge(factor: Reals, mean: Reals) -> Normalization | None:
    if (255 * factor <= _SPAN_MAX).all() or (mean >= _MEAN_OF_BYTES).all():
        return BYTES
    if (factor >= 1).all() and ((mean > 0) & (mean < 1)).all():
        return ZERO_TO_ONE
    if (factor >= _SPAN_OF_BYTES).all():
        for first, usual in ((0.0, ZERO_TO_ONE), (-1.0, MINUS_ONE_TO_ONE)):
            if (np.abs(mean - first) <= _ROUNDING).all():
                return usual
    return None


def _quantized_at_once(model: ModelFile) -> Normalization | None:
    """Return what the integers stand for into which the first operation turns the input."""
    op = next((op for op in model.ops if model.inputs[0].index in op.inputs), None)
    if op is None or op.name != "QUANTIZE" or not op.outputs:
        return None
    spec = model.tensors[op.outputs[0]]
    return normalization_of(spec) if spec.quantised and spec.dtype in {"int8", "uint8"} else None


def _chain(model: ModelFile, constants: Mapping[int, tuple[float, ...]]) -> Iterator[tuple[OpSpec, Reals]]:
    """Yield each operation on the pixels that uses a constant, and that constant, until something else comes."""
    at = model.inputs[0].index
    for _ in range(_STEPS_MAX):
        op = next((op for op in model.ops if at in op.inputs and op.outputs), None)
        if op is None:
            return
        others = [constants[index] for index in op.inputs if index != at and index in constants]
        if op.name in {"MUL", "DIV", "ADD", "SUB"}:
            other = np.array(others[0]) if len(op.inputs) == 2 and others else np.zeros(1)
            if not others or (op.name == "DIV" and (op.inputs[0] != at or not other.all())) or other.size == 2:
                return
            yield op, other
        elif op.name not in _CHANGES_OF_FORM:
            return
        at = op.outputs[0]


def _constants(model: ModelFile) -> Mapping[int, tuple[float, ...]]:
    """Return the constants, also those of a float16 model, which come through an operation."""
    through = {op.outputs[0]: model.constants[op.inputs[0]] for op in model.ops
               if op.name == "DEQUANTIZE" and op.inputs and op.outputs and op.inputs[0] in model.constants}
    return {**model.constants, **through}
