"""Writes an INT8 or float graph as a `.tflite` file, with LiteRT's own schema classes and without TensorFlow.

Invariants: the same graph gives the same bytes. Tensors are (1, rows, columns, channels). Per-channel weights are
symmetric. Only the operations of the network are here.
"""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

_DTYPES = {np.dtype(np.int8): schema.TensorType.INT8, np.dtype(np.int32): schema.TensorType.INT32,
           np.dtype(np.float32): schema.TensorType.FLOAT32}
_RELU6, _LINEAR = schema.ActivationFunctionType.RELU6, schema.ActivationFunctionType.NONE
# Versions of the operations as the TFLite converter writes them for per-channel INT8.
_VERSIONS = {schema.BuiltinOperator.CONV_2D: 3, schema.BuiltinOperator.DEPTHWISE_CONV_2D: 3,
             schema.BuiltinOperator.ADD: 2, schema.BuiltinOperator.RESIZE_BILINEAR: 3}


class Graph:
    """A model that is being built. A tensor is named by its number."""

    def __init__(self) -> None:
        self._buffers = [schema.BufferT()]      # the format requires that the first is empty
        self._tensors: list[Any] = []
        self._operators: list[Any] = []

    def activation(self, name: str, shape: tuple[int, ...], scale: float, zero_point: int) -> int:
        """Add a tensor that the runtime computes."""
        return self._tensor(name, shape, np.dtype(np.int8), np.array([scale]), np.array([zero_point]), 0, buffer=0)

    def float_activation(self, name: str, shape: tuple[int, ...]) -> int:
        """Add a float tensor that the runtime computes."""
        return self._tensor(name, shape, np.dtype(np.float32), None, None, 0, buffer=0)

    def constant(self, name: str, values: NDArray[Any], scales: NDArray[np.float64] | None = None,
                 axis: int = 0) -> int:
        """Add a constant tensor. `scales` has one scale for each index along `axis`."""
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        self._buffers.append(buffer)
        zeros = None if scales is None else np.zeros(len(scales), np.int64)
        return self._tensor(name, values.shape, values.dtype, scales, zeros, axis, buffer=len(self._buffers) - 1)

    def scale(self, tensor: int) -> float:
        """Return the scale of an activation as the runtime reads it."""
        return float(np.float32(self._tensors[tensor].quantization.scale[0]))

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Return the shape of a tensor."""
        return tuple(int(side) for side in self._tensors[tensor].shape)

    def convolution(self, inputs: tuple[int, ...], output: int, *, stride: int, relu6: bool) -> None:
        """Add a CONV_2D: input, weights (outputs, rows, columns, inputs), bias."""
        options = schema.Conv2DOptionsT()
        self._windowed(options, stride, relu6=relu6)
        self._operator(schema.BuiltinOperator.CONV_2D, inputs, output, schema.BuiltinOptions.Conv2DOptions, options)

    def depthwise(self, inputs: tuple[int, ...], output: int, *, stride: int, relu6: bool) -> None:
        """Add a DEPTHWISE_CONV_2D: input, weights (1, rows, columns, channels), bias."""
        options = schema.DepthwiseConv2DOptionsT()
        self._windowed(options, stride, relu6=relu6)
        options.depthMultiplier = 1
        self._operator(schema.BuiltinOperator.DEPTHWISE_CONV_2D, inputs, output,
                       schema.BuiltinOptions.DepthwiseConv2DOptions, options)

    def add(self, inputs: tuple[int, int], output: int) -> None:
        """Add an ADD with ReLU6."""
        options = schema.AddOptionsT()
        options.fusedActivationFunction = _RELU6
        self._operator(schema.BuiltinOperator.ADD, inputs, output, schema.BuiltinOptions.AddOptions, options)

    def resize(self, inputs: tuple[int, int], output: int) -> None:
        """Add a RESIZE_BILINEAR with half-pixel centres: input, and a constant of rows and columns."""
        options = schema.ResizeBilinearOptionsT()
        options.halfPixelCenters = True
        self._operator(schema.BuiltinOperator.RESIZE_BILINEAR, inputs, output,
                       schema.BuiltinOptions.ResizeBilinearOptions, options)

    def to_bytes(self, inputs: dict[str, int], outputs: dict[str, int],
                 description: str = "Vedette street, INT8") -> bytes:
        """Return the file. Inputs and outputs keep the given order and get these names."""
        for name, tensor in (inputs | outputs).items():
            self._tensors[tensor].name = name
        graph = schema.SubGraphT()
        graph.name = "main"
        graph.tensors, graph.operators = self._tensors, self._operators
        graph.inputs, graph.outputs = list(inputs.values()), list(outputs.values())
        model = schema.ModelT()
        model.version = 3
        model.description = description
        model.operatorCodes = [self._code(operator) for operator in _VERSIONS]
        model.subgraphs, model.buffers = [graph], self._buffers
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())

    def _tensor(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], scales: NDArray[Any] | None,
                zero_points: NDArray[Any] | None, axis: int, *, buffer: int) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, list(shape), _DTYPES[dtype], buffer
        if scales is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = scales.astype(np.float32)
            tensor.quantization.zeroPoint = zero_points.astype(np.int64)
            tensor.quantization.quantizedDimension = axis
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def _operator(self, code: int, inputs: tuple[int, ...], output: int, kind: int, options: Any) -> None:
        operator = schema.OperatorT()
        operator.opcodeIndex = list(_VERSIONS).index(code)
        operator.inputs, operator.outputs = list(inputs), [output]
        operator.builtinOptionsType, operator.builtinOptions = kind, options
        self._operators.append(operator)

    @staticmethod
    def _windowed(options: Any, stride: int, *, relu6: bool) -> None:
        options.padding = schema.Padding.SAME
        options.strideW = options.strideH = stride
        options.dilationWFactor = options.dilationHFactor = 1
        options.fusedActivationFunction = _RELU6 if relu6 else _LINEAR

    @staticmethod
    def _code(operator: int) -> Any:
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = operator
        code.version = _VERSIONS[operator]
        return code
