"""`.tflite` files with what does not fit: each thing is named with its tensors, and the file can be cut off."""

from __future__ import annotations

import contextlib
import struct
from importlib import import_module
from importlib.util import find_spec
from operator import attrgetter
from pathlib import Path

import numpy as np
import pytest

from tests.support.models import writer
from tests.support.models.mutation import Base, small_bases
from tests.support.models.writer import Graph, Op, Tensor
from vedette.errors import ModelUnreadable, ModelUnsupported
from vedette.tflite.file import read_model
from vedette.tflite.operators import operator_name
from vedette.vision.interpreter import Interpreter
from vedette.workshop.convert import Options, to_float
from vedette.workshop.inputs import source_of
from vedette.workshop.unfit import unfit_in
from vedette.workshop.unfit.builtins import NEWEST, NOWHERE
from vedette.workshop.unfit.tflite import cut_off

IMAGE = Tensor((1, 32, 32, 3), "float32", "image")
MISSING = "out of range", "Didn't find op"
LITERT = find_spec("ai_edge_litert") is not None
runtime = import_module("ai_edge_litert.interpreter" if LITERT else "tflite_runtime.interpreter")


def write(folder: Path, content: bytes) -> Path:
    path = folder / "network.tflite"
    path.write_bytes(content)
    return path


def one(op: Op | str, *tensors: Tensor, version: int = 1) -> bytes:
    """A file with one operation, from the image to "y"."""
    operation = Op(op, (0,), (1,), version=version) if isinstance(op, str) else op
    return writer.build(Graph([IMAGE, Tensor((1, 32, 32, 3), "float32", "y"), *tensors], [operation], (0,), (1,)))


def end_to_end() -> bytes:
    """Scores of three classes for 64 cells, of which the ten best are chosen."""
    tensors = [Tensor((1, 8, 8, 7), "float32", "image"), Tensor((1, 8, 8, 7), "float32", "shares"),
               Tensor((2,), "int32", "flat", data=struct.pack("<2i", 64, 7)), Tensor((64, 7), "float32", "cells"),
               Tensor((1,), "int32", "last", data=struct.pack("<i", 1)), Tensor((64,), "float32", "best"),
               Tensor((), "int32", "ten", data=struct.pack("<i", 10)), Tensor((10,), "float32", "top"),
               Tensor((10,), "int32", "rows"), Tensor((10, 7), "float32", "found")]
    return writer.build(Graph(tensors, [
        Op("LOGISTIC", (0,), (1,)), Op("RESHAPE", (1, 2), (3,), (17, [])), Op("REDUCE_MAX", (3, 4), (5,), (27, [])),
        Op("TOPK_V2", (5, 6), (7, 8), (48, [])), Op("GATHER", (3, 8), (9,), (23, []))], (0,), (9,)))


@pytest.mark.parametrize(("content", "op", "place", "way_out", "refused"), [
    (one("FlexErf"), "FlexErf", "operation 0 (tensors 0 'image' -> 1 'y')", "select-tf", True),
    (one("Convolution2DTransposeBias"), "Convolution2DTransposeBias", "operation 0", "custom", True),
    (one("ONNX_EFFICIENTNMS_TRT"), "ONNX_EFFICIENTNMS_TRT", "operation 0", "custom", True),
    (one("STABLEHLO_SORT"), "STABLEHLO_SORT", "operation 0", "replace", True),
    (one("CONV_2D", version=9), "CONV_2D", "operation 0", "replace", True),
    (one("CONV_2D", version=8), "CONV_2D", "operation 0", "replace", False),
    (one("CONV_3D"), "CONV_3D", "operation 0", "replace", True),
    (one("WHILE"), "WHILE", "operation 0", "replace", True),
    (one("UNIDIRECTIONAL_SEQUENCE_LSTM"), "UNIDIRECTIONAL_SEQUENCE_LSTM", "operation 0", "replace", False),
    (one("HASHTABLE_FIND"), "HASHTABLE_FIND", "operation 0", "replace", True),
    (writer.build(Graph([Tensor((1, 1, 1, 3), "float32", "image", signature=(1, -1, -1, 3))], [], (0,), (0,))),
     "input", "tensor 0 'image' float32 1x-1x-1x3", "replace", True),
    (writer.build(Graph([Tensor((1, 32, 32, 3), "int64", "image")], [], (0,), (0,))),
     "input", "tensor 0 'image' int64 1x32x32x3", "replace", True),
    (writer.build(Graph([Tensor((1, 4, 32, 32, 3), "float32", "clip")], [], (0,), (0,))),
     "input", "tensor 0 'clip' float32 1x4x32x32x3", "replace", True),
    (writer.build(Graph([IMAGE, Tensor((1,), "float32", "scale")], [], (0, 1), (0,))),
     "input", "input 1 'scale' float32 1", "replace", True),
])
def test_what_does_not_fit_is_named_with_its_tensors(tmp_path: Path, content: bytes, op: str, place: str,
                                                     way_out: str, refused: bool) -> None:
    """The operation or input, its numbers and names, and the way out."""
    (found,) = [unfit for unfit in unfit_in(write(tmp_path, content)) if unfit.op == op]
    assert place in found.place
    assert (found.way_out, found.refused) == (way_out, refused)


