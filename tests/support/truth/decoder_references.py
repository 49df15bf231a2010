"""Plain reference implementations of the decoders: loops over real values, nothing shared with the package.

`model` makes a ModelFile of given tensors, without a file. References take dequantised outputs and return rows of
(score, class_id, xmin, ymin, xmax, ymax), best first, ties in the order of the tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType

import cv2
import numpy as np

from vedette.tflite.file import DETECTION_POSTPROCESS, ModelFile, OpSpec
from vedette.tflite.tensors import TensorSpec

Thresholds = Sequence[float] | np.ndarray
Row = tuple[float, int, float, float, float, float]
"""score, class_id, xmin, ymin, xmax, ymax"""
Corners = tuple[float, float, float, float]
IMAGE = TensorSpec("image", 0, (1, 64, 64, 3), "uint8", 1 / 255, 0)


def model(*outputs: TensorSpec, image: TensorSpec = IMAGE, ops: tuple[OpSpec, ...] = (),
          attachments: dict[str, bytes] | None = None, flatbuffer_sha256: str = "f" * 64) -> ModelFile:
    return ModelFile(path=Path("made.tflite"), sha256="a" * 64, flatbuffer_sha256=flatbuffer_sha256, size=1,
                     inputs=(image,), outputs=outputs, tensors=(image, *outputs), ops=ops, description="",
                     metadata=MappingProxyType({}), attachments=MappingProxyType(attachments or {}),
                     tflite_metadata=None)


def spec(shape: tuple[int, ...], dtype: str = "int8", scale: float = 1 / 256, zero_point: int = -128, index: int = 1,
         name: str = "out") -> TensorSpec:
    if dtype == "float32":
        scale, zero_point = 0.0, 0
    return TensorSpec(name, index, shape, dtype, scale, zero_point)


def postprocess(order: tuple[int, ...] = (1, 2, 3, 4)) -> OpSpec:
    return OpSpec(DETECTION_POSTPROCESS, True, (0,), tuple(order))


def random_raw(rng: np.random.Generator, tensor: TensorSpec) -> np.ndarray:
    if not tensor.quantised:
        return rng.random(tensor.shape).astype(np.float32)
    limits = np.iinfo(tensor.dtype)
    return rng.integers(limits.min, limits.max, tensor.shape, endpoint=True).astype(tensor.dtype)


def real(raw: np.ndarray, tensor: TensorSpec) -> np.ndarray:
    values = raw.astype(np.float64)
    return (values - tensor.zero_point) * tensor.scale if tensor.quantised else values


def ranked(rows: Sequence[Row], thresholds: Thresholds, most: int) -> list[Row]:
    kept = [row for row in rows if row[0] >= thresholds[min(row[1], len(thresholds) - 1)]]
    kept = [kept[place] for place in sorted(range(len(kept)), key=lambda place: (-kept[place][0], place))]
    return [(min(row[0], 1.0), *row[1:]) for row in kept[:most]]


def _around(cx: float, cy: float, width: float, height: float) -> Corners:
    return cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2


def yolov8(output: np.ndarray, thresholds: Thresholds, most: int, cells_first: bool = False) -> list[Row]:
    head = output[0].T if not cells_first else output[0]
    rows = []
    for cell in head:
        class_id = int(np.argmax(cell[4:]))
        rows.append((float(cell[4 + class_id]), class_id, *_around(*map(float, cell[:4]))))
    return ranked(rows, thresholds, most)


def yolov5(output: np.ndarray, thresholds: Thresholds, most: int) -> list[Row]:
    rows = []
    for cell in output[0]:
        class_id = int(np.argmax(cell[5:]))
        rows.append((float(cell[4]) * min(float(cell[5 + class_id]), 1.0), class_id, *_around(*map(float, cell[:4]))))
    return ranked(rows, thresholds, most)


def end_to_end(output: np.ndarray, thresholds: Thresholds, most: int,
               pixels: tuple[float, float] = (1.0, 1.0)) -> list[Row]:
    rows = [(float(row[4]), max(0, round(float(row[5]))), row[0] / pixels[0], row[1] / pixels[1], row[2] / pixels[0],
             row[3] / pixels[1]) for row in output[0]]
    return ranked(rows, thresholds, most)


def ssd(boxes: np.ndarray, class_ids: np.ndarray, scores: np.ndarray, count: np.ndarray,
        thresholds: Thresholds, most: int) -> list[Row]:
    rows = [(float(scores[0][i]), int(class_ids[0][i]), boxes[0][i][1], boxes[0][i][0], boxes[0][i][3], boxes[0][i][2])
            for i in range(int(np.ravel(count)[0]))]
    return ranked(rows, thresholds, most)


def retinanet_anchors(width: int, height: int, size: float = 3.0) -> list[Corners]:
    """Return RetinaNet's anchors, cell by cell: cx, cy, width, height in pixels."""
    anchors = []
    for level in range(3, 8):
        stride = 2**level
        for row in range(-(-height // stride)):
            for column in range(-(-width // stride)):
                for octave in range(3):
                    for ratio in (0.5, 1.0, 2.0):
                        side = size * stride * 2 ** (octave / 3)
                        anchors.append((stride * (column + 0.5), stride * (row + 0.5), side * np.sqrt(ratio),
                                        side / np.sqrt(ratio)))
    return anchors


def anchored(boxes: np.ndarray, scores: np.ndarray, thresholds: Thresholds, most: int,
             width: int, height: int) -> list[Row]:
    rows = []
    for (dy, dx, dh, dw), votes, (cx, cy, w, h) in zip(boxes[0], scores[0], retinanet_anchors(width, height),
                                                       strict=True):
        class_id = 1 + int(np.argmax(votes[1:]))
        box = _around(cx + dx * w, cy + dy * h, np.exp(dw) * w, np.exp(dh) * h)
        rows.append((float(votes[class_id]), class_id, box[0] / width, box[1] / height, box[2] / width,
                     box[3] / height))
    return ranked(rows, thresholds, most)


def classes(output: np.ndarray, thresholds: Thresholds, most: int) -> list[Row]:
    return ranked([(float(score), class_id, 0.0, 0.0, 1.0, 1.0) for class_id, score in enumerate(output[0])],
                  thresholds, most)


def fomo(output: np.ndarray, thresholds: Thresholds) -> list[Row]:
    """Join cells of one class with OpenCV's connected components."""
    heat = output[0]
    rows, columns, count = heat.shape
    best = 1 + heat[..., 1:].argmax(axis=2)
    found = []
    for class_id in range(1, count):
        passed = (best == class_id) & (heat[..., class_id] >= thresholds[min(class_id, len(thresholds) - 1)])
        groups, group_of = cv2.connectedComponents(passed.astype(np.uint8), connectivity=8)
        for group in range(1, groups):
            ys, xs = np.nonzero(group_of == group)
            found.append((min(1.0, heat[ys, xs, class_id].max()), class_id, xs.min() / columns, ys.min() / rows,
                          (xs.max() + 1) / columns, (ys.max() + 1) / rows))
    return sorted(found, key=lambda row: (-row[0], row[1:]))


def suppressed(rows: Sequence[Row], iou_threshold: float, most: int) -> list[Row]:
    """Apply greedy NMS within each class over a matrix of overlaps."""
    boxes = np.array([row[2:] for row in rows]).reshape(-1, 4)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    sides = (high - low).clip(0)
    shared = sides[..., 0] * sides[..., 1]
    over = shared > iou_threshold * (areas[:, None] + areas[None, :] - shared)
    kept: list[int] = []
    for place, row in enumerate(rows):
        if not any(over[place, other] and rows[other][1] == row[1] for other in kept):
            kept.append(place)
    return [rows[place] for place in kept[:most]]
