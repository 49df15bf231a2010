"""Measures COCO AP of models through the `vedette detect` command, as a user runs it.

    python bench/accuracy.py COCO_FOLDER MODEL... [--runtime litert]

COCO_FOLDER holds `annotations.json` and `images/`. Labels are matched to categories by name. Needs the `eval` extra.
`vedette model eval --coco` measures the same figures inside one process.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from vedette.types import Box, Detection
from vedette.validate.average_precision import Precision, Truth, average_precision


def main() -> None:
    """Print one line for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("coco", type=Path)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--runtime", default="auto")
    args = parser.parse_args()
    for model in args.models:
        measured = precision(args.coco, model, args.runtime)
        print(f"{model.name:48} AP {measured.ap:.4f}  AP50 {measured.ap50:.4f}", flush=True)


def precision(coco: Path, model: Path, runtime: str = "auto") -> Precision:
    """Run the command over the images and compute the precision of the detections that it prints."""
    truth = Truth.of_folder(coco)
    command = [sys.executable, "-m", "vedette", "detect", "--model", str(model), "--runtime", runtime, "--json",
               "--score-threshold", "0.001", "--iou-threshold", "0.7", "--max-detections", "300",
               *(str(coco / "images" / name) for name in truth.images.values())]
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    rows = []
    for image_id, result in zip(truth.images, map(json.loads, lines), strict=True):
        detections = [Detection(each["label"], each["class_id"], each["score"], Box(*each["box"]))
                      for each in result["detections"]]
        rows += truth.rows(image_id, result["frame"]["width"], result["frame"]["height"], detections)
    return average_precision(truth, rows)


if __name__ == "__main__":
    main()
