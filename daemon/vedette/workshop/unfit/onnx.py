"""What does not fit in an ONNX network, found in the file alone, before any tool runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vedette.workshop.unfit import cut, onnx_graph, rules
from vedette.workshop.unfit.found import by_rule, of_input

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from vedette.workshop.unfit.found import Unfit
    from vedette.workshop.unfit.onnx_graph import Graph, Node, Value
    from vedette.workshop.unfit.rules import Rule

_STANDARD = ("", "ai.onnx")
_KNOWN_NAMES = """
Abs Acos Acosh Add AffineGrid And ArgMax ArgMin Asin Asinh Atan Atanh Attention AveragePool BatchNormalization
BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor BlackmanWindow Cast CastLike Ceil Celu CenterCropPad Clip Concat
Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum DepthToSpace Div Dropout Einsum Elu Equal Erf Exp Expand
EyeLike Flatten Floor FusedConv FusedMatMul Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalLpPool
GlobalMaxPool Greater GreaterOrEqual GroupNorm GroupNormalization HammingWindow HannWindow HardSigmoid HardSwish Hardmax
Identity InstanceNormalization IsInf IsNaN LRN LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax
LpNormalization LpPool MatMul Max MaxPool Mean MeanVarianceNormalization Min Mish Mod Mul MultiHeadAttention Neg
NegativeLogLikelihoodLoss Not OneHot Or PRelu Pad Pow Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp
ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize RotaryEmbedding Round Scatter
Selu Shape Shrink Sigmoid Sign Sin Sinh Size Slice Softmax SoftmaxCrossEntropyLoss Softplus Softsign SpaceToDepth Split
Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile Transpose Trilu Unsqueeze Upsample Where Xor
"""
# What onnx2tf 2.6.9 turns into built-in operations, beside the names in `rules.RULES`.
KNOWN = frozenset(_KNOWN_NAMES.split())
_PARTS = frozenset(("Identity", "Reshape", "Split", "Slice", "Squeeze", "Unsqueeze", "Flatten", "Gather"))
_CHOICES = frozenset(("ReduceMax", "ArgMax", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal",
                      "Not", "And", "Or", "Cast"))
_LEARNED = frozenset(("Conv", "ConvTranspose", "Gemm", "MatMul", "LayerNormalization", "LSTM", "GRU", "RNN",
                      "DeformConv"))
_DEEP = frozenset(("Conv", "ConvTranspose", "MaxPool", "AveragePool"))


def unfit_in_onnx(path: Path) -> tuple[Unfit, ...]:
    """Return what does not fit, in the order of the graph, its input first. Raises: ModelUnreadable."""
    graph = onnx_graph.read(path)
    return (*_inputs(graph), *_nodes(graph))


def _inputs(graph: Graph) -> Iterator[Unfit]:
    if len(graph.inputs) != 1:
        yield by_rule("input", f"inputs {', '.join(map(str, graph.inputs)) or '(none)'}", rules.INPUTS)
        return
    value, = graph.inputs
    shape = value.shape or ()
    yield from of_input(f"input {value}", len(shape), value.dtype,
                        fixed=all(isinstance(size, int) for size in shape[1:]))


def _nodes(graph: Graph) -> Iterator[Unfit]:
    steps = [cut.Step(_read_by(node), node.outputs, choice=node.op in _CHOICES, turned=node.op == "Transpose",
                      learned=node.op in _LEARNED and _is_constant(node.inputs[1:], graph),
                      part=node.op in _PARTS and not _is_constant(node.inputs[:1], graph)) for node in graph.nodes]
    found = [(index, rule) for index, node in enumerate(graph.nodes)
             if (rule := _rule(node, graph)) is not None]
    end = cut.before(steps, [index for index, rule in found if rule.ends], [value.name for value in graph.inputs],
                     [value.name for value in graph.outputs])
    quantized = False
    for index, rule in found:
        if rule is rules.QUANTIZED and quantized:
            continue        # one says it all
        quantized = quantized or rule is rules.QUANTIZED
        yield _of_node(graph.nodes[index], rule, end.tensors if index in end.lost else ())
    for index, node in enumerate(graph.nodes):
        yield from _inside(node, graph, end.tensors if index in end.lost else ())


def _read_by(node: Node) -> tuple[str, ...]:
    """Return the tensors that a node reads; its branches read those of the graph around them."""
    inner = (name for branch in node.graphs for inside in branch.nodes for name in _read_by(inside))
    return (*node.inputs, *inner)


def _of_node(node: Node, rule: Rule, tensors: tuple[str, ...], inside: str = "") -> Unfit:
    op = node.op if node.domain in _STANDARD else f"{node.domain}::{node.op}"
    return by_rule(op, f"{node}{inside}", rule, tensors,
                  "custom" if rule in (rules.UNKNOWN, rules.END_PLUGIN) else "replace")


def _inside(node: Node, graph: Graph, tensors: tuple[str, ...]) -> Iterator[Unfit]:
    """What does not fit in the branches of a node, and in what the file defines itself."""
    inner = [inside for branch in node.graphs for inside in branch.nodes]
    if node.domain not in _STANDARD:
        inner += graph.functions.get((node.domain, node.op), ())
    for inside in inner:
        rule = _rule(inside, graph)
        if rule is not None:
            yield _of_node(inside, rule, tensors, f", inside {node}")
        if inside.graphs:
            yield from _inside(inside, graph, tensors)


def _rule(node: Node, graph: Graph) -> Rule | None:
    if node.domain in _STANDARD and (rule := rules.RULES.get(node.op)) is not None:
        return rule
    if (node.domain, node.op) in graph.functions:
        return None
    if node.domain != "ai.onnx.ml" and node.op in KNOWN:
        return rules.DEEP if node.op in _DEEP and _axes(node, graph) > 4 else None
    if node.domain == "com.microsoft" and (rule := rules.RULES.get(node.op)) is not None:
        return rule
    return rules.END_PLUGIN if "NMS" in node.op.upper() else rules.UNKNOWN


def _axes(node: Node, graph: Graph) -> int:
    """Return how many axes the node works on, as its weights or its input say; 4 where nothing does."""
    shapes = (_shape(graph, name) for name in (*node.inputs[1:2], *node.inputs[:1]))
    return next((len(shape) for shape in shapes if shape is not None), 4)


def _shape(graph: Graph, name: str) -> tuple[int | str, ...] | None:
    value: Value | None = graph.constants.get(name) or graph.values.get(name)
    return value.shape if value is not None else None


def _is_constant(names: tuple[str, ...], graph: Graph) -> bool:
    return any(name in graph.constants for name in names)

