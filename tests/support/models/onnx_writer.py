"""Builds small real ONNX files by hand, without the onnx package. The field numbers are those of onnx.proto."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import numpy as np

Attribute = int | float | str | Sequence[int] | bytes
"""Bytes are a graph."""
FLOAT, UINT8, INT8, INT32, INT64, STRING, BOOL, FLOAT16, DOUBLE = 1, 2, 3, 6, 7, 8, 9, 10, 11
_NUMPY = {np.dtype("float32"): FLOAT, np.dtype("uint8"): UINT8, np.dtype("int8"): INT8, np.dtype("int32"): INT32,
          np.dtype("int64"): INT64, np.dtype("bool"): BOOL, np.dtype("float16"): FLOAT16, np.dtype("float64"): DOUBLE}


def node(op: str, inputs: Sequence[str], outputs: Sequence[str], *, name: str = "", domain: str = "", source: str = "",
         **attributes: Attribute) -> bytes:
    """Return one operation. `source` is a stack trace, as exporters of PyTorch write it."""
    notes = _part(9, _text(1, "pkg.torch.onnx.stack_trace") + _text(2, source)) if source else b""
    return (b"".join(_text(1, item) for item in inputs) + b"".join(_text(2, item) for item in outputs)
            + _text(3, name or f"/{op}") + _text(4, op) + _text(7, domain) + notes
            + b"".join(_part(5, _attribute(key, value)) for key, value in attributes.items()))


def value(name: str, shape: Sequence[int | str] | None, dtype: int = FLOAT) -> bytes:
    """Return the description of a tensor. A size that is a text is not fixed."""
    sizes = b"" if shape is None else _part(2, b"".join(
        _part(1, _number(1, size) if isinstance(size, int) else _text(2, size)) for size in shape))
    return _text(1, name) + _part(2, _part(1, _number(1, dtype) + sizes))


def graph(nodes: Sequence[bytes], inputs: Sequence[bytes], outputs: Sequence[bytes], *,
          constants: Mapping[str, np.ndarray] | None = None, values: Sequence[bytes] = ()) -> bytes:
    """Return a graph: the whole network's, or a branch's."""
    weights = b"".join(_part(5, _tensor(name, array)) for name, array in (constants or {}).items())
    return (b"".join(_part(1, item) for item in nodes) + _text(2, "main") + weights
            + b"".join(_part(11, item) for item in inputs) + b"".join(_part(12, item) for item in outputs)
            + b"".join(_part(13, item) for item in values))


def function(name: str, domain: str, nodes: Sequence[bytes]) -> bytes:
    """Return a function that a file defines, of one input `x` and one output `y`."""
    return (_text(1, name) + _text(4, "x") + _text(5, "y") + b"".join(_part(7, item) for item in nodes)
            + _text(10, domain))


def model(content: bytes, opset: int = 17, domains: Sequence[str] = (), functions: Sequence[bytes] = ()) -> bytes:
    """Return the bytes of an ONNX file with this graph."""
    sets = b"".join(_part(8, _text(1, domain) + _number(2, 1)) for domain in domains)
    return (_number(1, 8) + _text(2, "made by a test") + _part(7, content) + _part(8, _number(2, opset)) + sets
            + b"".join(_part(25, item) for item in functions))


def _tensor(name: str, array: np.ndarray) -> bytes:
    return (b"".join(_number(1, size) for size in array.shape) + _number(2, _NUMPY[array.dtype]) + _text(8, name)
            + _part(9, array.tobytes()))


def _attribute(name: str, item: Attribute) -> bytes:
    if isinstance(item, float):
        return _text(1, name) + _key(2, 5) + struct.pack("<f", item) + _number(20, 1)
    if isinstance(item, int):
        return _text(1, name) + _number(3, item) + _number(20, 2)
    if isinstance(item, str):
        return _text(1, name) + _text(4, item) + _number(20, 3)
    if isinstance(item, bytes):
        return _text(1, name) + _part(6, item) + _number(20, 5)
    return _text(1, name) + b"".join(_number(8, number) for number in item) + _number(20, 7)


def _text(field: int, text: str) -> bytes:
    return _part(field, text.encode()) if text else b""


def _part(field: int, content: bytes) -> bytes:
    return _key(field, 2) + _varint(len(content)) + content


def _number(field: int, number: int) -> bytes:
    return _key(field, 0) + _varint(number % (1 << 64))


def _key(field: int, kind: int) -> bytes:
    return _varint(field << 3 | kind)


def _varint(number: int) -> bytes:
    head = bytearray()
    while number > 0x7f:
        head.append(number & 0x7f | 0x80)
        number >>= 7
    return bytes((*head, number))
