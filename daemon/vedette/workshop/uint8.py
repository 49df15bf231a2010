"""Gives an INT8 model an input and outputs of `uint8`: MediaPipe and the TFLite Task Library take no `int8`.

Invariants: a `uint8` tensor stands for the same real values as the `int8` one: its integers are larger by 128. Nothing
else changes.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from vedette.workshop import graph as graphs

if TYPE_CHECKING:
    from vedette.workshop.graph import Graph


def with_uint8(content: bytes) -> bytes:
    """Return a file with one more operation at its input, and one at each INT8 output. Raises: ExtraMissing."""
    graph = graphs.read(content)
    main, int8 = graph.main, graph.schema.TensorType.INT8
    inputs, outputs = ([int(index) for index in ends] for ends in (main.inputs, main.outputs))
    twins = {index: _twin(graph, index) for index in (*inputs, *outputs) if main.tensors[index].type == int8}
    into = [_quantize(graph, twins[index], index) for index in inputs if index in twins]
    out_of = [_quantize(graph, index, twins[index]) for index in outputs if index in twins]
    main.operators = [*into, *graph.ops, *out_of]
    main.inputs, main.outputs = ([twins.get(index, index) for index in ends] for ends in (inputs, outputs))
    for signature in graph.model.signatureDefs or ():
        for entry in (*signature.inputs, *signature.outputs) if signature.subgraphIndex == 0 else ():
            entry.tensorIndex = twins.get(int(entry.tensorIndex), int(entry.tensorIndex))
    return graphs.write(graph)


def _quantize(graph: Graph, source: int, target: int) -> Any:
    return graph.make_op("QUANTIZE", [source], [target], graph.schema.QuantizeOptionsT())


def _twin(graph: Graph, index: int) -> int:
    """Add the `uint8` tensor for an INT8 one; returns its index."""
    twin = graph.add_tensor(graph.shape(index), f"{graph.name(index)}_uint8")
    quantization = copy.deepcopy(graph.main.tensors[index].quantization)
    quantization.zeroPoint = [int(quantization.zeroPoint[0]) + 128]
    graph.main.tensors[twin].type = graph.schema.TensorType.UINT8
    graph.main.tensors[twin].quantization = quantization
    return twin
