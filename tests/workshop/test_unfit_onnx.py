"""ONNX networks with operations that do not fit: each is named, with its place in the source and the way out."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.models import onnx_writer as w
from tests.support.models import unfit_onnx
from vedette.errors import ModelUnreadable, ModelUnsupported
from vedette.workshop.convert import to_float
from vedette.workshop.inputs import source_of
from vedette.workshop.unfit import unfit_in
from vedette.workshop.unfit.onnx_graph import DEPTH_MAX

# graph: operation, what its place names, way out, tensors to cut at, whether the device or the quantizer refuses it
EXPECTED = {
    "nms": ("NonMaxSuppression", "'/post/NonMaxSuppression' (boxes, by_class, most and 2 more -> picked)", "cut",
            ("raw",), True),
    "end_to_end": ("TopK", "'/model.23/TopK' (best, ten -> top, rows), head.py:151", "cut", ("raw",), False),
    "query_selection": ("TopK", "'/decoder/TopK'", "replace", (), False),
    "plugin": ("TRT::EfficientNMS_TRT", "'/end2end/EfficientNMS_TRT' (boxes, scores -> num, found", "cut", ("raw",),
               True),
    "deformable": ("mmcv::MMCVModulatedDeformConv2d", "'/neck/Deform' (maps, bias -> bent)", "custom", (), True),
    "branches": ("If", "'/gate/If' (is_bright -> out)", "replace", (), False),
    "repeated": ("Loop", "'/loop/Loop' (times, yes, maps -> out)", "replace", (), True),
    "recurrent": ("LSTM", "'/rnn/LSTM' (columns, w, r and 1 more -> steps, last, cell)", "replace", (), False),
    "video": ("Conv", "'/Conv3d' (clip, weights -> maps)", "replace", (), True),
    "any_size": ("input", "'images' float32 batchx3xheightxwidth", "replace", (), True),
    "two_inputs": ("input", "'scale_factor' float32 1", "replace", (), True),
    "doubles": ("input", "'images' float64 1x3x32x32", "replace", (), True),
    "whole_numbers": ("input", "'images' int64 1x3x32x32", "replace", (), True),
    "quantized": ("QuantizeLinear", "'/QuantizeLinear' (images, scale, zero -> bytes)", "replace", (), True),
    "sequences": ("SplitToSequence", "'/SplitToSequence' (maps -> parts)", "replace", (), True),
    "non_zero": ("NonZero", "'/post/NonZero' (sure -> cells_found)", "cut", ("scores",), True),
    "warped": ("GridSample", "'/GridSample' (maps, grid -> out)", "replace", (), False),
    "noisy": ("RandomNormalLike", "'/RandomNormalLike' (images -> noise)", "replace", (), False),
    "trees": ("ai.onnx.ml::Normalizer", "'/Normalizer' (maps -> out)", "custom", (), True),
}


def write(folder: Path, content: bytes) -> Path:
    path = folder / "network.onnx"
    path.write_bytes(content)
    return path


def test_every_graph_has_its_row() -> None:
    """No graph is made that no row judges."""
    assert set(EXPECTED) == set(unfit_onnx.GRAPHS)


@pytest.mark.parametrize("name", EXPECTED)
def test_what_does_not_fit_is_named_with_its_place_and_way_out(tmp_path: Path, name: str) -> None:
    """The operation, where it stands, the way out and the tensors to cut at."""
    op, place, way_out, cut, refused = EXPECTED[name]
    found = {unfit.op: unfit for unfit in unfit_in(write(tmp_path, unfit_onnx.GRAPHS[name]()))}
    assert place in found[op].place
    assert (found[op].way_out, found[op].cut, found[op].refused) == (way_out, cut, refused)
    assert found[op].why
    assert found[op].advice


def test_a_network_that_fits_is_left_alone(tmp_path: Path) -> None:
    """Nothing is said of a plain detector."""
    assert unfit_in(write(tmp_path, unfit_onnx.plain())) == ()


@pytest.mark.parametrize("name", [name for name, row in EXPECTED.items() if row[-1]])
def test_convert_refuses_it_before_any_tool_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                       name: str) -> None:
    """The message says all of it. Nothing is left behind."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = write(tmp_path, unfit_onnx.GRAPHS[name]())
    op, place, _, cut, _ = EXPECTED[name]
    with pytest.raises(ModelUnsupported) as refusal:
        to_float(source_of(path), pytest.fail)
    message = str(refusal.value)
    assert f"{op} at " in message
    assert place in message
    assert (f"Cut at: {', '.join(cut)}" in message) == bool(cut)
    assert [each.name for each in tmp_path.iterdir()] == ["network.onnx"]


