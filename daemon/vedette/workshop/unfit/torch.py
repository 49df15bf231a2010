"""What does not fit in a network of `torch.export` (.pt2), found in its JSON, without torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vedette.tflite.model_errors import model_errors_only
from vedette.workshop.unfit import archive, cut, rules
from vedette.workshop.unfit.found import by_rule, few, of_input
from vedette.workshop.unfit.rules import Rule

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from vedette.workshop.unfit.found import Unfit

_DOCUMENTS = "models/model.json", "serialized_exported_program.json"
_TYPES = {1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32", 8: "float64",
          12: "bool", 13: "bfloat16"}
_SOURCE_LINE = re.compile(r'File "([^"]+)", line (\d+)')
_RULES = {
    **dict.fromkeys(("topk", "kthvalue"), "TopK"),
    **dict.fromkeys(("nonzero", "masked_select", "argwhere"), "NonZero"),
    **dict.fromkeys(("_unique2", "unique_dim", "unique_consecutive"), "Unique"),
    **dict.fromkeys(("stft", "istft", "view_as_complex", "fft_fft", "fft_rfft", "fft_fft2", "fft_rfft2", "_fft_r2c"),
                    "DFT"),
    **dict.fromkeys(("max_unpool2d", "max_unpool3d"), "MaxUnpool"),
    **dict.fromkeys(("inverse", "linalg_inv", "linalg_solve", "linalg_svd", "linalg_eigh"), "Inverse"),
    **dict.fromkeys(("scatter", "scatter_add", "scatter_reduce", "index_put"), "ScatterElements"),
    "col2im": "Col2Im", "nms": "NonMaxSuppression", "deform_conv2d": "DeformConv",
    **dict.fromkeys(("roi_align", "roi_pool", "ps_roi_align"), "RoiAlign"),
    **dict.fromkeys(("quantize_per_tensor", "dequantize_per_tensor", "quantize_per_channel",
                     "dequantize_per_channel"), "QuantizeLinear"),
}
_MEASURED: Mapping[str, Rule] = {
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), rules.STEPS),
    **dict.fromkeys(("sort", "argsort", "msort"), rules.SORTED),
    **dict.fromkeys(("rand", "randn", "rand_like", "randn_like", "bernoulli", "multinomial", "normal", "randint",
                     "cond", "while_loop", "scan", "map_impl"), rules.NOT_LOWERED),
    **dict.fromkeys(("grid_sampler", "grid_sampler_2d"), rules.PLACES),
    **dict.fromkeys(("conv3d", "conv_transpose3d", "max_pool3d", "avg_pool3d"), rules.DEEP),
}
"""Where PyTorch's converter does something else than the others."""
_LEARNED = frozenset(("conv1d", "conv2d", "conv3d", "convolution", "linear", "addmm", "mm", "bmm", "matmul",
                      "layer_norm", "conv_transpose2d", "lstm", "gru"))
_CHOICES = frozenset(("amax", "max", "argmax", "gt", "ge", "lt", "le", "eq", "logical_and", "logical_not", "to",
                      "_to_copy"))
_PARTS = frozenset(("split", "split_with_sizes", "chunk", "slice", "select", "getitem", "squeeze", "unsqueeze", "view",
                    "reshape", "flatten", "_unsafe_view", "clone", "contiguous", "expand", "alias", "unbind"))
_TURNED = frozenset(("permute", "transpose", "t"))
_NAMESPACES = frozenset(("aten", "prims", "torchvision", "higher_order", "quantized_decomposed", "_operator"))


@dataclass(frozen=True, slots=True)
class _Node:
    namespace: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    module: str
    source: str

    def __str__(self) -> str:
        where = "".join(f", {part}" for part in (self.module, self.source) if part)
        return f"node ({few(self.inputs)} -> {few(self.outputs)}){where}"


