"""The interpreter with both runtimes: views, errors, the XNNPACK share, and which runtimes work."""

from __future__ import annotations

import base64
import gc
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.models import writer
from tests.support.models.mutation import REAL
from vedette.errors import InvokeFailed, ModelDamaged, ModelUnsupported, RuntimeMissing
from vedette.vision import interpreter as module
from vedette.vision.delegated import Node, delegated_share
from vedette.vision.interpreter import Interpreter, available_runtimes, chosen_runtime


def write_model(folder: Path, content: bytes) -> Path:
    path = folder / "model.tflite"
    path.write_bytes(content)
    return path


def test_views_stay_valid_over_invokes(tmp_path: Path) -> None:
    """A view stays valid for every invoke and shows every result; nothing is allocated again."""
    interpreter = Interpreter(write_model(tmp_path, writer.logistic()))
    image, score = interpreter.input(), interpreter.output()
    image[...] = -128                       # real 0: logistic(0) = 0.5 = 128 steps of 1/256 above zero point -128
    interpreter.invoke()
    assert np.unique(score).tolist() == [0]
    image[...] = 127                        # real 1: logistic(2) = 0.88
    interpreter.invoke()
    assert np.unique(score).tolist() == [round(256 / (1 + np.exp(-2))) - 128]
    assert interpreter.output() is score
    assert not interpreter.outputs_moved()
    interpreter.close()


def test_tensors_are_described_as_allocated(tmp_path: Path) -> None:
    """Inputs and outputs have shape, type and quantization as the runtime allocated them."""
    interpreter = Interpreter(write_model(tmp_path, writer.detection_postprocess()))
    assert [spec.shape for spec in interpreter.outputs] == [(1, 3, 4), (1, 3), (1, 3), (1,)]
    assert [spec.dtype for spec in interpreter.outputs] == ["float32"] * 4
    interpreter.close()
    interpreter = Interpreter(write_model(tmp_path, writer.logistic()))
    assert (interpreter.inputs[0].dtype, interpreter.inputs[0].zero_point) == ("int8", -128)
    assert interpreter.inputs[0].scale == pytest.approx(1 / 255)
    interpreter.close()


def test_close_twice_is_safe_and_ends_it(tmp_path: Path) -> None:
    """`close` may be called twice; an invoke after that raises an error and does not crash."""
    interpreter = Interpreter(write_model(tmp_path, writer.logistic()), threads=2)
    assert "threads=2" in repr(interpreter)
    interpreter.close()
    interpreter.close()
    assert "closed" in repr(interpreter)
    with pytest.raises(InvokeFailed, match="closed"):
        interpreter.invoke()


def test_a_view_kept_too_long_is_harmless(tmp_path: Path) -> None:
    """A view that outlives `close` still points at existing memory, also with Vedette's own delegate."""
    interpreter = Interpreter(write_model(tmp_path, writer.logistic()), delegate=True)
    view = interpreter.output()
    interpreter.close()
    del interpreter
    gc.collect()
    assert view.shape == (1, 4, 4, 3)
    assert view.sum() is not None


def test_only_the_digested_bytes_are_run(tmp_path: Path) -> None:
    """A file without the checked digest is refused before the runtime sees it."""
    path = write_model(tmp_path, writer.logistic())
    with pytest.raises(ModelDamaged, match="no longer the file"):
        Interpreter(path, sha256="0" * 64)


def test_a_file_overwritten_while_it_runs_changes_nothing(tmp_path: Path) -> None:
    """The model is read once: an interpreter runs on unchanged when its file is truncated."""
    path = write_model(tmp_path, writer.convolution())
    interpreter = Interpreter(path)
    interpreter.invoke()
    before = interpreter.output().copy()
    path.write_bytes(b"")
    interpreter.invoke()
    assert np.array_equal(interpreter.output(), before)
    interpreter.close()


def test_a_long_message_is_cut_early() -> None:
    """LiteRT repeats all earlier failures with each new one; that must not cost more each time."""
    long = ValueError("failed to invoke. " * 500_000)
    tracemalloc.start()
    try:
        assert len(module.error_line(long)) <= 300
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_the_error_quotes_why_the_runtime_cannot_build_a_model(tmp_path: Path) -> None:
    """An unknown operation raises ModelUnsupported, which quotes the runtime and chains its exception."""
    with pytest.raises(ModelUnsupported, match="no-such-op") as refusal:
        Interpreter(write_model(tmp_path, writer.custom("no-such-op")))
    assert isinstance(refusal.value.__cause__, (RuntimeError, ValueError))


def test_a_tensor_without_dimensions_is_refused(tmp_path: Path) -> None:
    """A model with a scalar output is refused: the runtimes give a copy of it, which later invokes do not change."""
    scalar = writer.build(writer.Graph([writer.Tensor((), "float32", "x"), writer.Tensor((), "float32", "y")],
                                       [writer.Op("ABS", (0,), (1,))], (0,), (1,)))
    with pytest.raises(ModelUnsupported, match="no dimensions"):
        Interpreter(write_model(tmp_path, scalar))


