"""How far the answers of an ARM are from those of x86, box by box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

ROUNDED_OTHERWISE = frozenset({
    "mobilenet_v2_224_imagenet_uint8.tflite", "ssd_mobilenet_v1_coco_uint8_metadata.tflite",
    "yolo11n_224_coco_int8.tflite", "yolo11n_256_litert_export_random_weights.tflite", "yolov8n_416_coco_int8.tflite"})
"""Models whose graphs the runtimes' kernels for ARM round otherwise than those for x86, from equal inputs. QEMU 7.2 and
10.0 agree in it, and so do a Cortex-A72 and a Cortex-A76."""


def compare(x86: Mapping[str, Any], arm: Mapping[str, Any], exact: float) -> dict[str, dict[str, Any]]:
    """Compare models that were given the same pictures; returns figures, and what is wrong, of each model.

    Inputs must be equal always, and boxes and scores up to `exact` but for ROUNDED_OTHERWISE.
    """
    return {name: _model(expected, arm[name], exact if name not in ROUNDED_OTHERWISE else None)
            for name, expected in x86.items()}


def _model(x86: Mapping[str, Any], arm: Mapping[str, Any], exact: float | None) -> dict[str, Any]:
    if "refused" in x86 or "refused" in arm:
        kinds = x86.get("refused"), arm.get("refused")
        return {"refused": kinds[1], "wrong": [] if kinds[0] == kinds[1] else [f"refused: {kinds}"]}
    wrong, other, boxes = [], 0, 0
    score = box = 0.0
    for name, expected in x86["pictures"].items():
        found = arm["pictures"][name]
        if expected["input"] != found["input"]:
            wrong.append(f"{name}: another input")
        boxes += len(expected["detections"])
        if [each[0] for each in expected["detections"]] != [each[0] for each in found["detections"]]:
            other += 1
            continue
        differences = furthest([expected["detections"]], [found["detections"]])
        score, box = max(score, differences[0]), max(box, differences[1])
    if exact is not None and (other or max(score, box) > exact):
        wrong.append(f"score {score}, box {box}, {other} pictures with other labels")
    return {"runtime": arm["runtime"], "xnnpack_share": round(arm["xnnpack_share"], 3), "boxes": boxes,
            "other_labels": other, "score": score, "box": box, "wrong": wrong}


def furthest(expected: Sequence[Sequence[Any]], found: Sequence[Sequence[Any]]) -> tuple[float, float]:
    """Return the largest difference of a score and of a box's side; infinite where the labels are others.

    A detection is a list of label, score and box, or an object of `detections/1`.
    """
    score = box = 0.0
    for one, other in zip(expected, found, strict=True):
        a, b = [[_row(each) for each in detections] for detections in (one, other)]
        if [each[0] for each in a] != [each[0] for each in b]:
            return float("inf"), float("inf")
        for left, right in zip(a, b, strict=True):
            score = max(score, abs(left[1] - right[1]))
            box = max(box, *(abs(x - y) for x, y in zip(left[2:], right[2:], strict=True)))
    return score, box


def _row(detection: Any) -> list[Any]:
    if isinstance(detection, list):
        return detection
    return [detection["label"], detection["score"] or 0.0, *detection["box"]]