def unfit_in_torch(path: Path) -> tuple[Unfit, ...]:
    """Return what does not fit, in the order of the graph, its input first. Raises: ModelUnreadable."""
    document = archive.document(path, *_DOCUMENTS)
    with model_errors_only(path):
        graph, signature = document["graph_module"]["graph"], document["graph_module"]["signature"]
        inputs = [name for spec in signature["input_specs"] if "user_input" in spec for name in _names(spec)]
        outputs = [name for spec in signature["output_specs"] if "user_output" in spec for name in _names(spec)]
        given = {name for spec in signature["input_specs"] if "user_input" not in spec for name in _names(spec)}
        nodes = [_node(each) for each in graph["nodes"]]
        return (*_inputs(inputs, graph["tensor_values"]), *_nodes(nodes, inputs, outputs, given))


def _inputs(names: list[str], tensors: Mapping[str, Mapping[str, Any]]) -> Iterator[Unfit]:
    if len(names) != 1:
        yield by_rule("input", f"inputs {few(tuple(names))}", rules.INPUTS)
        return
    tensor = tensors[names[0]]
    sizes = [size.get("as_int") for size in tensor["sizes"]]
    dtype = _TYPES.get(tensor["dtype"], f"type {tensor['dtype']}")
    place = f"input {names[0]!r} {dtype} {'x'.join('?' if size is None else str(size) for size in sizes)}"
    yield from of_input(place, len(sizes), dtype, fixed=None not in sizes[1:], opened=rules.EXAMPLE)


def _nodes(nodes: list[_Node], inputs: list[str], outputs: list[str], given: set[str]) -> Iterator[Unfit]:
    steps = [cut.Step(node.inputs, node.outputs, choice=node.op in _CHOICES, part=node.op in _PARTS,
                      learned=node.op in _LEARNED and not given.isdisjoint(node.inputs), turned=node.op in _TURNED)
             for node in nodes]
    found = [(index, rule) for index, node in enumerate(nodes) if (rule := _rule(node)) is not None]
    end = cut.before(steps, [index for index, rule in found if rule.ends], inputs, outputs)
    made = (f"{name} of {node.source or node.op}" for name in end.tensors for node in nodes if name in node.outputs)
    how = f". Let forward() return {' and '.join(made)}"
    for index, rule in found:
        node = nodes[index]
        op = node.op if node.namespace == "aten" else f"{node.namespace}.{node.op}"
        yield by_rule(op, str(node), rule, end.tensors if index in end.lost else (),
                     "custom" if rule is rules.UNKNOWN else "replace", how)


def _rule(node: _Node) -> Rule | None:
    if node.namespace not in _NAMESPACES:
        return rules.UNKNOWN
    op = node.op.rstrip("_")
    return _MEASURED.get(op) or rules.RULES.get(_RULES.get(op, ""))


def _node(node: Mapping[str, Any]) -> _Node:
    parts = node["target"].removeprefix("torch.ops.").split(".")
    notes = node.get("metadata") or {}
    lines = _SOURCE_LINE.findall(notes.get("stack_trace") or "")
    own = [line for line in lines if "site-packages" not in line[0] and not line[0].startswith("<")] or lines
    stack = (notes.get("nn_module_stack") or "").rpartition(";")[2].split(",")
    module = f"module {stack[1] or stack[-1]!r}" if len(stack) > 1 else ""
    inputs = tuple(name for part in node["inputs"] for name in _names(part))
    return _Node(parts[0], parts[1] if len(parts) > 1 else parts[0], inputs, tuple(_names(node["outputs"])), module,
                 ":".join(own[-1]) if own else "")


def _names(part: Any) -> Iterator[str]:
    """Yield the names of all tensors in a part of the document, in order."""
    if isinstance(part, list):
        for each in part:
            yield from _names(each)
    elif isinstance(part, dict):
        for key, each in part.items():
            if key in ("as_tensor", "arg") and isinstance(each, dict) and isinstance(each.get("name"), str):
                yield each["name"]
            elif key == "as_tensors":
                yield from (tensor["name"] for tensor in each)
            elif key not in ("metadata", "name", "kind"):
                yield from _names(each)
