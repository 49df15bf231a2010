"""COCO AP of models, measured through the `vedette detect` command as anybody would run it.

    python bench/accuracy.py COCO_FOLDER MODEL... [--runtime litert]

COCO_FOLDER holds `annotations.json` and `images/`. Labels become category ids by their names. Needs the `eval` extra.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path


def main() -> None:
    """Print one line for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("coco", type=Path)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--runtime", default="auto")
    args = parser.parse_args()
    for model in args.models:
        ap, ap50 = average_precision(args.coco, results(args.coco, model, args.runtime))
        print(f"{model.name:48} AP {ap:.4f}  AP50 {ap50:.4f}", flush=True)


def results(coco: Path, model: Path, runtime: str = "auto") -> list[dict[str, object]]:
    """Run the command over the images; returns detections as pycocotools takes them: x, y, width, height in pixels."""
    annotations = json.loads((coco / "annotations.json").read_text())
    image_ids = {image["file_name"]: image["id"] for image in annotations["images"]}
    category_ids = {category["name"]: category["id"] for category in annotations["categories"]}
    command = [sys.executable, "-m", "vedette", "detect", "--model", str(model), "--runtime", runtime, "--json",
               "--score-threshold", "0.001", "--iou-threshold", "0.7", "--max-detections", "300",
               *(str(coco / "images" / name) for name in image_ids)]
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    found: list[dict[str, object]] = []
    for result in map(json.loads, lines):
        width, height = result["frame"]["width"], result["frame"]["height"]
        for detection in result["detections"]:
            xmin, ymin, xmax, ymax = detection["box"]
            if detection["label"] in category_ids:
                found.append({"image_id": image_ids[Path(result["file"]).name], "score": detection["score"],
                              "category_id": category_ids[detection["label"]],
                              "bbox": [xmin * width, ymin * height, (xmax - xmin) * width, (ymax - ymin) * height]})
    return found


def average_precision(coco: Path, found: list[dict[str, object]]) -> tuple[float, float]:
    """Return COCO AP (IoU 0.50-0.95) and AP50."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(coco / "annotations.json"))
        evaluation = COCOeval(truth, truth.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0]), float(evaluation.stats[1])


if __name__ == "__main__":
    main()