@pytest.mark.parametrize("name", ["FlexErf", "Convolution2DTransposeBias"])
def test_the_device_refuses_what_is_called_custom(tmp_path: Path, name: str) -> None:
    """What is named here is what the product's own reader refuses, and nothing less."""
    path = write(tmp_path, one(name))
    with pytest.raises(ModelUnsupported, match=name):
        read_model(path)


def test_what_runs_on_the_device_is_left_alone(tmp_path: Path) -> None:
    """SSD's post-process is a custom operation that both runtimes have."""
    named = [unfit.op for unfit in unfit_in(write(tmp_path, writer.detection_postprocess()))]
    assert named == ["input"]
    assert unfit_in(write(tmp_path, writer.convolution(size=32))) == ()


def test_a_network_that_is_cut_off_runs_and_gives_the_same_values(tmp_path: Path) -> None:
    """The cut that is named leads to a file that fits, with the values of the whole network."""
    pytest.importorskip("ai_edge_litert", reason="the file is cut off with LiteRT's schema")
    whole = end_to_end()
    (found,) = unfit_in(write(tmp_path, whole))
    assert (found.op, found.way_out, found.cut) == ("TOPK_V2", "cut", ("cells",))
    path = write(tmp_path, cut_off(whole, found.cut))
    assert unfit_in(path) == ()
    assert [op.name for op in read_model(path).ops] == ["LOGISTIC", "RESHAPE"]
    interpreter = Interpreter(path)
    interpreter.input()[:] = np.linspace(-3, 3, 8 * 8 * 7, dtype=np.float32).reshape(1, 8, 8, 7)
    interpreter.invoke()
    wanted = 1 / (1 + np.exp(-np.linspace(-3, 3, 8 * 8 * 7))).reshape(64, 7)
    assert interpreter.output() == pytest.approx(wanted, abs=1e-5)
    interpreter.close()


def test_convert_cuts_a_file_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--cut` gives the file that ends there, in the cache; the source stays as it is."""
    pytest.importorskip("ai_edge_litert", reason="the file is cut off with LiteRT's schema")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path, said = write(tmp_path, end_to_end()), list[str]()
    assert to_float(source_of(path), said.append) == path
    assert said[0].startswith("warning: TOPK_V2 at operation 3")
    made = to_float(source_of(path), said.append, Options(cut=("cells",)))
    assert [op.name for op in read_model(made).ops] == ["LOGISTIC", "RESHAPE"]
    assert path.read_bytes() == end_to_end()


def test_a_network_that_only_its_source_can_end_is_refused(tmp_path: Path) -> None:
    """`--cut` is refused for it, and the message says so."""
    path = tmp_path / "network.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(ModelUnsupported, match="in its source"):
        to_float(source_of(path), pytest.fail, Options(cut=("cells",)))


def test_a_cut_at_a_tensor_that_is_not_there_is_refused() -> None:
    """The error names it."""
    pytest.importorskip("ai_edge_litert", reason="the file is cut off with LiteRT's schema")
    with pytest.raises(ModelUnsupported, match="'boxes'"):
        cut_off(end_to_end(), ("boxes",))


def test_the_versions_are_those_of_the_installed_runtime() -> None:
    """The newest version of each operation is there, and the next one is not."""
    wrong = []
    for name in map(operator_name, range(210)):
        newest = NEWEST.get(name, NOWHERE)[0 if LITERT else 1]
        wrong += [(name, version) for version in (newest, newest + 1)
                  if version and name not in {"CUSTOM", "DELEGATE", "PLACEHOLDER_FOR_GREATER_OP_CODES"}
                  and has(name, version) != (version <= newest)]
    assert wrong == []


def has(name: str, version: int) -> bool:
    """Whether the installed runtime has this version of an operation. The file is opened, but never run."""
    try:
        runtime.Interpreter(model_content=one(name, version=version),
                            experimental_op_resolver_type=runtime.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    except (RuntimeError, ValueError) as error:
        return not any(text in str(error) for text in MISSING)
    return True


@pytest.mark.parametrize("base", small_bases(), ids=attrgetter("name"))
def test_damaged_files_give_an_answer_or_an_error(tmp_path: Path, base: Base) -> None:
    """A file that is cut off anywhere raises nothing but `ModelUnreadable`."""
    for length in range(0, len(base.content), 41):
        with contextlib.suppress(ModelUnreadable):
            unfit_in(write(tmp_path, base.content[:length]))
