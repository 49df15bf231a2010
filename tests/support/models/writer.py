"""Builds small real `.tflite` files with the flatbuffers package only, which both environments have.

Slots and numbers are those of TFLite's schema.fbs. Vectors are written before the tables that hold them.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import flatbuffers
from flatbuffers import flexbuffers

from vedette.tflite import operators

TYPES = {operators.type_name(code): code for code in range(23)}
OPERATORS = {operators.operator_name(code): code for code in range(210)}
# kind of a field of a table -> (writer of flatbuffers.Builder, default)
_WRITERS = {"int32": "PrependInt32Slot", "int8": "PrependInt8Slot", "bool": "PrependBoolSlot",
            "float32": "PrependFloat32Slot", "uint32": "PrependUint32Slot", "int64": "PrependInt64Slot"}


@dataclass
class Tensor:
    """One tensor; a constant if it has `data`. More than one number in `scales` means one per channel."""

    shape: tuple[int, ...]
    dtype: str = "int8"
    name: str = ""
    scales: tuple[float, ...] = ()
    zero_points: tuple[int, ...] = ()
    data: bytes = b""
    signature: tuple[int, ...] = ()     # the shape with -1 for each size that is not fixed


@dataclass
class Op:
    """One operation. `options` are (union number, [(slot, kind, value), …]). A name that is not built-in is custom."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: tuple[int, Sequence[tuple[int, str, float]]] = (0, ())
    custom_options: bytes = b""
    version: int = 1


@dataclass
class Graph:
    """A whole model with one graph."""

    tensors: list[Tensor]
    ops: list[Op]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    description: str = "made by a test"
    metadata: dict[str, bytes] = field(default_factory=dict)
    version: int = 3


def build(graph: Graph) -> bytes:
    """Return the bytes of the `.tflite` file."""
    b = flatbuffers.Builder(1024)
    kinds = list(dict.fromkeys((op.name, op.version) for op in graph.ops))
    contents = [b"", *(tensor.data for tensor in graph.tensors), *graph.metadata.values()]
    first_metadata = 1 + len(graph.tensors)
    buffers = [_table(b, {0: byte_vector(b, content)} if content else {}) for content in contents]
    tensors = [_tensor(b, tensor, 1 + index) for index, tensor in enumerate(graph.tensors)]
    ops = [_op(b, op, kinds.index((op.name, op.version))) for op in graph.ops]
    subgraph = _table(b, {0: offsets(b, tensors), 1: int32s(b, graph.inputs), 2: int32s(b, graph.outputs),
                          3: offsets(b, ops), 4: b.CreateString("main")})
    codes = [_op_code(b, *kind) for kind in kinds]
    metadata = [_table(b, {0: b.CreateString(name)}, [(1, "uint32", first_metadata + index)])
                for index, name in enumerate(graph.metadata)]
    model = _table(b, {1: offsets(b, codes), 2: offsets(b, [subgraph]), 3: b.CreateString(graph.description),
                       4: offsets(b, buffers), 6: offsets(b, metadata)}, [(0, "uint32", graph.version)])
    b.Finish(model, file_identifier=b"TFL3")
    return bytes(b.Output())


def with_zip(content: bytes, files: dict[str, bytes]) -> bytes:
    """Return the model with a ZIP of these files appended, as TFLite's own tools do."""
    whole = io.BytesIO()
    whole.write(content)
    with zipfile.ZipFile(whole, "a", zipfile.ZIP_DEFLATED) as archive:
        for name, inside in files.items():
            archive.writestr(name, inside)
    return whole.getvalue()


def tflite_metadata(*, mean: float, std: float, label_file: str) -> bytes:
    """Return a TFLITE_METADATA buffer: one input with this normalization, one output with a label file."""
    b = flatbuffers.Builder(256)
    options = _table(b, {0: floats(b, (mean,)), 1: floats(b, (std,))})
    unit = _table(b, {1: options}, [(0, "int8", 1)])
    image = _table(b, {0: b.CreateString("image"), 4: offsets(b, [unit])})
    file = _table(b, {0: b.CreateString(label_file)}, [(2, "int8", 3)])
    score = _table(b, {0: b.CreateString("score"), 6: offsets(b, [file])})
    graph = _table(b, {2: offsets(b, [image]), 3: offsets(b, [score])})
    b.Finish(_table(b, {0: b.CreateString("tiny"), 2: b.CreateString("v1"), 3: offsets(b, [graph])}),
             file_identifier=b"M001")
    return bytes(b.Output())


def identity() -> bytes:
    """Return a model without operations: its input is its output."""
    return build(Graph([Tensor((1, 4), "int8", "x")], [], (0,), (0,)))


