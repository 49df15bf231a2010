"""The quantizer itself, which is litert-quantizer: a graph and its ranges in, the bytes of another file out.

Invariants: no type or exception of it leaves this file and `ranges`. What it prints does not reach the terminal.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from vedette.tflite.file import DETECTION_POSTPROCESS
from vedette.workshop import graph as graphs
from vedette.workshop.graph import missing
from vedette.workshop.ranges import quiet

if TYPE_CHECKING:
    from vedette.workshop.graph import Graph
    from vedette.workshop.ranges import Ranges

Scheme = Literal["static", "per-tensor", "dynamic-range", "weight-only", "float16"]
_EVERYTHING = ".*"
_NEVER_QUANTIZED = frozenset({"DEQUANTIZE", "QUANTIZE", "CAST", "SHAPE", "RANGE", "FILL", DETECTION_POSTPROCESS})


def apply(graph: Graph, measured: Ranges, scheme: Scheme, *, kept: Sequence[str] = (),
          only: Sequence[str] | None = None) -> bytes:
    """Return the file of a graph in a scheme.

    The operations that write the tensors `kept` stay float; with `only`, all operations but those that write these.
    Raises: ModelUnsupported, ExtraMissing.
    """
    try:
        from litert_quantizer import Quantizer
    except ImportError as error:
        raise missing(error) from error
    if only is not None and not only:
        return graphs.write(graph)
    with quiet("refuses this graph"):
        quantizer = Quantizer(graphs.write(graph))
        _configure(quantizer, scheme, _EVERYTHING if only is None else _scopes(only))
        _leave_float(quantizer, kept)
        ranges = {name: dict(each) for name, each in measured.items()}      # it changes what it is given
        result = quantizer.quantize(ranges or None, enable_progress_report=False)
    made = graphs.read(bytes(result.quantized_model))
    made.drop_last_conversions()
    return graphs.write(made)


def untouched(graph: Graph) -> Iterator[str]:
    """Yield which operations on floats the quantizer does not know, so that they stay float."""
    from litert_quantizer.utils.tfl_flatbuffer_utils import TFL_OP_NAME_TO_CODE
    known = {operation.value for operation in TFL_OP_NAME_TO_CODE} | _NEVER_QUANTIZED | {"TRANSPOSE_CONV"}
    left = Counter(graph.kind(op) for op in graph.ops
                   if graph.kind(op) not in known and any(graph.is_float(int(tensor)) for tensor in op.outputs))
    if left:
        yield ("these operations stay float, since the quantizer does not know them: "
               + ", ".join(f"{kind} ({count})" for kind, count in left.most_common()))


def _scopes(names: Sequence[str]) -> str:
    """Return the pattern of the operations that write these tensors; the quantizer ends each name with a semicolon."""
    return "^(?:" + "|".join(re.escape(f"{name};") for name in names) + ")"


def _configure(quantizer: Any, scheme: Scheme, pattern: str) -> None:
    from litert_quantizer import qtyping
    from litert_quantizer.algorithm_manager import AlgorithmName
    every, size = qtyping.TFLOperationName.ALL_SUPPORTED, qtyping.QuantGranularity
    if scheme in {"static", "per-tensor"}:
        quantizer.add_static_config(pattern, every, 8, 8, size.CHANNELWISE if scheme == "static" else size.TENSORWISE)
    elif scheme == "dynamic-range":
        quantizer.add_dynamic_config(pattern, every, 8)
    elif scheme == "weight-only":
        quantizer.add_weight_only_config(pattern, every, 8)
    else:
        quantizer.add_weight_only_config(pattern, every, 16, algorithm_key=AlgorithmName.FLOAT_CASTING)


def _leave_float(quantizer: Any, kept: Sequence[str]) -> None:
    """Keep operations float, and the outputs as their operations write them: the quantizer would convert them all."""
    from litert_quantizer import qtyping
    from litert_quantizer.algorithm_manager import AlgorithmName
    names = qtyping.TFLOperationName
    quantizer.update_quantization_recipe(".*;", names.OUTPUT, algorithm_key=AlgorithmName.NO_QUANTIZE)
    if kept:
        quantizer.update_quantization_recipe(_scopes(kept), names.ALL_SUPPORTED,
                                             algorithm_key=AlgorithmName.NO_QUANTIZE)
