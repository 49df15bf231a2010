"""`vedette model eval` and `vedette model compare`, as people and programs call them."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.models import bundles, tiny_detectors
from tests.support.present import present
from vedette.cli import main

pytestmark = pytest.mark.slow

pytest.importorskip("pycocotools", reason="COCO AP needs the eval extra")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_detectors.write(tmp_path)


def call(*arguments: object) -> int:
    return main(["model", *map(str, arguments)])


def write_coco(folder: Path) -> Path:
    """Write a COCO folder of one picture with a leaf and the sky, where the model sees them."""
    (folder / "images").mkdir()
    bundles.picture(folder / "images")
    cells = {1: [0, 0, 32, 20], 2: [32, 20, 32, 20]}
    (folder / "annotations.json").write_text(json.dumps({
        "images": [{"id": 5, "file_name": "garden.png", "width": 64, "height": 40}],
        "categories": [{"id": 1, "name": "leaf"}, {"id": 2, "name": "sky"}],
        "annotations": [{"id": key, "image_id": 5, "category_id": key, "bbox": box, "area": 640, "iscrowd": 0}
                        for key, box in cells.items()]}))
    return folder


def test_a_coco_folder(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model that sees everything has AP 1, overall and for each label; the figures are one JSON object."""
    assert call("eval", "--model", model, "--coco", write_coco(tmp_path), "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["ap"], printed["ap50"], printed["frames"]) == (1, 1, 1)
    assert printed["labels"] == {label: {"ap": 1, "ap50": 1, "things": 1} for label in ("leaf", "sky")}
    assert printed["invoke_ms"] > 0
    assert printed["model"]["name"] == "pooling"


@pytest.mark.parametrize("source", ["synthetic", "synthetic?hard=1"])
def test_the_drawn_street(model: Path, capsys: pytest.CaptureFixture[str], source: str) -> None:
    """A model that knows nothing of the street has AP 0 on it, and every label that is there is listed."""
    assert call("eval", "--model", model, "--source", source, "--frames", "12", "--seed", "3", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["ap"], printed["frames"], printed["source"]) == (0, 12, source)
    assert "person" in printed["labels"]


def test_a_moving_street(capsys: pytest.CaptureFixture[str]) -> None:
    """With a rate, one street moves; with --tracking, the box model's tracks and events are measured."""
    pytest.importorskip("scipy", reason="the assignment in HOTA needs the eval extra")
    street = ("eval", "--source", "synthetic?seed=3", "--rate", "5", "--frames", "50", "--json")
    assert call(*street, "--tracking") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["model"]["name"] == "vedette-street"
    assert 0.3 < printed["hota"] < 1
    assert 0.3 < printed["idf1"] < 1
    assert printed["things"] > printed["false_events"]
    assert printed["caught"] > 0.5
    assert {"switches", "events", "events_each", "start_delay_s"} <= printed.keys()
    assert call(*street) == 0
    plain = json.loads(capsys.readouterr().out)
    assert (plain["ap"], "hota" in plain) == (printed["ap"], False)


@pytest.mark.parametrize("arguments", [
    ["--source", "synthetic", "--tracking"], ["--source", "synthetic?hard=1", "--rate", "5"],
    ["--source", "synthetic?quiet=1"], ["--source", "synthetic?seed=2", "--seed", "3"], ["--source", "film.mp4"],
    ["--source", "synthetic?misbehave=dark:1:1"], ["--source", "synthetic?sed=1"]])
def test_a_source_that_cannot_be_is_refused(model: Path, arguments: list[str],
                                            capsys: pytest.CaptureFixture[str]) -> None:
    """The message names the argument and what was expected."""
    try:
        code = call("eval", "--model", model, *arguments)
    except SystemExit as refusal:
        code = refusal.code       # type: ignore[assignment]
    assert code == 64
    assert "expected" in capsys.readouterr().err


def test_a_baseline_is_measured_packed_and_inspected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It has the scores at the model's own thresholds, and the brightness of the pictures."""
    model = bundles.pack(tmp_path, "--label-threshold", "sky=0.95", "--score-threshold", "0.4")
    out = tmp_path / "b.json"
    folder = write_coco(tmp_path)
    assert call("eval", "--model", model, "--coco", folder, "--iou-threshold", "0.6", "--baseline-out", out,
                "--json") == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (printed["ap"], printed["frames"]) == (1, 1)       # COCO's figures still count everything
    luma = present(cv2.imread(str(folder / "images" / "garden.png")))[::8, ::8] @ np.array([0.114, 0.587, 0.299])
    packed = bundles.pack(tmp_path, "--baseline", out, model=model, out="with.tflite")
    capsys.readouterr()
    assert call("inspect", packed, "--json") == 0
    baseline = json.loads(capsys.readouterr().out)["baseline"]
    assert baseline["frames"] == 1
    assert baseline["brightness"] == {"mean": pytest.approx(luma.mean(), abs=0.1), "std": 0}
    assert baseline["contrast"] == {"mean": pytest.approx(luma.std(), abs=0.1), "std": 0}
    assert baseline["labels"]["sky"] == {"score_threshold": 0.95, "score_mean": None, "per_frame": 0}
    assert (baseline["labels"]["leaf"]["per_frame"], set(baseline["labels"])) == (1, {"leaf", "sky"})
    assert baseline["labels"]["leaf"]["score_mean"] == pytest.approx(190 / 255, abs=0.02)
    assert call("inspect", packed) == 0
    assert "baseline    1 frames, brightness" in capsys.readouterr().out
    assert call("inspect", bundles.altered(packed, baseline={**baseline, "frames": -1})) == 0
    assert "vedette.json: baseline.frames: " in capsys.readouterr().out


def test_a_baseline_needs_frames_and_a_folder(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing folder, and a collection without pictures, each give one line."""
    out = tmp_path / "nowhere" / "b.json"
    assert call("eval", "--model", model, "--source", "synthetic", "--frames", "1", "--baseline-out", out) == 64
    assert "--baseline-out" in capsys.readouterr().err
    (tmp_path / "images").mkdir()
    (tmp_path / "annotations.json").write_text(json.dumps({
        "images": [], "annotations": [], "categories": [{"id": 1, "name": "leaf"}]}))
    assert call("eval", "--model", model, "--coco", tmp_path, "--baseline-out", tmp_path / "b.json") == 65
    assert "names no image" in capsys.readouterr().err


def test_figures_as_text(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --json there is a line of figures, and one for each label."""
    assert call("eval", "--model", model, "--coco", write_coco(tmp_path)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "pooling: AP 1.0000, AP50 1.0000"
    assert lines[-1].split() == ["sky", "1.0000", "1.0000", "1"]


@pytest.mark.parametrize(("arguments", "code", "expected"), [
    ([], 64, "either --source or --coco"), (["--source", "synthetic", "--coco", "."], 64, "either --source or --coco"),
    (["--source", "rtsp://x"], 64, "synthetic"), (["--source", "synthetic", "--frames", "0"], 64, "from 1"),
    (["--coco", "nowhere"], 69, "nowhere")])
def test_an_evaluation_that_fails_gives_one_line(
        model: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, expected: str) -> None:
    """The exit code is that of its kind."""
    assert call("eval", "--model", model, *arguments) == code
    assert expected in capsys.readouterr().err


def test_a_model_agrees_with_itself(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same file twice: full agreement, no shift, and no picture of a difference."""
    picture, out = bundles.picture(tmp_path), tmp_path / "out"
    assert call("compare", model, model, "--out", out, "--json", picture, picture) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["agreement"], printed["score_shift"], printed["iou"], printed["frames"]) == (1, 0, 1, 2)
    assert (printed["both"], printed["only_a"], printed["only_b"], printed["worst"]) == (4, 0, 0, [])
    assert printed["latency_ratio"] > 0
    assert list(out.iterdir()) == []


def test_a_difference_is_shown_where_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A bundle that swaps its channels no longer sees the sky: by label, as text, and side by side in an image."""
    sound, out = bundles.pack(tmp_path), tmp_path / "out"
    wrong = bundles.altered(sound, color="bgr")
    capsys.readouterr()
    picture = bundles.picture(tmp_path)
    assert call("compare", sound, wrong, picture, "--out", out) == 0
    printed = capsys.readouterr().out
    assert "agreement 0.6667" in printed
    assert ["sky", "0.0000", "0", "1", "0", "-", "-"] in [line.split() for line in printed.splitlines()]
    assert present(cv2.imread(str(out / "1-garden.jpg"))).shape == (40, 128, 3)


def test_two_models_on_the_drawn_street(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As many frames as asked for, the same for both."""
    assert call("compare", model, model, "--source", "synthetic", "--frames", "3", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["frames"], printed["agreement"]) == (3, 1)


def test_a_damaged_bundle_is_compared_with_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With another quantization scale there is a warning about the digest, and the shift of scores is still shown."""
    sound, damaged = bundles.pack(tmp_path), tmp_path / "damaged.tflite"
    scale = np.float32(1 / 256).tobytes()
    content = sound.read_bytes()
    assert content.count(scale) == 2
    damaged.write_bytes(content.replace(scale, np.float32(1 / 320).tobytes()))
    assert call("compare", sound, damaged, bundles.picture(tmp_path), "--json") == 0
    out, err = capsys.readouterr()
    assert "states SHA-256" in err
    printed = json.loads(out.splitlines()[-1])
    assert printed["score_shift"] < -0.01


@pytest.mark.parametrize(("arguments", "code", "expected"), [
    ([], 64, "expected either image files or --source"),
    (["a.png", "--source", "synthetic"], 64, "expected either image files or --source"),
    (["nothing.png"], 65, "nothing.png")])
def test_a_comparison_that_fails_gives_one_line(
        model: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, expected: str) -> None:
    """The exit code is that of its kind."""
    assert call("compare", model, model, *arguments) == code
    assert expected in capsys.readouterr().err
