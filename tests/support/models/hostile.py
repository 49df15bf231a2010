"""Model files that cost their reader much more than they weigh: each is a sound model with one hostile part."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

from tests.support.models import tiny_detectors, writer
from vedette.tflite import appended_zip

MIB = 1 << 20


def labels_of_many_lines(model: bytes) -> bytes:
    """10 MiB of short lines, which compress well."""
    return writer.with_zip(model, {"labels.txt": b"a\n" * (5 * MIB)})


def an_expression(model: bytes) -> bytes:
    """An exporter's literal that is a very long sum."""
    return writer.with_zip(model, {"metadata.json": b"{'task':'detect','names':{0:" + b"1+" * (2 * MIB) + b"1}}"})


def deep_brackets(model: bytes) -> bytes:
    """An exporter's literal of brackets in brackets."""
    return writer.with_zip(model, {"temp_meta.txt": b"{'task':'detect','names':" + b"[" * MIB + b"]" * MIB + b"}"})


def a_list_of_numbers(model: bytes) -> bytes:
    """Millions of numbers in the bundle's settings."""
    return writer.with_zip(model, {"vedette.json": b'{"baseline":[' + b"1," * (5 * MIB) + b"1]}"})


def golden_frames_without_end(model: bytes) -> bytes:
    """Millions of empty lists where the expected detections stand."""
    return writer.with_zip(model, {"golden/expected.json": b'{"flatbuffer_sha256":"","frames":{"a":{"litert":['
                                   + b"[]," * (3 * MIB) + b"[]]}}}"})


def many_names(model: bytes) -> bytes:
    """An exporter's list of a million names."""
    return writer.with_zip(model, {"metadata.json": b'{"task":"detect","names":[' + b'"a",' * (3 * MIB) + b'"a"]}'})


def one_long_name(model: bytes) -> bytes:
    """An exporter's list whose only name is as long as a book."""
    return writer.with_zip(model, {"metadata.json": b'{"task":"detect","names":["' + b"a" * (10 * MIB) + b'"]}'})


def a_directory_of_many_entries(model: bytes, entries: int = 100_000, *, stated: int = 0xFFFF) -> bytes:
    """A ZIP whose directory never ends; its end record states `stated` entries."""
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\x01\x02", 20, 3, 20, 0, 0, 0, 0, 33, 0, 0, 0, 1, 0, 0, 0, 0, 0,
                        len(model)) + b"a"
    local = struct.pack("<4s2B4HL2L2H", b"PK\x03\x04", 20, 0, 0, 0, 0, 33, 0, 0, 0, 1, 0) + b"a"
    directory = entry * entries
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, stated, stated, len(directory), len(model) + len(local), 0)
    return model + local + directory + end


def a_zip_that_unpacks_for_ever(model: bytes) -> bytes:
    """A thousand entries that share one packed stream of nothing: it is read a thousand times."""
    stream = b"\x00\x00\x00\xff\xff" * MIB + b"\x01\x00\x00\xff\xff"
    local = struct.pack("<4s2B4HL2L2H", b"PK\x03\x04", 20, 0, 0, 8, 0, 33, 0, len(stream), 0, 1, 0) + b"a" + stream
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\x01\x02", 20, 3, 20, 0, 0, 8, 0, 33, 0, len(stream), 0, 1, 0, 0, 0, 0, 0,
                        len(model)) + b"a"
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1000, 1000, 1000 * len(entry), len(model) + len(local), 0)
    return model + local + 1000 * entry + end


def padding(model: bytes, size: int = 65 * MIB) -> bytes:
    """Zeros behind the model."""
    return model + bytes(size)


def padding_inside_the_zip(model: bytes, size: int = 65 * MIB) -> bytes:
    """Zeros between the entries and the directory of the ZIP."""
    whole = io.BytesIO(model)
    whole.seek(0, 2)
    with zipfile.ZipFile(whole, "a") as archive:
        archive.writestr("more.txt", b"cat\n")
        archive.fp.write(bytes(size))       # type: ignore[union-attr]
        archive.start_dir = whole.tell()
    return whole.getvalue()


def a_tensor_of_many_axes(_: bytes) -> bytes:
    """A shape of millions of numbers."""
    return writer.build(writer.Graph([writer.Tensor((1,) * MIB, "int8", "x")], [], (0,), (0,)))


def many_tensors(_: bytes) -> bytes:
    """As many tensors as a small file can name: all entries of the list point to the same one."""
    small = bytearray(writer.identity())
    root = struct.unpack_from("<I", small)[0]
    graphs = _vector(small, root, 2)
    graph = graphs + 4 + struct.unpack_from("<I", small, graphs + 4)[0]
    count, at = MIB, len(small) + -len(small) % 4
    small += bytes(at - len(small))
    field = _field(small, graph, 0)
    struct.pack_into("<I", small, field, at - field)
    small += struct.pack("<I", count)
    end = at + 4 + 4 * count + -(at + 4 + 4 * count) % 8
    table = end + 8     # a table without fields, whose vtable lies before it
    small += b"".join(struct.pack("<I", table - (at + 4 + 4 * index)) for index in range(count))
    small += bytes(end - len(small)) + struct.pack("<HHHH", 4, 4, 0, 0) + struct.pack("<i", 8) + bytes(4)
    return bytes(small)


def _field(content: bytearray, table: int, slot: int) -> int:
    vtable = table - struct.unpack_from("<i", content, table)[0]
    return int(table + struct.unpack_from("<H", content, vtable + 4 + 2 * slot)[0])


def _vector(content: bytearray, table: int, slot: int) -> int:
    at = _field(content, table, slot)
    return int(at + struct.unpack_from("<I", content, at)[0])


HOSTILE: dict[str, Callable[[bytes], bytes]] = {each.__name__: each for each in (
    labels_of_many_lines, an_expression, deep_brackets, a_list_of_numbers, golden_frames_without_end, many_names,
    one_long_name, a_directory_of_many_entries, a_zip_that_unpacks_for_ever, padding, padding_inside_the_zip,
    a_tensor_of_many_axes, many_tensors)}


def write(folder: Path, name: str) -> Path:
    """Write the hostile file of that name; returns its path."""
    content = tiny_detectors.write(folder).read_bytes()
    model = content[:appended_zip.split(content)[0]]
    path = folder / f"{name}.tflite"
    path.write_bytes(HOSTILE[name](model))
    return path
