"""Campaign `convert`: each kind of network through `vedette model convert`, in an empty cache, then without a network.

    .venv/bin/python tests/campaign/convert.py --state .campaign/convert.json

The float network of the model in the box (`python -m models.train.float`) as ONNX, `.pt2` and `.tflite`; a net that
finds lamps as Keras, HDF5 and SavedModel; a checkpoint of Ultralytics made from its yaml, whose weights are random. For
each: seconds, the processor's seconds, megabytes on disk, packages and megabytes that pip took, and F1 of each step.
Then the environment stays, all else goes, and the command runs again in a network namespace of its own, which has no
interface. It must do the same, and the input must stay as it was. It needs root, some 5 GB of disk and pip's registry.
Resumable by kind. One JSON line; 1 when a run fails.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vedette.camera.street.stills import stills
from vedette.workshop import environments
from vedette.workshop.inputs import source_of

ROOT = Path(__file__).resolve().parents[2]
VEDETTE = [sys.executable, "-m", "vedette"]
PICTURES, SEED, WITHIN_S = 100, 4_242, 3600
LAMPS = """
import sys, numpy as np, keras
folder = sys.argv[1]
image = keras.Input((32, 32, 3), batch_size=1, name="image")
model = keras.Model(image, keras.layers.Conv2D(2, 8, strides=8, activation="softmax", name="heat")(image))
weights = np.full((8, 8, 3, 2), 16 / 192, np.float32) * np.array([-1, 1], np.float32)
model.get_layer("heat").set_weights([weights, np.array([8, -8], np.float32)])
model.save(folder + "/lamps.keras")
model.save(folder + "/lamps.h5")
model.export(folder + "/lamps", format="tf_saved_model")
"""
BLANK = """
import os, sys
from pathlib import Path
os.environ.update(YOLO_OFFLINE="true", YOLO_AUTOINSTALL="false", YOLO_CONFIG_DIR=sys.argv[1] + "/settings")
import cv2, numpy as np, torch
from ultralytics import YOLO
torch.manual_seed(7)
yolo = YOLO("yolov8n.yaml")
files = sorted(Path(sys.argv[1], "pictures-street").iterdir())[:8]
pictures = np.stack([cv2.resize(cv2.imread(str(file)), (320, 320))[:, :, ::-1] for file in files])
for part in yolo.model.modules():
    if isinstance(part, torch.nn.BatchNorm2d):      # as training leaves it, so the values stay in their range
        part.momentum = None
        part.reset_running_stats()
with torch.no_grad():
    yolo.model.train()(torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy()).float() / 255)
head = yolo.model.eval().model[-1]
for boxes, scores in zip(head.cv2, head.cv3):
    boxes[-1].bias.data[:] = -torch.arange(16.0).repeat(4)      # else boxes are wider than pictures
    scores[-1].weight.data *= 3                                 # else no score passes the threshold
