"""The parts of a float graph that can stay float by name: its layers in blocks, the box arithmetic, the output.

Invariants: a layer is an operation with weights, counted from 1 in the order in which they run. Each operation is in
one block of layers or in the box arithmetic. The names are stable: they depend on the graph only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from vedette.errors import UsageError
from vedette.tflite.file import DETECTION_POSTPROCESS

if TYPE_CHECKING:
    from vedette.workshop.graph import Graph
    from vedette.workshop.ranges import Ranges

BOXES, OUTPUT = "boxes", "output"
_WEIGHTED = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED"})
_FEW_WEIGHTS = 64           # the sum over a distribution of distances is written as a convolution with 16 weights
_OF_BOXES = frozenset({"ADD", "SUB", DETECTION_POSTPROCESS})
_SINGLE, _GROUPS = 4, 12    # the first layers cost the fewest bytes, and often the most precision
_APART = 8.0                # by which factor numbers must differ to count as different kinds of numbers


@dataclass(frozen=True, slots=True)
class Block:
    """Operations by their places in the graph, the bytes of their weights as float, and their multiplications."""

    name: str
    places: tuple[int, ...]
    bytes_float: int
    products: int


class Layers:
    """The structure of one graph, which must not change meanwhile."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._ops = graph.ops
        self._kinds = [graph.kind(op) for op in self._ops]
        self._after: dict[int, list[int]] = {}      # tensor: places of those that read it
        for place, op in enumerate(self._ops):
            for tensor in op.inputs:
                self._after.setdefault(int(tensor), []).append(place)
        self._weighted = [place for place in range(len(self._ops)) if self._weights(place) > _FEW_WEIGHTS]
        self._tail = self._find_tail()
        self.boxes = tuple(self._tail) if any(self._kinds[place] in _OF_BOXES for place in self._tail) else ()
        """What follows the last layers, where it calculates boxes: nothing else there adds or subtracts.

        SSD's post-process reads floats in any case.
        """
        self.blocks = tuple(self._find_blocks())

    def __repr__(self) -> str:
        return f"<Layers {len(self._weighted)} in {len(self.blocks)} blocks>"

    def names(self, places: Iterable[int]) -> list[str]:
        """Return the names of the tensors that these operations write first."""
        return [self._graph.name(int(self._ops[place].outputs[0])) for place in places]

    def mixed(self, measured: Ranges) -> tuple[int, ...]:
        """Return the operations that join numbers of different sizes after the layers, and those that follow.

        Joined in one INT8 tensor, boxes in pixels would leave one step of the integers for all scores.
        """
        found: set[int] = set()
        for place in self._tail:
            if self._kinds[place] in {"CONCATENATION", "PACK"}:
                bounds = [_bound(measured[name]) for tensor in self._ops[place].inputs
                          if (name := self._graph.name(int(tensor))) in measured]
                if len(bounds) > 1 and max(bounds) > _APART * min(bounds):
                    found |= {place, *self._following(place)}
        return tuple(sorted(found))

    def find(self, name: str) -> tuple[int, ...]:
        """Return the operations of a block, of layers such as `layers-3-7`, or the one that writes a tensor.

        Raises: UsageError.
        """
        if name == BOXES:
            return self.boxes
        if match := re.fullmatch(r"layers?-(\d+)(?:-(\d+))?", name):
            first, last = int(match[1]), int(match[2] or match[1])
            if 1 <= first <= last <= len(self._weighted):
                return self._between(first, last)
        writers = [place for place, op in enumerate(self._ops)
                   if name in (self._graph.name(int(tensor)) for tensor in op.outputs)]
        if not writers:
            known = ", ".join([*(block.name for block in self.blocks), *([BOXES] if self.boxes else [])])
            raise UsageError(f"no block and no tensor {name!r} in this model of {len(self._weighted)} layers; the "
                             f"blocks are {known}")
        return tuple(writers)

    def _weights(self, place: int) -> int:
        op = self._ops[place]
        if self._kinds[place] not in _WEIGHTED or len(op.inputs) < 2 or self._graph.constant(int(op.inputs[1])) is None:
            return 0
        return prod(self._graph.shape(int(op.inputs[1])))

    def _products(self, place: int) -> int:
        op = self._ops[place]
        deconvolved = self._kinds[place] == "TRANSPOSE_CONV"
        shape = self._graph.shape(int(op.inputs[2] if deconvolved else op.outputs[0]))
        return self._weights(place) * (prod(shape[1:3]) if len(shape) == 4 else 1)

    def _find_tail(self) -> list[int]:
        """Return the operations after which no layer comes."""
        before = {place: self._following(place) for place in range(len(self._ops))}
        layers = set(self._weighted)
        return [place for place, after in before.items() if place not in layers and not after & layers]

    def _following(self, place: int) -> set[int]:
        found: set[int] = set()
        waiting = [place]
        while waiting:
            for tensor in self._ops[waiting.pop()].outputs:
                new = set(self._after.get(int(tensor), ())) - found
                found |= new
                waiting += new
        return found

    def _find_blocks(self) -> Iterator[Block]:
        count = len(self._weighted)
        single = min(_SINGLE, count)
        rest = count - single
        size = max(1, -(-rest // _GROUPS))
        starts = [*range(1, single + 1), *range(single + 1, count + 1, size)]
        for first, following in zip(starts, [*starts[1:], count + 1], strict=True):
            last = following - 1
            layers = self._weighted[first - 1:last]
            name = f"layer-{first}" if first == last else f"layers-{first}-{last}"
            yield Block(name, self._between(first, last), 4 * sum(map(self._weights, layers)),
                        sum(map(self._products, layers)))

    def _between(self, first: int, last: int) -> tuple[int, ...]:
        """Return the operations from one layer to another one, with those that follow it up to the next layer."""
        start = 0 if first == 1 else self._weighted[first - 1]
        end = self._weighted[last] if last < len(self._weighted) else len(self._ops)
        return tuple(place for place in range(start, end) if place not in self.boxes)


def _bound(measured: Mapping[str, Any]) -> float:
    """Return the largest size of a tensor's numbers; at least 1, since pictures may not show what scores as much."""
    return max(1.0, abs(float(measured["min"].min())), abs(float(measured["max"].max())))
