"""A `.tflite` file that is read and written again runs as before, on both runtimes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.models import float_detectors
from tests.support.models.writer import Graph, Op, Tensor, build
from vedette.vision.interpreter import Interpreter

pytest.importorskip("ai_edge_litert", reason="its schema reads and writes graphs")

from vedette.workshop import graph as graphs


def first_output(path: Path, content: bytes) -> np.ndarray[Any, np.dtype[Any]]:
    """What the model gives for a drawn picture."""
    path.write_bytes(content)
    interpreter = Interpreter(path)
    interpreter.input()[...] = np.random.default_rng(3).random(interpreter.inputs[0].shape, np.float32)
    interpreter.invoke()
    found = interpreter.output().copy()
    interpreter.close()
    return found


def test_a_graph_runs_as_before(tmp_path: Path) -> None:
    """The outputs are the same, bit by bit, and a second round changes nothing."""
    content = float_detectors.write()
    once = graphs.write(graphs.read(content))
    assert graphs.write(graphs.read(once)) == once
    before, after = first_output(tmp_path / "a.tflite", content), first_output(tmp_path / "b.tflite", once)
    np.testing.assert_array_equal(before, after)


def test_weights_begin_at_a_multiple_of_sixteen() -> None:
    """Runtimes read them where they lie, several numbers at a time."""
    graph = graphs.read(float_detectors.write())
    content = graphs.write(graph)
    weights = [data.tobytes() for index in range(len(graph.main.tensors))
               if (data := graph.constant(index)) is not None and data.size > 200]
    assert len(weights) > 5
    assert {content.index(each) % 16 for each in weights} == {0}


def test_weights_behind_the_flatbuffer_come_into_it() -> None:
    """The quantizer puts them there, and tflite-runtime does not look there."""
    graph = graphs.read(float_detectors.write())
    plain = graphs.write(graph)
    weights = next(tensor for tensor in graph.main.tensors if tensor.name == b"second/weights")
    buffer = graph.model.buffers[weights.buffer]
    behind, buffer.data = buffer.data.tobytes(), None
    buffer.offset = buffer.size = 1 << 20
    start = len(graphs.write(graph))
    buffer.offset, buffer.size = start, len(behind)
    assert graphs.write(graphs.read(graphs.write(graph) + behind)) == plain


def test_every_tensor_gets_a_name_of_its_own() -> None:
    """Files exist in which several tensors, or none, have a name; the quantizer knows them by their names."""
    content = build(Graph([Tensor((1, 4), "float32", name) for name in ("x", "x", "", "")],
                          [Op("TANH", (0,), (1,)), Op("TANH", (1,), (2,)), Op("TANH", (2,), (3,))], (0,), (3,)))
    graph = graphs.read(content)
    names = [graph.name(index) for index in range(4)]
    assert len(set(names)) == 4
    assert names[0] == "x"
    assert all(names)


def test_operations_that_never_run_are_dropped(tmp_path: Path) -> None:
    """With them go their tensors and weights."""
    graph = graphs.read(float_detectors.write())
    stem = next(op for op in graph.ops if graph.name(int(op.outputs[0])) == "stem")
    graph.set_outputs([int(stem.outputs[0])])
    graph.drop_unused()
    content = graphs.write(graph)
    assert [graph.kind(op) for op in graphs.read(content).ops] == ["CONV_2D"]
    assert len(content) < 4096
    assert first_output(tmp_path / "stem.tflite", content).shape == (1, 32, 32, 12)


def test_operations_of_older_files_are_known_to_the_quantizer() -> None:
    """They have their number in an older field, so that the quantizer would take each of them for an addition."""
    graph = graphs.read(float_detectors.write())
    plain = graphs.write(graph)
    for code in graph.model.operatorCodes:
        code.builtinCode = 0
    assert graphs.write(graphs.read(graphs.write(graph))) == plain
