"""Small ONNX networks with operations that do not fit, as people bring them. Each one is a valid ONNX file."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from tests.support.models import onnx_writer as w

SIDE, CELLS, CLASSES = 32, 64, 3
_IMAGE = w.value("images", (1, 3, SIDE, SIDE))


TEN, YES = np.array([10], np.int64), np.array(True)


def _array(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, shape).astype(np.float32)


def _ints(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def _head() -> tuple[list[bytes], dict[str, np.ndarray]]:
    """Nodes from `images` to `boxes` (1, 64, 4) and `scores` (1, 64, 3), through one tensor `raw` (1, 7, 64)."""
    nodes = [w.node("Conv", ("images", "weights", "bias"), ("maps",), name="/model.0/Conv", kernel_shape=(4, 4),
                    strides=(4, 4)),
             w.node("Sigmoid", ("maps",), ("shares",), name="/model.1/Sigmoid"),
             w.node("Reshape", ("shares", "flat"), ("raw",), name="/model.22/Reshape"),
             w.node("Transpose", ("raw",), ("cells",), name="/model.22/Transpose", perm=(0, 2, 1)),
             w.node("Split", ("cells", "sizes"), ("boxes", "scores"), name="/model.22/Split", axis=2)]
    return nodes, {"weights": _array(4 + CLASSES, 3, 4, 4), "bias": _array(4 + CLASSES),
                   "flat": _ints(1, 4 + CLASSES, CELLS), "sizes": _ints(4, CLASSES)}


def plain() -> bytes:
    """A detector that fits: one output (1, 7, 64)."""
    nodes, constants = _head()
    return w.model(w.graph(nodes[:3], [_IMAGE], [w.value("raw", (1, 4 + CLASSES, CELLS))],
                           constants={name: constants[name] for name in ("weights", "bias", "flat")}))


def nms() -> bytes:
    """Non-maximum suppression in the graph, as exporters add it for other runtimes."""
    nodes, constants = _head()
    nodes += [w.node("Transpose", ("scores",), ("by_class",), name="/post/Transpose", perm=(0, 2, 1)),
              w.node("NonMaxSuppression", ("boxes", "by_class", "most", "iou", "least"), ("picked",),
                     name="/post/NonMaxSuppression"),
              w.node("Gather", ("picked", "column"), ("rows",), name="/post/Gather", axis=1),
              w.node("Gather", ("boxes", "rows"), ("found",), name="/post/Gather_1", axis=1)]
    constants |= {"most": _ints(10), "iou": np.array([0.5], np.float32), "least": np.array([0.25], np.float32),
                  "column": np.array(2, np.int64)}
    return w.model(w.graph(nodes, [_IMAGE], [w.value("found", (1, "found", 4))], constants=constants))


def end_to_end() -> bytes:
    """TopK over the best scores, as YOLOv10 and YOLO26 end: one output (1, 10, 6)."""
    nodes, constants = _head()
    nodes += [w.node("ReduceMax", ("scores",), ("best",), name="/model.23/ReduceMax", axes=(-1,), keepdims=0),
              w.node("ArgMax", ("scores",), ("classes",), name="/model.23/ArgMax", axis=2, keepdims=1),
              w.node("TopK", ("best", "ten"), ("top", "rows"), name="/model.23/TopK", axis=1,
                     source='File "head.py", line 151, in postprocess'),
              w.node("Unsqueeze", ("rows", "last"), ("column",), name="/model.23/Unsqueeze"),
              w.node("Tile", ("column", "four"), ("places",), name="/model.23/Tile"),
              w.node("GatherElements", ("boxes", "places"), ("kept",), name="/model.23/GatherElements", axis=1),
              w.node("GatherElements", ("classes", "column"), ("kinds",), name="/model.23/GatherElements_1", axis=1),
              w.node("Cast", ("kinds",), ("labels",), name="/model.23/Cast", to=w.FLOAT),
              w.node("Unsqueeze", ("top", "last"), ("shares_top",), name="/model.23/Unsqueeze_1"),
              w.node("Concat", ("kept", "shares_top", "labels"), ("output0",), name="/model.23/Concat", axis=2)]
    constants |= {"ten": TEN, "last": _ints(2), "four": _ints(1, 1, 4)}
    return w.model(w.graph(nodes, [_IMAGE], [w.value("output0", (1, 10, 6))], constants=constants))


def query_selection() -> bytes:
    """TopK in the middle, as RT-DETR chooses its queries: a layer with weights follows."""
    nodes, constants = _head()
    nodes += [w.node("ReduceMax", ("scores",), ("best",), name="/decoder/ReduceMax", axes=(-1,), keepdims=0),
              w.node("TopK", ("best", "ten"), ("top", "rows"), name="/decoder/TopK", axis=1),
              w.node("Unsqueeze", ("rows", "last"), ("column",), name="/decoder/Unsqueeze"),
              w.node("Tile", ("column", "four"), ("places",), name="/decoder/Tile"),
              w.node("GatherElements", ("boxes", "places"), ("kept",), name="/decoder/GatherElements", axis=1),
              w.node("MatMul", ("kept", "layer"), ("queries",), name="/decoder/MatMul")]
    constants |= {"ten": TEN, "last": _ints(2), "four": _ints(1, 1, 4), "layer": _array(4, 6)}
    return w.model(w.graph(nodes, [_IMAGE], [w.value("queries", (1, 10, 6))], constants=constants))


def plugin() -> bytes:
    """A plug-in of another runtime, as TensorRT's exporters add it."""
    nodes, constants = _head()
    nodes += [w.node("EfficientNMS_TRT", ("boxes", "scores"), ("num", "found", "found_scores", "found_classes"),
                     name="/end2end/EfficientNMS_TRT", domain="TRT", max_output_boxes=10)]
    outputs = [w.value("num", (1, 1), w.INT32), w.value("found", (1, 10, 4)), w.value("found_scores", (1, 10)),
               w.value("found_classes", (1, 10), w.INT32)]
    return w.model(w.graph(nodes, [_IMAGE], outputs, constants=constants), domains=["TRT"])