yolo.save(sys.argv[1] + "/blank.pt")
"""
KINDS = {
    "onnx": ("street.onnx", "street"), "exported-program": ("street.pt2", "street"),
    "float tflite": ("street.tflite", "street"), "keras": ("lamps.keras", "lamps"), "hdf5": ("lamps.h5", "lamps"),
    "saved-model": ("lamps", "lamps"), "ultralytics": ("blank.pt", "street"),
}
"""For each kind: its file, and the name of its pictures and labels."""
OPTIONS = {"ultralytics": ["--size", "320x320", "--force"]}
_TAKEN = re.compile(r"(?:Downloading|Using cached) \S+ \(([\d.]+) (kB|MB)\)")
_LOCAL = re.compile(r"Processing (/\S+\.whl)")


def make_inputs(folder: Path) -> None:
    """Write the networks, the pictures and the labels, once."""
    if (folder / "ready").exists():
        return
    for name, draw in (("street", draw_street), ("lamps", draw_lamps)):
        (folder / f"pictures-{name}").mkdir(parents=True, exist_ok=True)
        draw(folder / f"pictures-{name}")
    subprocess.run(["make", ".venv-train/.ready"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    subprocess.run([ROOT / ".venv-train/bin/python", "-m", "models.train.float", "--folder", folder], cwd=ROOT,
                   check=True, stdout=subprocess.DEVNULL)
    shutil.copy(folder / "labels.txt", folder / "labels-street.txt")
    (folder / "labels-lamps.txt").write_text("lamp\n")
    for tool, script in (("tensorflow", LAMPS), ("ultralytics", BLANK)):
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        subprocess.run([environments.python_of(tool, say), "-c", script, folder], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        shutil.rmtree(folder / "cache")
    (folder / "ready").touch()


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def draw_street(folder: Path) -> None:
    for still in stills(PICTURES, hard=False, seed=SEED):
        cv2.imwrite(str(folder / f"{still.frame.seq}.png"), np.asarray(still.frame.pixels))


def draw_lamps(folder: Path) -> None:
    """Lamps of any brightness on a dark ground."""
    noise = np.random.default_rng(SEED)
    for number in range(PICTURES):
        picture = noise.integers(0, 40 + number, (128, 128, 3), np.uint8)
        row, column = 32 * noise.integers(0, 4, 2)
        picture[row:row + 32, column:column + 32] = 255 - number % 60
        cv2.imwrite(str(folder / f"{number}.png"), picture)


def megabytes(folder: Path) -> float:
    return round(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
                 / 1e6, 1)


def taken(logs: Path) -> dict[str, Any]:
    """Return how many packages pip took for all tools, and their megabytes, as its logs have it."""
    text = "".join(log.read_text() for log in logs.glob("*.log"))
    sizes = [float(size) / (1000 if unit == "kB" else 1) for size, unit in _TAKEN.findall(text)]
    sizes += [Path(wheel).stat().st_size / 1e6 for wheel in _LOCAL.findall(text)]
    return {"packages": len(sizes), "fetched_mb": round(sum(sizes), 1)}


def cpu_s() -> float:
    """Return the processor's time of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def converted(kind: str, inputs: Path, work: Path, *, offline: bool) -> dict[str, Any]:
    name, pictures = KINDS[kind]
    labels = [] if kind == "ultralytics" else ["--labels", inputs / f"labels-{pictures}.txt"]
    command = [*(["unshare", "--net"] if offline else []), *VEDETTE, "model", "convert", inputs / name, "--images",
               inputs / f"pictures-{pictures}", "-o", work / "out.tflite", "--json", *labels, *OPTIONS.get(kind, [])]
    began, used = time.monotonic(), cpu_s()
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, timeout=WITHIN_S,
                          env={**os.environ, "XDG_CACHE_HOME": str(work / "cache")})
    found: dict[str, Any] = {"code": done.returncode, "seconds": round(time.monotonic() - began, 1),
                             "cpu_seconds": round(cpu_s() - used, 1)}
    if done.returncode == 0:
        compared = json.loads(done.stdout.splitlines()[-1])
        found["f1"] = {step["step"]: step["f1"] for step in compared["steps"]}
    else:
        found["error"] = [line for line in done.stderr.splitlines() if line.startswith("vedette: ")][-3:]
    return found


def case(kind: str, inputs: Path, work: Path) -> dict[str, Any]:
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    before = source_of(inputs / KINDS[kind][0])
    try:
        first = converted(kind, inputs, work, offline=False)
        cache = work / "cache" / "vedette"
        found = {**first, **taken(cache / "environments"), "disk_mb": megabytes(cache)}
        shutil.rmtree(cache / "converted", ignore_errors=True)
        (work / "out.tflite").unlink(missing_ok=True)
        offline = converted(kind, inputs, work, offline=True)
        for each in (found, offline):
            each["input_kept"] = source_of(before.path) == before       # a tool may write where it reads
        return {"empty": found, "offline": offline}
    finally:
        shutil.rmtree(work, ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--kind", action="append", choices=KINDS)
    args = parser.parse_args()
    if os.geteuid() != 0:
        print(json.dumps({"skipped": "a network namespace needs root"}))
        return 0
    state: dict[str, Any] = json.loads(args.state.read_text()) if args.state.exists() else {}
    folder = args.state.absolute().parent / "convert"
    folder.mkdir(parents=True, exist_ok=True)
    make_inputs(folder)
    for kind in args.kind or KINDS:
        if kind not in state:
            state[kind] = case(kind, folder, folder / "work")
            say(f"{kind}: {json.dumps(state[kind])}")
            args.state.write_text(json.dumps(state, indent=1))
    wrong = [kind for kind, runs in state.items() if any(run["code"] or not run["input_kept"] for run in runs.values())]
    print(json.dumps({**state, "wrong": wrong}))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
