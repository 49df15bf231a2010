"""What does not fit in a `.tflite` file: operations, their versions, inputs and types. It can be cut off as well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vedette.errors import ModelUnreadable, ModelUnsupported
from vedette.tflite import appended_zip
from vedette.tflite.file import DETECTION_POSTPROCESS, check_identifier, read_bytes
from vedette.tflite.flatbuffer import Buffer, Malformed
from vedette.tflite.model_errors import model_errors_only
from vedette.tflite.operators import CUSTOM, operator_name, type_name
from vedette.workshop.unfit import builtins, cut, rules
from vedette.workshop.unfit.found import Unfit, by_rule, few, of_input

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from vedette.tflite.flatbuffer import Table
    from vedette.workshop.unfit.found import WayOut

_OF_TENSORFLOW = "Flex"
_RULES = {
    **dict.fromkeys(("NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5"), "NonMaxSuppression"),
    "TOPK_V2": "TopK", "WHERE": "NonZero", "UNIQUE": "Unique", "WHILE": "Loop",
    **dict.fromkeys(("LSTM", "RNN", "SVDF", "UNIDIRECTIONAL_SEQUENCE_LSTM", "UNIDIRECTIONAL_SEQUENCE_RNN",
                     "BIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_RNN"), "LSTM"),
    **dict.fromkeys(("RANDOM_UNIFORM", "RANDOM_STANDARD_NORMAL", "MULTINOMIAL"), "RandomNormal"),
    **dict.fromkeys(("RFFT2D", "IMAG", "REAL", "COMPLEX_ABS"), "DFT"),
    **dict.fromkeys(("HASHTABLE", "HASHTABLE_FIND", "HASHTABLE_IMPORT", "HASHTABLE_SIZE", "HASHTABLE_LOOKUP",
                     "SKIP_GRAM", "LSH_PROJECTION"), "StringConcat"),
    "SCATTER_ND": "ScatterND",
}
"""The names that TFLite has for what `rules.RULES` knows by ONNX' names."""
_LEARNED = frozenset(("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "BATCH_MATMUL"))
_CHOICES = frozenset(("REDUCE_MAX", "ARG_MAX", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "EQUAL", "CAST"))
_PARTS = frozenset(("RESHAPE", "SPLIT", "SPLIT_V", "SLICE", "STRIDED_SLICE", "SQUEEZE", "EXPAND_DIMS", "GATHER"))


@dataclass(frozen=True, slots=True)
class _Tensor:
    name: str
    dtype: str
    shape: tuple[int, ...]
    signature: tuple[int, ...]
    constant: bool

    def __str__(self) -> str:
        return f"{self.name!r} {self.dtype} {'x'.join(map(str, self.signature or self.shape)) or 'scalar'}"


@dataclass(frozen=True, slots=True)
class _Op:
    name: str
    version: int
    custom: bool
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Graph:
    number: int
    tensors: tuple[_Tensor, ...]
    ops: tuple[_Op, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def place(self, index: int) -> str:
        op = self.ops[index]
        where = f" of graph {self.number}" if self.number else ""
        return f"operation {index}{where} (tensors {self._names(op.inputs)} -> {self._names(op.outputs)})"

    def _names(self, indices: Sequence[int]) -> str:
        return few(tuple(f"{index} {self.tensors[index].name!r}" for index in indices if index >= 0))


def unfit_in_tflite(path: Path) -> tuple[Unfit, ...]:
    """Return what does not fit, in the order of the file, its input first. Raises: ModelUnreadable."""
    content = read_bytes(path)
    with model_errors_only(path):
        try:
            graphs = _read(content)
        except Malformed as error:
            raise ModelUnreadable(f"{path}: cut off or damaged: {error}") from error
        except ModelUnreadable as error:
            raise ModelUnreadable(f"{path}: {error}") from error
        return (*_inputs(graphs[0]), *(unfit for graph in graphs for unfit in _ops(graph)))


def cut_off(content: bytes, tensors: Sequence[str]) -> bytes:
    """Return a `.tflite` file that ends at the named tensors, without what only the old outputs needed.

    Raises: ModelUnsupported (no such tensor), ExtraMissing.
    """
    from vedette.workshop import graph as graphs

    graph = graphs.read(content)
    places = {graph.name(index): index for index in range(len(graph.main.tensors))}
    if missing := [name for name in tensors if name not in places]:
        raise ModelUnsupported(f"no tensor {missing[0]!r} to cut at; expected one of the graph's own names")
    graph.set_outputs(places[name] for name in tensors)
    needed, kept = {places[name] for name in tensors}, []
    for op in reversed(graph.ops):
        if not needed.isdisjoint(map(int, op.outputs)):
            needed.update(map(int, op.inputs))
            kept.append(op)
    graph.main.operators = kept[::-1]
    return graphs.write(graph)


def _inputs(graph: _Graph) -> Iterator[Unfit]:
    if len(graph.inputs) != 1:
        place = "; ".join(f"input {index} {graph.tensors[index]}" for index in graph.inputs) or "(no input)"
        yield by_rule("input", place, rules.INPUTS)
        return
    index, tensor = graph.inputs[0], graph.tensors[graph.inputs[0]]
    sizes = tensor.signature[1:] or tensor.shape[1:]
    yield from of_input(f"tensor {index} {tensor}", len(tensor.shape), tensor.dtype,
                        fixed=all(size >= 1 for size in sizes))


def _ops(graph: _Graph) -> Iterator[Unfit]:
    found = [(index, rule) for index, op in enumerate(graph.ops) if (rule := _rule(op)) is not None]
    end = _cut(graph, [index for index, rule in found if rule.ends]) if not graph.number else cut.Cut()
    tensors = tuple(graph.tensors[int(index)].name for index in end.tensors)
    for index, rule in found:
        op, place = graph.ops[index], graph.place(index)
        refused: WayOut = "select-tf" if op.name.startswith(_OF_TENSORFLOW) else "custom"
        way_out = refused if op.custom else "replace"
        yield by_rule(op.name, place, rule, tensors if index in end.lost else (), way_out)
    for index, op in enumerate(graph.ops):
        if not op.custom:
            yield from _version(op, graph.place(index))


def _rule(op: _Op) -> rules.Rule | None:
    if not op.custom:
        if op.name in {"CONV_3D", "CONV_3D_TRANSPOSE"}:
            return rules.DEEP
        return rules.ONE_BRANCH if op.name == "IF" else rules.RULES.get(_RULES.get(op.name, ""))
    if op.name == DETECTION_POSTPROCESS:
        return None
    if op.name.startswith(_OF_TENSORFLOW):
        return rules.SELECT_TF
    return rules.END_PLUGIN if "NMS" in op.name.upper() else rules.CUSTOM


def _version(op: _Op, place: str) -> Iterator[Unfit]:
    newest = builtins.NEWEST.get(op.name, builtins.NOWHERE)
    if op.version > newest.litert:
        yield Unfit(op.name, place, f"version {op.version} is newer than what {builtins.LITERT} has "
                    f"({newest.litert or 'none'})", "replace", "write the file again with the converter of an older "
                    "release, or with TFLite's operations in place of StableHLO's")
    elif op.version > newest.tflite_runtime:
        yield Unfit(op.name, place, f"version {op.version} runs on LiteRT only: {builtins.TFLITE_RUNTIME} has "
                    f"{newest.tflite_runtime or 'none'}", "replace", "nothing where LiteRT is installed; on 32-bit ARM "
                    "write the file again with an older converter", refused=False)


def _cut(graph: _Graph, ends: Sequence[int]) -> cut.Cut:
    def names(indices: Sequence[int]) -> tuple[str, ...]:
        return tuple(str(index) for index in indices if index >= 0 and not graph.tensors[index].constant)

    steps = [cut.Step(names(op.inputs), names(op.outputs), choice=op.name in _CHOICES, part=op.name in _PARTS,
                      learned=op.name in _LEARNED and any(graph.tensors[index].constant for index in op.inputs[1:2]),
                      turned=op.name == "TRANSPOSE") for op in graph.ops]
    return cut.before(steps, ends, names(graph.inputs), names(graph.outputs))


def _read(content: bytes) -> tuple[_Graph, ...]:
    check_identifier(content)
    start, _ = appended_zip.split(content, pictures=False)
    root = Buffer(memoryview(content)[:start]).root()
    codes = [_code(table) for table in root.tables(1)]
    filled = {number for number, table in enumerate(root.tables(4))
              if len(table.bytes_view(0)) or table.integer(1, "Q") > 1}
    graphs = tuple(_graph(number, table, codes, filled) for number, table in enumerate(root.tables(2)))
    if not graphs:
        raise Malformed("it has no graph; expected at least one")
    return graphs


def _code(table: Table) -> tuple[str, int, bool]:
    code = max(table.integer(0, "b"), table.integer(3, "i"))
    name = (table.text(1) or "unnamed") if code == CUSTOM else operator_name(code)
    return name, max(1, table.integer(2, "i")), code == CUSTOM


def _graph(number: int, table: Table, codes: Sequence[tuple[str, int, bool]], filled: set[int]) -> _Graph:
    tensors = tuple(_Tensor(tensor.text(3), type_name(tensor.integer(1, "b")), tensor.integers(0), tensor.integers(7),
                            tensor.integer(2, "I") in filled) for tensor in table.tables(0))
    ops = tuple(_Op(*codes[op.integer(0, "I")], op.integers(1), op.integers(2)) for op in table.tables(3))
    graph = _Graph(number, tensors, ops, table.integers(1), table.integers(2))
    used = (*graph.inputs, *graph.outputs, *(index for op in ops for index in (*op.inputs, *op.outputs)))
    if any(not -1 <= index < len(tensors) for index in used):
        raise Malformed(f"graph {number} uses a tensor that does not exist; it has {len(tensors)}")
    return graph