def deformable() -> bytes:
    """An operation of another domain in the middle of the network."""
    nodes = [w.node("Conv", ("images", "weights", "bias"), ("maps",), name="/backbone/Conv", kernel_shape=(4, 4),
                    strides=(4, 4)),
             w.node("MMCVModulatedDeformConv2d", ("maps", "bias"), ("bent",), name="/neck/Deform", domain="mmcv"),
             w.node("Conv", ("bent", "weights_1"), ("scores",), name="/head/Conv", kernel_shape=(1, 1))]
    return w.model(w.graph(nodes, [_IMAGE], [w.value("scores", (1, 4, 8, 8))],
                           constants={"weights": _array(7, 3, 4, 4), "bias": _array(7), "weights_1": _array(4, 7, 1, 1)}
                           ), domains=["mmcv"])


def branches() -> bytes:
    """A branch that depends on the picture."""
    bright = w.graph([w.node("Relu", ("maps",), ("kept",), name="/gate/Relu")], [], [w.value("kept", (1, 7, 8, 8))])
    dark = w.graph([w.node("Neg", ("maps",), ("turned",), name="/gate/Neg")], [], [w.value("turned", (1, 7, 8, 8))])
    nodes = [w.node("Conv", ("images", "weights"), ("maps",), name="/Conv", kernel_shape=(4, 4), strides=(4, 4)),
             w.node("ReduceMean", ("maps",), ("mean",), name="/gate/ReduceMean", keepdims=0),
             w.node("Greater", ("mean", "half"), ("is_bright",), name="/gate/Greater"),
             w.node("If", ("is_bright",), ("out",), name="/gate/If", then_branch=bright, else_branch=dark)]
    return w.model(w.graph(nodes, [_IMAGE], [w.value("out", (1, 7, 8, 8))],
                           constants={"weights": _array(7, 3, 4, 4), "half": np.array(0.5, np.float32)}))


