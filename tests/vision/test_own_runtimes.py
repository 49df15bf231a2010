"""On grey and on noise, a real model gives no more detections than the runtime of its own exporter.

The references read the outputs as those runtimes do, at the default threshold of this product. Frames have the size of
the input, so that no scaling differs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.truth.decoder_references import real as dequantized
from tests.support.truth.decoder_references import retinanet_anchors
from vedette.config.models import DetectorConfig
from vedette.types import WHOLE
from vedette.vision.images import frame_of
from vedette.vision.interpreter import Interpreter
from vedette.vision.open import open_detector

Array = NDArray[np.float64]
Reference = Callable[[Sequence[Array], int, float], int]
"""Takes the outputs, the side of the input and the lowest score; returns how many boxes the own runtime gives."""
SCORES = (DetectorConfig().score_threshold, 0.1)
MOST = 300
NOISES = 5


def ultralytics(outputs: Sequence[Array], side: int, score: float) -> int:
    """Count as `non_max_suppression` of Ultralytics does, with its usual IoU."""
    rows = outputs[0][0].T
    return boxes_left(centred(rows[:, :4], side), rows[:, 4:].max(axis=1), rows[:, 4:].argmax(axis=1), score=score,
                      iou=0.7)


def yolov5(outputs: Sequence[Array], side: int, score: float) -> int:
    """Count as detect.py of YOLOv5 does: boxes whose objectness passes, then the product of both."""
    rows = outputs[0][0]
    rows = rows[rows[:, 4] > score]
    votes = rows[:, 5:] * rows[:, 4:5]
    return boxes_left(centred(rows[:, :4], side), votes.max(axis=1, initial=0), votes.argmax(axis=1), score=score,
                      iou=0.45)


def ssd(outputs: Sequence[Array], _side: int, score: float) -> int:
    """Count as ObjectDetector of TFLite Task Library does: as many rows as are stated, by their score."""
    count = next(int(output.ravel()[0]) for output in outputs if output.size == 1)
    flat = [output[0] for output in outputs if output.ndim == 2]
    scores = next(output for output in flat if np.any(output[:count] % 1))
    return int((scores[:count] >= score).sum())


def model_maker(outputs: Sequence[Array], side: int, score: float) -> int:
    """Count as MediaPipe's ObjectDetector does: logits or shares of the classes behind the background."""
    offsets, votes = sorted((output[0] for output in outputs), key=lambda each: abs(each.shape[1] - 4))
    scores = votes[:, 1:] if votes.min() >= 0 else 1 / (1 + np.exp(-votes[:, 1:]))
    anchors = np.array(retinanet_anchors(side, side))
    rows = np.hstack((anchors[:, :2] + offsets[:, 1::-1] * anchors[:, 2:], np.exp(offsets[:, :1:-1]) * anchors[:, 2:]))
    return boxes_left(centred(rows, side), scores.max(axis=1), scores.argmax(axis=1), score=score, iou=0.5)


def classifier(outputs: Sequence[Array], _side: int, score: float) -> int:
    """Count the classes that pass, as ImageClassifier does."""
    return int((outputs[0][0] >= score).sum())


def centred(rows: Array, side: int) -> Array:
    """Return corners in pixels of boxes with a centre."""
    rows = rows * (1 if rows.max(initial=0) > 2 else side)
    return np.hstack((rows[:, :2] - rows[:, 2:] / 2, rows[:, :2] + rows[:, 2:] / 2))


def boxes_left(corners: Array, scores: Array, class_ids: NDArray[np.intp], *, score: float, iou: float) -> int:
    """Count what a greedy suppression within each class leaves."""
    order = [place for place in np.argsort(-scores) if scores[place] >= score]
    kept: list[int] = []
    for place in order:
        others = [other for other in kept if class_ids[other] == class_ids[place]]
        if not any(overlap(corners[other], corners[place]) > iou for other in others):
            kept.append(int(place))
    return min(len(kept), MOST)


def overlap(one: Array, other: Array) -> float:
    """Return the intersection over the union of two boxes."""
    sides = np.clip(np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2]), 0, None)
    shared = float(sides.prod())
    return shared / max(float((one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod()) - shared, 1e-9)


def frames_of(side: int) -> list[NDArray[np.uint8]]:
    """Return a grey frame, and noise."""
    grey = np.full((side, side, 3), 128, np.uint8)
    return [grey, *(np.random.default_rng(seed).integers(0, 256, grey.shape).astype(np.uint8)
                    for seed in range(NOISES))]


def outputs_for(interpreter: Interpreter, frame: NDArray[np.uint8], *, unit: bool) -> list[Array]:
    """Invoke on RGB bytes, or on their numbers: 0-1 with `unit`, else -1 to 1."""
    spec, view = interpreter.inputs[0], interpreter.input(0)
    pixels = frame[..., ::-1].astype(np.float64)
    numbers = pixels / 255 if unit else pixels / 127.5 - 1
    if spec.dtype == "uint8":
        numbers = pixels
    elif spec.quantised:
        numbers = np.rint(numbers / spec.scale + spec.zero_point).clip(-128, 127)
    view[0] = numbers.transpose(2, 0, 1) if spec.shape[1] == 3 else numbers
    interpreter.invoke()
    return [dequantized(np.array(interpreter.output(place)), output)
            for place, output in enumerate(interpreter.outputs)]


def counts(path: Path, reference: Reference, *, unit: bool = True) -> list[tuple[int, int]]:
    """Return for each score and frame how many detections this product gives, and how many the reference."""
    detector, interpreter = open_detector(DetectorConfig(model=path)), Interpreter(path, delegate=True)
    side, found = max(interpreter.inputs[0].shape[1:]), []
    try:
        for frame in frames_of(side):
            outputs = outputs_for(interpreter, frame, unit=unit)
            for score in SCORES:
                detector.reload(DetectorConfig(model=path, score_threshold=score, max_detections=MOST), WHOLE)
                found.append((len(detector.detect(frame_of(frame.data)).detections), reference(outputs, side, score)))
        return found
    finally:
        detector.close()
        interpreter.close()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "reference"), [
    ("yolov8n_416_coco_int8", ultralytics), ("yolo11n_224_coco_int8", ultralytics),
    ("yolo11n_256_litert_export_random_weights", ultralytics), ("yolov5n_320_1class_uint8", yolov5),
    ("ssd_mobilenet_v1_coco_uint8_metadata", ssd), ("ssd_tf2_320_outputs_reordered", ssd),
    ("mediapipe_modelmaker_256_car_uint8", model_maker), ("mobilenet_v2_224_imagenet_uint8", classifier)])
def test_a_real_model_gives_no_more_than_its_own_runtime(name: str, reference: Reference, real: Path) -> None:
    """For each frame and threshold."""
    for ours, theirs in counts(real / "models" / f"{name}.tflite", reference):
        assert ours <= theirs