def logistic(size: int = 4) -> bytes:
    """Return an INT8 model of two operations that XNNPACK takes: logistic of a sum."""
    return build(Graph(
        [Tensor((1, size, size, 3), "int8", "image", (1 / 255,), (-128,)),
         Tensor((1, size, size, 3), "int8", "sum", (2 / 255,), (-128,)),
         Tensor((1, size, size, 3), "int8", "score", (1 / 256,), (-128,))],
        [Op("ADD", (0, 0), (1,), (11, [])), Op("LOGISTIC", (1,), (2,))], (0,), (2,)))


def convolution(size: int = 16, channels: int = 8) -> bytes:
    """Return an INT8 model of two convolutions with per-channel weights, which XNNPACK takes."""
    tensors = [Tensor((1, size, size, 3), "int8", "image", (1 / 255,), (-128,))]
    ops = []
    for index, deep in enumerate((3, channels)):
        scales = tuple(0.01 + 0.001 * channel for channel in range(channels))
        weights = bytes((7 * position + 31 * index) % 256 for position in range(channels * 9 * deep))
        source = len(tensors) - 1
        tensors += [
            Tensor((channels, 3, 3, deep), "int8", f"weights{index}", scales, (0,) * channels, weights),
            Tensor((channels,), "int32", f"bias{index}", tuple(s / 255 for s in scales), (0,) * channels,
                   bytes(4 * channels)),
            Tensor((1, size, size, channels), "int8", f"features{index}", (1 / 255,), (-128,))]
        ops.append(Op("CONV_2D", (source, source + 1, source + 2), (source + 3,),
                      (1, [(1, "int32", 1), (2, "int32", 1), (3, "int8", 3), (4, "int32", 1), (5, "int32", 1)])))
    return build(Graph(tensors, ops, (0,), (len(tensors) - 1,)))


def described() -> bytes:
    """Return the logistic model with TFLite Metadata: mean, std and a label file in an appended ZIP."""
    tensors = [Tensor((1, 4, 4, 3), "uint8", "image", (1 / 255,), (0,)),
               Tensor((1, 4, 4, 3), "uint8", "score", (1 / 256,), (0,))]
    metadata = tflite_metadata(mean=127.5, std=128.0, label_file="labels.txt")
    model = build(Graph(tensors, [Op("LOGISTIC", (0,), (1,))], (0,), (1,), metadata={"TFLITE_METADATA": metadata}))
    return with_zip(model, {"labels.txt": b"cat\ndog\n"})


def detection_postprocess(boxes: int = 4, classes: int = 2) -> bytes:
    """Return a model that has SSD's post-process only: boxes and scores in, four tensors out."""
    options = flexbuffers.Builder()
    with options.Map():
        for name, value in (("max_detections", 3), ("max_classes_per_detection", 1), ("num_classes", classes)):
            options.Int(name, value)
        for name, number in (("nms_score_threshold", 0.0), ("nms_iou_threshold", 0.6), ("y_scale", 10.0),
                             ("x_scale", 10.0), ("h_scale", 5.0), ("w_scale", 5.0)):
            options.Float(name, number)
    anchors = struct.pack(f"<{4 * boxes}f", *(0.1 * (index % 4 + 1) for index in range(4 * boxes)))
    tensors = [Tensor((1, boxes, 4), "float32", "boxes"), Tensor((1, boxes, classes + 1), "float32", "scores"),
               Tensor((boxes, 4), "float32", "anchors", data=anchors),
               *(Tensor((), "float32", f"TFLite_Detection_PostProcess:{index}") for index in range(4))]
    return build(Graph(tensors, [Op("TFLite_Detection_PostProcess", (0, 1, 2), (3, 4, 5, 6),
                                    custom_options=bytes(options.Finish()))], (0, 1), (3, 4, 5, 6)))


def division() -> bytes:
    """Return a model that kills tflite-runtime at invoke (SIGFPE): it divides its input, at first zero, by itself."""
    return build(Graph([Tensor((4,), "int32", "x"), Tensor((4,), "int32", "y")],
                       [Op("DIV", (0, 0), (1,), (29, []))], (0,), (1,)))


def dynamic_output() -> bytes:
    """Return a classifier of three classes whose output has no data before its first invoke, as onnx2tf writes them.

    The shape of its RESHAPE is calculated, so the runtime does not know the size before.
    """
    tensors = [Tensor((1, 16, 16, 3), "float32", "image"),
               Tensor((2,), "int32", "axes", data=struct.pack("<2i", 1, 2)), Tensor((1, 3), "float32", "mean"),
               Tensor((2,), "int32", "shape", data=struct.pack("<2i", 1, 3)),
               Tensor((2,), "int32", "nought", data=bytes(8)), Tensor((2,), "int32", "sum"),
               Tensor((1, 3), "float32", "logits"), Tensor((1, 3), "float32", "shares")]
    return build(Graph(tensors, [
        Op("MEAN", (0, 1), (2,), (27, [])), Op("ADD", (3, 4), (5,), (11, [])),
        Op("RESHAPE", (2, 5), (6,), (17, [])), Op("SOFTMAX", (6,), (7,), (9, [(0, "float32", 5.0)]))], (0,), (7,)))