def test_operations_in_branches_and_in_functions_of_the_file_are_found(tmp_path: Path) -> None:
    """An operation counts where it runs: in a branch, or in a function that the file itself defines."""
    branch = w.graph([w.node("NonZero", ("maps",), ("kept",), name="/gate/NonZero")], [], [w.value("kept", None)])
    nodes = [w.node("If", ("flag",), ("out",), name="/If", then_branch=branch, else_branch=branch),
             w.node("Bend", ("out",), ("bent",), name="/Bend", domain="local")]
    function = w.function("Bend", "local", [w.node("Unique", ("x",), ("y",), name="/inner/Unique")])
    content = w.model(w.graph(nodes, [w.value("images", (1, 3, 32, 32))], [w.value("bent", None)],
                              constants={"flag": unfit_onnx.YES}), functions=[function])
    places = {unfit.op: unfit.place for unfit in unfit_in(write(tmp_path, content))}
    assert set(places) == {"If", "NonZero", "Unique"}
    assert "/gate/NonZero" in places["NonZero"]
    assert "inside node '/If'" in places["NonZero"]
    assert "inside node '/Bend'" in places["Unique"]


def test_what_follows_the_end_falls_away_with_it(tmp_path: Path) -> None:
    """An operation behind the cut has the same way out, in a branch as well, which reads from around it."""
    branch = w.graph([w.node("Unique", ("rows",), ("kept",), name="/post/Unique")], [], [w.value("kept", None)])
    nodes = [w.node("Relu", ("images",), ("maps",), name="/Relu"),
             w.node("NonZero", ("maps",), ("rows",), name="/post/NonZero"),
             w.node("If", ("flag",), ("out",), name="/post/If", then_branch=branch, else_branch=branch)]
    content = w.model(w.graph(nodes, [w.value("images", (1, 3, 32, 32))], [w.value("out", None)],
                              constants={"flag": unfit_onnx.YES}))
    found = unfit_in(write(tmp_path, content))
    assert [unfit.op for unfit in found] == ["NonZero", "If", "Unique", "Unique"]
    assert {(unfit.way_out, unfit.cut) for unfit in found} == {("cut", ("maps",))}


def test_a_cut_never_loses_an_output_that_can_stay(tmp_path: Path) -> None:
    """An output that does not depend on what is cut off remains, and its tensors are not replaced by others."""
    nodes = [w.node("Relu", ("images",), ("maps",), name="/Relu"),
             w.node("Split", ("maps",), ("boxes", "scores"), name="/Split", axis=1),
             w.node("TopK", ("scores", "ten"), ("top", "rows"), name="/TopK")]
    content = w.model(w.graph(nodes, [w.value("images", (1, 2, 32, 32))],
                              [w.value("boxes", (1, 1, 32, 32)), w.value("top", (1, 1, 32, 10))],
                              constants={"ten": unfit_onnx.TEN}))
    (found,) = unfit_in(write(tmp_path, content))
    assert found.cut == ("scores", "boxes")


@pytest.mark.parametrize(("content", "seen"), [
    (b"", "no graph"), (b"<!DOCTYPE html><html>", "damaged"), (w.model(w.graph([], [], []))[:-1], "cut off"),
])
def test_what_is_no_onnx_file_is_refused(tmp_path: Path, content: bytes, seen: str) -> None:
    """The error names the file."""
    path = write(tmp_path, content)
    with pytest.raises(ModelUnreadable, match=seen) as refusal:
        unfit_in(path)
    assert str(path) in str(refusal.value)


def test_graphs_in_graphs_without_an_end_are_refused(tmp_path: Path) -> None:
    """A file cannot make the reader run out of stack."""
    content = w.graph([w.node("Relu", ("a",), ("b",))], [], [])
    for _ in range(DEPTH_MAX + 2):
        content = w.graph([w.node("If", ("a",), ("b",), then_branch=content)], [], [])
    with pytest.raises(ModelUnreadable, match="in each other"):
        unfit_in(write(tmp_path, w.model(content)))


@given(name=st.sampled_from(sorted(unfit_onnx.GRAPHS)), data=st.data())
def test_any_bytes_give_an_answer_or_an_error(tmp_path_factory: pytest.TempPathFactory, name: str,
                                              data: st.DataObject) -> None:
    """A damaged file never raises anything but `ModelUnreadable`."""
    content = bytearray(unfit_onnx.GRAPHS[name]())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = write(tmp_path_factory.getbasetemp(), bytes(content[:data.draw(st.integers(0, len(content)))]))
    with contextlib.suppress(ModelUnreadable):
        unfit_in(path)
