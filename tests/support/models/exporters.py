"""The table of exporters and heads: the outputs of each, and how this product reads them.

Each row has the exporter, its version, the head, the model's outputs, and either the decoder that reads them or words
of the refusal. docs/exporters.md is written from it: `python -m tests.support.models.exporters`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tests.support.models.constant_heads import (
    SIDE,
    Array,
    boxes,
    cells,
    heat_map,
    objectness_rows,
    rows_of,
    scores,
    softmax,
    uniform,
    v5,
    v8,
)

CELLS = cells()
ANCHORS = 9 * (40 * 40 + 20 * 20 + 10 * 10 + 5 * 5 + 3 * 3)
COCO = "".join(f"thing-{number}\n" for number in range(80)).encode()
PERSON = {"labels.txt": b"person\n"}


@dataclass(frozen=True)
class Exporter:
    """One row. `decoder` None: it is refused, with `words`; else it gives the one thing that is there."""

    name: str
    version: str
    head: str
    outputs: Sequence[Array]
    decoder: str | None = None
    words: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    planar: bool = False

    @property
    def title(self) -> str:
        """What a test is called by."""
        return f"{self.name} {self.version}, {self.head}"

    @property
    def shapes(self) -> str:
        """The shapes of the outputs."""
        return " ".join(f"({', '.join(map(str, output.shape))})" for output in self.outputs)


def table() -> tuple[Exporter, ...]:
    """Return every row."""
    return (*_detectors(), *_other_tasks(), *_other_heads(), *_maps_and_vectors())


def _detectors() -> tuple[Exporter, ...]:
    end_to_end = (scores(300, 1), np.rint(uniform(0, 79, 300, 1)))
    end_to_end[1][-1] = 16
    return (
        Exporter("Ultralytics", "8.3 tflite", "YOLOv8", [v8()], "yolov8"),
        Exporter("Ultralytics", "8.4 litert", "YOLO11", [v8()], "yolov8", planar=True),
        Exporter("Ultralytics", "8.3 tflite", "YOLOv8-P6", [v8(strides=(8, 16, 32, 64))], "yolov8"),
        Exporter("Ultralytics", "8.3 tflite", "YOLOv8-P2", [v8(strides=(4, 8, 16, 32))], "yolov8"),
        Exporter("onnx2tf", "1.26", "YOLOv9 from ONNX", [v8(pixels=True)], "yolov8"),
        Exporter("ai-edge-torch", "0.3", "YOLOv8, cells first", [v8().transpose(0, 2, 1).copy()], "yolov8"),
        Exporter("onnx2tf", "1.26", "YOLO12 with labels", [v8(pixels=True)], "yolov8", files={"labels.txt": COCO}),
        Exporter("ai-edge-torch", "0.3", "YOLOv8, cells first, in pixels", [v8(pixels=True).transpose(0, 2, 1).copy()],
                 "yolov8"),
        Exporter("ai-edge-torch", "0.3", "20 classes, cells first, in pixels",
                 [v8(20, pixels=True).transpose(0, 2, 1).copy()], words="yolov8 and yolox fit"),
        Exporter("Ultralytics", "8.3 tflite", "YOLOv3-tinyu", [v8(strides=(16, 32))], "yolov8"),
        Exporter("YOLOv5", "7.0 tflite", "YOLOv5", [v5()], "yolov5"),
        Exporter("YOLOv5", "7.0 tflite", "365 classes of Objects365", [v5(365, pixels=True)], "yolov5"),
        Exporter("YOLOv7", "0.1 by onnx2tf", "YOLOv7", [v5(pixels=True)], "yolov5"),
        Exporter("YOLOX", "0.3 by onnx2tf", "grid not undone", [objectness_rows(raw=True)], "yolox"),
        Exporter("YOLOX", "0.3 --decode_in_inference", "boxes in pixels", [objectness_rows()], "yolox"),
        Exporter("YOLOX", "0.3", "boxes in 0-1, sure of few classes",
                 [objectness_rows(unit=True, most=0.02)], "yolox"),
        Exporter("YOLOX", "0.3", "with labels", [objectness_rows()], "yolox", files={"labels.txt": COCO}),
        Exporter("YOLOX", "0.3", "one class", [objectness_rows(1, raw=True)], "yolox", files=PERSON),
        Exporter("YOLOv6", "0.4 by onnx2tf", "YOLOv6", [objectness_rows(always=True)], "yolov6"),
        Exporter("YOLOv6", "0.4 by onnx2tf", "one class", [objectness_rows(1, always=True)], "yolov6"),
        Exporter("MediaPipe", "Model Maker 0.2", "RetinaNet's anchors",
                 [uniform(-0.1, 0.1, 1, ANCHORS, 4), np.roll(scores(ANCHORS, 3), 1, axis=1)[None]], "anchors",
                 files={"labels.txt": b"background\ncat\ndog\n"}),
        Exporter("YOLOv10", "1.0", "end to end, 0-1",
                 [rows_of(boxes(300, pixels=False, corners=True), *end_to_end)], "yolo_end2end"),
        Exporter("Ultralytics", "8.4 litert", "YOLO26 end to end, pixels",
                 [rows_of(boxes(300, pixels=True, corners=True), *end_to_end)], "yolo_end2end"),
    )


def _other_tasks() -> tuple[Exporter, ...]:
    keypoints, unit = uniform(0, SIDE, CELLS, 51), uniform(0, 1, CELLS, 51)
    masks = uniform(-3, 3, CELLS, 32)
    angles = uniform(-0.78, 2.3, CELLS, 1)
    return (
        Exporter("Ultralytics", "8.3, without metadata", "pose, pixels", [v8(1, pixels=True, extras=keypoints)],
                 words="keypoints of a pose model"),
        Exporter("Ultralytics", "8.3, without metadata", "pose, 0-1", [v8(1, extras=unit)],
                 words="keypoints of a pose model"),
        Exporter("Ultralytics", "8.3, without metadata", "pose with a label file", [v8(1, extras=unit)],
                 words="1 labels and the 17 keypoints", files=PERSON),
        Exporter("Ultralytics", "8.3, without metadata", "segmentation, first output only", [v8(1, extras=masks)],
                 words="mask coefficients"),
        Exporter("Ultralytics", "8.3, without metadata", "segmentation with a label file", [v8(80, extras=masks)],
                 words="80 labels and the mask coefficients", files={"labels.txt": COCO}),
        Exporter("Ultralytics", "8.3, without metadata", "segmentation, both outputs",
                 [v8(80, extras=masks), uniform(-1, 1, 1, 80, 80, 32)], words="expected one output"),
        Exporter("Ultralytics", "8.3, without metadata", "rotated boxes (DOTA)", [v8(15, extras=angles)],
                 words="where scores of 0-1 are expected"),
        Exporter("Ultralytics", "8.3, without metadata", "rotated boxes, one class with a label",
                 [v8(1, extras=angles)], words="where scores of 0-1 are expected", files=PERSON),
        Exporter("Ultralytics", "8.3, without metadata", "hand pose (21 keypoints)",
                 [v8(1, extras=uniform(0, 1, CELLS, 63))], words="keypoints of a hand model"),
        Exporter("YOLOv5-face", "1.0", "five landmarks",
                 [v5(1, pixels=True, extras=uniform(0, SIDE, 3 * CELLS, 10))], words="landmarks of a face model"),
        Exporter("YOLOv5-face", "1.0", "five landmarks, 0-1", [v5(1, extras=uniform(0, 1, 3 * CELLS, 10))],
                 words="landmarks of a face model"),
        Exporter("YOLOv5", "7.0", "segmentation, first output only",
                 [v5(80, extras=uniform(-3, 3, 3 * CELLS, 32))], words="values from"),
        Exporter("YOLOv5-OBB", "1.0", "rotated boxes (180 angles)",
                 [v5(15, pixels=True, extras=uniform(0, 0.3, 3 * CELLS, 180))], words="angles of rotated boxes"),
        Exporter("YOLOv5-OBB", "1.0", "rotated boxes with a label file",
                 [v5(1, extras=uniform(0, 0.3, 3 * CELLS, 180))],
                 words="1 labels and the angles of rotated boxes", files=PERSON),
        Exporter("Ultralytics", "8.3, without metadata", "pose, cells first",
                 [v8(1, extras=unit).transpose(0, 2, 1).copy()], words="classes exclude each other"),
        Exporter("YOLOv7", "w6-pose", "pose", [v5(1, pixels=True, extras=uniform(0, SIDE, 3 * CELLS, 51))],
                 words="keypoints of a pose model"),
        Exporter("TensorFlow Hub", "MoveNet 4", "pose", [uniform(0, 1, 1, 1, 17, 3)], words="no decoder fits"),
    )


def _other_heads() -> tuple[Exporter, ...]:
    queries = boxes(300, pixels=False)
    detections = boxes(100, pixels=True, corners=True)
    return (
        Exporter("NanoDet-Plus", "1.0", "classes and distances",
                 [rows_of(scores(cells((8, 16, 32, 64)), 80), uniform(-8, 8, cells((8, 16, 32, 64)), 32))],
                 words="where scores of 0-1 are expected"),
        Exporter("PicoDet", "2.6", "two outputs", [scores(2125, 80)[None], uniform(-4, 4, 1, 2125, 32)],
                 words="no decoder fits"),
        Exporter("Ultralytics", "8.3 head cut off", "distances and logits",
                 [rows_of(uniform(-4, 6, CELLS, 64), uniform(-12, -3, CELLS, 80)).transpose(0, 2, 1).copy()],
                 words="where scores of 0-1 are expected"),
        Exporter("Rockchip", "YOLOv8 for RKNN", "three scales",
                 [uniform(-4, 4, 1, side, side, 144) for side in (40, 20, 10)], words="no decoder fits"),
        Exporter("Ultralytics", "RT-DETR", "300 queries", [rows_of(queries, scores(300, 80))],
                 words="no decoder fits"),
        Exporter("Ultralytics", "RT-DETR, two classes", "300 queries", [rows_of(queries, scores(300, 2))],
                 words="no class id"),
        Exporter("RTMDet", "3.3", "two of its scales",
                 [level for side in (20, 10)
                  for level in (uniform(-9, -4, 1, side, side, 80), uniform(-3, 3, 1, side, side, 4))],
                 words="expected -1.0 to"),
        Exporter("FCOS", "0.20", "two of its scales",
                 [level for side in (20, 10)
                  for level in (uniform(-9, -4, 1, side, side, 80), uniform(0, 200, 1, side, side, 4))],
                 words="distances from"),
        Exporter("TTFNet", "1.0", "scores and distances", [uniform(0, 0.1, 1, 80, 80, 80), uniform(0, 9, 1, 80, 80, 4)],
                 words="no class logit below 0"),
        Exporter("MMDetection", "3.3", "box, class, score, one class that is never seen",
                 [rows_of(detections, uniform(0, 0, 100, 1), uniform(0, 0.008, 100, 1))], words="no class id"),
        Exporter("PaddleDetection", "2.6", "class, score, box",
                 [rows_of(np.rint(uniform(0, 79, 100, 1)), scores(100, 1), detections)], words="no decoder fits"),
        Exporter("MMDetection", "3.3", "box, class, score",
                 [rows_of(detections, np.rint(uniform(0, 79, 100, 1)), scores(100, 1))], words="no class id"),
        Exporter("YOLO-NAS", "3.1", "boxes and scores",
                 [boxes(CELLS, pixels=True, corners=True)[None], scores(CELLS, 80)[None]], words="no decoder fits"),
        Exporter("DAMO-YOLO", "0.3", "scores and boxes",
                 [scores(CELLS, 80)[None], boxes(CELLS, pixels=True, corners=True)[None]], words="no decoder fits"),
        Exporter("YOLOv4", "tensorflow-yolov4-tflite", "boxes and scores",
                 [boxes(3 * CELLS, pixels=True)[None], scores(3 * CELLS, 80)[None]], words="no decoder fits"),
        Exporter("CoreML converter", "8", "v8 cells with two corners",
                 [np.hstack((boxes(CELLS, pixels=False, corners=True), scores(CELLS, 80))).T[None].copy()],
                 words="two corners"),
        Exporter("YOLOv8", "without the last sigmoid", "logits",
                 [np.hstack((boxes(CELLS, pixels=False), uniform(-9, -2, CELLS, 80))).T[None].copy()],
                 words="where scores of 0-1 are expected"),
        Exporter("EfficientDet", "D0", "raw boxes and scores, other anchors",
                 [uniform(-1, 1, 1, ANCHORS, 4), uniform(0, 0.02, 1, ANCHORS, 90)], words="other anchors"),
        Exporter("MediaPipe", "BlazeFace", "face anchors", [uniform(-9, 9, 1, 896, 16), uniform(-9, 9, 1, 896, 1)],
                 words="no decoder fits"),
    )


def _maps_and_vectors() -> tuple[Exporter, ...]:
    shares = softmax(np.eye(1, 1001, 17, dtype=np.float32) * 12)
    labels = {"labels.txt": "".join(f"thing-{number}\n" for number in range(10)).encode()}
    return (
        Exporter("Edge Impulse", "1.60", "FOMO, 8 pixels a cell", [heat_map(8)], "fomo"),
        Exporter("Edge Impulse", "1.60", "FOMO, 16 pixels a cell", [heat_map(16)], "fomo"),
        Exporter("DeepLab", "v3", "map of logits", [uniform(-9, 9, 1, 40, 40, 21)], words="no distribution"),
        Exporter("torchvision", "LR-ASPP", "map of shares, 8 pixels a cell",
                 [softmax(uniform(-9, 9, 1, 40, 40, 21))], words="not the background"),
        Exporter("MiDaS", "2.1", "map of depths", [uniform(0, 1, 1, 160, 160, 2)], words="cells of 2 pixels"),
        Exporter("CenterNet", "512", "map of centres", [uniform(0, 0.1, 1, 80, 80, 80)], words="cells of 4 pixels"),
        Exporter("Keras", "3 MobileNetV3", "shares of 1001 classes", [shares], "classifier"),
        Exporter("timm", "1.0 by onnx2tf", "logits with labels", [np.eye(1, 10, 3, dtype=np.float32) * 12],
                 "classifier", files=labels),
        Exporter("timm", "1.0 by onnx2tf", "logits without labels", [uniform(-3, 9, 1, 1000)],
                 words="no distribution"),
        Exporter("FaceNet", "1.0", "embedding of a face", [uniform(-0.2, 0.2, 1, 128)], words="no distribution"),
        Exporter("PFLD", "1.0", "68 landmarks", [uniform(0, 1, 1, 136)], words="no distribution"),
    )


def document() -> str:
    """Return docs/exporters.md."""
    rows = (f"| {row.name} {row.version} | {row.head} | `{row.shapes}` | {row.decoder or 'refused'} |"
            for row in table())
    return _HEAD + "\n".join(rows) + "\n"


_HEAD = """\
# Exporters and heads

`make docs` writes this page from `tests/support/models/exporters.py`; do not edit it. A test runs a model of each row.
The models have constant outputs in the shape and with the values of the exporter.

The *head* is the end of the network, which gives the outputs. Vedette chooses a decoder from the shapes of the outputs
and from their values on a drawn picture. If it refuses a model, the message says what does not fit. `detector.decoder`
always decides. The input is 320 x 320 pixels.

| exporter | head | outputs | decoder |
|---|---|---|---|
"""

if __name__ == "__main__":
    print(document(), end="")
