"""A `.tflite` file as an object that can be changed, with LiteRT's own schema.

Invariants: what is read and written again runs as before. Every tensor of a graph that `read` returns has a name of
its own, since the quantizer tells tensors apart by their names. A written file holds no tensor and no buffer that
nothing uses. The first `write` drops them from the graph too, which changes its indices; a second one changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vedette.errors import ExtraMissing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

SIGNATURE = "serving_default"
_IDENTIFIER = b"TFL3"
_FIRST_BYTES = 1 << 20
_ALIGNMENT = 16


def schema() -> Any:
    """Return LiteRT's schema. Raises: ExtraMissing."""
    try:
        import flatbuffers  # noqa: F401 - the schema needs it
        from ai_edge_litert import schema_py_generated
    except ImportError as error:
        raise missing(error) from error
    return schema_py_generated


def missing(error: ImportError) -> ExtraMissing:
    """Return the error for a package of the workshop that is not installed."""
    return ExtraMissing(f"{error.name or 'a package'} cannot be imported ({error}); install it on a workstation with: "
                        "pip install 'vedette[workshop]'")


class Graph:
    """A model with its first graph, the one that runs. `model` is a `ModelT` of the schema, `main` its `SubGraphT`."""

    def __init__(self, model: Any) -> None:
        self.schema = schema()
        self.model = model
        self.main = model.subgraphs[0]
        self._names = {value: name for name, value in vars(self.schema.BuiltinOperator).items()
                       if isinstance(value, int)}

    def __repr__(self) -> str:
        return f"<Graph of {len(self.main.operators)} operations>"

    @property
    def ops(self) -> list[Any]:
        """The operations in the order in which they run."""
        return list(self.main.operators)

    def kind(self, op: Any) -> str:
        """Return the name of an operation, such as CONV_2D, or of a custom one."""
        code = self.model.operatorCodes[op.opcodeIndex]
        if code.customCode:
            return str(code.customCode.decode("utf-8", "replace"))
        return str(self._names.get(code.builtinCode, code.builtinCode))

    def name(self, index: int) -> str:
        """Return the name of a tensor."""
        return str(self.main.tensors[index].name.decode("utf-8"))

    def shape(self, index: int) -> tuple[int, ...]:
        """Return the shape of a tensor."""
        shape = self.main.tensors[index].shape
        return () if shape is None else tuple(int(side) for side in shape)

    def is_float(self, index: int) -> bool:
        """Whether a tensor holds float32 numbers."""
        return bool(self.main.tensors[index].type == self.schema.TensorType.FLOAT32)

    def constant(self, index: int) -> NDArray[np.uint8] | None:
        """Return the bytes of a constant tensor; None for one that an operation or the picture fills."""
        data = self.model.buffers[self.main.tensors[index].buffer].data if index >= 0 else None
        return None if data is None or len(data) == 0 else np.frombuffer(bytes(data), np.uint8)

    def set_constant(self, index: int, values: NDArray[Any]) -> None:
        """Give a tensor other numbers, which no other tensor shares."""
        buffer = self.schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        self.main.tensors[index].buffer = len(self.model.buffers) - 1

    def producers(self) -> Mapping[int, Any]:
        """Return the operation that writes each tensor."""
        return {int(index): op for op in self.main.operators for index in op.outputs}

    def consumers(self, index: int) -> list[Any]:
        """Return the operations that read a tensor."""
        return [op for op in self.main.operators if index in op.inputs]

    def add_constant(self, values: NDArray[Any], name: str) -> int:
        """Add a constant of float32, float16 or int32 numbers; returns its index."""
        types = self.schema.TensorType
        tensor = self.schema.TensorT()
        tensor.type = {"float32": types.FLOAT32, "float16": types.FLOAT16, "int32": types.INT32}[values.dtype.name]
        tensor.shape = list(values.shape)
        index = self._add(tensor, name)
        self.set_constant(index, values)
        return index

    def add_tensor(self, shape: Iterable[int], name: str) -> int:
        """Add a float32 tensor that an operation fills; returns its index."""
        tensor = self.schema.TensorT()
        tensor.type, tensor.shape, tensor.buffer = self.schema.TensorType.FLOAT32, list(shape), 0
        return self._add(tensor, name)

    def make_op(self, kind: str, inputs: Iterable[int], outputs: Iterable[int], options: Any = None) -> Any:
        """Return a new operation. `options` is the object of the schema, such as `MulOptionsT()`."""
        op = self.schema.OperatorT()
        op.opcodeIndex = self._code(getattr(self.schema.BuiltinOperator, kind))
        op.inputs, op.outputs = list(inputs), list(outputs)
        if options is not None:
            op.builtinOptions = options
            op.builtinOptionsType = getattr(self.schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        return op

    def _rename(self, index: int, name: str) -> None:
        """Give a tensor a name that no other tensor has."""
        taken = {self.name(other) for other in range(len(self.main.tensors)) if other != index}
        self.main.tensors[index].name = _unique(name or "tensor", taken).encode()

    def set_outputs(self, indices: Iterable[int]) -> None:
        """Make other tensors the outputs of the graph and of its signature."""
        self.main.outputs = list(indices)
        for signature in self.model.signatureDefs or ():
            if signature.subgraphIndex == 0:
                signature.outputs = [self._entry(index) for index in self.main.outputs]

    def add_signature(self) -> bool:
        """Add a signature where the graph has none: it cannot be calibrated without. Returns whether it had none."""
        signatures = list(self.model.signatureDefs or ())
        if any(each.subgraphIndex == 0 for each in signatures):
            return False
        signature = self.schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = SIGNATURE.encode(), 0
        signature.inputs = [self._entry(index) for index in self.main.inputs]
        signature.outputs = [self._entry(index) for index in self.main.outputs]
        self.model.signatureDefs = [*signatures, signature]
        return True

    def drop_last_conversions(self) -> None:
        """Make the integers the output where the last operation turns them into floats."""
        writers, outputs = self.producers(), [int(index) for index in self.main.outputs]
        for place, index in enumerate(outputs):
            op = writers.get(index)
            if op is None or self.kind(op) != "DEQUANTIZE" or self.consumers(index):
                continue
            source = int(op.inputs[0])
            if self.constant(source) is not None or source in outputs:
                continue
            outputs[place] = source
            self.main.operators = [each for each in self.main.operators if each is not op]
            self._move_entries(index, source)
        self.main.outputs = outputs

    def drop_unused(self) -> None:
        """Drop operations whose results nobody reads: they never run, so they cannot be calibrated."""
        needed = {int(index) for index in self.main.outputs}
        kept = []
        for op in reversed(self.main.operators):
            if needed.intersection(int(index) for index in op.outputs):
                needed.update(int(index) for index in op.inputs)
                kept.append(op)
        self.main.operators = kept[::-1]

    def widen_constants(self) -> bool:
        """Make constants of float16 float32, where an operation would do so each time. Returns whether there were any.
        """
        kept = []
        for op in self.main.operators:
            data = self.constant(int(op.inputs[0])) if self.kind(op) == "DEQUANTIZE" else None
            if data is None or self.main.tensors[int(op.inputs[0])].type != self.schema.TensorType.FLOAT16:
                kept.append(op)
                continue
            self.set_constant(int(op.outputs[0]), data.view(np.float16).astype(np.float32))
        found = len(kept) < len(self.main.operators)
        self.main.operators = kept
        return found

    def _move_entries(self, old: int, new: int) -> None:
        for signature in self.model.signatureDefs or ():
            for entry in signature.outputs if signature.subgraphIndex == 0 else ():
                if entry.tensorIndex == old:
                    entry.tensorIndex = new

    def _entry(self, index: int) -> Any:
        entry = self.schema.TensorMapT()
        entry.name, entry.tensorIndex = self.name(index).encode(), index
        return entry

    def _add(self, tensor: Any, name: str) -> int:
        tensor.name, tensor.hasRank = b"", True
        self.main.tensors.append(tensor)
        index = len(self.main.tensors) - 1
        self._rename(index, name)
        return index

    def _code(self, number: int) -> int:
        codes = self.model.operatorCodes
        for place, code in enumerate(codes):
            if max(code.builtinCode, code.deprecatedBuiltinCode) == number:
                return place
        code = self.schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), 1
        codes.append(code)
        return len(codes) - 1


