"""The model in the box, as it is shipped: what its card promises, on this very runtime."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from models.train.bundle import bundled
from models.train.judge import judge_file
from models.train.scenes import Scenes, held_out_demo, held_out_hard
from tests.support.present import present
from vedette.camera.brightness import light_of
from vedette.camera.street.objects import LABELS
from vedette.camera.street.stills import stills
from vedette.config.models import DetectorConfig
from vedette.tflite.file import read_model
from vedette.types import DetectorFacts
from vedette.vision import bundle
from vedette.vision.interpreter import Interpreter
from vedette.vision.open import open_detector

FOLDER = Path(__file__).parents[2] / "models"
MODEL = FOLDER / "vedette-street.tflite"
# Two points below what these few scenes gave when it was shipped (0.824 and 0.877); the card's figures are of all.
FLOORS = {"hard": 0.80, "demo": 0.855}


@pytest.fixture(scope="module")
def facts() -> Iterator[tuple[DetectorFacts, int]]:
    detector = open_detector(DetectorConfig(model=MODEL, threads=1))
    interpreter = detector._interpreter
    assert isinstance(interpreter, Interpreter)
    nodes = [each["op_name"] for each in interpreter._native._get_ops_details()]
    yield detector.facts, nodes.count("DELEGATE")
    detector.close()


def test_it_says_itself_how_it_is_run(facts: tuple[DetectorFacts, int]) -> None:
    """Labels, decoder and thresholds come out of the file, and nothing is warned about."""
    told, _ = facts
    assert (told.decoder, told.labels, told.warnings) == ("ltrb", LABELS, ())
    assert (told.input_width, told.input_height) == (192, 192)


def test_the_whole_graph_is_one_node_on_xnnpack(facts: tuple[DetectorFacts, int]) -> None:
    """On LiteRT and on tflite-runtime every operation runs on XNNPACK, in one piece."""
    told, delegates = facts
    assert (told.xnnpack_share, delegates) == (1.0, 1)


def test_it_is_small_and_it_is_the_one_on_the_card() -> None:
    """At most 600 KB, and its SHA-256 is the one that the card names."""
    content = MODEL.read_bytes()
    assert len(content) <= 600_000
    named = re.search(r"[0-9a-f]{64}", (FOLDER / "README.md").read_text(encoding="utf-8"))
    assert named
    assert named[0] == hashlib.sha256(content).hexdigest()


def test_the_recipe_packs_what_is_shipped(tmp_path: Path) -> None:
    """Around the bare flatbuffer come the labels and settings of the file, but for the baseline; twice the same."""
    shipped, graph = read_model(MODEL), tmp_path / "graph.tflite"
    graph.write_bytes(bundle.flatbuffer_of(shipped))
    content, again = bundled(graph), bundled(graph)
    assert content == again
    (tmp_path / "packed.tflite").write_bytes(content)
    made = read_model(tmp_path / "packed.tflite").attachments
    assert made["labels.txt"] == shipped.attachments["labels.txt"]
    stated = json.loads(shipped.attachments["vedette.json"])
    del stated["baseline"]
    assert json.loads(made["vedette.json"]) == stated


@pytest.mark.slow
def test_its_baseline_is_of_the_street() -> None:
    """500 held-out stills: every label is often seen, and a few of the stills measured here are about as bright."""
    baseline = present(bundle.baseline_of(read_model(MODEL)))
    assert (baseline.frames, tuple(baseline.labels)) == (500, LABELS)
    assert all(each.per_frame > 1 and present(each.score_mean) > 0.5 for each in baseline.labels.values())
    light = [light_of(still.frame.pixels) for still in stills(60)]
    assert np.mean(light, axis=0) == pytest.approx((baseline.brightness.mean, baseline.contrast.mean), abs=2)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "scenes"), [("hard", lambda: held_out_hard(80)), ("demo", lambda: held_out_demo(80))],
                         ids=["hard", "demo"])
def test_it_sees_what_it_saw_when_it_was_shipped(name: str, scenes: Callable[[], Scenes]) -> None:
    """AP50 on a few held-out scenes is not below the floor."""
    found, _ = judge_file(MODEL, scenes(), len(LABELS))
    assert found.ap50 >= FLOORS[name]
