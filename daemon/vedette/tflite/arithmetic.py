"""Says in which numbers a graph calculates, in the words that people use for it.

Invariants: pure; only the layers with weights count, since all others follow them.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vedette.tflite.file import ModelFile, OpSpec

_WEIGHTED = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})
INT8, DYNAMIC_RANGE, WEIGHT_ONLY, FLOAT16, FLOAT32 = "INT8", "dynamic-range", "weight-only", "float16", "float32"
_INTEGERS = {"int8": INT8, "uint8": INT8, "int16": "INT16"}


def arithmetic_of(model: ModelFile) -> str:
    """Return "INT8", "INT16", "dynamic-range", "weight-only", "float16" or "float32"; empty without such layers.

    A mixed graph has the name of each, that of most layers first: "INT8 + float32".
    """
    types = {spec.index: spec.dtype for spec in model.tensors}
    unpacked = {op.outputs[0]: types.get(op.inputs[0], "") for op in model.ops
                if op.name == "DEQUANTIZE" and op.inputs and op.outputs}
    layers = (op for op in model.ops if op.name in _WEIGHTED and len(op.inputs) > 1 and op.outputs)
    return " + ".join(name for name, _ in Counter(_kind(op, types, unpacked) for op in layers).most_common())


def _kind(layer: OpSpec, types: dict[int, str], unpacked: dict[int, str]) -> str:
    weights = layer.inputs[1]
    if integers := _INTEGERS.get(types.get(layer.outputs[0], "")):
        return integers
    stored = unpacked.get(weights, types.get(weights))
    if stored in {"int8", "int4"}:
        return WEIGHT_ONLY if weights in unpacked else DYNAMIC_RANGE
    return FLOAT16 if stored == "float16" else FLOAT32