def read(content: bytes) -> Graph:
    """Return a file as a graph that can be changed. Raises: ExtraMissing."""
    graph = Graph(schema().ModelT.InitFromPackedBuf(bytearray(content), 0))
    for buffer in graph.model.buffers:
        if buffer.offset > 1:       # its bytes follow the flatbuffer, where older runtimes do not look
            buffer.data = np.frombuffer(content[buffer.offset:buffer.offset + buffer.size], np.uint8)
        buffer.offset = buffer.size = 0
    for code in graph.model.operatorCodes:      # older files use one field only, which the quantizer does not read
        code.builtinCode = max(code.builtinCode, code.deprecatedBuiltinCode)
    taken: set[str] = set()
    for subgraph in graph.model.subgraphs:
        for tensor in subgraph.tensors:
            name = _unique((tensor.name or b"tensor").decode("utf-8", "replace"), taken)
            tensor.name = name.encode()
            taken.add(name)
    return graph


def write(graph: Graph) -> bytes:
    """Return a graph as the bytes of a `.tflite` file."""
    from flatbuffers import Builder

    class AlignedBuilder(Builder):  # type: ignore[misc]  # flatbuffers has no types
        """Puts the bytes of every buffer at a multiple of 16, as the schema wants it for weights."""

        def CreateNumpyVector(self, x: NDArray[Any]) -> int:  # noqa: N802 - flatbuffers' own name
            if x.dtype == np.uint8:
                self.Prep(_ALIGNMENT, x.size)
            return int(super().CreateNumpyVector(x))

    _drop_unused_tensors(graph)
    _drop_unused_buffers(graph.model)
    builder = AlignedBuilder(_FIRST_BYTES)
    builder.Finish(graph.model.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


def _unique(name: str, taken: set[str]) -> str:
    found, count = name, 1
    while found in taken:
        found, count = f"{name}_{count}", count + 1
    return found


def _drop_unused_tensors(graph: Graph) -> None:
    main = graph.main
    lists = [main.inputs, main.outputs, *(each for op in main.operators
                                          for each in (op.inputs, op.outputs, op.intermediates) if each is not None)]
    entries = [entry for signature in graph.model.signatureDefs or () if signature.subgraphIndex == 0
               for entry in (*signature.inputs, *signature.outputs)]
    used = sorted({int(index) for each in lists for index in each} - {-1} | {int(each.tensorIndex) for each in entries})
    places = {-1: -1} | {old: new for new, old in enumerate(used)}
    main.tensors = [main.tensors[old] for old in used]
    main.inputs, main.outputs = ([places[int(index)] for index in each] for each in (main.inputs, main.outputs))
    for op in main.operators:
        op.inputs, op.outputs = ([places[int(index)] for index in each] for each in (op.inputs, op.outputs))
        if op.intermediates is not None:
            op.intermediates = [places[int(index)] for index in op.intermediates]
    for entry in entries:
        entry.tensorIndex = places[int(entry.tensorIndex)]


def _drop_unused_buffers(model: Any) -> None:
    """Keep buffer 0, which stands for "no data", and those that a tensor or a metadata entry names."""
    users = [tensor for subgraph in model.subgraphs for tensor in subgraph.tensors] + list(model.metadata or ())
    used = sorted({0, *(int(user.buffer) for user in users)})
    places = {old: new for new, old in enumerate(used)}
    model.buffers = [model.buffers[old] for old in used]
    for user in users:
        user.buffer = places[int(user.buffer)]
