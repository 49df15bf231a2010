"""Reads the graph of an ONNX file: names, operations, shapes and types, never the weights.

Invariants: any bytes yield a graph or `ModelUnreadable`; graphs in graphs are read to a depth of `DEPTH_MAX`.

The field numbers are those of onnx.proto.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vedette._lib.whole_file import read_whole
from vedette.errors import ModelUnreadable
from vedette.workshop.unfit.found import few
from vedette.workshop.unfit.protobuf import Message

if TYPE_CHECKING:
    from pathlib import Path

FILE_BYTES_MAX = 2 << 30
"""No protocol buffer is larger. The weights of a larger network lie in files beside it."""
DEPTH_MAX = 16
_TYPES = ("undefined", "float32", "uint8", "int8", "uint16", "int16", "int32", "int64", "string", "bool", "float16",
          "float64", "uint32", "uint64", "complex64", "complex128", "bfloat16")
_SOURCE_LINE = re.compile(r'File "([^"]+)", line (\d+)')


@dataclass(frozen=True, slots=True)
class Value:
    """One tensor of the graph. Sizes that are not fixed have their name, or "?". `shape` is None if none is stated."""

    name: str
    dtype: str
    shape: tuple[int | str, ...] | None

    def __str__(self) -> str:
        size = "x".join(map(str, self.shape)) if self.shape is not None else "unknown size"
        return f"{self.name!r} {self.dtype} {size or 'scalar'}"


@dataclass(frozen=True, slots=True)
class Node:
    """One operation. `source` is "file:line" where the exporter wrote it, else empty. `graphs` are its branches."""

    op: str
    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    source: str = ""
    graphs: tuple[Graph, ...] = ()

    def __str__(self) -> str:
        source = f", {self.source}" if self.source else ""
        inputs, outputs = (tuple(filter(None, names)) for names in (self.inputs, self.outputs))
        return f"node {self.name or '(unnamed)'!r} ({few(inputs)} -> {few(outputs)}){source}"


@dataclass(frozen=True, slots=True)
class Graph:
    """The nodes in their order. `constants` are the tensors with weights, `values` those of which shapes are known."""

    nodes: tuple[Node, ...]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    values: Mapping[str, Value]
    constants: Mapping[str, Value]
    functions: Mapping[tuple[str, str], tuple[Node, ...]] = field(default_factory=dict)
    """What the file itself defines, by domain and name."""


def read(path: Path) -> Graph:
    """Return the graph of an ONNX file. Raises: ModelUnreadable."""
    try:
        return _whole(Message(memoryview(read_whole(path, FILE_BYTES_MAX))))
    except ModelUnreadable as error:
        raise ModelUnreadable(f"{path}: {error}; expected an ONNX file") from error
    except OSError as error:
        raise ModelUnreadable(f"{path}: {error.strerror}; expected an ONNX file") from error


def _whole(model: Message) -> Graph:
    if not model.has(7):
        raise ModelUnreadable("it has no graph")
    functions = {(function.text(10), function.text(1)): tuple(_node(node, 0) for node in function.messages(7))
                 for function in model.messages(25)}
    return _graph(model.message(7), 0, functions)


def _graph(graph: Message, depth: int, functions: Mapping[tuple[str, str], tuple[Node, ...]]) -> Graph:
    if depth > DEPTH_MAX:
        raise ModelUnreadable(f"more than {DEPTH_MAX} graphs in each other")
    weights = [Value(tensor.text(8), _type_name(tensor.integer(2)), tensor.integers(1)) for tensor in graph.messages(5)]
    constants = {value.name: value for value in weights}
    inputs = tuple(value for value in map(_value, graph.messages(11)) if value.name not in constants)
    outputs = tuple(map(_value, graph.messages(12)))
    known = (*map(_value, graph.messages(13)), *inputs, *outputs)
    nodes = tuple(_node(node, depth) for node in graph.messages(1))
    constants |= {name: Value(name, "undefined", None) for node in nodes if node.op == "Constant"
                  for name in node.outputs}
    return Graph(nodes, inputs, outputs, {value.name: value for value in known}, constants, functions)


def _node(node: Message, depth: int) -> Node:
    branches = (branch for attribute in node.messages(5) for number in (6, 11) for branch in attribute.messages(number))
    notes = " ".join((node.text(6), *(entry.text(2) for entry in node.messages(9))))
    lines = _SOURCE_LINE.findall(notes)
    return Node(node.text(4), node.text(7), node.text(3), node.texts(1), node.texts(2),
                source=":".join(lines[-1]) if lines else "",
                graphs=tuple(_graph(branch, depth + 1, {}) for branch in branches))


def _value(value: Message) -> Value:
    kind = value.message(2)
    if not kind.has(1):
        name = next((name for number, name in ((4, "sequence"), (5, "map"), (9, "optional")) if kind.has(number)),
                    "undefined")
        return Value(value.text(1), name, None)
    tensor = kind.message(1)
    shape = tuple(size.integer(1) if size.has(1) else size.text(2) or "?" for size in tensor.message(2).messages(1))
    return Value(value.text(1), _type_name(tensor.integer(1)), shape if tensor.has(2) else None)


def _type_name(code: int) -> str:
    return _TYPES[code] if 0 <= code < len(_TYPES) else f"type_{code}"
