"""Reads what a `.tflite` file says about itself, without any runtime.

Invariants:
- Any bytes yield a `ModelFile`, `ModelUnreadable` or `ModelUnsupported`: no crash, no hang, bounded memory.
- Reading takes less than 100 MB and 5 s, whatever the bytes are. The file is short, and so is what nothing refers to.
- A file that is cut off anywhere is refused: every buffer of weights must lie completely inside the file.
- The values are only claims of the file. `vision.probe` proves in a child process that the model runs.

The slot numbers are those of TFLite's schema.fbs (version 3).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from vedette._lib.whole_file import check_regular, read_whole
from vedette.errors import ModelDamaged, ModelUnreadable, ModelUnsupported
from vedette.tflite import appended_zip, constants, metadata
from vedette.tflite.flatbuffer import Buffer, Malformed, Table
from vedette.tflite.metadata import TfliteMetadata
from vedette.tflite.model_errors import model_errors_only
from vedette.tflite.operators import CUSTOM, operator_name, type_name
from vedette.tflite.tensors import TensorSpec

if TYPE_CHECKING:
    from pathlib import Path

FILE_BYTES_MAX = 64 << 20
"""The daemon and its child each hold the file twice, as bytes and as packed weights, and the unit has 512 MB."""
PADDING_BYTES_MAX = 64 << 10
DIMENSIONS_MAX = 16
DETECTION_POSTPROCESS = "TFLite_Detection_PostProcess"
_IDENTIFIER = b"TFL3"
_PAGE = "a web page (HTML), perhaps an error page saved instead of the download"
_OTHER_KINDS = {
    b"<!doctype": _PAGE, b"<html": _PAGE, b"<?xml": _PAGE, b"<head": _PAGE,
    b"version https://git-lfs": "a Git LFS pointer, not the file itself",
    b"pk\x03\x04": "a ZIP archive, as PyTorch and Keras write", b"\x89hdf": "an HDF5 file, as Keras writes",
    b"\x1f\x8b": "a gzip archive", b"\xff\xd8\xff": "a JPEG picture", b"\x89png": "a PNG picture",
}
"""What people give in place of a model, by the first bytes in lower case."""
_ZIP_ENTRY = b"PK\x03\x04"


@dataclass(frozen=True, slots=True)
class OpSpec:
    """One operation. `inputs` and `outputs` are indices of the graph's tensors (-1: an optional one is left out)."""

    name: str
    custom: bool
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModelFile:
    """What a model file says about itself: its first graph, its metadata and its attachments.

    `flatbuffer_sha256` does not include an appended ZIP. `metadata` holds the named buffers of the flatbuffer,
    `attachments` the files of the appended ZIP. `constants` has the values of the smallest constants by tensor index.
    `tensors` are all tensors of the graph; weights quantised per channel have scale 0.0.
    """

    path: Path
    sha256: str
    flatbuffer_sha256: str
    size: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    tensors: tuple[TensorSpec, ...]
    ops: tuple[OpSpec, ...]
    description: str
    metadata: Mapping[str, bytes]
    attachments: Mapping[str, bytes]
    tflite_metadata: TfliteMetadata | None
    constants: Mapping[int, tuple[float, ...]] = field(default_factory=dict)


class DigestedFile(NamedTuple):
    """A file of which only the digest is known."""

    path: Path
    sha256: str


def digest(path: Path, expected: str | None = None) -> DigestedFile:
    """Return the digest of a file, which nothing parses. Raises: ModelUnreadable, ModelDamaged (not as `expected`)."""
    try:
        check_regular(path, FILE_BYTES_MAX)
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error
    _check_digest(path, sha256, expected)
    return DigestedFile(path, sha256)


