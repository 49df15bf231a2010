"""`python -m examples.personalize.make`: writes a classifier whose head can be trained on the device.

Invariants:
- The backbone is that of the model in the box, frozen: the same INT8 weights and operations.
- Every operation is built in, so both runtimes run the file without Flex. No TensorFlow makes it.
- The head's weights are resource variables, which all signatures of one interpreter share. They begin with the values
  in the file.

Signatures (F features, C labels; all float32 but the image):

    infer     image (1, 192, 192, 3) int8 -> scores (1, C)      the main graph: what the device runs as a model
    features  image                       -> features (1, F)    once for each picture, since the backbone is frozen
    train     features, label (1, C)      -> scores (1, C)      one step; label is 1 for the right one
    read                                  -> weights (C, F), bias (C)
    write     weights, bias               -> weights, bias      as they are then
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vedette.detect.box_model import BOX_MODEL
from vedette.workshop.graph import Graph, read, write

if TYPE_CHECKING:
    from collections.abc import Callable

LAST = "stages.2.3.pointwise.sum"
"""The tensor of the box model at which the head begins: 12 x 12 cells of 128 channels."""
MIDDLE = 4
"""The features are the means of so many rows and columns in the middle, where the thing is."""
RATE = 3.0
SEED = 1


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description="Writes a classifier whose head can be trained on the device.")
    parser.add_argument("--labels", type=int, required=True, metavar="C", help="how many labels it will learn")
    parser.add_argument("-o", "--out", type=Path, required=True, help="the .tflite file to write")
    args = parser.parse_args()
    args.out.write_bytes(trainable(args.labels))
    print(f"{args.out}: {args.out.stat().st_size:,} bytes")


def trainable(labels: int) -> bytes:
    """Return the file for so many labels. Raises: ExtraMissing."""
    graph = read(BOX_MODEL.read_bytes())
    graph.model.description = "Vedette street's backbone with a head to train"
    features = _backbone(graph)
    count = graph.shape(features)[1]
    backbone = copy.deepcopy(graph.main)
    random = np.random.default_rng(SEED)
    first = {"weights": random.normal(0, 0.01, (labels, count)), "bias": random.normal(0, 0.01, labels)}
    shapes = {name: values.shape for name, values in first.items()}
    for name, part in (("features", backbone), ("train", None), ("read", None), ("write", None), ("initial", None)):
        graph.model.subgraphs.append(part or _empty(graph, name))
    infer, whole, train, reader, writer, initial = map(_Part, [graph] * 6, range(6))
    infer.add_scores(features, shapes)
    whole.signature("features", {"features": features})
    train.add_step(count, shapes)
    reader.signature("read", reader.variables(shapes))
    values = {name: writer.input(name, shape) for name, shape in shapes.items()}
    writer.call_initial()
    writer.assign(values)
    writer.signature("write", writer.variables(shapes, begin=False))
    initial.assign({name: initial.graph.add_constant(numbers.astype(np.float32), f"{name}_first")
                    for name, numbers in first.items()})
    return write(graph)


def _backbone(graph: Graph) -> int:
    """Cut the box model off behind the backbone, and add what makes features of its output; returns their tensor."""
    schema = graph.schema
    last = next(index for index in range(len(graph.main.tensors)) if graph.name(index) == LAST)
    place = next(place for place, op in enumerate(graph.ops) if last in op.outputs)
    graph.main.operators = graph.ops[:place + 1]
    _, rows, columns, channels = graph.shape(last)
    graph.main.tensors = list(graph.main.tensors[:last + 1])
    corner = graph.add_constant(np.array([0, (rows - MIDDLE) // 2, (columns - MIDDLE) // 2, 0], np.int32), "corner")
    size = graph.add_constant(np.array([1, MIDDLE, MIDDLE, channels], np.int32), "size")
    axes = graph.add_constant(np.array([1, 2], np.int32), "axes")
    real, middle = (graph.add_tensor(shape, name) for shape, name in (
        ((1, rows, columns, channels), "real"), ((1, MIDDLE, MIDDLE, channels), "middle")))
    mean, features = (graph.add_tensor((1, channels), name) for name in ("mean", "features"))
    graph.main.operators += [
        graph.make_op("DEQUANTIZE", [last], [real]),
        graph.make_op("SLICE", [real, corner, size], [middle], schema.SliceOptionsT()),
        graph.make_op("MEAN", [middle, axes], [mean], schema.ReducerOptionsT()),
        graph.make_op("L2_NORMALIZATION", [mean], [features], schema.L2NormOptionsT())]
    graph.set_outputs([features])
    return features


def _empty(graph: Graph, name: str) -> Any:
    part = graph.schema.SubGraphT()
    part.name, part.tensors, part.operators, part.inputs, part.outputs = name.encode(), [], [], [], []
    return part


class _Part:
    """One of the file's graphs."""

    def __init__(self, graph: Graph, number: int) -> None:
        self.number, self.graph = number, Graph(graph.model)
        self.graph.main = graph.model.subgraphs[number]
        self._handles: dict[str, int] = {}

    def input(self, name: str, shape: tuple[int, ...]) -> int:
        """Add an input."""
        tensor = self.graph.add_tensor(shape, name)
        self.graph.main.inputs = [*self.graph.main.inputs, tensor]
        return tensor

    def op(self, kind: str, inputs: list[int], shape: tuple[int, ...], name: str, options: Any = None) -> int:
        """Add an operation; returns its output."""
        output = self.graph.add_tensor(shape, name)
        self.graph.main.operators.append(self.graph.make_op(kind, inputs, [output], options))
        return output

    def call_initial(self) -> None:
        """Give the variables their first values, unless they have some."""
        options = self.graph.schema.CallOnceOptionsT()
        options.initSubgraphIndex = len(self.graph.model.subgraphs) - 1
        self.graph.main.operators.append(self.graph.make_op("CALL_ONCE", [], [], options))

    def variables(self, shapes: dict[str, tuple[int, ...]], *, begin: bool = True) -> dict[str, int]:
        """Read the variables; returns their tensors by name."""
        if begin:
            self.call_initial()
        return {name: self.op("READ_VARIABLE", [self._handle(name)], shape, f"{name}_now",
                              self.graph.schema.ReadVariableOptionsT()) for name, shape in shapes.items()}

    def assign(self, values: dict[str, int]) -> None:
        """Write the variables."""
        options: Callable[[], Any] = self.graph.schema.AssignVariableOptionsT
        self.graph.main.operators += [self.graph.make_op("ASSIGN_VARIABLE", [self._handle(name), value], [], options())
                                      for name, value in values.items()]

    def add_scores(self, features: int, shapes: dict[str, tuple[int, ...]]) -> None:
        """Add the head to the backbone."""
        self.signature("infer", {"scores": self._scores(features, self.variables(shapes), shapes)})

    def add_step(self, count: int, shapes: dict[str, tuple[int, ...]]) -> None:
        """Add one step of gradient descent on the cross entropy, whose gradient is scores - label."""
        labels = shapes["weights"][0]
        features, label = self.input("features", (1, count)), self.input("label", (1, labels))
        now = self.variables(shapes)
        scores = self._scores(features, now, shapes)
        rate = self.graph.add_constant(np.array([RATE], np.float32), "rate")
        error = self._arithmetic("SUB", [scores, label], (1, labels), "error")
        step = self._arithmetic("MUL", [error, rate], (1, labels), "step")
        column = self._shaped(step, (labels, 1), "column")
        changes = {"weights": self._arithmetic("MUL", [column, features], shapes["weights"], "weights_change"),
                   "bias": self._shaped(step, shapes["bias"], "bias_change")}
        self.assign({name: self._arithmetic("SUB", [now[name], changes[name]], shape, f"{name}_next")
                     for name, shape in shapes.items()})
        self.signature("train", {"scores": scores})

    def signature(self, key: str, outputs: dict[str, int]) -> None:
        """Name the graph, its inputs and its outputs for those who call it."""
        schema = self.graph.schema
        self.graph.main.outputs = list(outputs.values())
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = key.encode(), self.number
        inputs = {self.graph.name(tensor): tensor for tensor in self.graph.main.inputs}
        signature.inputs, signature.outputs = ([self._entry(*named) for named in each.items()]
                                               for each in (inputs, outputs))
        self.graph.model.signatureDefs = [*(self.graph.model.signatureDefs or ()), signature]

    def _entry(self, name: str, tensor: int) -> Any:
        entry = self.graph.schema.TensorMapT()
        entry.name, entry.tensorIndex = name.encode(), tensor
        return entry

    def _handle(self, name: str) -> int:
        if name not in self._handles:
            options = self.graph.schema.VarHandleOptionsT()
            options.container, options.sharedName = b"", name.encode()
            handle = self._handles[name] = self.op("VAR_HANDLE", [], (1,), name, options)
            self.graph.main.tensors[handle].type = self.graph.schema.TensorType.RESOURCE
        return self._handles[name]

    def _scores(self, features: int, now: dict[str, int], shapes: dict[str, tuple[int, ...]]) -> int:
        schema, labels = self.graph.schema, shapes["bias"][0]
        logits = self.op("FULLY_CONNECTED", [features, now["weights"], now["bias"]], (1, labels), "logits",
                         schema.FullyConnectedOptionsT())
        options = schema.SoftmaxOptionsT()
        options.beta = 1.0
        return self.op("SOFTMAX", [logits], (1, labels), "scores", options)

    def _arithmetic(self, kind: str, inputs: list[int], shape: tuple[int, ...], name: str) -> int:
        options = getattr(self.graph.schema, f"{kind.capitalize()}OptionsT")()
        return self.op(kind, inputs, shape, name, options)

    def _shaped(self, tensor: int, shape: tuple[int, ...], name: str) -> int:
        options = self.graph.schema.ReshapeOptionsT()
        options.newShape = list(shape)
        wanted = self.graph.add_constant(np.array(shape, np.int32), f"{name}_shape")
        return self.op("RESHAPE", [tensor, wanted], shape, name, options)


if __name__ == "__main__":
    main()
