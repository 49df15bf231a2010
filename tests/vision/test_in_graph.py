"""What a graph's first operations show of its input."""

import struct
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.models.writer import Graph, Op, Tensor, build, with_zip
from tests.support.truth.decoder_references import model
from vedette.config.models import DetectorConfig
from vedette.tflite.file import OpSpec, read_model
from vedette.tflite.tensors import TensorSpec
from vedette.vision.images import frame_of
from vedette.vision.in_graph import expected_input
from vedette.vision.model_spec import resolve
from vedette.vision.normalization import BYTES, MINUS_ONE_TO_ONE, ZERO_TO_ONE, Normalization
from vedette.vision.open import open_detector

_OPTIONS = {"MUL": 21, "ADD": 11, "SUB": 28, "DIV": 29, "CAST": 37}
Step = tuple[str, Sequence[float], bool]
"""An operation, its constant, and whether the constant comes first."""


def write(folder: Path, *steps: Step, spread: float = 10.0) -> Path:
    """Write a classifier of the mean colour, whose graph begins with these operations on its float input."""
    tensors = [Tensor((1, 32, 32, 3), "float32", "image")]
    ops: list[Op] = []
    for name, constant, first in steps:
        at, here = ops[-1].outputs[0] if ops else 0, len(tensors)
        packed = struct.pack(f"<{len(constant)}f", *constant)
        tensors += [Tensor((len(constant),), "float32", "constant", data=packed),
                    Tensor((1, 32, 32, 3), "float32", "changed")]
        ops.append(Op(name, (here, at) if first else (at, here), (here + 1,), (_OPTIONS.get(name, 0), [])))
    at, here = ops[-1].outputs[0] if ops else 0, len(tensors)
    tensors += [Tensor((2,), "int32", "axes", data=struct.pack("<2i", 1, 2)), Tensor((1, 3), "float32", "mean"),
                Tensor((1,), "float32", "spread", data=struct.pack("<f", spread)), Tensor((1, 3), "float32", "logits"),
                Tensor((1, 3), "float32", "shares")]
    ops += [Op("MEAN", (at, here), (here + 1,), (27, [])),
            Op("MUL", (here + 1, here + 2), (here + 3,), (21, [])),
            Op("SOFTMAX", (here + 3,), (here + 4,), (9, [(0, "float32", 1.0)]))]
    path = folder / "colours.tflite"
    path.write_bytes(with_zip(build(Graph(tensors, ops, (0,), (here + 4,))), {"labels.txt": b"red\ngreen\nblue\n"}))
    return path


@pytest.mark.parametrize(("steps", "expected"), [
    ([("MUL", [1 / 255], False)], BYTES),                                               # Rescaling(1/255)
    ([("MUL", [1 / 127.5], False), ("ADD", [-1.0], False)], BYTES),                     # Rescaling(1/127.5, -1)
    ([("DIV", [255.0], False)], BYTES),
    ([("MUL", [1 / 255], True), ("SUB", [0.485, 0.456, 0.406], False), ("DIV", [0.229, 0.224, 0.225], False)], BYTES),
    ([("SUB", [123.675, 116.28, 103.53], False), ("MUL", [0.0171, 0.0175, 0.0174], False)], BYTES),   # Normalization
    ([("SUB", [123.68, 116.779, 103.939], False)], BYTES),                              # caffe's way
    ([("SUB", [127.5], False), ("DIV", [127.5], False)], BYTES),
    ([("MUL", [2.0], False), ("SUB", [1.0], False)], ZERO_TO_ONE),
    ([("SUB", [0.485, 0.456, 0.406], False), ("DIV", [0.229, 0.224, 0.225], False)], ZERO_TO_ONE),
    ([("SUB", [255.0], True), ("MUL", [1 / 255], False)], BYTES),                       # inverted
    ([("MUL", [255.0], False)], ZERO_TO_ONE),
    ([("MUL", [255.0], False), ("SUB", [123.68, 116.779, 103.939], False)], ZERO_TO_ONE),
    ([("SUB", [123.68, 116.779, 103.939], False), ("REVERSE_V2", [], False)], BYTES),
    ([("STRIDED_SLICE", [], False), ("SUB", [103.939, 116.779, 123.68], False)], BYTES),               # to BGR first
    ([("MUL", [3.0], False)], MINUS_ONE_TO_ONE), ([("ADD", [0.1], False)], MINUS_ONE_TO_ONE),
    ([], MINUS_ONE_TO_ONE)], ids=str)
def test_the_first_operations(steps: list[Step], expected: Normalization, tmp_path: Path) -> None:
    """A division by 255 or a mean of bytes wants bytes; a mean within 0-1 wants 0-1; anything else shows nothing."""
    found = resolve(read_model(write(tmp_path, *steps)), DetectorConfig())
    assert found.normalization == expected
    assumed = any("nothing states how to normalize" in warning for warning in found.warnings)
    assert assumed == (expected == MINUS_ONE_TO_ONE)


@pytest.mark.parametrize(("scale", "zero_point", "expected"), [
    (1.0, -128, BYTES), (1 / 255, -128, ZERO_TO_ONE), (2 / 255, 0, MINUS_ONE_TO_ONE), (4.75 / 255, -14, None)])
def test_a_quantization_of_the_input_itself(scale: float, zero_point: int, expected: Normalization | None) -> None:
    """An INT8 model with a float input shows by its first scale what that input is, if the scale is a usual one."""
    tensors = (TensorSpec("image", 0, (1, 32, 32, 3), "float32", 0.0, 0),
               TensorSpec("whole", 1, (1, 32, 32, 3), "int8", scale, zero_point))
    found = expected_input(replace(model(tensors[0]), inputs=tensors[:1], tensors=tensors,
                                   ops=(OpSpec("QUANTIZE", False, (0,), (1,)),)))
    assert (found[0] if found else None) == expected


def test_numbers_of_minus_one_to_one(tmp_path: Path) -> None:
    """A graph that makes bytes of them, before anything else, states them."""
    found = resolve(read_model(write(tmp_path, ("ADD", [1.0], False), ("MUL", [127.5], False))), DetectorConfig())
    assert found.normalization == MINUS_ONE_TO_ONE
    assert "input is -1 to 1" in found.decided_by["normalization"]


def test_a_statement_wins_over_the_operations(tmp_path: Path) -> None:
    """The configuration decides, as always."""
    path = write(tmp_path, ("MUL", [1 / 255], False))
    assert resolve(read_model(path), DetectorConfig(mean=(0.0,), std=(255.0,))).normalization == ZERO_TO_ONE
    assert "begins with MUL" in resolve(read_model(path), DetectorConfig()).decided_by["normalization"]


def test_red_is_red(tmp_path: Path) -> None:
    """The whole road: a red frame is red for a model that divides by 255 itself."""
    opened = open_detector(DetectorConfig(model=write(tmp_path, ("MUL", [1 / 255], False))))
    red = np.zeros((40, 40, 3), np.uint8)
    red[..., 2] = 255
    found, = opened.detect(frame_of(red.data)).detections
    assert (found.label, round(found.score or 0, 3)) == ("red", 1.0)
    opened.close()
