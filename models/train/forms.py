"""Writes the float network as `.tflite`, `.pt2` and `.onnx`, each with the inputs and outputs of the INT8 file.

Invariants: `FloatExport` runs the network's own `wire`, as the INT8 export does. The outputs are logits and distances
of each stride, finest first, (1, rows, columns, channels). The image of `.pt2` and `.onnx` is (1, 3, rows, columns).
The `.tflite` file is a bundle with the settings of the INT8 one.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from models.train.bundle import bundled
from models.train.flatbuffer import Graph
from models.train.int8 import IMAGE, folded, output_names, to_tflite
from models.train.net import TorchOperations
from models.train.scenes import SIDE
from vedette.camera.street.objects import LABELS

if TYPE_CHECKING:
    from pathlib import Path

    from models.train.net import Street, Unit


class FloatExport:
    """Writes the network as float operations of a TFLite graph; its values are tensor numbers."""

    def __init__(self) -> None:
        self.graph = Graph()

    def unit(self, unit: Unit, x: int) -> int:
        """See Operations."""
        weights, bias = (part.astype(np.float32) for part in folded(unit))
        filters = self.graph.constant(f"{unit.name}.weights", to_tflite(unit, weights))
        biases = self.graph.constant(f"{unit.name}.bias", bias)
        rows, columns = (side // unit.conv.stride[0] for side in self.graph.shape(x)[1:3])
        output = self.graph.float_activation(unit.name, (1, rows, columns, len(bias)))
        write = self.graph.depthwise if unit.depthwise else self.graph.convolution
        write((x, filters, biases), output, stride=unit.conv.stride[0], relu6=unit.relu6)
        return output

    def add(self, a: int, b: int, name: str) -> int:
        """See Operations."""
        output = self.graph.float_activation(name, self.graph.shape(a))
        self.graph.add((a, b), output)
        return output

    def double(self, x: int, name: str) -> int:
        """See Operations."""
        _, rows, columns, channels = self.graph.shape(x)
        output = self.graph.float_activation(name, (1, 2 * rows, 2 * columns, channels))
        size = self.graph.constant(f"{name}.size", np.array((2 * rows, 2 * columns), np.int32))
        self.graph.resize((x, size), output)
        return output


class _Outputs(nn.Module):
    """The network with the outputs of the file, in place of those for the loss."""

    def __init__(self, network: Street) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the six outputs, channels last."""
        levels = self.network.wire(image, TorchOperations())
        return tuple(part.permute(0, 2, 3, 1) for level in levels for part in level)


def float_file(network: Street) -> bytes:
    """Return the float `.tflite` file."""
    export = FloatExport()
    image = export.graph.float_activation(IMAGE, (1, SIDE, SIDE, 3))
    levels = network.wire(image, export)
    outputs = dict(zip(output_names(), (tensor for level in levels for tensor in level), strict=True))
    return export.graph.to_bytes({IMAGE: image}, outputs, "Vedette street, float")


def write(network: Street, folder: Path) -> tuple[Path, ...]:
    """Write `street.tflite`, `street.pt2`, `street.onnx` and `labels.txt`; returns their paths."""
    tflite, pt2, onnx = (folder / f"street.{form}" for form in ("tflite", "pt2", "onnx"))
    labels = folder / "labels.txt"
    labels.write_text("\n".join(LABELS) + "\n", encoding="utf-8")
    tflite.write_bytes(float_file(network))
    tflite.write_bytes(bundled(tflite))
    example, module = (torch.zeros(1, 3, SIDE, SIDE),), _Outputs(network).eval()
    torch.export.save(torch.export.export(module, example), pt2)
    with warnings.catch_warnings():     # the older exporter needs no further package, and says much
        warnings.simplefilter("ignore")
        torch.onnx.export(module, example, onnx, input_names=[IMAGE], output_names=output_names(), opset_version=17,
                          dynamo=False)
    return tflite, pt2, onnx, labels
