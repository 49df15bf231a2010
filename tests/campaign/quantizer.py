"""Campaign `quantizer`: a detector with real weights is quantized, and judged on pictures that did not calibrate it.

    .venv/bin/python tests/campaign/quantizer.py --state .campaign/quantizer.json

The float detector is the INT8 YOLOv8n-416 of ../shared/real, dequantized, in three forms: boxes in 0-1; boxes in pixels
without a signature, as plain ONNX exports; the same with 1x3xHxW, as litert-torch writes it. One half of the pictures
calibrates, the other one judges, and the reverse. COCO AP may be 0.01 below the float model's with `auto`, and 0.03
with `none`. The other schemes, and boxes in pixels without the cure, stand beside it. One JSON line for each; 1 when a
bound is missed. Without ../shared/real it is skipped, and says so.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Literal

from tests.support.models.dequantised import dequantised
from vedette.config.models import DetectorConfig
from vedette.tflite.file import read_bytes, read_model
from vedette.validate.average_precision import Truth, average_precision
from vedette.vision.interpreter import Interpreter
from vedette.vision.limits import Limits
from vedette.vision.local import LocalDetector
from vedette.vision.model_spec import ModelSpec, resolve
from vedette.vision.normalization import ZERO_TO_ONE
from vedette.workshop import graph as graphs
from vedette.workshop import ranges
from vedette.workshop.prepared import Pictures, Prepared
from vedette.workshop.quantizer import Recipe, Scheme, quantize
from vedette.workshop.schemes import apply

REAL = Path(__file__).parents[3] / "shared" / "real"
SOURCE = REAL / "models" / "yolov8n_416_coco_int8.tflite"
FORMS: dict[str, dict[str, bool]] = {
    "0-1": {}, "pixels": {"pixels": True, "signature": False},
    "pixels, planar": {"pixels": True, "planar": True, "signature": False}}
BOUNDS: dict[Literal["auto", "none"], float] = {"auto": 0.01, "none": 0.03}
OTHERS: tuple[Scheme, ...] = ("per-tensor", "dynamic-range", "weight-only", "float16")
LIMITS = Limits(score_threshold=0.001, iou_threshold=0.7, max_detections=300, labels={}, allow=frozenset(),
                deny=frozenset())


@dataclass(frozen=True)
class Trial:
    """One model, quantized in one way with one half of the pictures."""

    form: str
    recipe: Recipe
    half: int
    cured: bool = True

    def __str__(self) -> str:
        kept = f", {self.recipe.keep_float}" if self.recipe.scheme == "static" else ""
        return f"{self.form}, {self.recipe.scheme}{kept if self.cured else ', not cured'}, half {self.half}"


def silent(_: str) -> None:
    """Drop what is said of the progress."""


def trials() -> list[Trial]:
    """Return what is tried, in order."""
    required = [Trial(form, Recipe(keep_float=keep), half) for form in FORMS for keep in BOUNDS for half in (0, 1)]
    others = [Trial("0-1", Recipe(scheme, "auto"), half) for scheme in OTHERS for half in (0, 1)]
    return [*required, *others, *(Trial("pixels", Recipe(keep_float="none"), half, cured=False) for half in (0, 1))]


class Judge:
    """The pictures, their truth, and the float models in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._truth = Truth.of_folder(REAL / "coco")
        self._labels = resolve(read_model(SOURCE), DetectorConfig(model=SOURCE)).labels
        ids = sorted(self._truth.images)
        self._halves = ids[0::2], ids[1::2]
        for form, options in FORMS.items():
            self._float(form).write_bytes(dequantised(read_bytes(SOURCE), **options))
        self._floats = [self._precision(self._float("0-1"), half)[0] for half in self._halves]

    def run(self, trial: Trial) -> dict[str, Any]:
        """Quantize with one half, and judge by the other."""
        path = self._float(trial.form)
        spec, judged = self._spec(path), 1 - trial.half
        inputs = Prepared(self._pictures(self._halves[trial.half]), spec)
        began = time.monotonic()
        if trial.cured:
            result = quantize(read_model(path), spec, inputs, trial.recipe, silent)
            content, kept, note = result.content, result.kept_float, result.notes[0]
        else:
            graph = graphs.read(read_bytes(path))
            graph.add_signature()
            content, kept, note = apply(graph, ranges.measure(graph, inputs, None, silent), "static"), (), ""
        seconds = time.monotonic() - began
        made = self._folder / "made.tflite"
        made.write_bytes(content)
        ap, invoke_ms = self._precision(made, self._halves[judged])
        model = read_model(made)
        return {"trial": str(trial), "ap": round(ap, 4), "float_ap": round(self._floats[judged], 4),
                "bytes": len(content), "float_bytes": path.stat().st_size, "seconds": round(seconds, 1),
                "invoke_ms": round(invoke_ms, 2), "kept_float": kept, "xnnpack": note,
                "types": [model.inputs[0].dtype, model.outputs[0].dtype], "input_scale": model.inputs[0].scale,
                "missed": trial.cured and trial.recipe.scheme == "static"
                and ap < self._floats[judged] - BOUNDS["none" if trial.recipe.keep_float == "none" else "auto"]}

    def _float(self, form: str) -> Path:
        return self._folder / f"{form.replace(', ', '-')}.tflite"

    def _pictures(self, ids: list[int]) -> Pictures:
        return Pictures([REAL / "coco" / "images" / self._truth.images[each] for each in ids])

    def _spec(self, path: Path) -> ModelSpec:
        model = read_model(path)
        spec = resolve(model, DetectorConfig(model=path, decoder="yolov8"))
        normalization = ZERO_TO_ONE if model.inputs[0].dtype == "float32" else spec.normalization
        return replace(spec, labels=self._labels, normalization=normalization, limits=LIMITS)

    def _precision(self, path: Path, ids: list[int]) -> tuple[float, float]:
        """Return COCO AP on some pictures, and the median time of an invoke."""
        part = {key: [each for each in self._truth.document[key] if each[name] in ids]
                for key, name in (("images", "id"), ("annotations", "image_id"))}
        truth, rows, times = Truth({**self._truth.document, **part}), [], []
        detector = LocalDetector(Interpreter(path), read_model(path), self._spec(path))
        for image_id, frame in zip(ids, self._pictures(ids), strict=True):
            result = detector.detect(frame)
            rows += truth.rows(image_id, frame.width, frame.height, result.detections)
            times.append(result.timing.invoke_ms)
        detector.close()
        return average_precision(truth, rows).ap, median(times)


def main() -> int:
    """Run what is left; returns 1 when a bound was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, default=Path(".campaign/quantizer.json"))
    args = parser.parse_args()
    if not SOURCE.exists():
        print(json.dumps({"campaign": "quantizer", "skipped": f"{SOURCE} is absent"}))
        return 0
    done: list[dict[str, Any]] = json.loads(args.state.read_text()) if args.state.exists() else []
    args.state.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        judge = Judge(Path(folder))
        for trial in trials()[len(done):]:
            done.append(judge.run(trial))
            args.state.write_text(json.dumps(done))
            print(json.dumps(done[-1]), file=sys.stderr, flush=True)
    missed = [each["trial"] for each in done if each["missed"]]
    print(json.dumps({"campaign": "quantizer", "trials": len(done), "missed": missed,
                      "ap": {each["trial"]: round(each["ap"] - each["float_ap"], 4) for each in done}}))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
