"""Writes TFLite Metadata of an image model: what MediaPipe Tasks and the TFLite Task Library want to know of it.

Invariants: the graph, its weights and every other named buffer keep their bytes: the new ones stand in front of them.
Nothing is stated that changes with a release (name, version, thresholds), so a model that is packed again stays the
same. Slots and numbers are those of metadata_schema.fbs and of TFLite's schema.fbs; the names of the outputs are those
by which both libraries find them.
"""

from __future__ import annotations

from dataclasses import dataclass

from vedette.tflite.flatbuffer import Buffer, Malformed, Table
from vedette.tflite.flatbuffer_writer import Kept, Numbers, Scalar, Value, write
from vedette.tflite.metadata import BUFFER_NAME

LOCATION, CATEGORY, SCORE, COUNT = "location", "category", "score", "number of detections"
_IDENTIFIER, _MODEL_IDENTIFIER = b"M001", b"TFL3"
_PARSER_OF_GROUPS = "1.2.0"     # the first parser that knows groups of output tensors
_FEATURE, _IMAGE, _BOUNDING_BOX = 1, 2, 3           # in the union ContentProperties
_RGB, _BOUNDARIES, _RATIO = 1, 1, 0                 # in ColorSpaceType, BoundingBoxType and CoordinateType
_NORMALIZATION_OPTIONS = 1                          # in the union ProcessUnitOptions
_AXIS_LABELS, _VALUE_LABELS = 2, 3                  # in AssociatedFileType
_YXYX = (1, 0, 3, 2)                                # where xmin, ymin, xmax and ymax stand in a box of four numbers
_VERSION, _GRAPHS, _BUFFERS, _METADATA = 0, 2, 4, 6     # slots of the table Model
_KEPT = (1, _GRAPHS, 3, 5, 7)       # also the codes of operations, description, an old list of metadata, signatures
_EXTERNAL_BUFFERS = (8, 9)
_LARGE_OPTIONS_OFFSET = 9           # a slot of the table Operator


@dataclass(frozen=True, slots=True)
class Image:
    """An RGB input of `width` x `height` pixels, and its normalization; none where it takes the frame's bytes."""

    width: int
    height: int
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


def detector(image: Image, outputs: tuple[str, ...], label_file: str) -> bytes:
    """Return the metadata of a detector whose boxes are ymin, xmin, ymax, xmax in 0-1.

    `outputs` names the four outputs in the graph's order: `LOCATION`, `CATEGORY`, `SCORE` and `COUNT`.
    """
    described: dict[str, Value] = {
        LOCATION: _tensor(LOCATION, "The locations of the detected boxes.", _content(_BOUNDING_BOX, {
            0: Numbers("I", _YXYX), 1: Scalar("b", _BOUNDARIES), 2: Scalar("b", _RATIO)}, per_box=True)),
        CATEGORY: _tensor(CATEGORY, "The categories of the detected boxes.", _content(_FEATURE, {}, per_box=True),
                          _labels(label_file, _VALUE_LABELS)),
        SCORE: _tensor(SCORE, "The scores of the detected boxes.", _content(_FEATURE, {}, per_box=True)),
        COUNT: _tensor(COUNT, "The number of the detected boxes.", _content(_FEATURE, {}))}
    group: Value = {0: "detection_result", 1: (LOCATION, CATEGORY, SCORE)}
    return _model("ObjectDetector", "Finds things in a picture.", {
        2: (_image(image),), 3: tuple(described[name] for name in outputs), 8: (group,)}, _PARSER_OF_GROUPS)


def classifier(image: Image, label_file: str) -> bytes:
    """Return the metadata of a classifier with one output of probabilities."""
    score = _tensor("probability", "Probabilities of the labels.", _content(_FEATURE, {}),
                    _labels(label_file, _AXIS_LABELS))
    return _model("ImageClassifier", "Says what a picture shows.", {2: (_image(image),), 3: (score,)}, "1.0.0")


def with_metadata(flatbuffer: bytes, metadata: bytes) -> bytes:
    """Return the model with this metadata in place of any other, and everything else as it is.

    Raises: Malformed for a model that names bytes by their place in the file: these places would change.
    """
    root = Buffer(memoryview(flatbuffer)).root()
    buffers = root.targets(_BUFFERS)
    if _has_parts_outside(root):
        raise Malformed("it refers to bytes behind the flatbuffer; expected all of them inside")
    fields: dict[int, Value] = {slot: Kept(at) for slot in _KEPT if (at := root.target(slot)) is not None}
    fields[_VERSION] = Scalar("I", root.integer(_VERSION, "I"))
    fields[_BUFFERS] = (*map(Kept, buffers), {0: metadata})
    fields[_METADATA] = (*_others(root), {0: BUFFER_NAME, 1: Scalar("I", len(buffers))})
    return write(fields, _MODEL_IDENTIFIER, flatbuffer)


def graphs(flatbuffer: bytes) -> int:
    """Return how many graphs a model has. Raises: Malformed."""
    return len(Buffer(memoryview(flatbuffer)).root().targets(2))


def _has_parts_outside(root: Table) -> bool:
    """Whether weights or options of operations are found by their place in the file."""
    large_options = any(op.integer(_LARGE_OPTIONS_OFFSET, "Q") > 1
                        for graph in root.tables(_GRAPHS) for op in graph.tables(3))
    return large_options or any(table.integer(1, "Q") > 1 for table in root.tables(_BUFFERS)) or any(
        root.target(slot) is not None for slot in _EXTERNAL_BUFFERS)


def _others(root: Table) -> tuple[Kept, ...]:
    entries = zip(root.targets(_METADATA), root.tables(_METADATA), strict=True)
    return tuple(Kept(at) for at, entry in entries if entry.text(0) != BUFFER_NAME)


def _model(name: str, description: str, graph: Value, min_parser_version: str) -> bytes:
    return write({0: name, 1: description, 3: (graph,), 7: min_parser_version}, _IDENTIFIER)


def _image(image: Image) -> Value:
    size: Value = {0: Scalar("I", image.width), 1: Scalar("I", image.height)}
    normalization: Value = {0: Scalar("B", _NORMALIZATION_OPTIONS),
                            1: {0: Numbers("f", image.mean), 1: Numbers("f", image.std)}}
    tensor = {0: "image", 1: "The picture.", 3: _content(_IMAGE, {0: Scalar("b", _RGB), 1: size})}
    return tensor | ({4: (normalization,)} if image.mean else {})


def _tensor(name: str, description: str, content: Value, files: tuple[Value, ...] = ()) -> Value:
    fields: dict[int, Value] = {0: name, 1: description, 3: content}
    return fields | ({6: files} if files else {})


def _content(kind: int, properties: Value, *, per_box: bool = False) -> Value:
    # The range says that the second dimension of the tensor counts the boxes.
    fields: dict[int, Value] = {0: Scalar("B", kind), 1: properties}
    return fields | ({2: {0: Scalar("i", 2), 1: Scalar("i", 2)}} if per_box else {})


def _labels(name: str, kind: int) -> tuple[Value, ...]:
    return ({0: name, 1: "Labels of the classes.", 2: Scalar("b", kind)},)
