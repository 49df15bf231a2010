"""Campaign `steps`: the model in the box, from its float network to INT8 on every road, compared after each step.

    .venv/bin/python tests/campaign/steps.py --state .campaign/steps.json

`python -m models.train.float` gives the network as `.pt2`, ONNX and `.tflite`. `vedette model convert` makes a bundle
of the first two, by two tools, with 200 pictures of streets that do not judge. Then all of them, the float models in
between and the model in the box itself see the same 60 pictures, of which the truth is known. Every float step must
have the boxes of the network within 0.01 pixel and F1 1.0. Each bundle must have the AP of the model in the box within
0.01. It needs pip's registry for the tools' environments, and some 5 GB of disk. One JSON line; 1 when a bound is
missed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vedette.camera.street.objects import LABELS
from vedette.camera.street.stills import stills
from vedette.detect.box_model import BOX_MODEL
from vedette.workshop.convert import dressed, to_float
from vedette.workshop.inputs import source_of

ROOT = Path(__file__).resolve().parents[2]
CALIBRATION, CALIBRATION_SEED, JUDGED = 200, 4_242, 60
FLOAT_PX, AP = 0.01, 0.01
SETTINGS = ("--decoder", "ltrb", "--color", "rgb", "--resize", "letterbox", "--score-threshold", "0.35",
            "--iou-threshold", "0.6")
"""Those of the model in the box."""


def draw_calibration(folder: Path) -> None:
    folder.mkdir()
    for still in stills(CALIBRATION, seed=CALIBRATION_SEED):
        cv2.imwrite(str(folder / f"{still.frame.seq:04}.png"), np.asarray(still.frame.pixels))


def draw_judged(folder: Path) -> None:
    """Write a COCO folder of the held-out streets."""
    (folder / "images").mkdir(parents=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for still in stills(JUDGED):
        frame = still.frame
        name = f"{frame.seq:04}.png"
        cv2.imwrite(str(folder / "images" / name), np.asarray(frame.pixels))
        images.append({"id": frame.seq, "file_name": name, "width": frame.width, "height": frame.height})
        for thing in still.truth:
            x, y = thing.box.xmin * frame.width, thing.box.ymin * frame.height
            width, height = thing.box.xmax * frame.width - x, thing.box.ymax * frame.height - y
            annotations.append({"id": len(annotations) + 1, "image_id": frame.seq, "iscrowd": 0,
                                "category_id": LABELS.index(thing.label) + 1, "bbox": [x, y, width, height],
                                "area": width * height})
    categories = [{"id": number, "name": label} for number, label in enumerate(LABELS, 1)]
    (folder / "annotations.json").write_text(json.dumps(
        {"images": images, "annotations": annotations, "categories": categories}))


def vedette(*words: str | Path) -> str:
    """Run a command to its end; returns what it prints. What it reports goes to standard error."""
    done = subprocess.run([sys.executable, "-m", "vedette", *map(str, words)], cwd=ROOT, stdout=subprocess.PIPE,
                          text=True)
    assert done.returncode == 0, f"vedette {' '.join(map(str, words))}: exit code {done.returncode}"
    return done.stdout


def compared(folder: Path) -> list[dict[str, Any]]:
    """Take every road, and return the comparison of its steps with the network."""
    subprocess.run(["make", ".venv-train/.ready"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    subprocess.run([ROOT / ".venv-train/bin/python", "-m", "models.train.float", "--folder", folder / "net"], cwd=ROOT,
                   check=True, stdout=subprocess.DEVNULL)
    draw_calibration(folder / "calibration")
    draw_judged(folder / "judged")
    roads = {"onnx": "by onnx2tf", "pt2": "by litert-torch"}
    floats, bundles = [], []
    for form, by in roads.items():
        network, bundle = folder / "net" / f"street.{form}", folder / f"INT8 {by}.tflite"
        vedette("model", "convert", network, "--images", folder / "calibration", "-o", bundle, "--labels",
                folder / "net" / "labels.txt", *SETTINGS)
        floating = folder / f"float {by}.tflite"
        floating.write_bytes(dressed(to_float(source_of(network), note), bundle))
        floats.append(floating)
        bundles.append(bundle)
    direct = folder / "INT8 directly.tflite"
    vedette("model", "quantize", folder / "net/street.tflite", "--images", folder / "calibration", "-o", direct)
    own = folder / "net/street.tflite"      # the first step states the labels and the settings for all
    answer = vedette("model", "compare", own, folder / "net/street.pt2", folder / "net/street.onnx", *floats, *bundles,
                     direct, BOX_MODEL, "--coco", folder / "judged", "--json")
    return list(json.loads(answer)["steps"])


def note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def broken_of(steps: list[dict[str, Any]]) -> list[str]:
    """Return a message for each bound that is missed."""
    first, box = steps[0], steps[-1]
    found = []
    for step in steps[1:]:
        name = step["name"]
        if "INT8" in name or step is box:
            if abs(step["ap"] - box["ap"]) > AP:
                found.append(f"{name}: AP {step['ap']}, the model in the box {box['ap']}")
        elif step["f1"] != 1.0 or step["box_px"] > FLOAT_PX:
            found.append(f"{name}: F1 {step['f1']}, boxes {step['box_px']} px from {first['name']}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, default=Path(".campaign/steps.json"))
    args = parser.parse_args()
    args.state.parent.mkdir(parents=True, exist_ok=True)
    if not args.state.exists():
        with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
            args.state.write_text(json.dumps(compared(Path(folder))))
    steps = json.loads(args.state.read_text())
    broken = broken_of(steps)
    print(json.dumps({"campaign": "steps", "steps": steps, "broken": broken}))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
