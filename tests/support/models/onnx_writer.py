"""Builds small real ONNX files by hand, without the onnx package. The field numbers are those of onnx.proto."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import numpy as np

from tests.support.models import protobuf as pb

Attribute = int | float | str | Sequence[int] | bytes
"""Bytes are a graph."""
FLOAT, UINT8, INT8, INT32, INT64, STRING, BOOL, FLOAT16, DOUBLE = 1, 2, 3, 6, 7, 8, 9, 10, 11
_NUMPY = {np.dtype("float32"): FLOAT, np.dtype("uint8"): UINT8, np.dtype("int8"): INT8, np.dtype("int32"): INT32,
          np.dtype("int64"): INT64, np.dtype("bool"): BOOL, np.dtype("float16"): FLOAT16, np.dtype("float64"): DOUBLE}


def node(op: str, inputs: Sequence[str], outputs: Sequence[str], *, name: str = "", domain: str = "", source: str = "",
         **attributes: Attribute) -> bytes:
    """Return one operation. `source` is a stack trace, as exporters of PyTorch write it."""
    notes = pb.part(9, pb.text(1, "pkg.torch.onnx.stack_trace") + pb.text(2, source)) if source else b""
    return (b"".join(pb.text(1, item) for item in inputs) + b"".join(pb.text(2, item) for item in outputs)
            + pb.text(3, name or f"/{op}") + pb.text(4, op) + pb.text(7, domain) + notes
            + b"".join(pb.part(5, _attribute(key, value)) for key, value in attributes.items()))


def value(name: str, shape: Sequence[int | str] | None, dtype: int = FLOAT) -> bytes:
    """Return the description of a tensor. A size that is a text is not fixed."""
    sizes = b"" if shape is None else pb.part(2, b"".join(
        pb.part(1, pb.number(1, size) if isinstance(size, int) else pb.text(2, size)) for size in shape))
    return pb.text(1, name) + pb.part(2, pb.part(1, pb.number(1, dtype) + sizes))


def graph(nodes: Sequence[bytes], inputs: Sequence[bytes], outputs: Sequence[bytes], *,
          constants: Mapping[str, np.ndarray] | None = None, values: Sequence[bytes] = ()) -> bytes:
    """Return a graph: the whole network's, or a branch's."""
    weights = b"".join(pb.part(5, _tensor(name, array)) for name, array in (constants or {}).items())
    return (b"".join(pb.part(1, item) for item in nodes) + pb.text(2, "main") + weights
            + b"".join(pb.part(11, item) for item in inputs) + b"".join(pb.part(12, item) for item in outputs)
            + b"".join(pb.part(13, item) for item in values))


def function(name: str, domain: str, nodes: Sequence[bytes]) -> bytes:
    """Return a function that a file defines, of one input `x` and one output `y`."""
    return (pb.text(1, name) + pb.text(4, "x") + pb.text(5, "y") + b"".join(pb.part(7, item) for item in nodes)
            + pb.text(10, domain))


def model(content: bytes, opset: int = 17, domains: Sequence[str] = (), functions: Sequence[bytes] = ()) -> bytes:
    """Return the bytes of an ONNX file with this graph."""
    sets = b"".join(pb.part(8, pb.text(1, domain) + pb.number(2, 1)) for domain in domains)
    return (pb.number(1, 8) + pb.text(2, "made by a test") + pb.part(7, content) + pb.part(8, pb.number(2, opset))
            + sets + b"".join(pb.part(25, item) for item in functions))


def _tensor(name: str, array: np.ndarray) -> bytes:
    return (b"".join(pb.number(1, size) for size in array.shape) + pb.number(2, _NUMPY[array.dtype]) + pb.text(8, name)
            + pb.part(9, array.tobytes()))


def _attribute(name: str, item: Attribute) -> bytes:
    if isinstance(item, float):
        return pb.text(1, name) + pb.key(2, 5) + struct.pack("<f", item) + pb.number(20, 1)
    if isinstance(item, int):
        return pb.text(1, name) + pb.number(3, item) + pb.number(20, 2)
    if isinstance(item, str):
        return pb.text(1, name) + pb.text(4, item) + pb.number(20, 3)
    if isinstance(item, bytes):
        return pb.text(1, name) + pb.part(6, item) + pb.number(20, 5)
    return pb.text(1, name) + b"".join(pb.number(8, number) for number in item) + pb.number(20, 7)
