"""How far the answers of an ARM are from those of x86, box by box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vedette.types import Box, Detection
from vedette.validate.agreement import match, total

ROUNDED_OTHERWISE = frozenset({
    "mobilenet_v2_224_imagenet_uint8.tflite", "ssd_mobilenet_v1_coco_uint8_metadata.tflite",
    "yolo11n_224_coco_int8.tflite", "yolo11n_256_litert_export_random_weights.tflite", "yolov8n_416_coco_int8.tflite"})
"""Models whose graphs LiteRT's kernels for ARM round otherwise than those for x86, from equal inputs. QEMU 7.2 and 10.0
agree in it, and so do a Cortex-A72 and a Cortex-A76. On armhf, tflite-runtime's own kernels round every model so."""
EXACT = 0.0001
F1 = 0.8
"""Of models that are rounded otherwise; as in a bundle that states no tolerance."""
CERTAIN = 0.3
"""Rounding may decide whether there is a detection with a lower score."""


def compare(x86: Mapping[str, Any], arm: Mapping[str, Any], *, armhf: bool) -> dict[str, dict[str, Any]]:
    """Compare models that were given the same pictures; returns figures, and what is wrong, of each model.

    Inputs must be equal always. Boxes and scores must be equal up to EXACT, or agree where they are rounded otherwise.
    """
    return {name: _model(expected, arm[name], exact=not armhf and name not in ROUNDED_OTHERWISE)
            for name, expected in x86.items()}


def _model(x86: Mapping[str, Any], arm: Mapping[str, Any], *, exact: bool) -> dict[str, Any]:
    if "refused" in x86 or "refused" in arm:
        kinds = x86.get("refused"), arm.get("refused")
        return {"refused": kinds[1], "wrong": [] if kinds[0] == kinds[1] else [f"refused: {kinds}"]}
    names = list(x86["pictures"])
    wrong = [f"{name}: another input" for name in names
             if x86["pictures"][name]["input"] != arm["pictures"][name]["input"]]
    expected, found = ([side["pictures"][name]["detections"] for name in names] for side in (x86, arm))
    figures = differences(expected, found)
    return {"runtime": arm["runtime"], "xnnpack_share": round(arm["xnnpack_share"], 3), **figures,
            "wrong": wrong + complaints(figures, exact=exact)}


def complaints(figures: Mapping[str, Any], *, exact: bool) -> list[str]:
    """What is wrong with the differences."""
    right = max(figures["score"], figures["box"], figures["other"]) <= EXACT if exact else figures["f1"] >= F1
    return [] if right else [f"{'other answers' if exact else 'no agreement'}: {dict(figures)}"]


def differences(expected: Sequence[Sequence[Any]], found: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """Return the boxes of all pictures that were compared, the largest differences, and F1.

    `other` counts detections without a pair, of the same label and at least half the same place. `score` and `box` are
    the largest differences within pairs. A detection is a list of label, score and box, or an object of `detections/1`.
    """
    agreements = [match(*([_detection(each) for each in detections] for detections in pair))
                  for pair in zip(expected, found, strict=True)]
    whole = total(agreements)
    score = max((pair.score_difference for pair in whole.pairs), default=0.0)
    box = max((abs(a - b) for pair in whole.pairs for a, b in zip(pair.one.box, pair.other.box, strict=True)),
              default=0.0)
    certain = [sum(1 for each in only if (each.score or 0) >= CERTAIN) for only in (whole.only_one, whole.only_other)]
    both = 2 * len(whole.pairs)
    return {"boxes": sum(map(len, expected)), "score": round(score, 6), "box": round(box, 6),
            "other": len(whole.only_one) + len(whole.only_other),
            "f1": round(both / (both + sum(certain)), 4) if both + sum(certain) else 1.0}


def _detection(each: Any) -> Detection:
    label, score, *box = each if isinstance(each, list) else (each["label"], each["score"], *each["box"])
    return Detection(label, 0, score, Box(*box))
