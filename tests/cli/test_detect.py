"""`vedette detect` as a person or a script calls it."""

import json
from pathlib import Path

import cv2
import jsonschema
import numpy as np
import pytest
from pydantic import TypeAdapter

from tests.support.models import tiny_detectors
from tests.support.present import present
from vedette.cli import main
from vedette.messages.shapes import DetectionsPayload

pytestmark = pytest.mark.slow


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_detectors.write(tmp_path)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:24, :32, 1] = 255
    path = tmp_path / "garden.png"
    cv2.imwrite(str(path), pixels)
    return path


def call(*arguments: object) -> int:
    return main(["detect", "--threads", "1", *map(str, arguments)])


def test_one_json_object_for_each_image(model: Path, image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each line is the file and a result that fits the published schema."""
    assert call("--model", model, "--json", image, image) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line.pop("file"), line["seq"]) for line in lines] == [(str(image), 1), (str(image), 2)]
    for line in lines:
        jsonschema.validate(line, TypeAdapter(DetectionsPayload).json_schema())
        assert (line["run"], line["frame"]["width"], line["frame"]["height"]) == (0, 64, 48)
        assert [(found["label"], found["box"]) for found in line["detections"]] == [("leaf", [0, 0, 0.5, 0.5])]


def test_text_for_people(model: Path, image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --json: a line for the image and one for each detection, in pixels."""
    assert call("--model", model, image) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{image}: 1 detections")
    assert second == "  leaf 0.996 at x 0-32, y 0-24"


def test_an_unreadable_image_is_named_and_the_others_are_done(model: Path, image: Path, tmp_path: Path,
                                                              capsys: pytest.CaptureFixture[str]) -> None:
    """Missing, empty and wrong files each get a line on standard error; exit 65; the good one is still done."""
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "page.jpg").write_text("<html>")
    assert call("--model", model, tmp_path / "no.jpg", tmp_path / "empty.jpg", tmp_path / "page.jpg", tmp_path,
                image) == 65
    out, err = capsys.readouterr()
    assert "garden.png: 1 detections" in out
    for name in ("no.jpg: No such file", "empty.jpg: the file is empty", "page.jpg: a page", f"{tmp_path}: a folder"):
        assert name in err


def test_images_with_boxes(model: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--out writes an image with boxes for each image, of the same size, under a name no input has."""
    out = tmp_path / "pictures" / "of today"
    assert call("--model", model, "--out", out, image, image) == 0
    assert sorted(path.name for path in out.iterdir()) == ["garden-detections-2.jpg", "garden-detections.jpg"]
    picture = present(cv2.imread(str(out / "garden-detections.jpg")))
    assert picture.shape == (48, 64, 3)
    assert (picture != cv2.imread(str(image))).any()
    assert call("--model", model, "--out", image, image) == 64
    assert "expected a folder" in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "code", "expected"), [
    (["--score-threshold", "1.5"], 64, "from 0 to 1"), (["--iou-threshold", "x"], 64, "from 0 to 1"),
    (["--max-detections", "0"], 64, "from 1 to 1000"), (["--labels", "nothing.txt"], 65, "nothing.txt"),
    (["--score-threshold", "0.999"], 65, "no score exceeds")])
def test_unusable_arguments_give_one_line(model: Path, image: Path, capsys: pytest.CaptureFixture[str],
                                       arguments: list[str],
                                       code: int, expected: str) -> None:
    """Each wrong argument gives one line of text and its own exit code."""
    assert call("--model", model, *arguments, image) == code
    assert expected in capsys.readouterr().err


def test_thresholds_and_labels_of_the_command(model: Path, image: Path, tmp_path: Path,
                                              capsys: pytest.CaptureFixture[str]) -> None:
    """Labels and limits given on the command line are those used."""
    labels = tmp_path / "mine.txt"
    labels.write_text("nothing\ngrass\nair\n")
    assert call("--model", model, "--labels", labels, "--json", image) == 0
    assert json.loads(capsys.readouterr().out)["detections"][0]["label"] == "grass"


def test_a_model_that_cannot_be_used(image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is no model: one line, exit 65."""
    path = tmp_path / "page.tflite"
    path.write_text("<html>not found</html>")
    assert call("--model", path, image) == 65
    assert "web page" in capsys.readouterr().err
