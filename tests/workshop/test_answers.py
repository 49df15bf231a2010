"""Steps whose detections something else has given: results in files, and a server that is asked over HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.support.network.detection_server import TOKEN, model, served
from vedette.cli import main
from vedette.errors import HttpError, HttpStatus, SourceInvalid
from vedette.workshop.comparison import Comparison, compare
from vedette.workshop.step import Step, read_pictures
from vedette.workshop.steps import StepOptions, open_step

Change = Callable[[dict[str, Any]], dict[str, Any]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lamps")


@pytest.fixture(scope="module")
def first(folder: Path) -> Iterator[Step]:
    """The model, opened once."""
    step = open_step(str(model(folder)))
    yield step
    step.close()


@pytest.fixture(scope="module")
def pictures(folder: Path) -> list[Path]:
    """Two pictures with lamps in cells off the diagonal, one wider than high."""
    paths = []
    for name, (width, height), cells in (("porch", (128, 128), ((1, 0), (3, 1))), ("gate", (256, 128), ((0, 2),))):
        picture = np.full((height, width, 3), 8, np.uint8)
        for column, row in cells:
            picture[row * height // 4:(row + 1) * height // 4, column * width // 4:(column + 1) * width // 4] = 255
        paths.append(folder / f"{name}.png")
        cv2.imwrite(str(paths[-1]), picture)
    return paths


@pytest.fixture(scope="module")
def results(folder: Path, pictures: list[Path]) -> str:
    """What `vedette detect --json` prints of the pictures."""
    with redirect_stdout(StringIO()) as printed:
        assert main(["detect", "--model", str(model(folder)), "--json", *map(str, pictures)]) == 0
    return printed.getvalue()


def against(first: Step, other: str, pictures: list[Path], token_file: Path | None = None) -> Comparison:
    step = open_step(other, first.spec, StepOptions(token_file=token_file))
    try:
        return compare([first, step], read_pictures(pictures))
    finally:
        step.close()


def rewritten(results: str, folder: Path, change: Change) -> Path:
    """Write one file for each picture, with each detection changed; named by the picture, without the key `file`."""
    folder.mkdir()
    for line in results.splitlines():
        document = json.loads(line)
        name = Path(document.pop("file")).stem
        size = {"porch": (128, 128), "gate": (256, 128)}[name]
        found = [change({**each, "size": size}) for each in document["detections"]]
        (folder / f"{name}.json").write_text(json.dumps({**document, "detections": found}))
    return folder


def test_lines_of_detect_are_a_step(first: Step, pictures: list[Path], results: str, tmp_path: Path) -> None:
    """The output as it is, in one file; it agrees, and it names the model."""
    path = tmp_path / "all.jsonl"
    path.write_text(results)
    step = against(first, str(path), pictures).steps[1]
    assert (step.kind, step.agreement.f1, step.breaks) == ("results", 1, False)
    assert max(step.box_px) < 0.01
    assert step.sha256
    assert step.first_values == ()


def test_a_folder_of_results_is_a_step(first: Step, pictures: list[Path], results: str, tmp_path: Path) -> None:
    """One file for each picture, which is named like the picture."""
    folder = rewritten(results, tmp_path / "results", dict)
    assert against(first, str(folder), pictures).steps[1].agreement.f1 == 1


def in_pixels(each: dict[str, Any]) -> dict[str, Any]:
    width, height = each["size"]
    return {**each, "box": [edge * size for edge, size in zip(each["box"], (width, height) * 2, strict=True)]}


def of_input(each: dict[str, Any]) -> dict[str, Any]:
    return {**each, "box": [edge * 32 for edge in each["box"]]}


def y_first(each: dict[str, Any]) -> dict[str, Any]:
    xmin, ymin, xmax, ymax = each["box"]
    return {**each, "box": [ymin, xmin, ymax, xmax]}


def with_size(each: dict[str, Any]) -> dict[str, Any]:
    xmin, ymin, xmax, ymax = in_pixels(each)["box"]
    return {**each, "box": [xmin, ymin, xmax - xmin, ymax - ymin]}


def centred(each: dict[str, Any]) -> dict[str, Any]:
    xmin, ymin, xmax, ymax = each["box"]
    return {**each, "box": [(xmin + xmax) / 2, (ymin + ymax) / 2, xmax - xmin, ymax - ymin]}


def renamed(each: dict[str, Any]) -> dict[str, Any]:
    return {**each, "label": "light", "class_id": 7}


@pytest.mark.parametrize(("change", "cause"), [
    (in_pixels, "boxes in pixels of the picture"), (of_input, "boxes in pixels of the model's input"),
    (y_first, "box order: y stands before x"), (centred, "box order: centre and size in place of corners"),
    (with_size, "boxes in pixels of the picture, box order: a corner and the size in place of two corners"),
    (renamed, "labels: it has 'light' where the first step has 'lamp'"),
], ids=lambda value: getattr(value, "__name__", None))
def test_what_is_wrong_with_results_is_named(first: Step, pictures: list[Path], results: str, tmp_path: Path,
                                             change: Change, cause: str) -> None:
    """Units, orders and names that people mix up."""
    found = against(first, str(rewritten(results, tmp_path / "results", change)), pictures)
    assert found.broken
    assert (found.broken.letter, found.broken.cause) == ("B", cause)


@pytest.mark.parametrize(("content", "message"), [
    ("{", "line 1"), ("[]", "detections"), ('{"detections": {}}', "detections"), ('{"boxes": []}', "detections"),
    ('{"detections": [{"label": "lamp", "box": [0, 0, 1]}]}', r"detections\[0\]"),
    ('{"detections": [{"label": "lamp", "box": [0, 0, 1, NaN]}]}', r"detections\[0\]"),
    ('{"detections": [{"label": "lamp", "score": "high", "box": [0, 0, 1, 1]}]}', r"detections\[0\]"),
    ('{"file": "porch.png", "detections": []}', "no result for gate.png"),
    ('{"file": "porch", "detections": []}', "no result for gate.png"),
    ('{"detections": [{"label": "lamp", "class_id": Infinity, "box": [0, 0, 1, 1]}]}', r"detections\[0\]"),
    ("[" * 100_000, "porch.json: too deeply nested"),
    ('{"file": "a/porch.png", "detections": []}\n{"file": "b/porch.jpg", "detections": []}', "two results for porch"),
], ids=range(12))
def test_results_of_another_form_are_refused(first: Step, pictures: list[Path], tmp_path: Path, content: str,
                                             message: str) -> None:
    """The error names the file; a picture without a result is no empty result."""
    path = tmp_path / "porch.json"
    path.write_text(content)
    with pytest.raises(SourceInvalid, match=message):
        against(first, str(path), pictures)


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    """The error names the folder."""
    with pytest.raises(SourceInvalid, match=str(tmp_path)):
        open_step(str(tmp_path))


@pytest.mark.slow
def test_a_device_is_asked(first: Step, pictures: list[Path], tmp_path: Path) -> None:
    """A real `vedette serve`: nothing is lost on the way, as pictures go as PNG. Without its token it fails."""
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN)
    with served(tmp_path, "--token-file", str(tmp_path / "tokens")) as url:
        step = against(first, url, pictures, token_file).steps[1]
        with pytest.raises(HttpStatus, match="401"):
            against(first, f"{url}/v1/detect", pictures)
    assert (step.kind, step.name, step.agreement.f1, step.breaks) == ("device", url, 1, False)
    assert max(step.box_px) < 0.01
    assert step.sha256
    with pytest.raises(HttpError):
        against(first, url, pictures)
