"""PyTorch, Keras and TensorFlow networks with what does not fit, as their own tools write them.

The files are written by hand. The campaign `unfit` has the tools write them.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.support.models import protobuf as pb
from vedette.errors import ModelUnreadable
from vedette.workshop.unfit import unfit_in

Json = dict[str, Any]


# PyTorch

def tensor(name: str) -> Json:
    return {"as_tensor": {"name": name}}


def call(target: str, inputs: list[str], outputs: list[str], module: str = "head", line: int = 12) -> Json:
    trace = f'File "/net/street.py", line {line}, in forward\n    y\nFile "/x/site-packages/torch/a.py", line 7, in b'
    returned = [tensor(outputs[0])] if len(outputs) == 1 else [{"as_tensors": [{"name": name} for name in outputs]}]
    return {"target": target, "inputs": [{"name": "self", "arg": tensor(name), "kind": 1} for name in inputs],
            "outputs": returned,
            "metadata": {"stack_trace": trace, "nn_module_stack": f"L__self__,,street.Net;L__self___h,{module},H"}}


def exported(folder: Path, nodes: list[Json], *, outputs: tuple[str, ...] = ("out",),
             inputs: dict[str, list[Json]] | None = None, dtype: int = 7) -> Path:
    """A file as torch.export.save writes it."""
    sizes = inputs if inputs is not None else {"x": [{"as_int": size} for size in (1, 3, 32, 32)]}
    specs = [{"parameter": {"arg": {"name": "weight"}, "parameter_name": "conv.weight"}},
             *({"user_input": {"arg": tensor(name)}} for name in sizes)]
    graph = {"nodes": nodes, "tensor_values": {name: {"dtype": dtype, "sizes": each} for name, each in sizes.items()}}
    signature = {"input_specs": specs, "output_specs": [{"user_output": {"arg": tensor(name)}} for name in outputs]}
    path = folder / "street.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("street/models/model.json",
                         json.dumps({"graph_module": {"graph": graph, "signature": signature}}))
    return path


HEAD = [call("torch.ops.aten.conv2d.default", ["x", "weight"], ["maps"]),
        call("torch.ops.aten.flatten.using_ints", ["maps"], ["raw"]),
        call("torch.ops.aten.permute.default", ["raw"], ["cells"]),
        call("torch.ops.aten.split_with_sizes.default", ["cells"], ["boxes", "scores"])]


def test_a_torch_network_is_cut_off_where_a_plain_one_ends(tmp_path: Path) -> None:
    """The operation is named with its module and line, and so is the tensor to return in its place."""
    nodes = [*HEAD, call("torch.ops.aten.amax.default", ["scores"], ["best"]),
             call("torch.ops.aten.topk.default", ["best"], ["top", "rows"], line=151),
             call("torch.ops.aten.gather.default", ["boxes", "rows"], ["out"])]
    (found,) = unfit_in(exported(tmp_path, nodes))
    assert (found.op, found.way_out, found.cut, found.refused) == ("topk", "cut", ("raw",), False)
    assert found.place == "node (best -> top, rows), module 'head', /net/street.py:151"
    assert "raw of /net/street.py:12" in found.advice


@pytest.mark.parametrize(("target", "op", "way_out", "refused"), [
    ("torch.ops.aten.sort.default", "sort", "cut", True),
    ("torch.ops.aten.nonzero.default", "nonzero", "cut", True),
    ("torch.ops.torchvision.nms.default", "torchvision.nms", "cut", True),
    ("torch.ops.aten.lstm.input", "lstm", "replace", False),
    ("torch.ops.higher_order.cond", "higher_order.cond", "replace", True),
    ("torch.ops.aten.randn_like.default", "randn_like", "replace", True),
    ("torch.ops.aten.grid_sampler.default", "grid_sampler", "replace", False),
    ("torch.ops.aten.conv3d.default", "conv3d", "replace", True),
    ("torch.ops.quantized_decomposed.quantize_per_tensor.default", "quantized_decomposed.quantize_per_tensor",
     "replace", True),
    ("torch.ops.mmcv.modulated_deform.default", "mmcv.modulated_deform", "custom", True),
])
def test_a_torch_operation_has_its_way_out(tmp_path: Path, target: str, op: str, way_out: str, refused: bool) -> None:
    """Each kind of operation that PyTorch's converter does not bring onto the device."""
    (found,) = unfit_in(exported(tmp_path, [*HEAD, call(target, ["scores"], ["out"])]))
    assert (found.op, found.way_out, found.refused) == (op, way_out, refused)


