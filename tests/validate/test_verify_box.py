"""The box model as a bundle with golden frames: each typical mistake is found, and the cause names it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.support.models import bundles
from tests.support.present import present
from vedette.camera.street.scene import HELD_OUT_SEED, Scene
from vedette.tflite.file import read_model
from vedette.validate.verify import verify

pytestmark = pytest.mark.slow

MODEL = Path(__file__).parents[2] / "models" / "vedette-street.tflite"


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The box model, packed on this runtime with two drawn frames."""
    folder = tmp_path_factory.mktemp("box")
    pictures = []
    for number in (700, 2600):
        pixels = np.empty((162, 288, 3), np.uint8)
        Scene(HELD_OUT_SEED, 288, 162, 30.0).render(number, pixels)
        pictures.append(folder / f"street-{number}.png")
        cv2.imwrite(str(pictures[-1]), pixels)
    return bundles.pack(folder, "--golden", *pictures, model=MODEL)


def test_the_box_model_is_verified(box: Path) -> None:
    """It passes every check on this runtime."""
    assert verify(box).passed


@pytest.mark.parametrize(("settings", "cause"), [
    ({"color": "bgr"}, "color: the golden frames agree with rgb"),
    ({"resize": "stretch"}, "resize: the golden frames agree with letterbox"),
    ({"normalization": {"mean": [0], "std": [127.5]}}, "mean 0, std 127.5 (off by a factor of 0.5)"),
    ({"normalization": {"mean": [0], "std": [510]}}, "mean 0, std 510 (off by a factor of 2)"),
    ({"normalization": {"mean": [0], "std": [1]}}, "mean 0, std 1 (off by a factor of 0.004)")],
    ids=["bgr", "stretch", "half", "twice", "bytes"])
def test_a_wrong_preprocessing_is_named(box: Path,
                                        settings: dict[str, Any], cause: str) -> None:
    """The golden frames find the mistake, although training made this detector robust."""
    found = verify(bundles.altered(box, **settings))
    assert not found.passed
    assert cause in present(found.cause)


@pytest.mark.parametrize(("shift", "words"), [(1, "one too many at the start"), (-1, "the first one is missing")])
def test_shifted_labels_are_named(box: Path, shift: int, words: str) -> None:
    """The cause says that labels are shifted by one, up or down."""
    lines = read_model(box).attachments["labels.txt"].decode().splitlines()
    wrong = ["sky", *lines] if shift > 0 else lines[1:]
    found = verify(bundles.altered(box, files={"labels.txt": "\n".join(wrong).encode()}))
    assert found.cause == f"labels: shifted by one ({words})"


def test_another_models_golden_frames_are_named(box: Path, tmp_path: Path) -> None:
    """The golden frames are those of the pooling detector."""
    theirs = {name: content for name, content in read_model(bundles.pack(tmp_path)).attachments.items()
              if name.startswith("golden/")}
    assert "another model's golden frames" in present(verify(bundles.altered(box, files=theirs)).cause)


def test_eight_random_bytes_are_found_by_the_digest(box: Path, tmp_path: Path) -> None:
    """The flatbuffer's SHA-256 or the ZIP's checksums find them anywhere in the model, and nothing is loaded."""
    content, path = box.read_bytes(), tmp_path / "damaged.tflite"
    by_sha256 = 0
    for seed in range(40):
        damaged, rng = bytearray(content), random.Random(seed)
        for place in rng.sample(range(len(damaged)), 8):
            damaged[place] ^= rng.randrange(1, 256)
        path.write_bytes(damaged)
        digest, *others = verify(path).checks
        assert (digest.state, {check.state for check in others}) == ("failed", {"unchecked"})
        by_sha256 += "states SHA-256" in digest.message
    assert by_sha256 >= 36
