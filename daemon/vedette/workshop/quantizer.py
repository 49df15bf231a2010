"""A float model becomes a smaller and faster one: INT8 by calibration, or one of four other schemes.

Invariants: the integers of the input are the bytes of a picture, at most shifted by 128. An output is INT8 where the
operation that writes it is, else float: nothing converts at the end, unless `uint8` is wanted. A model without a
signature gets one. The result does not depend on the order of the pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from typing import TYPE_CHECKING, Literal, get_args
from zlib import crc32

from vedette.errors import ModelUnsupported
from vedette.tflite.file import read_bytes
from vedette.workshop import graph as graphs
from vedette.workshop import ranges
from vedette.workshop.biases import hold_biases
from vedette.workshop.layers import BOXES, OUTPUT, Layers
from vedette.workshop.running import Running
from vedette.workshop.schemes import Scheme, apply, untouched
from vedette.workshop.sensitivity import PICTURES, BlockCost, Scores, choose
from vedette.workshop.uint8 import with_uint8

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vedette.tflite.file import ModelFile
    from vedette.vision.model_spec import ModelSpec
    from vedette.workshop.graph import Graph
    from vedette.workshop.layers import Block
    from vedette.workshop.ranges import Inputs, Ranges

__all__ = ["CALIBRATED", "SCHEMES", "BlockCost", "Quantized", "Recipe", "Scheme", "quantize"]

SCHEMES: tuple[Scheme, ...] = get_args(Scheme)
CALIBRATED: tuple[Scheme, ...] = ("static", "per-tensor")
"""The schemes that need pictures."""
_WORTH_DB = 1.0         # what the blocks that stay float must bring, all together
_GOOD_DB = 25.0         # scores that are as near as this need no block of layers as float


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to quantize. `keep_float`: what stays float in the calibrated schemes, by the names of blocks or tensors.

    `uint8`: their INT8 input and outputs become `uint8`, which other programs want.
    """

    scheme: Scheme = "static"
    keep_float: Literal["auto", "none"] | tuple[str, ...] = "auto"
    uint8: bool = False


@dataclass(frozen=True, slots=True)
class Quantized:
    """The new file, what stays float in it, what each block costs, what was cured, and what else is to say."""

    content: bytes
    kept_float: tuple[str, ...]
    sensitivity: tuple[BlockCost, ...]
    cures: tuple[str, ...]
    notes: tuple[str, ...]


def quantize(model: ModelFile, spec: ModelSpec, inputs: Inputs, recipe: Recipe,
             progress: Callable[[str], None]) -> Quantized:
    """Quantize a float model. `inputs` are pictures as the model is fed with; only calibrated schemes read them.

    Raises: ModelUnsupported (quantized already, or the quantizer refuses it), UsageError (no such block), ExtraMissing.
    """
    _require_float(model)
    graph = graphs.read(read_bytes(model.path))
    cures = tuple(_prepare(graph))
    if recipe.scheme not in CALIBRATED:
        progress("quantizing")
        content = apply(graph, {}, recipe.scheme)
        return Quantized(content, (), (), cures, (Running(content).placement(),))
    measured = ranges.measure(graph, inputs, spec.normalization, progress)
    if held := hold_biases(graph, measured):
        text = f"INT8 would lose the bias where a channel has hardly any weights ({held}): a weight of each was raised"
        cures = (*cures, text)
    work = _Calibrated(graph, measured, recipe.scheme)
    if recipe.keep_float == "auto":
        scores = Scores(model, spec, graphs.write(graph), _spread(inputs))
        kept, costs = work.choose(scores, progress)
    else:
        kept, costs = () if recipe.keep_float == "none" else recipe.keep_float, ()
    progress("quantizing")
    content = work.quantized(kept)
    content = with_uint8(content) if recipe.uint8 else content
    kept = (*kept, OUTPUT) if work.joined and BOXES not in kept else kept
    return Quantized(content, kept, costs, (*cures, *work.cures()),
                     (Running(content).placement(), *untouched(graph)))


class _Calibrated:
    """A graph with the ranges of its tensors: it can be quantized again and again, in parts of a second."""

    def __init__(self, graph: Graph, measured: Ranges, scheme: Scheme) -> None:
        self._graph, self._measured, self._scheme = graph, measured, scheme
        self._layers = Layers(graph)
        self.joined = self._layers.mixed(measured)

    def cures(self) -> Sequence[str]:
        """Return what was cured, in words."""
        if not self.joined:
            return ()
        name, = self._layers.names(self.joined[:1])
        text = (f"boxes in pixels and scores share the tensor {name}: in INT8 one step of its integers would be larger "
                "than every score, so it stays float")
        return [text]

    def quantized(self, kept: Sequence[str]) -> bytes:
        """Return the file in which these blocks and tensors stay float. Raises: UsageError, ModelUnsupported."""
        places = {*self.joined, *(place for name in kept for place in self._layers.find(name))}
        return apply(self._graph, self._measured, self._scheme, kept=self._layers.names(sorted(places)))

    def choose(self, scores: Scores, progress: Callable[[str], None]) -> tuple[tuple[str, ...], tuple[BlockCost, ...]]:
        """Return what is worth to stay float, and what each block costs."""
        costs = tuple(self._cost(scores, block, progress) for block in self._layers.blocks)
        always = (BOXES,) if self._layers.boxes else ()
        plain = self.quantized(always)
        ratio = scores.ratio(plain)
        chosen = choose(costs, self._layers.blocks, len(plain)) if ratio < _GOOD_DB else ()
        names = (*always, *(block.name for block in self._layers.blocks if block in chosen))
        if chosen and scores.ratio(self.quantized(names)) < ratio + _WORTH_DB:
            return always, costs
        return names, costs

    def _cost(self, scores: Scores, block: Block, progress: Callable[[str], None]) -> BlockCost:
        progress(f"measuring what {block.name} costs as INT8")
        places = [place for place in block.places if place not in self.joined]
        content = apply(self._graph, self._measured, self._scheme, only=self._layers.names(places))
        return BlockCost(block.name, round(scores.ratio(content), 1), block.bytes_float)


def _prepare(graph: Graph) -> Sequence[str]:
    """Cure what keeps a float graph from being quantized; returns what was done, in words."""
    cures = []
    graph.drop_unused()
    if graph.widen_constants():
        cures.append("the weights were float16, which cannot be calibrated: they were made float32 first")
    if graph.add_signature():
        cures.append("the file had no signature, without which it cannot be calibrated: one was added")
    return cures


def _spread(inputs: Inputs) -> list[NDArray[np.float32]]:
    """Return a few of the pictures, the same ones in whatever order they come."""
    return nsmallest(PICTURES, inputs, key=_checksum)


def _checksum(values: NDArray[np.float32]) -> int:
    return crc32(values.tobytes())


def _require_float(model: ModelFile) -> None:
    kinds = {spec.dtype for spec in model.tensors
             if spec.dtype == "int8" or (spec.quantised and spec.dtype in {"uint8", "int16"})}
    if kinds:
        raise ModelUnsupported(f"{model.path}: quantized already ({', '.join(sorted(kinds))}); expected the float "
                               "model that it was made of")
    if model.inputs[0].dtype != "float32":
        raise ModelUnsupported(f"{model.path}: input {model.inputs[0]}; expected float32, as a float model has it")
