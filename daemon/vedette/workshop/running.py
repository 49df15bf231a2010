"""Runs a `.tflite` file from memory: real values in, real values out.

Invariants: inputs and outputs are real values whatever the types of the tensors are. One thread uses it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from vedette.errors import ModelUnsupported
from vedette.tflite.file import DETECTION_POSTPROCESS
from vedette.vision.delegated import DELEGATE, Node, undelegated

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Reals = NDArray[np.float64]

_THREADS = 2


class Running:
    """One model, built. Raises: ModelUnsupported (the runtime cannot build it)."""

    def __init__(self, content: bytes) -> None:
        from ai_edge_litert.interpreter import Interpreter
        try:
            self._native = Interpreter(model_content=content, num_threads=_THREADS)
            self._native.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise ModelUnsupported(f"LiteRT cannot build the quantized model: {error}") from error
        self._read = self._outputs()

    def outputs(self, picture: NDArray[np.float32]) -> list[Reals]:
        """Return every output for one input (1, …). Those of SSD's post-process are the boxes and scores before it.

        What it gives cannot be compared: it sorts, and leaves what it does not need as it was.
        """
        given, = self._native.get_input_details()
        self._native.set_tensor(given["index"], _integers(picture, given))
        self._native.invoke()
        return [_real(self._native.get_tensor(each["index"]), each) for each in self._read]

    def placement(self) -> str:
        """Return how much of the graph XNNPACK runs, in how many nodes, and what it leaves out."""
        nodes = [Node(each["op_name"], each["inputs"].tolist(), each["outputs"].tolist())
                 for each in self._native._get_ops_details()]
        parts = sum(node.name == DELEGATE for node in nodes)
        left = Counter(node.name for node in undelegated(nodes))
        whole = len(nodes) - parts
        if not left:
            return f"XNNPACK runs all {whole} operations, in {_nodes(parts)}"
        rest = ", ".join(f"{name} ({count})" for name, count in left.most_common())
        return f"XNNPACK runs {whole - left.total()} of {whole} operations, in {_nodes(parts)}; it has no {rest}"

    def _outputs(self) -> list[Any]:
        """Return the details of the tensors that are compared."""
        for node in self._native._get_ops_details():
            if node["op_name"] == DETECTION_POSTPROCESS:
                details = {each["index"]: each for each in self._native.get_tensor_details()}
                return [details[index] for index in node["inputs"].tolist()[:2]]
        return list(self._native.get_output_details())


def _nodes(count: int) -> str:
    return "one node" if count == 1 else f"{count} nodes"


def _integers(picture: NDArray[np.float32], details: Any) -> NDArray[Any]:
    scale, zero_point = details["quantization"]
    if not scale:
        return picture
    limits = np.iinfo(details["dtype"])
    integers: NDArray[Any] = np.rint(picture / scale + zero_point).clip(limits.min, limits.max)
    return integers.astype(details["dtype"])


def _real(raw: NDArray[Any], details: Any) -> Reals:
    scale, zero_point = details["quantization"]
    return (raw.astype(np.float64) - zero_point) * scale if scale else raw.astype(np.float64)