def growing_output() -> bytes:
    """Return a model whose output grows with its input: as many rows as the first pixel's red says."""
    tensors = [Tensor((1, 16, 16, 3), "float32", "image"),
               *(Tensor((4,), "int32", name, data=struct.pack("<4i", *values))
                 for name, values in (("first", (0, 0, 0, 0)), ("one", (1, 1, 1, 1)))),
               Tensor((1, 1, 1, 1), "float32", "red"), Tensor((1,), "int32", "flat", data=struct.pack("<i", 1)),
               Tensor((1,), "float32", "row"), Tensor((1,), "int32", "times"),
               Tensor((1,), "int32", "least", data=struct.pack("<i", 2)), Tensor((1,), "int32", "sum"),
               Tensor((1,), "float32", "grown")]
    return build(Graph(tensors, [
        Op("SLICE", (0, 1, 2), (3,), (66, [])), Op("RESHAPE", (3, 4), (5,), (17, [])),
        Op("CAST", (5,), (6,), (37, [])), Op("ADD", (6, 7), (8,), (11, [])), Op("TILE", (5, 8), (9,), (67, []))],
        (0,), (9,)))


def reshape_by_input() -> bytes:
    """Return a model that can be built but fails at invoke: its second input is the shape of the output."""
    return build(Graph([Tensor((4,), "int8", "x"), Tensor((2,), "int32", "shape"), Tensor((2, 2), "int8", "y")],
                       [Op("RESHAPE", (0, 1), (2,))], (0, 1), (2,)))


def custom(name: str) -> bytes:
    """Return a model with one custom operation of this name."""
    return build(Graph([Tensor((4,), "float32", "x"), Tensor((4,), "float32", "y")], [Op(name, (0,), (1,))],
                       (0,), (1,)))


def byte_vector(b: flatbuffers.Builder, content: bytes) -> int:
    return int(b.CreateByteVector(content))


def int32s(b: flatbuffers.Builder, values: tuple[int, ...]) -> int:
    return _vector(b, values, 4, b.PrependInt32)


def int64s(b: flatbuffers.Builder, values: tuple[int, ...]) -> int:
    return _vector(b, values, 8, b.PrependInt64)


def floats(b: flatbuffers.Builder, values: tuple[float, ...]) -> int:
    return _vector(b, values, 4, b.PrependFloat32)


def offsets(b: flatbuffers.Builder, values: list[int]) -> int:
    return _vector(b, values, 4, b.PrependUOffsetTRelative)


def _vector(b: flatbuffers.Builder, values: Sequence[float], size: int, prepend: Callable[[float], None]) -> int:
    b.StartVector(size, len(values), size)
    for value in reversed(values):
        prepend(value)
    return int(b.EndVector())


def _table(b: flatbuffers.Builder, references: dict[int, int],
           numbers: Sequence[tuple[int, str, float]] = ()) -> int:
    b.StartObject(12)
    for slot, offset in references.items():
        b.PrependUOffsetTRelativeSlot(slot, offset, 0)
    for slot, kind, value in numbers:
        getattr(b, _WRITERS[kind])(slot, value, 0)
    return int(b.EndObject())


def _tensor(b: flatbuffers.Builder, tensor: Tensor, buffer: int) -> int:
    references = {0: int32s(b, tensor.shape), 3: b.CreateString(tensor.name)}
    if tensor.scales:
        references[4] = _table(b, {2: floats(b, tensor.scales), 3: int64s(b, tensor.zero_points)})
    if tensor.signature:
        references[7] = int32s(b, tensor.signature)
    return _table(b, references, [(1, "int8", TYPES[tensor.dtype]), (2, "uint32", buffer)])


def _op(b: flatbuffers.Builder, op: Op, kind: int) -> int:
    union, fields = op.options
    references = {1: int32s(b, op.inputs), 2: int32s(b, op.outputs)}
    if union:
        references[4] = _table(b, {}, fields)
    if op.custom_options:
        references[5] = byte_vector(b, op.custom_options)
    return _table(b, references, [(0, "uint32", kind), (3, "int8", union)])


def _op_code(b: flatbuffers.Builder, name: str, version: int) -> int:
    code = OPERATORS.get(name, operators.CUSTOM)
    references = {1: b.CreateString(name)} if code == operators.CUSTOM else {}
    return _table(b, references, [(0, "int8", min(code, 127)), (2, "int32", version), (3, "int32", code)])
