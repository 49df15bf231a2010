"""Writes a small float detector: three strides, box arithmetic, scores, and one output as YOLOv8 exports have it.

64x64 pixels in, (1, 84, 4 + 3) out: cx, cy, width and height, and three scores for each cell. Its weights are random
with a fixed seed. `side` 1 gives boxes in 0-1, 64 gives pixels, as plain ONNX exports do.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tests.support.models.writer import Graph, Op, Tensor, build

SIZE, CLASSES, STRIDES = 64, 3, (8, 16, 32)
CELLS = sum((SIZE // stride) ** 2 for stride in STRIDES)


@dataclass
class _Writer:
    """Adds tensors and operations one after another."""

    noise: np.random.Generator
    tensors: list[Tensor] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)

    def add(self, name: str, shape: tuple[int, ...], values: NDArray[np.generic] | None = None) -> int:
        dtype, data = ("float32", b"") if values is None else (values.dtype.name, values.tobytes())
        self.tensors.append(Tensor(shape, dtype, name, data=data))
        return len(self.tensors) - 1

    def op(self, kind: str, name: str, inputs: tuple[int, ...], shape: tuple[int, ...],
           options: tuple[int, list[tuple[int, str, float]]] = (0, [])) -> int:
        made = self.add(name, shape)
        self.ops.append(Op(kind, inputs, (made,), options))
        return made

    def numbers(self, name: str, values: list[int]) -> int:
        return self.add(name, (len(values),), np.array(values, np.int32))

    def conv(self, name: str, source: int, deep: int, wide: int, side: int, *, stride: int = 1, relu: bool = False,
             spread: float = 1.0) -> int:
        kernel = max(1, stride)
        values = self.noise.normal(0, spread / np.sqrt(deep * kernel * kernel), (wide, kernel, kernel, deep))
        weights = self.add(f"{name}/weights", values.shape, values.astype(np.float32))
        bias = self.add(f"{name}/bias", (wide,), self.noise.normal(0, 0.1, wide).astype(np.float32))
        options: list[tuple[int, str, float]] = [
            (0, "int8", 1), (1, "int32", stride), (2, "int32", stride), (3, "int8", int(relu)), (4, "int32", 1),
            (5, "int32", 1)]
        return self.op("CONV_2D", name, (source, weights, bias), (1, side, side, wide), (1, options))


def write(side: float = 1.0, *, seed: int = 5, apart: bool = False) -> bytes:
    """Return the file, which has no signature, as many float files. `apart`: boxes and scores are two outputs."""
    w = _Writer(np.random.default_rng(seed))
    deep = 12
    at = w.add("images", (1, SIZE, SIZE, 3))
    now, parts = SIZE, []
    at = w.conv("stem", at, 3, deep, 32, stride=2, relu=True, spread=2.0)
    at = w.conv("second", at, deep, deep, 16, stride=2, relu=True, spread=2.0)
    for stride in STRIDES:
        now = SIZE // stride
        at = w.conv(f"down{stride}", at, deep, deep, now, stride=2, relu=True, spread=2.0)
        head = w.conv(f"head{stride}", at, deep, 4 + CLASSES, now, spread=2.0)
        parts.append(w.op("RESHAPE", f"rows{stride}", (head, w.numbers(f"shape{stride}", [1, now * now, 4 + CLASSES])),
                          (1, now * now, 4 + CLASSES), (17, [])))
    rows = w.op("CONCATENATION", "rows", tuple(parts), (1, CELLS, 4 + CLASSES), (10, [(0, "int32", 1)]))
    boxes, scores = _split(w, rows)
    found = _arithmetic(w, boxes, side), w.op("LOGISTIC", "scores", (scores,), (1, CELLS, CLASSES))
    joined = w.op("CONCATENATION", "output", found, (1, CELLS, 4 + CLASSES), (10, [(0, "int32", 2)]))
    return build(Graph(w.tensors, w.ops, (0,), found if apart else (joined,)))


def _split(w: _Writer, rows: int) -> tuple[int, int]:
    boxes = w.op("SLICE", "offsets", (rows, w.numbers("b0", [0, 0, 0]), w.numbers("b1", [1, CELLS, 4])),
                 (1, CELLS, 4), (66, []))
    scores = w.op("SLICE", "logits", (rows, w.numbers("s0", [0, 0, 4]), w.numbers("s1", [1, CELLS, CLASSES])),
                  (1, CELLS, CLASSES), (66, []))
    return boxes, scores


def _arithmetic(w: _Writer, boxes: int, side: float) -> int:
    """Return cx, cy, width and height: sizes and centres in strides become those of the picture."""
    places, steps = [], []
    for stride in STRIDES:
        centres = (np.arange(SIZE // stride) + 0.5) * stride / SIZE
        y, x = np.meshgrid(centres, centres, indexing="ij")
        places.append(np.stack([x.ravel(), y.ravel(), *(2 * [np.full(x.size, 2 * stride / SIZE)])], axis=1))
        steps.append(np.full((x.size, 4), stride / SIZE / 2))
    anchors, strides = np.concatenate(places)[None] * side, np.concatenate(steps)[None] * side
    tanh = w.op("TANH", "bounded", (boxes,), (1, CELLS, 4))
    scaled = w.op("MUL", "scaled", (tanh, w.add("strides", (1, CELLS, 4), strides.astype(np.float32))), (1, CELLS, 4),
                  (21, []))
    return w.op("ADD", "boxes", (scaled, w.add("anchors", (1, CELLS, 4), anchors.astype(np.float32))), (1, CELLS, 4),
                (11, []))
