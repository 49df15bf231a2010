"""An INT8 model with `uint8` at its ends gives the same results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.models import writer
from vedette.tflite.file import read_model
from vedette.vision.interpreter import Interpreter

pytest.importorskip("ai_edge_litert", reason="its schema is LiteRT's")
from vedette.workshop import graph as graphs
from vedette.workshop.uint8 import with_uint8


def run(path: Path, image: np.ndarray) -> np.ndarray:
    interpreter = Interpreter(path)
    interpreter.input()[...] = image
    interpreter.invoke()
    found = np.array(interpreter.output())
    interpreter.close()
    return found


def test_it_is_the_same_model_with_other_integers(tmp_path: Path) -> None:
    """Every integer at its ends is larger by 128, and the signature names the same inputs and outputs."""
    graph = graphs.read(writer.convolution())
    graph.add_signature()
    plain, made = tmp_path / "int8.tflite", tmp_path / "uint8.tflite"
    plain.write_bytes(graphs.write(graph))
    made.write_bytes(with_uint8(plain.read_bytes()))
    before, after = read_model(plain), read_model(made)
    for old, new in ((before.inputs[0], after.inputs[0]), (before.outputs[0], after.outputs[0])):
        assert (old.dtype, new.dtype, new.shape) == ("int8", "uint8", old.shape)
        assert (new.scale, new.zero_point) == (old.scale, old.zero_point + 128)
    picture = np.random.default_rng(14).integers(0, 256, before.inputs[0].shape).astype(np.uint8)
    signed = (picture.astype(np.int16) - 128).astype(np.int8)
    np.testing.assert_array_equal(run(made, picture), (run(plain, signed).astype(np.int16) + 128).astype(np.uint8))
    assert names(made, after.inputs[0].index) == names(plain, before.inputs[0].index)


def names(path: Path, image: int) -> list[str]:
    """The names in the signature, which must lead to that input."""
    signature, = graphs.read(path.read_bytes()).model.signatureDefs
    assert signature.inputs[0].tensorIndex == image
    return [entry.name.decode() for entry in (*signature.inputs, *signature.outputs)]


def test_what_is_float_stays_float(tmp_path: Path) -> None:
    """A float end gets no operation."""
    path = tmp_path / "float.tflite"
    path.write_bytes(with_uint8(writer.dynamic_output()))
    assert [op.name for op in read_model(path).ops] == ["MEAN", "ADD", "RESHAPE", "SOFTMAX"]
