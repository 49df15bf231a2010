"""Where both runtimes are installed, a model runs on the one that is faster here and gives the right answers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.support.both_runtimes import BothRuntimes, both_runtimes
from tests.support.models import bundles, writer
from vedette.detect.box_model import BOX_MODEL
from vedette.tflite.file import read_model
from vedette.validate import golden
from vedette.vision.interpreter import available_runtimes, chosen_runtime
from vedette.vision.probe import prove
from vedette.vision.runtime_choice import Measured, decide, wanted_runtime

AMONG = "litert 2.3.0, tflite-runtime 2.14.0, numpy 1.26.4"
ALONE = pytest.mark.skipif(all(report.version for report in available_runtimes()), reason="both are installed here")
SLOWER_S = 0.005
"""Several times what tflite-runtime needs for any model here."""
OPEN = """
import json, sys
from pathlib import Path
from vedette.config.models import DetectorConfig
from vedette.tflite.file import digest
from vedette.validate.candidate import Candidate
from vedette.vision.open import open_detector
from vedette.vision.probe import ProofStore, ensure_proof

model, proofs, road = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
config = DetectorConfig(model=model, threads=1)
found = {}
if road == "candidate":
    with Candidate(model, config) as candidate:
        proof = candidate.probe().proof
    ProofStore(proofs).remember(proof)
    found["proof"] = f"{proof.runtime}: {proof.among}"
file = digest(model)
detector = open_detector(config, None, ProofStore(proofs))
facts = detector.facts
detector.close()
model.rename(model.with_suffix(".away"))        # a child could not read it
again = ensure_proof(file, runtime="auto", threads=1, store=ProofStore(proofs))
print(json.dumps({**found, "ran": facts.runtime, "why": facts.runtime_choice, "again": again.runtime,
                  "imported": [name for name in sys.modules if name in ("ai_edge_litert.interpreter",
                                                                        "tflite_runtime.interpreter")]}))
"""

PROVE = """
import json, sys
from pathlib import Path
from vedette.vision.probe import prove
proofs = [prove(Path(path)) for path in sys.argv[1:]]
print(json.dumps([[proof.runtime, proof.choice] for proof in proofs]))
"""
FAIL = """
import json, os, signal, sys
from vedette.vision.model_child import ModelChild
from vedette.vision.runtime_choice import choose_runtime

def killed(module, path):
    child = ModelChild(module, path)
    os.kill(child.pid, signal.SIGKILL)
    return child

def ends(module, path):
    return ModelChild("vedette.of_no_such_name", path)