def repeated() -> bytes:
    """A loop whose count depends on the picture."""
    body = w.graph([w.node("Relu", ("old",), ("new",), name="/loop/Relu"),
                    w.node("Identity", ("go",), ("go_on",), name="/loop/Identity")],
                   [w.value("turn", (), w.INT64), w.value("go", (), w.BOOL), w.value("old", (1, 7, 8, 8))],
                   [w.value("go_on", (), w.BOOL), w.value("new", (1, 7, 8, 8))])
    nodes = [w.node("Conv", ("images", "weights"), ("maps",), name="/Conv", kernel_shape=(4, 4), strides=(4, 4)),
             w.node("ReduceMax", ("maps",), ("most",), name="/loop/ReduceMax", keepdims=0),
             w.node("Cast", ("most",), ("times",), name="/loop/Cast", to=w.INT64),
             w.node("Loop", ("times", "yes", "maps"), ("out",), name="/loop/Loop", body=body)]
    return w.model(w.graph(nodes, [_IMAGE], [w.value("out", (1, 7, 8, 8))],
                           constants={"weights": _array(7, 3, 4, 4), "yes": YES}))


def recurrent() -> bytes:
    """An LSTM over the rows of a map, as readers of number plates have it."""
    nodes = [w.node("Conv", ("images", "weights"), ("maps",), name="/cnn/Conv", kernel_shape=(32, 4), strides=(32, 4)),
             w.node("Reshape", ("maps", "flat"), ("columns",), name="/cnn/Reshape"),
             w.node("LSTM", ("columns", "w", "r", "b"), ("steps", "last", "cell"), name="/rnn/LSTM", hidden_size=5),
             w.node("Reshape", ("steps", "shape"), ("out",), name="/rnn/Reshape")]
    return w.model(w.graph(nodes, [_IMAGE], [w.value("out", (1, 8, 5))],
                           constants={"weights": _array(7, 3, 32, 4), "flat": _ints(8, 1, 7), "w": _array(1, 20, 7),
                                      "r": _array(1, 20, 5), "b": _array(1, 40), "shape": _ints(1, 8, 5)}))


def video() -> bytes:
    """Convolutions in space and time: an input of five axes."""
    nodes = [w.node("Conv", ("clip", "weights"), ("maps",), name="/Conv3d", kernel_shape=(2, 4, 4), strides=(2, 4, 4)),
             w.node("ReduceMean", ("maps",), ("scores",), name="/ReduceMean", axes=(2, 3, 4), keepdims=0)]
    return w.model(w.graph(nodes, [w.value("clip", (1, 3, 4, SIDE, SIDE))], [w.value("scores", (1, 5))],
                           constants={"weights": _array(5, 3, 2, 4, 4)}))


def any_size() -> bytes:
    """An input whose height and width are not fixed."""
    nodes = [w.node("Conv", ("images", "weights"), ("out",), name="/Conv", kernel_shape=(4, 4), strides=(4, 4))]
    return w.model(w.graph(nodes, [w.value("images", ("batch", 3, "height", "width"))],
                           [w.value("out", ("batch", 7, "rows", "columns"))],
                           constants={"weights": _array(7, 3, 4, 4)}))


def two_inputs() -> bytes:
    """A second input beside the picture, as PaddleDetection's exports have it."""
    nodes = [w.node("Conv", ("images", "weights"), ("maps",), name="/Conv", kernel_shape=(4, 4), strides=(4, 4)),
             w.node("Mul", ("maps", "scale_factor"), ("out",), name="/Mul")]
    return w.model(w.graph(nodes, [_IMAGE, w.value("scale_factor", (1,))], [w.value("out", (1, 7, 8, 8))],
                           constants={"weights": _array(7, 3, 4, 4)}))


def doubles() -> bytes:
    """64-bit floats throughout."""
    nodes = [w.node("Conv", ("images", "weights"), ("out",), name="/Conv", kernel_shape=(4, 4), strides=(4, 4))]
    return w.model(w.graph(nodes, [w.value("images", (1, 3, SIDE, SIDE), w.DOUBLE)],
                           [w.value("out", (1, 7, 8, 8), w.DOUBLE)],
                           constants={"weights": _array(7, 3, 4, 4).astype(np.float64)}))


def whole_numbers() -> bytes:
    """An input of 64-bit integers."""
    nodes = [w.node("Cast", ("images",), ("floats",), name="/Cast", to=w.FLOAT),
             w.node("Conv", ("floats", "weights"), ("out",), name="/Conv", kernel_shape=(4, 4), strides=(4, 4))]
    return w.model(w.graph(nodes, [w.value("images", (1, 3, SIDE, SIDE), w.INT64)], [w.value("out", (1, 7, 8, 8))],
                           constants={"weights": _array(7, 3, 4, 4)}))


