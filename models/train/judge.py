"""Evaluates a model on held-out scenes: the INT8 file, and the float network it was made from.

Invariants: the file runs in the product's own detector, the network with the same NMS. Both give all detections above
`LEAST_SCORE`, at most `MOST` per scene.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from models.train.precision import Labelled, Precision, Scored, precision_of
from models.train.scenes import SIDE, held_out_demo, held_out_hard
from vedette.camera.street.objects import LABELS
from vedette.config.models import DetectorConfig
from vedette.types import Box, Frame
from vedette.vision.nms import Candidate, suppress
from vedette.vision.open import open_detector

if TYPE_CHECKING:
    from models.train.net import Street
    from models.train.scenes import Scenes

LEAST_SCORE = 0.01
NMS_IOU = 0.6
MOST = 100
HELD_OUT_HARD, HELD_OUT_DEMO = 1_500, 500


def judge_file(model: Path, scenes: Scenes, classes: int, runtime: str = "auto") -> tuple[Precision, float]:
    """Return the precision of an INT8 file, and its median invoke time in ms (one thread)."""
    detector = open_detector(DetectorConfig(model=model, runtime=runtime, threads=1, score_threshold=LEAST_SCORE,
                                            iou_threshold=NMS_IOU, max_detections=MOST, labels={}))
    found, invokes_ms = [], []
    for number, pixels in enumerate(scenes.pixels):
        result = detector.detect(Frame(number, memoryview(np.ascontiguousarray(pixels)), 0, datetime.now(UTC), 0))
        invokes_ms.append(result.timing.invoke_ms)
        found.append([Scored(each.class_id, each.score, each.box) for each in result.detections])
    detector.close()
    return precision_of(found, _truth(scenes), classes), float(np.median(invokes_ms))


def judge_network(network: Street, scenes: Scenes, classes: int) -> Precision:
    """Return the precision of the float network."""
    import torch

    from models.train.fit import to_image
    from models.train.loss import to_boxes
    from models.train.net import cells

    centres, strides = cells()
    found = []
    with torch.inference_mode():
        for start in range(0, len(scenes), 50):
            logits, ltrb = network(to_image(scenes.pixels[start:start + 50]))
            boxes = to_boxes(ltrb, centres, strides) / SIDE
            found += [_suppressed(*parts) for parts in zip(logits.sigmoid().numpy(), boxes.numpy(), strict=True)]
    return precision_of(found, _truth(scenes), classes)


def _suppressed(scores: np.ndarray, boxes: np.ndarray) -> list[Scored]:
    best = scores.max(axis=1)
    order = [cell for cell in np.argsort(-best, kind="stable") if best[cell] >= LEAST_SCORE]
    kept = suppress([Candidate(float(best[cell]), int(scores[cell].argmax()), Box(*boxes[cell].clip(0, 1).tolist()))
                     for cell in order], NMS_IOU, MOST)
    return [Scored(each.class_id, each.score, each.box) for each in kept]


def _truth(scenes: Scenes) -> list[list[Labelled]]:
    return [[Labelled(int(label), Box(*(box / SIDE).tolist())) for box, label in zip(boxes, labels, strict=True)
             if label >= 0] for boxes, labels in zip(scenes.boxes, scenes.labels, strict=True)]


def main() -> None:
    """`python -m models.train.judge MODEL`: print the card's figures for a file, on the installed runtime."""
    model = Path(sys.argv[1])
    for name, scenes in (("hard", held_out_hard(HELD_OUT_HARD)), ("demo", held_out_demo(HELD_OUT_DEMO))):
        found, invoke_ms = judge_file(model, scenes, len(LABELS))
        print(json.dumps({"scenes": name, **asdict(found), "invoke_ms": round(invoke_ms, 3)}))


if __name__ == "__main__":
    main()
