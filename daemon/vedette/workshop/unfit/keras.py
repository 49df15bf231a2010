"""What does not fit in a Keras network (.keras), found in its JSON, without Keras."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vedette.tflite.model_errors import model_errors_only
from vedette.workshop.unfit import archive, cut, rules
from vedette.workshop.unfit.found import Unfit, by_rule, few, of_input

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from vedette.workshop.unfit.rules import Rule

_RULES = {
    **dict.fromkeys(("TextVectorization", "StringLookup", "IntegerLookup", "Hashing", "HashedCrossing"),
                    "StringConcat"),
    **dict.fromkeys(("TopK", "Sort", "Argsort"), "TopK"),
    **dict.fromkeys(("NonMaxSuppression", "MultiClassNonMaxSuppression"), "NonMaxSuppression"),
    **dict.fromkeys(("Nonzero",), "NonZero"), "Unique": "Unique",
    **dict.fromkeys(("FFT", "FFT2", "RFFT", "IRFFT", "STFT", "ISTFT", "STFTSpectrogram", "MelSpectrogram"), "DFT"),
    **dict.fromkeys(("WhileLoop", "Scan", "ForiLoop"), "Loop"), "Cond": "If",
    **dict.fromkeys(("RoiAlign", "ROIAligner", "ROIPooler"), "RoiAlign"),
    **dict.fromkeys(("AffineTransform", "MapCoordinates"), "GridSample"),
}
_RECURRENT = frozenset(("LSTM", "GRU", "SimpleRNN", "RNN", "ConvLSTM1D", "ConvLSTM2D"))
_DEEP = frozenset(("Conv3D", "Conv3DTranspose", "MaxPooling3D", "AveragePooling3D", "ConvLSTM3D"))
_LEARNED = frozenset(("Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Conv2DTranspose", "Dense", "Conv1D",
                      "MultiHeadAttention"))
_CHOICES = frozenset(("Max", "Amax", "Argmax", "Greater", "GreaterEqual", "Less", "LessEqual", "Cast"))
_PARTS = frozenset(("Reshape", "Flatten", "Split", "GetItem", "Squeeze", "ExpandDims", "Slice"))
_NETWORKS = frozenset(("Functional", "Sequential", "Model"))
_OURS = ("keras", "builtins", "tensorflow.keras", "tf_keras")
_LAMBDA = rules.Rule("it holds Python code, which Keras refuses to load from a file",
                     "replace it by a layer of Keras, or export the network as a SavedModel where its code is "
                     "(model.export('folder')) and give that")
_CODE = rules.Rule("it is a class of its own, of which the file holds the name only",
                   "export the network as a SavedModel where its code is (model.export('folder')) and give that")


def unfit_in_keras(path: Path) -> tuple[Unfit, ...]:
    """Return what does not fit, in the order of the layers, the input first. Raises: ModelUnreadable."""
    with model_errors_only(path):
        network = archive.document(path, "config.json")
        return (*_inputs(network["config"]), *_layers(network["config"], ""))


def _inputs(config: Mapping[str, Any]) -> Iterator[Unfit]:
    layers = [layer for layer in config["layers"] if layer["class_name"] == "InputLayer"]
    if len(layers) != 1:
        names = tuple(str(layer["config"]["name"]) for layer in layers)
        yield by_rule("input", f"layers {few(names)}", rules.INPUTS)
        return
    stated = layers[0]["config"]
    shape = stated.get("batch_shape") or stated.get("batch_input_shape") or ()
    dtype = stated.get("dtype") or "float32"
    place = f"layer {stated['name']!r} {dtype} {'x'.join('?' if size is None else str(size) for size in shape)}"
    yield from of_input(place, len(shape), dtype, fixed=None not in shape[1:])


def _layers(config: Mapping[str, Any], inside: str) -> Iterator[Unfit]:
    layers: Sequence[Mapping[str, Any]] = config["layers"]
    steps, before = [], ""
    for layer in layers:
        read = tuple(_names(layer.get("inbound_nodes"))) or ((before,) if before else ())
        before = str(layer["config"].get("name") or layer.get("name"))
        kind = layer["class_name"]
        steps.append(cut.Step(read, (before,), learned=kind in _LEARNED, choice=kind in _CHOICES,
                              part=kind in _PARTS, turned=kind in {"Permute", "Transpose"}))
    found = [(index, rule) for index, layer in enumerate(layers) if (rule := _rule(layer)) is not None]
    inputs = [step.outputs[0] for step, layer in zip(steps, layers, strict=True)
              if layer["class_name"] == "InputLayer"] or [steps[0].outputs[0]]
    end = cut.before(steps, [index for index, rule in found if rule.ends], inputs, _outputs(config) or [before])
    for index, rule in found:
        kind = str(layers[index]["class_name"])
        place = f"layer {steps[index].outputs[0]!r} ({few(steps[index].inputs)}){inside}"
        yield by_rule(kind, place, rule, end.tensors if index in end.lost else (),
                     "select-tf" if rule is rules.UNROLL else "replace",
                     ". Make a keras.Model from the input to the outputs of these layers")
    for layer in layers:
        if layer["class_name"] in _NETWORKS and "layers" in layer["config"]:
            yield from _layers(layer["config"], f", inside {layer['config'].get('name')!r}{inside}")


def _rule(layer: Mapping[str, Any]) -> Rule | None:
    kind, module = layer["class_name"], layer.get("module", "keras")
    if not str(module).startswith(_OURS):
        return _CODE
    if kind in {"Lambda", "TFOpLambda", "TensorFlowOpLayer", "SlicingOpLambda"}:
        return _LAMBDA
    if (rule := rules.RULES.get(_RULES.get(kind, ""))) is not None:
        return rule
    if kind in _DEEP:
        return rules.DEEP
    if kind == "Bidirectional":
        return _rule(layer["config"]["layer"])
    if kind in _RECURRENT:
        return rules.UNROLLED if layer["config"].get("unroll") else rules.UNROLL
    return None


def _outputs(config: Mapping[str, Any]) -> list[str]:
    """Return the names of the layers that give the outputs."""
    found = config.get("output_layers") or []
    if found and not isinstance(found[0], list):
        found = [found]     # Keras 3 writes a single one without its list
    return [str(entry[0]) for entry in found]


def _names(part: Any) -> Iterator[str]:
    """Yield the layers that a call of a layer reads: the forms of Keras 3 and of Keras 2."""
    if isinstance(part, dict):
        history = part.get("config", {}).get("keras_history") if isinstance(part.get("config"), dict) else None
        if history:
            yield str(history[0])
        else:
            for each in part.values():
                yield from _names(each)
    elif isinstance(part, list):
        if len(part) >= 3 and isinstance(part[0], str) and isinstance(part[1], int):
            yield part[0]
        else:
            for each in part:
                yield from _names(each)