def quantized() -> bytes:
    """A network that is INT8 already, in ONNX Runtime's form."""
    nodes = [w.node("QuantizeLinear", ("images", "scale", "zero"), ("bytes",), name="/QuantizeLinear"),
             w.node("DequantizeLinear", ("bytes", "scale", "zero"), ("floats",), name="/DequantizeLinear"),
             w.node("Conv", ("floats", "weights"), ("out",), name="/Conv", kernel_shape=(4, 4), strides=(4, 4))]
    return w.model(w.graph(nodes, [_IMAGE], [w.value("out", (1, 7, 8, 8))],
                           constants={"weights": _array(7, 3, 4, 4), "scale": np.array(0.01, np.float32),
                                      "zero": np.array(0, np.int8)}))


def sequences() -> bytes:
    """A list of tensors."""
    nodes = [w.node("Conv", ("images", "weights"), ("maps",), name="/Conv", kernel_shape=(4, 4), strides=(4, 4)),
             w.node("SplitToSequence", ("maps",), ("parts",), name="/SplitToSequence", axis=1),
             w.node("SequenceAt", ("parts", "first"), ("out",), name="/SequenceAt")]
    return w.model(w.graph(nodes, [_IMAGE], [w.value("out", (1, 1, 8, 8))],
                           constants={"weights": _array(7, 3, 4, 4), "first": np.array(0, np.int64)}))


def non_zero() -> bytes:
    """The cells that are not zero: as many rows as the picture has of them."""
    nodes, constants = _head()
    nodes += [w.node("Greater", ("scores", "half"), ("sure",), name="/post/Greater"),
              w.node("NonZero", ("sure",), ("cells_found",), name="/post/NonZero")]
    constants |= {"half": np.array(0.5, np.float32)}
    return w.model(w.graph(nodes, [_IMAGE], [w.value("cells_found", (3, "found"), w.INT64)], constants=constants))


def warped() -> bytes:
    """A map read at places that the network itself finds."""
    nodes = [w.node("Conv", ("images", "weights"), ("maps",), name="/Conv", kernel_shape=(4, 4), strides=(4, 4)),
             w.node("Conv", ("maps", "weights_1"), ("offsets",), name="/Conv_1", kernel_shape=(1, 1)),
             w.node("Transpose", ("offsets",), ("grid",), name="/Transpose", perm=(0, 2, 3, 1)),
             w.node("GridSample", ("maps", "grid"), ("out",), name="/GridSample", mode="bilinear")]
    return w.model(w.graph(nodes, [_IMAGE], [w.value("out", (1, 7, 8, 8))],
                           constants={"weights": _array(7, 3, 4, 4), "weights_1": _array(2, 7, 1, 1)}))


def noisy() -> bytes:
    """Random numbers at inference."""
    nodes = [w.node("RandomNormalLike", ("images",), ("noise",), name="/RandomNormalLike"),
             w.node("Add", ("images", "noise"), ("mixed",), name="/Add"),
             w.node("Conv", ("mixed", "weights"), ("out",), name="/Conv", kernel_shape=(4, 4), strides=(4, 4))]
    return w.model(w.graph(nodes, [_IMAGE], [w.value("out", (1, 7, 8, 8))], constants={"weights": _array(7, 3, 4, 4)}))


def trees() -> bytes:
    """A tensor of labels from the domain of classic machine learning."""
    nodes = [w.node("Conv", ("images", "weights"), ("maps",), name="/Conv", kernel_shape=(32, 32)),
             w.node("Normalizer", ("maps",), ("out",), name="/Normalizer", domain="ai.onnx.ml")]
    return w.model(w.graph(nodes, [_IMAGE], [w.value("out", (1, 7, 1, 1))],
                           constants={"weights": _array(7, 3, 32, 32)}), domains=["ai.onnx.ml"])


GRAPHS: Mapping[str, Callable[[], bytes]] = {function.__name__: function for function in (
    nms, end_to_end, query_selection, plugin, deformable, branches, repeated, recurrent, video, any_size, two_inputs,
    doubles, whole_numbers, quantized, sequences, non_zero, warped, noisy, trees)}
"""Each network with something that does not fit."""