def test_a_model_that_fails_at_invoke_raises(tmp_path: Path) -> None:
    """A failing invoke raises InvokeFailed, unless the runtime already refuses to build the model."""
    with pytest.raises((InvokeFailed, ModelUnsupported), match=r"RESHAPE|Tensor data is null"):
        Interpreter(write_model(tmp_path, writer.reshape_by_input())).invoke()


def test_every_runtime_is_really_tried() -> None:
    """The report has every known runtime: a version and no error, or the reason why it does not work."""
    reports = {report.name: report for report in available_runtimes()}
    assert set(reports) == {"litert", "tflite-runtime"}
    working = [report for report in reports.values() if report.error is None]
    assert working
    assert all(report.version for report in working)
    assert chosen_runtime("auto") == (working[0].name, working[0].version)
    assert all(report.error for report in reports.values() if report not in working)


def test_a_runtime_that_is_not_installed_is_missing(tmp_path: Path) -> None:
    """The error names the runtime that is not installed; the other one is never used instead."""
    absent = [report.name for report in available_runtimes() if report.error]
    if not absent:
        pytest.skip("both runtimes are installed here")
    with pytest.raises(RuntimeMissing, match=absent[0]):
        Interpreter(write_model(tmp_path, writer.logistic()), runtime=absent[0])


def test_the_tiny_model_is_the_identity_model() -> None:
    """The bytes that test a runtime are those of the builder's identity model."""
    assert writer.identity() == module._TINY_MODEL
    assert base64.b64encode(writer.identity())


def test_a_fully_delegated_graph_is_all_on_xnnpack(tmp_path: Path) -> None:
    """Two convolutions run on XNNPACK completely: in LiteRT, and in tflite-runtime with Vedette's own delegate."""
    interpreter = Interpreter(write_model(tmp_path, writer.convolution()), delegate=True)
    assert interpreter.xnnpack_share == 1.0
    assert interpreter.delegate_note is None
    assert interpreter.delegate == (interpreter.runtime == "tflite-runtime")
    interpreter.close()


def test_share_counts_nodes_between_a_delegate_and_its_inputs() -> None:
    """The share counts the nodes between a DELEGATE's outputs and its inputs, divided by all original nodes."""
    chain = [Node("CONV_2D", [0], [1]), Node("ADD", [1, 1], [2]), Node("CUSTOM", [2], [3]), Node("MUL", [3], [4])]
    assert delegated_share(chain) == 0.0
    assert delegated_share([*chain, Node("DELEGATE", [0], [2])]) == 0.5
    assert delegated_share([*chain, Node("DELEGATE", [0], [2]), Node("DELEGATE", [3], [4])]) == 0.75
    assert delegated_share([]) == 0.0


@given(st.integers(1, 30), st.data())
def test_share_of_a_chain_is_the_length_of_its_delegated_parts(length: int, data: st.DataObject) -> None:
    """In a chain of nodes the share is exactly the delegated part of the chain."""
    chain = [Node("OP", [index], [index + 1]) for index in range(length)]
    cuts = sorted(data.draw(st.sets(st.integers(0, length), min_size=0, max_size=6)))
    parts = list(zip(cuts[::2], cuts[1::2], strict=False))
    delegates = [Node("DELEGATE", [start], [end]) for start, end in parts]
    assert delegated_share([*chain, *delegates]) == pytest.approx(sum(end - start for start, end in parts) / length)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real models are not here")
def test_real_models_run_mostly_on_xnnpack() -> None:
    """Nine in ten nodes of the real INT8 detectors run on XNNPACK, with both runtimes, as measured."""
    for name in ("ssd_mobilenet_v1_coco_uint8_metadata", "yolo11n_224_coco_int8"):
        interpreter = Interpreter(REAL / f"{name}.tflite", delegate=True)
        interpreter.invoke()
        assert 0.9 < interpreter.xnnpack_share < 1.0
        interpreter.close()


def test_an_output_without_data_before_the_first_invoke(tmp_path: Path) -> None:
    """An output of a dynamic size runs like any other as long as it keeps its size."""
    interpreter = Interpreter(write_model(tmp_path, writer.dynamic_output()))
    interpreter.input()[...] = [0, 0, 1]
    interpreter.invoke()
    assert interpreter.outputs[0].shape == (1, 3)
    assert interpreter.output()[0].argmax() == 2
    interpreter.close()


def test_an_output_that_grows_later_is_no_result(tmp_path: Path) -> None:
    """The view of the old output is never read after the model has moved it."""
    interpreter = Interpreter(write_model(tmp_path, writer.growing_output()))
    interpreter.input()[...] = 0
    interpreter.invoke()
    interpreter.input()[...] = 5000
    with pytest.raises(InvokeFailed, match="changed the size of its outputs"):
        interpreter.invoke()
    interpreter.close()