@pytest.mark.parametrize(("inputs", "dtype", "place", "refused"), [
    ({"x": [{"as_int": 1}, {"as_int": 3}, {"as_expr": {}}, {"as_expr": {}}]}, 7, "'x' float32 1x3x?x?", False),
    ({"x": [{"as_int": size} for size in (1, 3, 4, 32, 32)]}, 7, "'x' float32 1x3x4x32x32", True),
    ({"x": [{"as_int": size} for size in (1, 3, 32, 32)]}, 8, "'x' float64 1x3x32x32", True),
    ({"x": [], "scale": []}, 7, "inputs x, scale", True),
])
def test_a_torch_input_has_its_way_out(tmp_path: Path, inputs: dict[str, list[Json]], dtype: int, place: str,
                                       refused: bool) -> None:
    """Sizes that are not fixed, five axes, 64-bit floats, two inputs."""
    (found,) = unfit_in(exported(tmp_path, HEAD[:1], outputs=("maps",), inputs=inputs, dtype=dtype))
    assert (found.op, found.refused) == ("input", refused)
    assert place in found.place


# Keras

def layer(kind: str, name: str, *before: str, module: str | None = "keras.layers", **config: Any) -> Json:
    args = [{"class_name": "__keras_tensor__", "config": {"shape": [1], "keras_history": [other, 0, 0]}}
            for other in before]
    return {"class_name": kind, "name": name, "module": module, "config": {"name": name, **config},
            "inbound_nodes": [{"args": args, "kwargs": {}}] if before else []}


def keras(folder: Path, *layers: Json, shape: tuple[int | None, ...] = (1, 32, 32, 3), dtype: str = "float32") -> Path:
    """A file as model.save writes it."""
    image = layer("InputLayer", "image", batch_shape=shape, dtype=dtype)
    document = {"class_name": "Functional", "config": {"layers": [image, *layers],
                                                       "output_layers": [[layers[-1]["name"], 0, 0]]}}
    path = folder / "street.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", json.dumps(document))
    return path


@pytest.mark.parametrize(("last", "way_out", "cut", "refused"), [
    (layer("LSTM", "last", "flat"), "select-tf", (), True),
    (layer("Bidirectional", "last", "flat", layer=layer("GRU", "inner")), "select-tf", (), True),
    (layer("LSTM", "last", "flat", unroll=True), "replace", (), True),
    (layer("Conv3D", "last", "flat"), "replace", (), True),
    (layer("Lambda", "last", "flat"), "replace", (), True),
    (layer("TextVectorization", "last", "flat"), "replace", (), True),
    (layer("Bend", "last", "flat", module="street.layers"), "replace", (), True),
    (layer("Bend", "last", "flat", module=None), "replace", (), True),
    (layer("TopK", "last", "best", module="keras.src.ops.math"), "cut", ("flat",), False),
])
def test_a_keras_layer_has_its_way_out(tmp_path: Path, last: Json, way_out: str, cut: tuple[str, ...],
                                       refused: bool) -> None:
    """A layer is named by its own name and by that of the layer before."""
    layers = [layer("Conv2D", "conv", "image"), layer("Reshape", "flat", "conv"),
              *([layer("Max", "best", "flat", module="keras.src.ops.numpy")] if cut else []), last]
    (found,) = unfit_in(keras(tmp_path, *layers))
    assert (found.op, found.way_out, found.cut, found.refused) == (last["class_name"], way_out, cut, refused)
    assert found.place == f"layer 'last' ({'best' if cut else 'flat'})"


def test_keras_layers_that_fit_are_left_alone(tmp_path: Path) -> None:
    """Nothing is said of a plain network."""
    assert unfit_in(keras(tmp_path, layer("Conv2D", "conv", "image"), layer("Dense", "last", "conv"))) == ()


def test_a_layer_inside_a_keras_network_is_found(tmp_path: Path) -> None:
    """The place names the network in which it is."""
    inner = [layer("Conv2D", "conv"), layer("LSTM", "rnn")]
    (found,) = unfit_in(keras(tmp_path, layer("Sequential", "reader", "image", layers=inner)))
    assert found.place == "layer 'rnn' (conv), inside 'reader'"


@pytest.mark.parametrize(("shape", "dtype", "place"), [
    ((None, None, None, 3), "float32", "layer 'image' float32 ?x?x?x3"),
    ((1, 4, 32, 32, 3), "float32", "layer 'image' float32 1x4x32x32x3"),
    ((1, 32, 32, 3), "float64", "layer 'image' float64 1x32x32x3"),
])
def test_a_keras_input_has_its_way_out(tmp_path: Path, shape: tuple[int | None, ...], dtype: str, place: str) -> None:
    """Sizes that are not fixed, five axes, 64-bit floats."""
    (found,) = unfit_in(keras(tmp_path, layer("Conv2D", "conv", "image"), shape=shape, dtype=dtype))
    assert (found.op, found.place, found.refused) == ("input", place, True)


# TensorFlow

def node(op: str, name: str, *inputs: str, calls: str = "") -> bytes:
    attribute = pb.part(5, pb.text(1, "f") + pb.part(2, pb.part(10, pb.text(1, calls)))) if calls else b""
    return pb.text(1, name) + pb.text(2, op) + b"".join(pb.text(3, each) for each in inputs) + attribute


