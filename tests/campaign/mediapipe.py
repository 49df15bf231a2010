"""Campaign `mediapipe`: MediaPipe Tasks and the TFLite Task Library read our bundles, and see what Vedette sees.

    .venv/bin/python tests/campaign/mediapipe.py --state .campaign/mediapipe.json

Both libraries are installed from PyPI into environments of their own beside the state. Models of ../shared/real are
packed without the TFLite Metadata that they had, so that they carry ours: two detectors with their own suppression, one
of them with its outputs in another order, and a classifier. A float classifier of our own shows the normalization. The
float form of the classifier is quantized again, with `--uint8`. Each
library answers about every picture of ../shared/real, once as it is and once already at the size of the model's input.
The second has no scaling in it, so its answers must be those of Vedette. The first shows what other scaling changes.
Families that the libraries cannot read must be named by `pack`. Without ../shared/real or the packages it is skipped,
and says so. One JSON line; 1 when anything is wrong.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import cv2
import numpy as np

from tests.support.models import tiny_detectors, writer
from tests.support.models.dequantised import dequantised
from vedette.config.models import DetectorConfig
from vedette.tflite import appended_zip
from vedette.tflite.file import read_model
from vedette.types import Box
from vedette.validate.runner import Runner
from vedette.vision import images
from vedette.vision.geometry import iou
from vedette.vision.model_spec import resolve

ROOT = Path(__file__).parents[2]
REAL = ROOT.parent / "shared" / "real"
PACKAGES = {"mediapipe": "mediapipe==1.2.3", "tflite_support": "tflite-support==0.4.4"}
LOWEST, COUNTED = 0.001, 0.1
"""The lowest score that is asked for, and that counts."""
SAME_SCORE, SAME_PX, MERGED = 0.01, 2, 0.02
"""How much may differ without scaling: two steps of a score, since runtimes round differently; the fractions of a pixel
that the libraries cut off from a corner and a size; and the share of boxes that MediaPipe merges with others."""
CLIENT = """
import json, sys
library, kind, lowest, model, *pictures = sys.argv[1:]
if library == "mediapipe":
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision
    limits, base, Image = {"score_threshold": float(lowest)}, BaseOptions(model_asset_path=model), mediapipe.Image
else:
    from tflite_support.task import core, processor, vision
    task, kinds = ("Detection", "detection") if kind == "detector" else ("Classification", "classification")
    limits = {kinds + "_options": getattr(processor, task + "Options")(score_threshold=float(lowest))}
    base, Image = core.BaseOptions(file_name=model), vision.TensorImage
name = "ObjectDetector" if kind == "detector" else "ImageClassifier"
task = getattr(vision, name).create_from_options(getattr(vision, name + "Options")(base_options=base, **limits))
for picture in pictures:
    image = Image.create_from_file(picture)
    if kind == "detector":
        found = [(each, found.bounding_box) for found in task.detect(image).detections for each in found.categories]
        rows = [[top.category_name, top.score, box.origin_x / image.width, box.origin_y / image.height,
                 (box.origin_x + box.width) / image.width, (box.origin_y + box.height) / image.height]
                for top, box in found]
    else:
        found = task.classify(image).classifications[0].categories
        rows = [[top.category_name, top.score, 0, 0, 1, 1] for top in found]
    print(json.dumps(rows), flush=True)
"""


class Seen(NamedTuple):
    """One detection."""

    label: str
    score: float
    box: Box


class Case(NamedTuple):
    """A model to pack: its kind, its flatbuffer, its labels, and what the command is told of it."""

    kind: str
    content: bytes
    labels: list[str]
    told: tuple[str, ...] = ()
    command: str = "pack"


def without_metadata(path: Path) -> bytes:
    """Return a model's flatbuffer whose TFLite Metadata nobody finds, as an exporter without metadata writes it."""
    content = path.read_bytes()
    return content[:appended_zip.split(content)[0]].replace(b"TFLITE_METADATA", b"ELSEWHERE_NAMED")