def read_model(path: Path, *, sha256: str | None = None, pictures: bool = True) -> ModelFile:
    """Read and check a model file. Without `pictures`, the PNG files of its ZIP are empty: they need much memory.

    Raises: ModelUnreadable (missing, empty, cut off, not a TFLite model), ModelUnsupported (custom operations),
    ModelDamaged (another digest than `sha256`).
    """
    content = read_bytes(path)
    file = DigestedFile(path, hashlib.sha256(content).hexdigest())
    _check_digest(*file, sha256)
    with model_errors_only(path):
        try:
            return _parse(file, content, pictures=pictures)
        except Malformed as error:
            raise ModelUnreadable(f"{path}: cut off or damaged: {error}") from error
        except ModelUnreadable as error:
            raise ModelUnreadable(f"{path}: {error}") from error


def read_bytes(path: Path) -> bytes:
    """Return the whole file. Raises: ModelUnreadable when it is missing, empty, too large or not a regular file."""
    try:
        return read_whole(path, FILE_BYTES_MAX)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> ModelUnreadable:
    return ModelUnreadable(f"{path}: {error.strerror}; expected a .tflite file")


def _check_digest(path: Path, sha256: str, expected: str | None) -> None:
    if expected not in (None, sha256):
        raise ModelDamaged(f"{path}: has SHA-256 {sha256}; expected SHA-256 {expected}")


def _parse(file: DigestedFile, content: bytes, *, pictures: bool) -> ModelFile:
    check_identifier(content)
    zip_start, attachments = appended_zip.split(content, pictures=pictures)
    flat = Buffer(memoryview(content)[:zip_start])
    root = flat.root()
    if (version := root.integer(0, "I")) != 3:
        raise Malformed(f"schema version {version}, expected 3")
    buffers = tuple(_buffer(table, flat) for table in root.tables(4))
    graph = next(root.tables(2), None)
    if graph is None:
        raise Malformed("it has no graph; expected at least one")
    tables = tuple(graph.tables(0))
    tensors = tuple(_tensor(index, table) for index, table in enumerate(tables))
    ops = _ops(root, graph, len(tensors))
    attached = _metadata(root, buffers)
    model = ModelFile(
        path=file.path, sha256=file.sha256, size=len(content),
        flatbuffer_sha256=hashlib.sha256(flat.content).hexdigest(),
        inputs=_pick(graph.integers(1), tensors), outputs=_pick(graph.integers(2), tensors), tensors=tensors, ops=ops,
        description=root.text(3), metadata=MappingProxyType(attached), attachments=MappingProxyType(attachments),
        tflite_metadata=_tflite_metadata(attached),
        constants=MappingProxyType(constants.read(zip(tensors, tables, strict=True), buffers)))
    _check_whole(content, flat.reach, zip_start)
    _check_custom(file.path, ops)
    return model


