"""A float detector with real weights, made of an INT8 one: its weights are what the integers stand for.

It stands in for what exporters write. `pixels` gives boxes in pixels and scores in one tensor, as today's plain ONNX
and litert-torch exports do. `planar` takes 1x3xHxW, as those of litert-torch do. Without `signature` it has none, as
many files.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vedette.workshop import graph as graphs
from vedette.workshop.graph import Graph

_CHANGES = frozenset({"QUANTIZE", "DEQUANTIZE"})
_CLOSE = 0.1


def dequantised(content: bytes, *, pixels: bool = False, planar: bool = False, signature: bool = True) -> bytes:
    """Return the float form of an INT8 `.tflite` file. `pixels`: only for a YOLO head that ends in 0-1."""
    graph = graphs.read(content)
    if pixels:
        _count_in_pixels(graph)
    _state_clamps(graph)
    _drop_changes_of_scale(graph)
    for index, tensor in enumerate(graph.main.tensors):
        _to_float(graph, index, tensor)
    if planar:
        _take_planes(graph)
    if not signature:
        graph.model.signatureDefs = None
    graph.model.metadata = [each for each in graph.model.metadata or () if each.name != b"CONVERSION_METADATA"]
    return graphs.write(graph)


def _state_clamps(graph: Graph) -> None:
    """State RELU6 where only the range of the integers, 0-6, had it, as in uint8 files of old."""
    for op in graph.ops:
        quantization, options = graph.main.tensors[int(op.outputs[0])].quantization, op.builtinOptions
        if graph.kind(op) in {"CONV_2D", "DEPTHWISE_CONV_2D"} and len(quantization.scale) == 1:
            scale, zero = float(quantization.scale[0]), int(quantization.zeroPoint[0])
            if zero in {0, -128} and abs(255 * scale - 6) < _CLOSE and not options.fusedActivationFunction:
                options.fusedActivationFunction = graph.schema.ActivationFunctionType.RELU6


def _drop_changes_of_scale(graph: Graph) -> None:
    """Take out QUANTIZE and DEQUANTIZE: what they wrote is what they read."""
    same: dict[int, int] = {}
    for op in graph.ops:
        if graph.kind(op) in _CHANGES:
            same[int(op.outputs[0])] = same.get(int(op.inputs[0]), int(op.inputs[0]))
    graph.main.operators = [op for op in graph.ops if graph.kind(op) not in _CHANGES]
    for op in graph.ops:
        op.inputs = [same.get(int(index), int(index)) for index in op.inputs]
    graph.set_outputs([same.get(int(index), int(index)) for index in graph.main.outputs])


def _to_float(graph: Graph, index: int, tensor: Any) -> None:
    quantization, types = tensor.quantization, graph.schema.TensorType
    tensor.quantization = None
    if quantization is None or quantization.scale is None or len(quantization.scale) == 0:
        return
    data = graph.constant(index)
    if data is not None:
        numbers = {types.INT8: np.int8, types.UINT8: np.uint8, types.INT32: np.int32}[tensor.type]
        raw = data.view(numbers).astype(np.float64).reshape(graph.shape(index))
        axes = [1] * raw.ndim
        if len(quantization.scale) > 1:
            axes[quantization.quantizedDimension] = -1
        scale, zero = (np.asarray(each, np.float64).reshape(axes) for each in (quantization.scale,
                                                                               quantization.zeroPoint))
        made = graph.add_constant(((raw - zero) * scale).astype(np.float32), "float")
        tensor.buffer = graph.main.tensors.pop(made).buffer
    tensor.type = types.FLOAT32


def _count_in_pixels(graph: Graph) -> None:
    """Multiply the constants of the box arithmetic by the side of the input: the cells' centres and the strides."""
    side, cells = graph.shape(int(graph.main.inputs[0]))[1], graph.shape(int(graph.main.outputs[0]))[-1]
    for index, tensor in enumerate(graph.main.tensors):
        if graph.constant(index) is not None and graph.shape(index)[-1:] == (cells,):
            tensor.quantization.scale = np.asarray(tensor.quantization.scale) * side


def _take_planes(graph: Graph) -> None:
    """Put a transpose from 1x3xHxW before the first operation."""
    old = int(graph.main.inputs[0])
    _, height, width, channels = graph.shape(old)
    planes = graph.add_tensor((1, channels, height, width), "args_0")
    order = graph.add_constant(np.array([0, 2, 3, 1], np.int32), "to_channels_last")
    graph.main.operators.insert(0, graph.make_op("TRANSPOSE", (planes, order), (old,),
                                                 graph.schema.TransposeOptionsT()))
    graph.main.inputs = [planes]
    for signature in graph.model.signatureDefs or ():
        signature.inputs[0].tensorIndex = planes
