"""The float network of the model in the box comes out of its file, the same on every machine."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert", reason="the recipe uses LiteRT's schema, which this environment does not have")

from models.train.flatbuffer import Graph
from models.train.float import SHA256, digest, weights_of
from vedette.detect.box_model import BOX_MODEL
from vedette.vision.interpreter import Interpreter


def test_the_weights_have_the_digest_of_the_card() -> None:
    """Whoever repeats a measurement has the same network."""
    weights = weights_of(BOX_MODEL)
    assert digest(weights) == SHA256
    assert SHA256 in (Path(__file__).parents[2] / "models" / "README.md").read_text(encoding="utf-8")


def test_the_digest_sees_each_weight_and_its_place() -> None:
    """A changed weight, name or shape changes it; the order of the mapping does not."""
    weights = weights_of(BOX_MODEL)
    name = "stem.weights"
    changed = weights[name].copy()
    changed[0, 0, 0, 0] = np.nextafter(changed[0, 0, 0, 0], np.float32(9))
    assert digest(dict(reversed(weights.items()))) == SHA256
    for other in (weights | {name: changed}, weights | {name: weights[name].reshape(-1)},
                  {key: value for key, value in weights.items() if key != name} | {"stem.other": weights[name]}):
        assert digest(other) != SHA256


def test_a_float_graph_runs_and_means_what_it_says(tmp_path: Path) -> None:
    """A convolution without quantization gives plain numpy's figures."""
    rng = np.random.default_rng(5)
    weights, bias = (rng.normal(0, 1, shape).astype(np.float32) for shape in ((4, 1, 1, 3), (4,)))
    graph = Graph()
    image = graph.float_activation("image", (1, 6, 6, 3))
    output = graph.float_activation("sum", (1, 6, 6, 4))
    graph.convolution((image, graph.constant("weights", weights), graph.constant("bias", bias)), output, stride=1,
                      relu6=True)
    path = tmp_path / "float.tflite"
    path.write_bytes(graph.to_bytes({"image": image}, {"sum": output}, "float"))
    running = Interpreter(path, "litert")
    running.input()[:] = rng.random((1, 6, 6, 3), np.float32)
    expected = np.clip(running.input()[0] @ weights[:, 0, 0].T + bias, 0, 6)
    running.invoke()
    np.testing.assert_allclose(running.output()[0], expected, atol=1e-5)
    running.close()
