"""A float model becomes a smaller and faster one: INT8 by calibration, or one of four other schemes.

Invariants: the integers of the input are the bytes of a picture, at most shifted by 128. An output is INT8 where the
operation that writes it is, else float, so nothing converts at the end. A model without a signature gets one. The
result does not depend on the order of the pictures.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from vedette.errors import ModelUnsupported
from vedette.tflite.file import read_bytes
from vedette.workshop import graph as graphs
from vedette.workshop import ranges
from vedette.workshop.graph import Graph

if TYPE_CHECKING:
    from vedette.tflite.file import ModelFile
    from vedette.vision.model_spec import ModelSpec
    from vedette.workshop.ranges import Inputs, Ranges

Scheme = Literal["static", "per-tensor", "dynamic-range", "weight-only", "float16"]
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)
CALIBRATED: tuple[Scheme, ...] = ("static", "per-tensor")
"""The schemes that need pictures."""
_EVERYTHING = ".*"
_BITS = 8


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to quantize. `keep_float`: what stays float in the calibrated schemes, by the names of blocks or tensors."""

    scheme: Scheme = "static"
    keep_float: Literal["auto", "none"] | tuple[str, ...] = "auto"


@dataclass(frozen=True, slots=True)
class BlockCost:
    """What one block costs: the scores' signal-to-noise ratio where only this block is INT8, and its float bytes."""

    block: str
    sqnr_db: float
    bytes_float: int


@dataclass(frozen=True, slots=True)
class Quantized:
    """The new file, what stays float in it, what each block costs, what was cured, and what else is to say."""

    content: bytes
    kept_float: tuple[str, ...]
    sensitivity: tuple[BlockCost, ...]
    cures: tuple[str, ...]
    notes: tuple[str, ...]


def quantize(model: ModelFile, spec: ModelSpec, inputs: Inputs, recipe: Recipe,
             progress: Callable[[str], None]) -> Quantized:
    """Quantize a float model. `inputs` are pictures as the model is fed with; only calibrated schemes read them.

    Raises: ModelUnsupported (quantized already, or an operation that the quantizer refuses), ExtraMissing.
    """
    graph = graphs.read(read_bytes(model.path))
    _require_float(model)
    cures = []
    if graph.add_signature():
        cures.append("the file had no signature, so it could not be calibrated: one was added")
    measured: Ranges = {}
    if recipe.scheme in CALIBRATED:
        measured = ranges.measure(graph, inputs, spec.normalization, progress)
    progress("quantizing")
    content = apply(graph, measured, recipe.scheme, ())
    return Quantized(content, (), (), tuple(cures), ())


def apply(graph: Graph, measured: Ranges, scheme: Scheme, kept: Iterable[str]) -> bytes:
    """Return the file of a graph in a scheme. The operations that write the tensors `kept` stay float.

    Raises: ModelUnsupported.
    """
    from litert_quantizer import Quantizer
    names = tuple(kept)
    with ranges.quiet():
        quantizer = Quantizer(graphs.write(graph))
        _configure(quantizer, scheme)
        _leave_float(quantizer, [f"{name};" for name in names])
        try:
            result = quantizer.quantize(dict(measured) or None, enable_progress_report=False)
        except (ValueError, RuntimeError, NotImplementedError, KeyError) as error:
            raise ModelUnsupported(f"the quantizer refuses this graph: {error}") from error
    changed = graphs.read(bytes(result.quantized_model))
    return graphs.write(changed)


def _configure(quantizer: Any, scheme: Scheme) -> None:
    from litert_quantizer import qtyping
    from litert_quantizer.algorithm_manager import AlgorithmName
    every, kinds = qtyping.TFLOperationName, qtyping.QuantGranularity
    if scheme in CALIBRATED:
        granularity = kinds.CHANNELWISE if scheme == "static" else kinds.TENSORWISE
        quantizer.add_static_config(_EVERYTHING, every.ALL_SUPPORTED, _BITS, _BITS, granularity)
    elif scheme == "dynamic-range":
        quantizer.add_dynamic_config(_EVERYTHING, every.ALL_SUPPORTED, _BITS)
    elif scheme == "weight-only":
        quantizer.add_weight_only_config(_EVERYTHING, every.ALL_SUPPORTED, _BITS)
    else:
        quantizer.add_weight_only_config(_EVERYTHING, every.ALL_SUPPORTED, 16,
                                         algorithm_key=AlgorithmName.FLOAT_CASTING)


def _leave_float(quantizer: Any, scopes: list[str]) -> None:
    from litert_quantizer import qtyping
    from litert_quantizer.algorithm_manager import AlgorithmName
    if scopes:
        quantizer.update_quantization_recipe("^(?:" + "|".join(map(re.escape, scopes)) + ")",
                                             qtyping.TFLOperationName.ALL_SUPPORTED,
                                             algorithm_key=AlgorithmName.NO_QUANTIZE)


def _require_float(model: ModelFile) -> None:
    kinds = {spec.dtype for spec in model.tensors if spec.quantised} & {"int8", "uint8", "int16"}
    weights = {model.tensors[op.inputs[1]].dtype for op in model.ops
               if op.name in {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"} and len(op.inputs) > 1}
    if kinds or weights & {"int8", "uint8"}:
        raise ModelUnsupported(f"{model.path}: quantized already ({', '.join(sorted(kinds or weights))}); expected the "
                               "float model that it was made of")