def cases() -> dict[str, Case]:
    models = REAL / "models"
    coco = read_model(models / "ssd_mobilenet_v1_coco_uint8_metadata.tflite")
    imagenet = read_model(models / "mobilenet_v2_224_imagenet_uint8.tflite")
    return {
        "ssd_tf2_320": Case("detector", without_metadata(models / "ssd_tf2_320_outputs_reordered.tflite"),
                            ["class 0", "class 1"]),
        "ssd_mobilenet_v1": Case("detector", without_metadata(coco.path),
                                 list(resolve(coco, DetectorConfig(model=coco.path)).labels)),
        "mobilenet_v2": Case("classifier", without_metadata(imagenet.path),
                             list(resolve(imagenet, DetectorConfig(model=imagenet.path)).labels)),
        "float": Case("classifier", writer.dynamic_output(), ["red", "green", "blue"],
                      ("--decoder", "classifier", "--mean", "127.5", "--std", "63.75")),
        "quantized": Case("classifier", dequantised(without_metadata(imagenet.path)),
                          list(resolve(imagenet, DetectorConfig(model=imagenet.path)).labels),
                          ("--images", str(REAL / "coco" / "images"), "--uint8", "--keep-float", "none", "--force",
                           "--mean", "127.5", "--std", "127.5", "--score-threshold", "0.1"), "quantize")}


def packed(case: Case, name: str, folder: Path) -> tuple[Path, str]:
    """Pack a model by the command; return the bundle, and what the command says of other programs."""
    model, labels, out = (folder / f"{name}{end}" for end in ("-plain.tflite", ".txt", ".tflite"))
    model.write_bytes(case.content)
    labels.write_text("".join(f"{label}\n" for label in case.labels))
    done = subprocess.run([sys.executable, "-m", "vedette", "model", case.command, model, "--labels", labels,
                           "--version", "1", *case.told, "-o", out], capture_output=True, text=True, check=True)
    return out, done.stdout.splitlines()[-1]


