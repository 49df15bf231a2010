"""What the pictures of a calibration cost: the float model in the box, quantized with good and with bad pictures.

    .venv-train/bin/python -m models.train.float
    .venv/bin/python bench/calibration.py [--photos DIR] [--frames 500]

It prints the table of docs/workshop.md. Every row is a bundle of `vedette model quantize --keep-float none --force`,
judged by `vedette model eval` on streets that no row was calibrated with. `--photos`: pictures of another subject.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vedette.camera.street.options import SyntheticSource
from vedette.camera.street.stills import moving, stills

Picture = NDArray[np.uint8]
SEED = 1000
NMS_IOU = "0.6"     # as the card of the model in the box
RIGHT, OTHERS = 200, 60
DARK, FOG = 0.08, 100
RATE = 0.5          # pictures a second of one hour: things come and go between them


@dataclass(frozen=True)
class Row:
    """One calibration: its name in the table, its pictures, and more arguments of `model quantize`."""

    name: str
    pictures: Callable[[], Iterable[Picture]]
    arguments: tuple[str, ...] = ()


def street(count: int) -> Iterator[Picture]:
    """Draw a street over a day and a night."""
    return (np.asarray(still.frame.pixels) for still in stills(count, seed=SEED))


def hour(at: float) -> Iterator[Picture]:
    """Draw a street in the light of one hour."""
    return (np.asarray(still.frame.pixels) for still in moving(SyntheticSource(seed=SEED, hour=at), OTHERS, RATE))


def dark(pictures: Iterable[Picture]) -> Iterator[Picture]:
    """Darken pictures to 8 % of their light: a night without any lamp."""
    return (np.rint(picture * DARK).astype(np.uint8) for picture in pictures)


def foggy(pictures: Iterable[Picture]) -> Iterator[Picture]:
    """Take 92 % of the contrast from pictures, as the thickest fog does."""
    return (np.rint(picture * DARK + FOG).astype(np.uint8) for picture in pictures)


def noise() -> Iterator[Picture]:
    """Draw nothing but noise."""
    rng = np.random.default_rng(SEED)
    return (rng.integers(0, 256, (360, 640, 3), np.uint8) for _ in range(OTHERS))


def photos(folder: Path) -> Iterator[Picture]:
    """Read photographs: another subject, by day and by night."""
    for path in sorted(folder.iterdir()):
        picture = cv2.imread(str(path))
        if picture is not None:
            yield picture.astype(np.uint8, copy=False)


def rows(folder: Path | None) -> list[Row]:
    """Return the rows of the table."""
    other = [Row("wrong subject: photographs", lambda: photos(folder))] if folder else []
    return [
        Row("weight-only", lambda: street(RIGHT), ("--weight-only",)),
        Row("dynamic range", lambda: street(RIGHT), ("--dynamic-range",)),
        Row("right pictures", lambda: street(RIGHT)),
        Row("right pictures, per tensor", lambda: street(RIGHT), ("--per-tensor",)),
        Row("ten right pictures", lambda: list(street(RIGHT))[::RIGHT // 10]),
        Row("one right picture", lambda: street(1)),
        *other,
        Row("noon only", lambda: hour(12)),
        Row("night only, with lamps", lambda: hour(1)),
        Row("night only, without lamps", lambda: dark(hour(1))),
        Row("day and night at 8 % of the light", lambda: dark(street(OTHERS))),
        Row("the same in thick fog", lambda: foggy(street(OTHERS))),
        Row("noise", noise),
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path(".train/float/street.tflite"))
    parser.add_argument("--labels", type=Path, help="default: labels.txt beside the model")
    parser.add_argument("--photos", type=Path, metavar="DIR", help="photographs, for the row of another subject")
    parser.add_argument("--frames", type=int, default=500)
    parser.add_argument("--resize", default="letterbox", choices=("letterbox", "stretch"))
    args = parser.parse_args()
    stated = ["--labels", args.labels or args.model.with_name("labels.txt"), "--resize", args.resize]
    print("| calibrated with | pictures | brightness | contrast | similarity | refused | AP | to float |")
    print("|---|--:|--:|--:|--:|---|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "float.tflite"
        vedette("pack", args.model, *stated, "--version", "1", "-o", whole)
        best = precision(whole, args.frames)
        print(f"| nothing: the float model | | | | | | {best:.3f} | |", flush=True)
        for row in rows(args.photos):
            print(line(row, args, stated, best, Path(folder)), flush=True)


def line(row: Row, args: argparse.Namespace, stated: list[Any], best: float, folder: Path) -> str:
    """Quantize and judge; return the row of the table."""
    with tempfile.TemporaryDirectory(dir=folder) as images:
        for number, picture in enumerate(row.pictures()):
            cv2.imwrite(f"{images}/{number:03}.png", picture)
        made = folder / "int8.tflite"
        printed = json.loads(vedette("quantize", args.model, "--images", images, *stated, "--keep-float", "none",
                                     "--force", "--json", "-o", made, *row.arguments))
    coverage = printed["coverage"]
    refused = "yes" if coverage["refused"] and printed["scheme"] in {"static", "per-tensor"} else ""
    found = precision(made, args.frames)
    brightness, contrast = (coverage[name]["deciles"] for name in ("brightness", "contrast"))
    return (f"| {row.name} | {coverage['pictures']} | {brightness[1]:.0f}-{brightness[9]:.0f} | "
            f"{contrast[1]:.0f}-{contrast[9]:.0f} | {coverage['similarity']:.2f} | {refused} | {found:.3f} | "
            f"{found / best - 1:+.1%} |")


def precision(model: Path, frames: int) -> float:
    """Return the average precision on the drawn street."""
    printed = vedette("eval", "--model", model, "--source", "synthetic", "--frames", frames, "--iou-threshold", NMS_IOU,
                      "--json")
    return float(json.loads(printed)["ap"])


def vedette(*arguments: object) -> str:
    """Run `vedette model …` and return what it prints."""
    command = [sys.executable, "-m", "vedette", "model", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