def check_identifier(content: bytes) -> None:
    """Refuse what is not a TFLite file by its first bytes, and name what it is instead. Raises: ModelUnreadable."""
    if content[4:8] == _IDENTIFIER:
        return
    start = content[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not content:
        seen = "the file is empty"
    elif kind := next((kind for prefix, kind in _OTHER_KINDS.items() if start.startswith(prefix)), None):
        seen = kind
    elif len(content) < 8:
        seen = f"only {len(content)} bytes"
    else:
        seen = f"bytes 4-8 are {content[4:8]!r}"
    raise ModelUnreadable(f"not a TFLite model: {seen}; expected {_IDENTIFIER!r} at byte 4")


def _check_whole(content: bytes, reach: int, zip_start: int) -> None:
    rest = content[reach:reach + PADDING_BYTES_MAX].lstrip(b"\0")
    if zip_start == len(content) and rest and _ZIP_ENTRY.startswith(rest[:len(_ZIP_ENTRY)]):
        raise ModelUnreadable("cut off inside the ZIP appended to the model")
    if zip_start - reach > PADDING_BYTES_MAX:
        raise ModelUnreadable(f"{zip_start - reach:,} bytes after the model that nothing refers to; expected at most "
                              f"{PADDING_BYTES_MAX:,}")


def _check_custom(path: Path, ops: Iterable[OpSpec]) -> None:
    unknown = sorted({op.name for op in ops if op.custom} - {DETECTION_POSTPROCESS})
    if not unknown:
        return
    flex = any(name.startswith("Flex") for name in unknown)
    advice = "export it without Select TF ops" if flex else f"the only supported one is {DETECTION_POSTPROCESS}"
    raise ModelUnsupported(f"{path}: no runtime has the custom operations {', '.join(unknown)}; {advice}")


def _buffer(table: Table, flat: Buffer) -> Table:
    table.bytes_view(0)     # checks that it lies inside the file; copies nothing
    offset, length = table.integer(1, "Q"), table.integer(2, "Q")
    if offset > 1:
        size = len(flat.content)
        if offset + length > size:
            raise Malformed(f"weights at byte {offset} end {offset + length - size} bytes past the end ({size})")
        flat.check(offset, length)
    return table


def _tensor(index: int, table: Table) -> TensorSpec:
    quantization = table.table(4)
    scales = quantization.numbers(2, "f") if quantization else ()
    zero_points = quantization.integers(3, "q") if quantization else ()
    if not all(math.isfinite(scale) and scale >= 0.0 for scale in scales):
        raise Malformed(f"tensor {index} has quantization scales {min(scales)} to {max(scales)}")
    per_tensor, shape = len(scales) == 1, table.integers(0)
    if len(shape) > DIMENSIONS_MAX:
        raise Malformed(f"tensor {index} has {len(shape)} dimensions; expected at most {DIMENSIONS_MAX}")
    return TensorSpec(name=table.text(3), index=index, shape=shape, dtype=type_name(table.integer(1, "b")),
                      scale=scales[0] if per_tensor else 0.0,
                      zero_point=zero_points[0] if per_tensor and zero_points else 0)


def _ops(root: Table, graph: Table, tensors: int) -> tuple[OpSpec, ...]:
    codes = tuple(map(_op_code, root.tables(1)))
    return tuple(_op(table, codes, tensors) for table in graph.tables(3))


def _op_code(table: Table) -> tuple[str, bool]:
    # A code above 127 does not fit the old field, which then holds 127. So the larger of the two fields is the code.
    code = max(table.integer(0, "b"), table.integer(3, "i"))
    return (table.text(1) or "unnamed", True) if code == CUSTOM else (operator_name(code), False)


def _op(table: Table, codes: tuple[tuple[str, bool], ...], tensors: int) -> OpSpec:
    code = table.integer(0, "I")
    if code >= len(codes):
        raise Malformed(f"an operation has code index {code}; expected less than {len(codes)}")
    name, custom = codes[code]
    inputs, outputs = table.integers(1), table.integers(2)
    if any(not -1 <= index < tensors for index in inputs + outputs):
        raise Malformed(f"{name} uses a tensor that does not exist; the graph has {tensors}")
    return OpSpec(name, custom, inputs, outputs)


def _pick(indices: tuple[int, ...], tensors: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    if any(not 0 <= index < len(tensors) for index in indices):
        raise Malformed(f"an input or output is tensor {max(indices)}; the graph has {len(tensors)}")
    return tuple(tensors[index] for index in indices)


def _metadata(root: Table, buffers: tuple[Table, ...]) -> dict[str, bytes]:
    found = {}
    for entry in root.tables(6):
        index = entry.integer(1, "I")
        if index >= len(buffers):
            raise Malformed(f"metadata {entry.text(0)!r} is in buffer {index}; the file has {len(buffers)}")
        found[entry.text(0)] = buffers[index].bytes_copy(0)
    return found


def _tflite_metadata(attached: Mapping[str, bytes]) -> TfliteMetadata | None:
    content = attached.get(metadata.BUFFER_NAME)
    return metadata.parse(content) if content else None
