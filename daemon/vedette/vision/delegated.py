"""Calculates how much of a graph a delegate has taken over.

Invariants: pure; the share is of the original nodes, 0-1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

DELEGATE = "DELEGATE"


class Node(NamedTuple):
    """One node of the graph as it runs: its operation, and the tensors it reads and writes."""

    name: str
    inputs: Sequence[int]
    outputs: Sequence[int]


def delegated_share(nodes: Sequence[Node]) -> float:
    """Return the share (0-1) of a graph's original nodes that DELEGATE nodes replace."""
    originals = sum(node.name != DELEGATE for node in nodes)
    return 1.0 - len(undelegated(nodes)) / originals if originals else 0.0


def undelegated(nodes: Iterable[Node]) -> tuple[Node, ...]:
    """Return the original nodes that no DELEGATE node replaces.

    The runtime keeps replaced nodes in its list. A DELEGATE node replaces the nodes between its outputs and its inputs.
    """
    originals: list[Node] = []
    delegates: list[Node] = []
    for node in nodes:
        (delegates if node.name == DELEGATE else originals).append(node)
    writer = {tensor: index for index, node in enumerate(originals) for tensor in node.outputs}
    reached: set[int] = set()
    for delegate in delegates:
        _reach_back(delegate, originals, writer, reached)
    return tuple(node for index, node in enumerate(originals) if index not in reached)


def _reach_back(delegate: Node, originals: Sequence[Node], writer: dict[int, int], reached: set[int]) -> None:
    ends = set(delegate.inputs)
    tensors = [tensor for tensor in delegate.outputs if tensor not in ends]
    while tensors:
        index = writer.get(tensors.pop())
        if index is not None and index not in reached:
            reached.add(index)
            tensors += [tensor for tensor in originals[index].inputs if tensor not in ends]
