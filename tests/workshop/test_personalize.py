"""The example that learns an owner's labels: made, taught, packed, verified, compared and installed, on real files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from examples.personalize.drawn import Portraits
from examples.personalize.learn import Example, Learner
from vedette.cli import main
from vedette.vision import images

pytest.importorskip("ai_edge_litert", reason="LiteRT's schema writes the file")
ROOT = Path(__file__).parents[2]
OTHER = ROOT / ".venv-tflite" / "bin" / "python"
LABELS = ("our bin", "our car", "our dog")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file that can learn, and with pictures to learn and to look at."""
    from examples.personalize.make import trainable
    folder = tmp_path_factory.mktemp("owner")
    (folder / "learn.tflite").write_bytes(trainable(len(LABELS)))
    for label in LABELS:
        (folder / "learn" / label).mkdir(parents=True)
        for number in range(5):
            picture = Portraits(label).draw(number)
            cv2.imwrite(str(folder / (f"learn/{label}/{number}.png" if number < 3 else f"{label}-{number}.png")),
                        picture)
    return folder


def learner(made: Path) -> tuple[Learner, list[Example]]:
    taught = Learner(made / "learn.tflite")
    return taught, [Example(taught.features(images.frame_of(images.read(path), 1)), number)
                    for number, label in enumerate(LABELS) for path in sorted((made / "learn" / label).iterdir())]


def learn(made: Path, *more: str, python: str | Path = sys.executable) -> None:
    """Run the example's command as a device would."""
    subprocess.run([python, "-m", "examples.personalize.learn", made / "learn.tflite", made / "learn",
                    "--labels-out", made / "labels.txt", *more], cwd=ROOT, check=True, timeout=240,
                   env={"PYTHONPATH": f"{ROOT}:{ROOT / 'daemon'}"})


def test_training_makes_the_right_scores_high(made: Path) -> None:
    """All signatures share the weights: `train` changes what `infer` says, `read` and `write` save and restore it."""
    taught, examples = learner(made)
    frame = images.frame_of(images.read(made / "our car-3.png"), 1)
    before, first = taught.scores(frame), taught.read()
    taught.train(examples, 300)
    after, learnt = taught.scores(frame), taught.read()
    assert after[1] > max(0.5, before[1])
    taught.write(first)
    np.testing.assert_array_equal(taught.scores(frame), before)
    taught.write(learnt)
    np.testing.assert_array_equal(taught.scores(frame), after)


def test_a_step_is_gradient_descent(made: Path) -> None:
    """The step in the file is the one that the cross entropy of a softmax has."""
    from examples.personalize.make import RATE
    taught, examples = learner(made)
    first, example = taught.read(), examples[4]
    logits = first["weights"] @ example.features[0] + first["bias"]
    error = np.exp(logits) / np.exp(logits).sum() - np.eye(len(LABELS))[example.label]
    taught.train([example], 1)
    now = taught.read()
    np.testing.assert_allclose(now["bias"], first["bias"] - RATE * error, atol=1e-5)
    np.testing.assert_allclose(now["weights"], first["weights"] - RATE * np.outer(error, example.features), atol=1e-5)


@pytest.mark.slow
def test_what_was_learnt_becomes_a_bundle(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is packed with its own golden frames, verified, compared and installed like any other model."""
    learn(made, "-o", str(made / "mine.tflite"))
    looks = sorted(made.glob("*-[34].png"))
    before, bundle, state = made / "learn.tflite", made / "ours.tflite", made / "state"
    state.mkdir()
    (made / "config.yaml").write_text("update: {require_signed: false}\n")
    for command in (
            ("pack", made / "mine.tflite", "--labels", made / "labels.txt", "--name", "ours", "--version", "1",
             "--golden", *looks[::2], "-o", bundle),
            ("verify", bundle), ("compare", before, bundle, *looks),
            ("install", bundle, "--state", state, "--config", made / "config.yaml")):
        assert main(["model", *map(str, command)]) == 0, capsys.readouterr().err
    assert "golden frames 3 agree" in capsys.readouterr().out
    assert main(["model", "list", "--state", str(state)]) == 0
    assert "ours" in capsys.readouterr().out


@pytest.mark.skipif(not OTHER.exists(), reason="make setup-tflite has not run")
def test_both_runtimes_learn_the_same(made: Path) -> None:
    """tflite-runtime learns from the same file, and LiteRT runs what it wrote."""
    learn(made, "-o", str(made / "theirs.tflite"), python=OTHER)
    taught, examples = Learner(made / "theirs.tflite"), learner(made)[1]
    now = taught.read()
    found = [int((now["weights"] @ example.features[0] + now["bias"]).argmax()) for example in examples]
    assert found == [example.label for example in examples]
