"""In which numbers a graph calculates, as people call it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.models import writer
from vedette.detect.box_model import BOX_MODEL
from vedette.tflite.arithmetic import arithmetic_of
from vedette.tflite.file import read_model


def layers(*kinds: tuple[str, str, str]) -> bytes:
    """A graph of fully connected layers, each with the types of its stored weights, its weights and its output."""
    tensors, ops = [writer.Tensor((1, 4), "float32", "x")], []
    for stored, used, output in kinds:
        first = len(tensors)
        tensors += [writer.Tensor((4, 4), stored, "stored", data=bytes(64)), writer.Tensor((4, 4), used, "weights"),
                    writer.Tensor((1, 4), output, "y", (0.1,), (0,))]
        if stored != used:
            ops.append(writer.Op("DEQUANTIZE", (first,), (first + 1,)))
        ops.append(writer.Op("FULLY_CONNECTED", (0, first + (stored != used)), (first + 2,)))
    return writer.build(writer.Graph(tensors, ops, (0,), (len(tensors) - 1,)))


@pytest.mark.parametrize(("kinds", "name"), [
    ([("float32", "float32", "float32")], "float32"), ([("float16", "float32", "float32")], "float16"),
    ([("int8", "float32", "float32")], "weight-only"), ([("int8", "int8", "float32")], "dynamic-range"),
    ([("int8", "int8", "int8")], "INT8"), ([("uint8", "uint8", "uint8")], "INT8"),
    ([("int8", "int8", "int16")], "INT16"), ([], ""),
    ([("float32", "float32", "float32"), *[("int8", "int8", "int8")] * 2], "INT8 + float32")])
def test_the_type_is_named(tmp_path: Path, kinds: list[tuple[str, str, str]], name: str) -> None:
    """Each way to quantize has its name; a mixed graph has all of its names, the most frequent one first."""
    path = tmp_path / "model.tflite"
    path.write_bytes(layers(*kinds))
    assert arithmetic_of(read_model(path)) == name


def test_the_model_in_the_box_is_int8() -> None:
    """All layers of a real INT8 model count as such."""
    assert arithmetic_of(read_model(BOX_MODEL)) == "INT8"