request = {"path": sys.argv[1], "runtime": "auto", "threads": 1, "memory_bytes": 1 << 30, "sha256": "x"}
choices = [choose_runtime(request, 60.0, start) for start in (killed, ends)]
print(json.dumps([[choice.runtime, choice.reason, choice.lasting] for choice in choices]))
"""


@pytest.mark.parametrize(("ratio", "faster", "identical", "frames", "runtime", "why"), [
    (1.3, 0.0, True, None, "litert", "takes 1.30 times as long as litert"),
    (0.96, 1.0, True, None, "litert", "takes 0.96 times as long as litert"),
    (0.7, 0.7, True, None, "litert", "but not often enough: in 70% of the turns"),
    (0.7, 0.75, True, None, "tflite-runtime", "0.70 times as long as litert, and the outputs of both are the same"),
    (0.7, 1.0, False, None, "litert", "0.70 times as long as litert, but the outputs of both are not the same"),
    (0.7, 1.0, False, True, "tflite-runtime", "and its golden frames are the same"),
    (0.7, 1.0, True, False, "litert", "but its golden frames are not the same"),
])
def test_the_faster_runtime_is_chosen_if_its_answers_are_right(ratio: float, faster: float, identical: bool,
                                                               frames: bool | None, runtime: str, why: str) -> None:
    """Golden frames of the family decide where there are any, else the bytes of the outputs."""
    choice = decide(Measured(10.0, 10.0 * ratio, faster, identical, frames), AMONG)
    assert (choice.runtime, choice.among, choice.lasting) == (runtime, AMONG, True)
    assert why in choice.reason


@ALONE
@pytest.mark.slow
def test_one_runtime_alone_is_not_measured(tmp_path: Path) -> None:
    """There is nothing to choose, and the proof says nothing about it."""
    path = tmp_path / "model.tflite"
    path.write_bytes(writer.logistic())
    assert wanted_runtime("auto") == chosen_runtime("auto")
    proof = prove(path)
    assert (proof.among, proof.choice, proof.lasting) == ("", "", True)


@pytest.fixture(scope="module")
def slow_litert(tmp_path_factory: pytest.TempPathFactory) -> BothRuntimes:
    environment = both_runtimes(tmp_path_factory.mktemp("both"), slower_litert_s=SLOWER_S)
    return environment or pytest.skip("needs both .venv and .venv-tflite, on Python 3.11")


def opened(environment: BothRuntimes, model: Path, content: bytes, road: str = "open") -> dict[str, object]:
    model.write_bytes(content)
    found: dict[str, object] = json.loads(environment.run("-c", OPEN, str(model), f"{model}.proofs", road))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("road", ["open", "candidate"])
def test_each_road_of_a_model_gets_the_same_choice(slow_litert: BothRuntimes, tmp_path: Path, road: str) -> None:
    """The choice is remembered, so the next start needs no child, and no other runtime is imported."""
    found = opened(slow_litert, tmp_path / "model.tflite", BOX_MODEL.read_bytes(), road)
    if road == "candidate":
        assert re.fullmatch(r"tflite-runtime: litert \S+, tflite-runtime \S+, numpy \S+", str(found.pop("proof")))
    assert "and its golden frames are the same" in str(found.pop("why"))
    assert found == {"ran": "tflite-runtime", "again": "tflite-runtime", "imported": ["tflite_runtime.interpreter"]}


@pytest.mark.slow
def test_other_answers_keep_litert(slow_litert: BothRuntimes, tmp_path: Path) -> None:
    """A runtime that is faster but disagrees with its golden frames, or with LiteRT's outputs, is not chosen."""
    box = tmp_path / "box.tflite"
    box.write_bytes(BOX_MODEL.read_bytes())
    document = json.loads(read_model(box).attachments[golden.EXPECTED])
    for frame in document["frames"].values():
        for detection in frame["tflite-runtime+xnnpack"]:
            detection["label"] = "something else"
    other = bundles.altered(box, files={golden.EXPECTED: json.dumps(document).encode()}).read_bytes()
    tensors = [writer.Tensor((1, 8, 8, 3), "float32", name) for name in "xy"]
    rounds_otherwise = writer.build(writer.Graph(tensors, [writer.Op("EXP", (0,), (1,))], (0,), (1,)))
    proofs = slow_litert.run("-c", PROVE, *(str(written(tmp_path / f"{number}.tflite", content))
                                            for number, content in enumerate((other, rounds_otherwise))))
    (first, why_first), (second, why_second) = json.loads(proofs)
    assert (first, second) == ("litert", "litert")
    assert "but its golden frames are not the same" in why_first
    assert "but the outputs of both are not the same" in why_second


@pytest.mark.slow
def test_a_comparison_that_fails_keeps_litert(slow_litert: BothRuntimes, tmp_path: Path) -> None:
    """The child may be killed or end: LiteRT runs the model, and only a lack of time or memory is tried again."""
    (killed, why_killed, again), (ended, why_ended, lasting) = json.loads(
        slow_litert.run("-c", FAIL, str(written(tmp_path / "model.tflite", writer.logistic()))))
    assert (killed, again, ended, lasting) == ("litert", False, "litert", True)
    assert "the runtimes cannot be compared" in why_killed
    assert "SIGKILL" in why_killed
    assert "exit code" in why_ended


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
