"""Accuracy through the command on real images: the same as other tools reach, within the margin of a small set."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.present import present
from vedette.types import Box
from vedette.vision.geometry import iou
from vedette.vision.interpreter import chosen_runtime

pytestmark = pytest.mark.slow

BENCH = Path(__file__).parents[2] / "bench" / "accuracy.py"
MARGIN = {"litert": 0.02, "tflite-runtime": 0.03}


@pytest.fixture(scope="module")
def accuracy() -> ModuleType:
    pytest.importorskip("pycocotools", reason="COCO AP needs the eval extra")
    spec = present(importlib.util.spec_from_file_location("accuracy", BENCH))
    module = importlib.util.module_from_spec(spec)
    present(spec.loader).exec_module(module)
    return module


@pytest.mark.parametrize(("name", "others"), [
    ("yolov8n_416_coco_int8", 0.4795), ("yolo11n_224_coco_int8", 0.3340),
    ("ssd_mobilenet_v1_coco_uint8_metadata", 0.2901)])
def test_average_precision(real: Path, accuracy: ModuleType, name: str, others: float) -> None:
    """COCO AP is at most the margin below what Ultralytics and MediaPipe reach with the same file."""
    found = accuracy.precision(real / "coco", real / "models" / f"{name}.tflite")
    assert found.ap >= others - MARGIN[chosen_runtime("auto")[0]]


def test_cats_and_dogs(real: Path) -> None:
    """The four animals that TFLite Task Library's own test expects, each within IoU 0.9 of its box."""
    expected = [("cat", 54, 396, 393, 196), ("cat", 602, 157, 394, 447), ("cat", 259, 394, 181, 209),
                ("dog", 387, 197, 281, 409)]
    command = [sys.executable, "-m", "vedette", "detect", "--json", "--model",
               str(real / "models" / "ssd_mobilenet_v1_coco_uint8_metadata.tflite"),
               str(real / "images" / "cats_and_dogs.jpg")]
    result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    width, height = result["frame"]["width"], result["frame"]["height"]
    for label, left, top, wide, high in expected:
        box = Box(left / width, top / height, (left + wide) / width, (top + high) / height)
        assert max(iou(box, Box(*found["box"])) for found in result["detections"] if found["label"] == label) >= 0.9
