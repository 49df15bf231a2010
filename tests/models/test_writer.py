"""The recipe's flatbuffer writer: what it writes runs, means what it says, and is the same every time."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert", reason="the writer uses LiteRT's schema, which this environment does not have")

from models.train.flatbuffer import Graph
from vedette.vision.interpreter import Interpreter

SIDE = 6


def small(rng: np.random.Generator) -> tuple[bytes, np.ndarray, np.ndarray]:
    """Return a graph of every operation the writer knows, and its weights in real values."""
    graph = Graph()
    image = graph.activation("image", (1, SIDE, SIDE, 3), 1 / 255, -128)
    wide, deep = rng.normal(0, 0.2, (8, 1, 1, 3)), rng.normal(0, 0.2, (1, 3, 3, 8))
    x = graph.activation("wide", (1, SIDE, SIDE, 8), 2 / 255, -128)
    graph.convolution((image, *weighted(graph, "wide", wide, 0, 1 / 255)), x, stride=1, relu6=True)
    halved = graph.activation("halved", (1, SIDE // 2, SIDE // 2, 8), 2 / 255, -128)
    graph.depthwise((x, *weighted(graph, "deep", deep, 3, graph.scale(x))), halved, stride=2, relu6=True)
    doubled = graph.activation("doubled", (1, SIDE, SIDE, 8), 2 / 255, -128)
    graph.resize((halved, graph.constant("size", np.array((SIDE, SIDE), np.int32))), doubled)
    total = graph.activation("total", (1, SIDE, SIDE, 8), 4 / 255, -128)
    graph.add((x, doubled), total)
    return graph.to_bytes({"image": image}, {"total": total}), wide, deep


def weighted(graph: Graph, name: str, real: np.ndarray, axis: int, input_scale: float) -> tuple[int, int]:
    scales = np.abs(real).max(tuple(each for each in range(4) if each != axis)) / 127
    along = [1, 1, 1, 1]
    along[axis] = -1
    weights = graph.constant(f"{name}.weights", np.rint(real / scales.reshape(along)).astype(np.int8), scales, axis)
    return weights, graph.constant(f"{name}.bias", np.zeros(len(scales), np.int32), scales * input_scale, 0)


def expected(image: np.ndarray, wide: np.ndarray, deep: np.ndarray) -> np.ndarray:
    """The same in plain numpy: SAME padding of a halving 3 x 3 puts the odd row and column at the end."""
    x = np.clip(np.einsum("yxi,oi->yxo", image, wide[:, 0, 0]), 0, 6)
    padded = np.pad(x, ((0, 1), (0, 1), (0, 0)))
    halved = np.clip(sum(padded[row:row + SIDE:2, column:column + SIDE:2][:SIDE // 2, :SIDE // 2] * deep[0, row, column]
                         for row in range(3) for column in range(3)), 0, 6)
    at = np.clip((np.arange(SIDE) + 0.5) / 2 - 0.5, 0, SIDE // 2 - 1)
    low = np.floor(at).astype(int)
    high, share = np.minimum(low + 1, SIDE // 2 - 1), at - low
    rows = halved[low] * (1 - share)[:, None, None] + halved[high] * share[:, None, None]
    doubled = rows[:, low] * (1 - share)[None, :, None] + rows[:, high] * share[None, :, None]
    summed: np.ndarray = np.clip(x + doubled, 0, 6)
    return summed


def test_what_is_written_runs_and_means_what_it_says(tmp_path: Path) -> None:
    """Every operation, run by LiteRT on XNNPACK, comes within two steps of plain numpy."""
    content, wide, deep = small(np.random.default_rng(3))
    path = tmp_path / "small.tflite"
    path.write_bytes(content)
    running = Interpreter(path, "litert")
    image = np.random.default_rng(4).integers(0, 256, (SIDE, SIDE, 3))
    running.input()[0] = (image - 128).astype(np.int8)
    running.invoke()
    total = (running.output()[0].astype(float) + 128) * 4 / 255
    assert running.xnnpack_share == 1.0
    running.close()
    assert np.abs(total - expected(image / 255, wide, deep)).max() <= 2.01 * 4 / 255


def test_the_same_graph_gives_the_same_bytes() -> None:
    """Writing is deterministic."""
    once, again = (small(np.random.default_rng(3))[0] for _ in range(2))
    assert once == again