def saved(folder: Path, *nodes: bytes, sizes: tuple[int, ...] = (1, 32, 32, 3)) -> Path:
    """A folder as tf.saved_model.save writes it: inference calls a function, and training is beside it."""
    shape = b"".join(pb.part(2, pb.number(1, size)) for size in sizes)
    image = pb.text(1, "image") + pb.part(2, pb.text(1, "image:0") + pb.number(2, 1) + pb.part(3, shape))
    output = pb.text(1, "out") + pb.part(2, pb.text(1, "run:0") + pb.number(2, 1))
    signature = pb.text(1, "serving_default") + pb.part(2, pb.part(1, image) + pb.part(2, output))
    operation = pb.text(1, "inference") + pb.part(2, pb.text(1, "x"))
    function = pb.part(1, operation) + b"".join(pb.part(3, each) for each in nodes) + pb.part(
        4, pb.text(1, "out") + pb.text(2, "last:output:0"))
    main = (node("Placeholder", "image"), node("StatefulPartitionedCall", "run", "image", calls="inference"),
            node("DecodeJpeg", "training"))
    graph = b"".join(pb.part(1, each) for each in main) + pb.part(2, pb.part(1, function))
    (folder / "saved_model.pb").write_bytes(pb.number(1, 1) + pb.part(2, pb.part(2, graph) + pb.part(5, signature)))
    return folder


@pytest.mark.parametrize(("op", "way_out", "refused"), [
    ("CombinedNonMaxSuppression", "cut", True), ("TopKV2", "cut", False), ("Where", "cut", True),
    ("CropAndResize", "select-tf", True), ("TensorListReserve", "select-tf", True), ("While", "replace", True),
    ("If", "replace", False), ("Conv3D", "replace", True), ("LookupTableFindV2", "replace", True),
])
def test_a_node_of_a_saved_model_has_its_way_out(tmp_path: Path, op: str, way_out: str, refused: bool) -> None:
    """A node is named with its function. What only training uses is not judged."""
    (found,) = unfit_in(saved(tmp_path, node("Conv2D", "conv", "x"), node("Reshape", "flat", "conv:output:0"),
                              node(op, "last", "flat:output:0", "^conv")))
    assert (found.op, found.way_out, found.refused) == (op, way_out, refused)
    assert found.place == "node 'last', function 'inference'"
    assert found.cut == (("flat",) if way_out == "cut" else ())


def test_a_recurrent_layer_of_a_saved_model_is_named_once(tmp_path: Path) -> None:
    """Its lists and its loop are one thing."""
    (found,) = unfit_in(saved(tmp_path, node("TensorListReserve", "rnn/a", "x"),
                              node("TensorListReserve", "rnn/b", "x"), node("While", "rnn/while", "rnn/a:0"),
                              node("Identity", "last", "rnn/while:0")))
    assert found.place == "node 'rnn/a', function 'inference'"


@pytest.mark.parametrize(("sizes", "place"), [((-1, -1, -1, 3), "?x?x?x3"), ((1, 4, 32, 32, 3), "1x4x32x32x3")])
def test_an_input_of_a_saved_model_has_its_way_out(tmp_path: Path, sizes: tuple[int, ...], place: str) -> None:
    """Sizes that are not fixed, and five axes."""
    (found,) = unfit_in(saved(tmp_path, node("Conv2D", "last", "x"), sizes=sizes))
    assert (found.op, found.place) == ("input", f"input 'image' float32 {place}")


# damaged files

@pytest.mark.parametrize("name", ["street.pt2", "street.keras"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"])
def test_a_damaged_archive_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    """The error names the file."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ModelUnreadable, match=name):
        unfit_in(path)


@pytest.mark.parametrize("document", ["{}", "[]", "[" * 100_000, '{"config": {"layers": [1]}}',
                                      '{"graph_module": {"graph": {"nodes": 3}}}'])
def test_a_document_of_another_form_is_refused(tmp_path: Path, document: str) -> None:
    """It raises nothing but `ModelUnreadable`."""
    for name, inside in (("street.pt2", "a/models/model.json"), ("street.keras", "config.json")):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(inside, document)
        with pytest.raises(ModelUnreadable, match=name):
            unfit_in(tmp_path / name)


def test_a_folder_without_a_network_is_refused(tmp_path: Path) -> None:
    """The error names the file that is not there."""
    with pytest.raises(ModelUnreadable, match=r"saved_model\.pb"):
        unfit_in(tmp_path)


def test_what_only_its_own_code_can_read_is_left_to_its_tool(tmp_path: Path) -> None:
    """Nothing is unpickled to look into it."""
    (tmp_path / "street.pt").write_bytes(b"\x80\x02cos\nsystem\n")
    assert unfit_in(tmp_path / "street.pt") == ()
