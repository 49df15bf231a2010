"""What does not fit in a SavedModel of TensorFlow, found in its graph, without TensorFlow.

Invariants: only what the signature for inference reaches counts. A SavedModel holds training and saving too.

The field numbers are those of saved_model.proto, meta_graph.proto, graph.proto and function.proto.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vedette._lib.whole_file import read_whole
from vedette.errors import ModelUnreadable
from vedette.tflite.model_errors import model_errors_only
from vedette.workshop.unfit import cut, rules
from vedette.workshop.unfit.found import by_rule, few, of_input
from vedette.workshop.unfit.protobuf import Message

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from vedette.workshop.unfit.found import Unfit, WayOut
    from vedette.workshop.unfit.rules import Rule

FILE = "saved_model.pb"
SIGNATURE = "serving_default"
_TYPES = {1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 7: "string", 9: "int64",
          10: "bool", 14: "bfloat16", 19: "float16"}
_RULES = {
    **dict.fromkeys(("NonMaxSuppression", "NonMaxSuppressionV2", "NonMaxSuppressionV3",
                     "NonMaxSuppressionV4", "NonMaxSuppressionV5", "NonMaxSuppressionWithOverlaps"),
                    "NonMaxSuppression"),
    **dict.fromkeys(("TopK", "TopKV2"), "TopK"), "Where": "NonZero",
    "Unique": "Unique",
    **dict.fromkeys(("While", "StatelessWhile"), "Loop"), **dict.fromkeys(("If", "StatelessIf", "Case"), "If"),
    **dict.fromkeys(("RandomUniform", "RandomStandardNormal", "Multinomial"), "RandomNormal"),
    **dict.fromkeys(("FFT", "IFFT", "RFFT", "RFFT2D", "IRFFT", "IRFFT2D"), "DFT"),
    **dict.fromkeys(("DecodePng", "DecodeImage", "LookupTableFindV2", "HashTableV2",
                     "StringToHashBucketFast", "RegexReplace", "ParseExampleV2"), "StringConcat"),
    **dict.fromkeys(("QuantizeV2", "QuantizedConv2D", "UniformQuantize"), "QuantizeLinear"),
    **dict.fromkeys(("Conv3D", "Conv3DBackpropInputV2"), "Conv3D"),
}
_TENSORFLOW_NAMES = """
Acos Acosh AdjustContrastv2 AdjustHue AdjustSaturation Asin Asinh Atan Atanh AvgPool3D BesselI0e BesselI1e Betainc
Bincount Cholesky CombinedNonMaxSuppression Cosh CropAndResize Cumprod DecodeJpeg Digamma Dilation2D Erfinv
ExtractImagePatches FFT2D FractionalMaxPool HSVToRGB Igamma ImageProjectiveTransformV3 InTopKV2 ListDiff
MatrixDeterminant MatrixDiagPartV3 MatrixInverse MatrixSolve MaxPool3D MaxPoolWithArgmax Ndtri NthElement Polygamma Qr
RGBToHSV ResizeArea ResizeBicubic ScaleAndTranslate SelfAdjointEigV2 Sinh StatelessRandomNormalV2
StatelessRandomUniformV2 StringSplitV2 Svd Tan TensorListReserve UniqueV2 UnravelIndex Zeta
"""
# What the converter of TensorFlow 2.21.0 refused without Select TF, one by one. A list of tensors is a recurrent layer.
_TENSORFLOW = frozenset(_TENSORFLOW_NAMES.split())
_LEARNED = frozenset(("Conv2D", "DepthwiseConv2dNative", "MatMul", "BatchMatMulV2", "Conv2DBackpropInput"))
_CHOICES = frozenset(("Max", "ArgMax", "Greater", "GreaterEqual", "Less", "LessEqual", "Cast"))
_PARTS = frozenset(("Reshape", "Split", "SplitV", "Slice", "StridedSlice", "Squeeze", "ExpandDims", "Identity"))
_LOOPS = frozenset(("While", "StatelessWhile"))


@dataclass(frozen=True, slots=True)
class _Node:
    name: str
    op: str
    inputs: tuple[str, ...]
    calls: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Graph:
    """The graph of the file, or one of its functions. Tensors are named by the nodes that make them."""

    name: str
    nodes: tuple[_Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def unfit_in_saved_model(path: Path) -> tuple[Unfit, ...]:
    """Return what does not fit: the inputs, then the nodes in their order. Raises: ModelUnreadable."""
    file = path / FILE
    try:
        content = read_whole(file, 2 << 30)
    except OSError as error:
        raise ModelUnreadable(f"{file}: {error.strerror}; expected a SavedModel") from error
    with model_errors_only(path):
        try:
            graph = Message(memoryview(content)).message(2)
            signature = _signature(graph)
            return (*_inputs(signature), *_nodes(graph.message(2), signature))
        except ModelUnreadable as error:
            raise ModelUnreadable(f"{file}: {error}; expected a SavedModel") from error


def _signature(graph: Message) -> Message:
    found = {entry.text(1): entry.message(2) for entry in graph.messages(5)}
    if SIGNATURE not in found:
        names = few(tuple(name for name in found if not name.startswith("__")))
        raise ModelUnreadable(f"no signature {SIGNATURE!r} in it ({names})")
    return found[SIGNATURE]


def _inputs(signature: Message) -> Iterator[Unfit]:
    entries = {entry.text(1): entry.message(2) for entry in signature.messages(1)}
    if len(entries) != 1:
        yield by_rule("input", f"inputs {few(tuple(entries))}", rules.INPUTS)
        return
    (name, info), = entries.items()
    shape = [size.integer(1) for size in info.message(3).messages(2)]
    dtype = _TYPES.get(info.integer(2), f"type {info.integer(2)}")
    place = f"input {name!r} {dtype} {'x'.join('?' if size < 0 else str(size) for size in shape)}"
    yield from of_input(place, len(shape), dtype, fixed=all(size >= 0 for size in shape[1:]))


def _nodes(graph: Message, signature: Message) -> Iterator[Unfit]:
    functions = {function.message(1).text(1): function for function in graph.message(2).messages(1)}
    wanted = tuple(entry.message(2).text(1) for entry in signature.messages(2))
    main = _needed(_Graph("", _whole(graph.messages(1)), (), wanted))
    for each in (main, *_called(main, functions)):
        yield from _of_graph(each)


def _of_graph(graph: _Graph) -> Iterator[Unfit]:
    found = [(index, rule) for index, node in enumerate(graph.nodes) if (rule := _rule(node)) is not None]
    steps = [cut.Step(node.inputs, (node.name,), learned=node.op in _LEARNED, choice=node.op in _CHOICES,
                      part=node.op in _PARTS, turned=node.op == "Transpose") for node in graph.nodes]
    end = cut.before(steps, [index for index, rule in found if rule.ends], graph.inputs,
                     tuple(map(_node_of, graph.outputs)))
    recurrent: set[str] = set()
    for index, rule in found:
        node = graph.nodes[index]
        layer = node.name.rpartition("/")[0]
        if rule is rules.UNROLL and layer not in recurrent:
            recurrent.add(layer)
        elif layer in recurrent and (rule is rules.UNROLL or node.op in _LOOPS):
            continue        # one says it all
        place = f"node {node.name!r}{f', function {graph.name!r}' if graph.name else ''}"
        otherwise: WayOut = "select-tf" if node.op in _TENSORFLOW else "replace"
        yield by_rule(node.op, place, rule, end.tensors if index in end.lost else (), otherwise)


def _whole(nodes: Iterator[Message]) -> tuple[_Node, ...]:
    return tuple(map(_node, nodes))


def _needed(graph: _Graph) -> _Graph:
    """Return the graph without what only training and saving use."""
    makers = {node.name: node for node in graph.nodes}
    wanted, needed = list(map(_node_of, graph.outputs)), set[str]()
    while wanted:
        name = wanted.pop()
        if name not in needed and name in makers:
            needed.add(name)
            wanted.extend(makers[name].inputs)
    return replace(graph, nodes=tuple(node for node in graph.nodes if node.name in needed))


def _called(main: _Graph, functions: Mapping[str, Message]) -> Iterator[_Graph]:
    """Yield each function that inference calls, once."""
    calls = [call for node in main.nodes for call in node.calls]
    done: set[str] = set()
    while calls:
        name = calls.pop(0)
        if name in done or name not in functions:
            continue
        done.add(name)
        function = functions[name]
        arguments = tuple(argument.text(1) for argument in function.message(1).messages(2))
        graph = _Graph(name, _whole(function.messages(3)), arguments,
                       tuple(entry.text(2) for entry in function.messages(4)))
        calls += [call for node in graph.nodes for call in node.calls]
        yield graph


def _node_of(tensor: str) -> str:
    return tensor.partition(":")[0]


def _node(node: Message) -> _Node:
    calls = tuple(function for attribute in node.messages(5) for function in _functions(attribute.message(2)))
    inputs = tuple(_node_of(name) for name in node.texts(3) if not name.startswith("^"))     # that only orders them
    return _Node(node.text(1), node.text(2), inputs, calls)


def _functions(value: Message) -> Iterator[str]:
    """Yield the functions that an attribute names: one, or a list of them."""
    for function in (*value.messages(10), *(each for listed in value.messages(1) for each in listed.messages(9))):
        yield function.text(1)


def _rule(node: _Node) -> Rule | None:
    known = _RULES.get(node.op)
    if known == "Conv3D":
        return rules.DEEP
    if known is not None:
        return rules.ONE_BRANCH if known == "If" else rules.RULES[known]
    if node.op == "TensorListReserve":
        return rules.UNROLL
    if node.op not in _TENSORFLOW:
        return None
    return rules.SELECT_TF_END if "NonMaxSuppression" in node.op else rules.SELECT_TF
