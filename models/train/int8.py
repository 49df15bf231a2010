"""Converts the trained network to INT8: ranges from scenes, weights per channel, and the TFLite graph.

Invariants:
- `Calibration` and `Export` run the network's own `wire`, so neither has its own list of connections.
- Batch normalization is folded into weights and bias. Activations have one scale per tensor, weights one per channel.
- A tensor that is only resized keeps its scale, since XNNPACK accepts no other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.train.flatbuffer import Graph
from models.train.net import STRIDES, Street, TorchOperations, Unit
from models.train.scenes import SIDE

Range = tuple[float, float]
T = TypeVar("T", bound=np.generic)
IMAGE = "image"


@dataclass(frozen=True, slots=True)
class Tagged:
    """A tensor of the network with its name."""

    name: str
    values: Tensor


class Calibration:
    """Runs the network on scenes and records the range of every tensor."""

    def __init__(self) -> None:
        self.ranges: dict[str, Range] = {IMAGE: (0.0, 1.0)}
        self._torch = TorchOperations()

    def unit(self, unit: Unit, x: Tagged) -> Tagged:
        """See Operations."""
        return self._seen(unit.name, self._torch.unit(unit, x.values))

    def add(self, a: Tagged, b: Tagged, name: str) -> Tagged:
        """See Operations."""
        return self._seen(name, self._torch.add(a.values, b.values, name))

    def double(self, x: Tagged, name: str) -> Tagged:
        """See Operations."""
        self.ranges[name] = self.ranges[x.name]
        return Tagged(name, self._torch.double(x.values, name))

    def _seen(self, name: str, values: Tensor) -> Tagged:
        low, high = self.ranges.get(name, (0.0, 0.0))
        self.ranges[name] = (min(low, float(values.min())), max(high, float(values.max())))
        return Tagged(name, values)


class Export:
    """Writes the network as operations of a TFLite graph; its values are tensor numbers."""

    def __init__(self, ranges: dict[str, Range]) -> None:
        self.graph = Graph()
        self._ranges = ranges

    def image(self) -> int:
        """Add the input. A byte b means b / 255, and is stored as b - 128."""
        return self.graph.activation(IMAGE, (1, SIDE, SIDE, 3), 1 / 255, -128)

    def unit(self, unit: Unit, x: int) -> int:
        """See Operations."""
        weights, bias = folded(unit)
        deep = to_tflite(unit, weights)
        scales = np.maximum(np.abs(weights).max((1, 2, 3)) / 127, 1e-8)
        axis = 3 if unit.depthwise else 0
        along = (1, 1, 1, -1) if unit.depthwise else (-1, 1, 1, 1)
        filters = self.graph.constant(f"{unit.name}.weights", np.rint(deep / scales.reshape(along)).astype(np.int8),
                                      scales, axis)
        bias_scales = scales * self.graph.scale(x)
        biases = self.graph.constant(f"{unit.name}.bias", np.rint(bias / bias_scales).astype(np.int32), bias_scales, 0)
        rows, columns = (side // unit.conv.stride[0] for side in self.graph.shape(x)[1:3])
        output = self._activation(unit.name, (1, rows, columns, len(bias)))
        write = self.graph.depthwise if unit.depthwise else self.graph.convolution
        write((x, filters, biases), output, stride=unit.conv.stride[0], relu6=unit.relu6)
        return output

    def add(self, a: int, b: int, name: str) -> int:
        """See Operations."""
        output = self._activation(name, self.graph.shape(a))
        self.graph.add((a, b), output)
        return output

    def double(self, x: int, name: str) -> int:
        """See Operations."""
        _, rows, columns, channels = self.graph.shape(x)
        output = self._activation(name, (1, 2 * rows, 2 * columns, channels))
        size = self.graph.constant(f"{name}.size", np.array((2 * rows, 2 * columns), np.int32))
        self.graph.resize((x, size), output)
        return output

    def _activation(self, name: str, shape: tuple[int, ...]) -> int:
        low, high = self._ranges[name]
        scale = max(high - low, 1e-6) / 255
        return self.graph.activation(name, shape, scale, int(np.clip(round(-128 - low / scale), -128, 127)))


def calibrated(network: Street, images: Tensor) -> dict[str, Range]:
    """Return the range of every tensor over these images (n, 3, SIDE, SIDE)."""
    calibration = Calibration()
    with torch.no_grad():
        for part in images.split(20):
            levels = network.wire(Tagged(IMAGE, part), calibration)
    names = [logits.name for logits, _ in levels]
    lows, highs = zip(*(calibration.ranges[name] for name in names), strict=True)
    return calibration.ranges | dict.fromkeys(names, (min(lows), max(highs)))     # one threshold for all strides


def exported(network: Street, ranges: dict[str, Range]) -> bytes:
    """Return the `.tflite` file: outputs are logits and distances of each stride, finest first."""
    export = Export(ranges)
    image = export.image()
    levels = network.wire(image, export)
    outputs = dict(zip(output_names(), (tensor for level in levels for tensor in level), strict=True))
    return export.graph.to_bytes({IMAGE: image}, outputs)


def output_names() -> list[str]:
    """Return the names of the outputs, in the order of the network."""
    return [f"{what}_{stride}" for stride in STRIDES for what in ("logits", "ltrb")]


def to_tflite(unit: Unit, weights: NDArray[T]) -> NDArray[T]:
    """Return weights (outputs, inputs, rows, columns) in the order of TFLite's axes."""
    return weights.transpose(1, 2, 3, 0) if unit.depthwise else weights.transpose(0, 2, 3, 1)


def folded(unit: Unit) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return weights (outputs, inputs, rows, columns) and bias with the batch normalization in them."""
    weights = unit.conv.weight.detach().double().numpy()
    if isinstance(unit.norm, nn.Identity):
        return weights, unit.conv.bias.detach().double().numpy()
    gamma, beta, mean, variance = (part.detach().double().numpy() for part in (
        unit.norm.weight, unit.norm.bias, unit.norm.running_mean, unit.norm.running_var))
    gain = gamma / np.sqrt(variance + unit.norm.eps)
    return weights * gain[:, None, None, None], beta - mean * gain
