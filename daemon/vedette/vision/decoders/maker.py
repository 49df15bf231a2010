"""Tells probabilities from logits by the operation that makes a tensor.

Invariants: pure; changes of type and form behind that operation count for nothing.
"""

from __future__ import annotations

from vedette.tflite.file import ModelFile
from vedette.tflite.tensors import TensorSpec
from vedette.vision.decoders.base import integer_range

_CHANGES_OF_FORM = frozenset({"DEQUANTIZE", "QUANTIZE", "RESHAPE", "CONCATENATION"})


def is_probability(model: ModelFile, spec: TensorSpec) -> bool:
    """Whether a tensor holds scores of 0-1 and not logits.

    The operation that makes the tensor decides, or else its quantization.
    """
    return maker_of(model, spec) in {"LOGISTIC", "SOFTMAX"} or _spans_unit(spec)


def maker_of(model: ModelFile, spec: TensorSpec) -> str | None:
    """Return the operation that makes the values of a tensor, before any change of form; None where none is known."""
    makers = {output: op for op in model.ops for output in op.outputs}
    index = spec.index
    for _ in range(len(model.ops)):
        op = makers.get(index)
        if op is None or op.name not in _CHANGES_OF_FORM or not op.inputs:
            return None if op is None else op.name
        index = op.inputs[0]
    return None


def _spans_unit(spec: TensorSpec) -> bool:
    if not spec.quantised:
        return False
    low, high = integer_range(spec)
    return low == spec.zero_point and (high - low) * spec.scale <= 1.01