def asked(python: Path, library: str, kind: str, model: Path, pictures: list[Path]) -> list[list[Seen]]:
    done = subprocess.run([python, "-c", CLIENT, library, kind, str(LOWEST), model, *pictures], capture_output=True,
                          text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{library}: {done.stderr[-2000:]}")
    # Their boxes may reach beyond the picture; Vedette cuts them at its border.
    return [[Seen(label, score, Box(*(min(max(side, 0.0), 1.0) for side in box)))
             for label, score, *box in json.loads(line)] for line in done.stdout.splitlines()]


def ours(model: Path, pictures: list[Path]) -> list[list[Seen]]:
    read = read_model(model)
    spec = resolve(read, DetectorConfig(model=model, score_threshold=LOWEST, max_detections=100))
    with Runner(read) as runner:
        found = runner.detect(spec, [images.frame_of(images.read(path), number)
                                     for number, path in enumerate(pictures, 1)])
    return [[Seen(each.label, each.score or 0.0, each.box) for each in detections] for detections in found]


def pairs(one: list[Seen], other: list[Seen]) -> list[tuple[Seen, Seen]]:
    """Return detections of both sides that have one label and overlap, the most similar ones first."""
    nearest = sorted((abs(here.score - there.score) - iou(here.box, there.box), row, column)
                     for row, here in enumerate(one) for column, there in enumerate(other)
                     if here.label == there.label and iou(here.box, there.box) > 0.5)
    rows, columns = set(range(len(one))), set(range(len(other)))
    found = []
    for _, row, column in nearest:
        if row in rows and column in columns:
            rows.remove(row)
            columns.remove(column)
            found.append((one[row], other[column]))
    return found


def differences(mine: list[list[Seen]], theirs: list[list[Seen]], sizes: list[tuple[int, int]],
                ) -> dict[str, Any]:
    """Return how many detections of either side count, how many of them have no partner, and the
    median and the largest difference of the scores and the sides of the boxes, in pixels of the picture.

    Boxes that begin at its left or upper border are left out of the last: where one reaches beyond, MediaPipe moves
    the corner to the border and keeps the size (`BoundedValue` in detection_transformation_calculator.cc).
    """
    detections, partners = 0, 0
    box_px, scores = [0.0], [0.0]
    for one, other, size in zip(mine, theirs, sizes, strict=True):
        detections += sum(each.score >= COUNTED for each in (*one, *other))
        for here, there in pairs(one, other):
            high = sum(each.score >= COUNTED for each in (here, there))
            partners += high
            if high:
                scores.append(abs(here.score - there.score))
            if high and min(here.box.xmin, here.box.ymin) > 0:
                box_px.append(max(abs(a - b) * side for a, b, side in zip(
                    sides(here.box), sides(there.box), (*size, *size), strict=True)))
    return {"detections": detections, "alone": detections - partners,
            "score": [round(each, 4) for each in (median(scores), max(scores))],
            "box_px": [round(each, 2) for each in (median(box_px), max(box_px))]}


def sides(box: Box) -> tuple[float, float, float, float]:
    return box.xmin, box.ymin, box.xmax, box.ymax


def pngs(pictures: list[Path], folder: Path, size: tuple[int, int] | None = None) -> list[Path]:
    """Write the pictures as PNG of three channels, scaled where a size is given: MediaPipe takes no grey JPEG."""
    folder.mkdir()
    made = [folder / f"{picture.stem}.png" for picture in pictures]
    for picture, path in zip(pictures, made, strict=True):
        pixels = np.asarray(images.read(picture))
        cv2.imwrite(str(path), cv2.resize(pixels, size, interpolation=cv2.INTER_AREA) if size else pixels)
    return made


def size_of(picture: Path) -> tuple[int, int]:
    height, width, _ = np.asarray(images.read(picture)).shape
    return width, height


def compared(case: Case, name: str, pythons: dict[str, Path], folder: Path) -> dict[str, Any]:
    model, line = packed(case, name, folder)
    pictures = [*sorted((REAL / "images").glob("*.jpg")), *sorted((REAL / "coco" / "images").glob("*.jpg"))]
    shape = resolve(read_model(model), DetectorConfig(model=model)).input
    small = pngs(pictures, folder / f"{name}-small", (shape.width, shape.height))
    figures: dict[str, Any] = {"line": line}
    for kind, chosen in (("as_they_are", pngs(pictures, folder / name)), ("at_input_size", small)):
        sizes = [size_of(path) for path in chosen]
        mine = ours(model, chosen)
        for library, python in pythons.items():
            figures[f"{library} {kind}"] = differences(
                mine, asked(python, library, case.kind, model, chosen), sizes)
    return figures


def complaints(name: str, figures: dict[str, Any]) -> Iterator[str]:
    if "can read it" not in figures["line"]:
        yield f"{name}: {figures['line']}"
    for kind, found in figures.items():
        if kind.endswith("at_input_size") and not (
                found["detections"] > 0 and found["score"][1] <= SAME_SCORE and found["box_px"][1] <= SAME_PX
                and found["alone"] <= MERGED * found["detections"]):
            yield f"{name}, {kind}: {found}"


def refused(folder: Path) -> dict[str, str]:
    """Return what `pack` says of models of other families."""
    models = {"yolov8": REAL / "models" / "yolov8n_416_coco_int8.tflite",
              "yolov5": REAL / "models" / "yolov5n_320_1class_uint8.tflite",
              "ltrb": ROOT / "models" / "vedette-street.tflite", "fomo": tiny_detectors.write(folder)}
    return {decoder: packed(Case("", path.read_bytes(), [f"label {number}" for number in range(80)],
                                 ("--decoder", decoder)), decoder, folder)[1] for decoder, path in models.items()}


def environment(folder: Path, package: str) -> Path:
    """Install a library once. Return the interpreter. Raises: CalledProcessError."""
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", package], check=True, capture_output=True)
        (folder / "ready").touch()
    return python


def run(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    if not REAL.is_dir():
        return {"skipped": f"no {REAL}"}
    try:
        pythons = {library: environment(args.state.absolute().parent / library, package)
                   for library, package in PACKAGES.items() if library in args.library}
    except subprocess.CalledProcessError as error:
        return {"skipped": f"{error}: {(error.stderr or b'')[-300:]!r}"}
    figures = {name: compared(case, name, pythons, folder) for name, case in cases().items()}
    wrong = [each for name, found in figures.items() for each in complaints(name, found)]
    lines = refused(folder)
    wrong += [line for decoder, line in lines.items() if f"cannot read it: decoder {decoder}" not in line]
    return {**figures, "refused": lines, "wrong": wrong}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--library", action="append", choices=PACKAGES)
    args = parser.parse_args()
    args.library = args.library or list(PACKAGES)
    with tempfile.TemporaryDirectory() as folder:
        figures = run(args, Path(folder))
    print(json.dumps(figures))
    return 1 if figures.get("wrong") else 0


if __name__ == "__main__":
    sys.exit(main())
