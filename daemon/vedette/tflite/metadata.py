"""Reads TFLite Metadata: what a model's maker wrote about its tensors, in the buffer named `TFLITE_METADATA`.

Invariants: pure; any bytes yield a value or `Malformed`. The slot numbers are those of metadata_schema.fbs (TFLite
Support; MediaPipe Tasks added custom metadata).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from vedette.tflite.flatbuffer import Buffer, Malformed, Table

BUFFER_NAME = "TFLITE_METADATA"
READ_BYTES_MAX = 4 << 20
_IDENTIFIER = b"M001"
_NORMALIZATION_OPTIONS = 1      # in the union ProcessUnitOptions
_AXIS_LABELS, _VALUE_LABELS = 2, 3      # in the enum AssociatedFileType


@dataclass(frozen=True, slots=True)
class TensorMetadata:
    """One input or output. `mean` and `std` (one number, or one per channel) are empty when the file states none.

    `label_files` names attachments whose lines are the labels of this tensor's axis or values.
    """

    name: str
    description: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    label_files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TfliteMetadata:
    """The metadata of a model and of its first graph's tensors, in the graph's order.

    `custom` holds MediaPipe's own buffers by name, for example `DETECTOR_METADATA`.
    """

    name: str
    description: str
    version: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]
    custom: Mapping[str, bytes]


def parse(content: bytes) -> TfliteMetadata:
    """Read the buffer. Raises: Malformed."""
    if content[4:8] != _IDENTIFIER:
        raise Malformed(f"the metadata buffer has the identifier {content[4:8]!r}; expected {_IDENTIFIER!r}")
    root = Buffer(memoryview(content), READ_BYTES_MAX).root()
    graph = next(root.tables(3), None)
    return TfliteMetadata(
        name=root.text(0), description=root.text(1), version=root.text(2),
        inputs=tuple(map(_tensor, graph.tables(2))) if graph else (),
        outputs=tuple(map(_tensor, graph.tables(3))) if graph else (),
        custom=MappingProxyType({entry.text(0): entry.bytes_copy(1) for entry in graph.tables(9)} if graph else {}))


def _tensor(table: Table) -> TensorMetadata:
    mean, std = _normalization(table)
    labels = (file.text(0) for file in table.tables(6) if file.integer(2, "b") in {_AXIS_LABELS, _VALUE_LABELS})
    return TensorMetadata(name=table.text(0), description=table.text(1), mean=mean, std=std, label_files=tuple(labels))


def _normalization(table: Table) -> tuple[tuple[float, ...], tuple[float, ...]]:
    for unit in table.tables(4):
        if unit.integer(0, "B") == _NORMALIZATION_OPTIONS and (options := unit.table(1)):
            return options.numbers(0, "f"), options.numbers(1, "f")
    return (), ()
