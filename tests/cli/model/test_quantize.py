"""`vedette model quantize`, from a float model and pictures to a verified bundle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("litert_quantizer", reason="the workshop needs litert-quantizer")

from tests.support.models.dequantised import dequantised
from tests.support.present import present
from vedette.camera.street.stills import stills
from vedette.cli import main, parser_of
from vedette.config.models import DetectorConfig
from vedette.detect.box_model import BOX_MODEL
from vedette.tflite.file import read_model
from vedette.types import WHOLE
from vedette.validate import golden
from vedette.validate.verify import stills_of, verify
from vedette.vision import bundle
from vedette.vision.model_spec import resolve

Picture = NDArray[np.uint8]
ROI = (0.1, 0.2, 0.9, 1.0)
TRAINING = {"metrics": {"ap": 0.586}, "configuration": {"epochs": 60}, "weights_sha256": "ab" * 32}


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the float box model, its labels, and pictures of the drawn street."""
    folder = tmp_path_factory.mktemp("street")
    (folder / "float.tflite").write_bytes(dequantised(BOX_MODEL.read_bytes()))
    labels = resolve(read_model(BOX_MODEL), DetectorConfig(model=BOX_MODEL)).labels
    (folder / "labels.txt").write_text("\n".join(labels))
    draw(folder / "pictures", 12)
    return folder


def draw(folder: Path, count: int, change: Callable[[Picture], Picture] = np.copy) -> None:
    folder.mkdir()
    for still in stills(count, seed=77):
        cv2.imwrite(str(folder / f"{still.frame.seq:02}.png"), change(np.asarray(still.frame.pixels)))


def quantize(street: Path, images: Path, out: Path, *more: object) -> int:
    words = ("model", "quantize", street / "float.tflite", "--images", images, "-o", out, "--labels",
             street / "labels.txt", "--resize", "letterbox", *more)
    return main([str(word) for word in words])


@pytest.mark.slow
def test_a_bundle_of_pictures_of_the_camera(street: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The bundle is verified, agrees with the float model, and has its labels, baseline and training.

    Golden frames show what the masks and the region of the configuration let through. The other files that the
    configuration names are on the device.
    """
    config, out, metrics = tmp_path / "config.yaml", tmp_path / "new.tflite", tmp_path / "training.json"
    config.write_text("mqtt: {username: porch, password_file: /etc/vedette/absent}\n"
                      f"camera:\n  source: synthetic\n  roi: {list(ROI)}\n"
                      "  masks: [[[0.0, 0.0], [0.3, 0.0], [0.3, 1.0], [0.0, 1.0]]]\n")
    metrics.write_text(json.dumps(TRAINING))
    assert quantize(street, street / "pictures", out, "--config", config, "--metrics", metrics, "--json",
                    "--html", tmp_path / "report.html", "--keep-float", "none", "--name", "porch") == 0
    printed: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert "float.tflite" in (tmp_path / "report.html").read_text()
    verification = verify(out)
    assert verification.passed
    assert printed["verified"]
    assert "cannot read it: decoder ltrb" in printed["others"]
    assert printed["agreement"]["f1"] > 0.9
    model, spec = present(verification.model), present(verification.spec)
    assert model.sha256 == printed["sha256"]
    assert (spec.name, spec.version, spec.resize, spec.labels[0]) == ("porch", "1", "letterbox", "person")
    assert {tensor.dtype for tensor in (*model.inputs, *model.outputs)} == {"int8"}
    baseline = present(bundle.baseline_of(model))
    assert baseline.frames == printed["coverage"]["pictures"] == 12
    assert present(baseline.training).model_dump() == TRAINING
    assert main(["model", "inspect", str(out)]) == 0
    assert "training    ap 0.586; weights abababababab" in capsys.readouterr().out
    shown = [np.asarray(frame.pixels) for frame in stills_of(present(golden.read(model)))]
    assert [picture.shape for picture in shown] == [(216, 384, 3)] * 3        # 512x288, at twice the input
    assert all(not picture[:, :90].any() and picture[:, 110:].any() for picture in shown)


def dim(picture: Picture) -> Picture:
    return (picture * 0.08).astype(np.uint8)


def noise(picture: Picture) -> Picture:
    return np.random.default_rng(int(picture.sum())).integers(0, 256, picture.shape, np.uint8)


def empty(picture: Picture) -> Picture:
    ramp = np.linspace(30, 60 + picture.mean(), picture.shape[1]).astype(np.uint8)
    return np.broadcast_to(ramp[None, :, None], picture.shape).copy()


@pytest.mark.slow
@pytest.mark.parametrize(("spoil", "word"), [
    (dim, "pictures are dark"), (noise, "pictures are noise"), (empty, "float model detects nothing")])
def test_a_narrow_range_is_refused(street: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                   spoil: Callable[[Picture], Picture], word: str) -> None:
    """Night only, noise and nothing to see end with exit code 65, and what was there stays.

    The message says how to go on.
    """
    out = tmp_path / "new.tflite"
    out.write_text("the one before")
    draw(tmp_path / "spoilt", 3, spoil)
    assert quantize(street, tmp_path / "spoilt", out) == 65
    assert (out.read_text(), sorted(path.name for path in tmp_path.iterdir())) == ("the one before",
                                                                                   ["new.tflite", "spoilt"])
    said = capsys.readouterr().err
    assert word in said
    assert "--force" in said


def test_wrong_arguments(street: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be meant is refused before anything runs."""
    (tmp_path / "metrics.json").write_text('{"metrics": {"ap": "good"}}')
    out, pictures = tmp_path / "new.tflite", street / "pictures"
    assert quantize(street, pictures, out, "--keep-float", " , ") == 64
    assert quantize(street, pictures, out, "--per-tensor", "--float16") == 64
    assert quantize(street, pictures, out, "--uint8", "--float16") == 64
    assert quantize(street, pictures, out, "--metrics", tmp_path / "metrics.json") == 65
    assert "metrics.json.metrics.ap" in capsys.readouterr().err
    assert quantize(street, tmp_path, out) == 65
    assert not out.exists()


def test_masks_and_region_are_not_applied_twice(street: Path, tmp_path: Path) -> None:
    """They are in the pictures that a device has collected, and not in others."""
    (tmp_path / "config.yaml").write_text("camera: {roi: [0.1, 0.2, 0.9, 1.0], masks: [[[0, 0], [1, 0], [1, 1]]]}\n")
    (tmp_path / "collected").mkdir()
    for path in (street / "pictures").iterdir():
        content = path.read_bytes()
        (tmp_path / "collected" / f"{hashlib.sha256(content).hexdigest()[:32]}.png").write_bytes(content)
    for images, roi, is_masked in ((street / "pictures", ROI, True), (tmp_path / "collected", WHOLE, False)):
        parser, module = parser_of("model quantize")
        order = module._order(parser.parse_args(
            [str(street / "float.tflite"), "--images", str(images), "-o", str(tmp_path / "out.tflite"),
             "--labels", str(street / "labels.txt"), "--config", str(tmp_path / "config.yaml")]))
        assert order.roi == roi
        assert np.asarray(order.pictures[0].pixels)[1, -2].any() != is_masked
