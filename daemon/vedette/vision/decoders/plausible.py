"""Says in words why the values of an output cannot be what a decoder expects: scores, and boxes with a centre.

Invariants: pure; a value that is not finite raises no doubt here, because each frame reports it. The values come from a
drawn picture, on which a real detector is sure of few cells. Quantised values may pass a limit by some of their steps.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vedette.tflite.tensors import TensorSpec
from vedette.vision.decoders.base import PIXELS_ABOVE, Reals
from vedette.vision.geometry import InputShape

SURE = 0.25
"""The usual threshold of exporters. Scores of a detector reach it in few cells."""
FULL_SHARE = 0.25
"""A detector that is sure of more of its cells than this gives a full list in every frame."""
SLACK = 0.05
CORNERS_SHARE = 0.98
_MOST = 0.5
_SURE_TOGETHER = 2
_ANGLES = 180           # one column for each degree, in a head with rotated boxes
_ANGLES_SUM = 3.0       # what classes that exclude each other hardly add up to
KNOWN_EXTRAS: Mapping[int, str] = {
    32: "the mask coefficients of a segmentation model", 51: "the 17 keypoints of a pose model",
    34: "the 17 keypoints of a pose model", 10: "the landmarks of a face model", 15: "the landmarks of a face model",
    63: "the 21 keypoints of a hand model", 42: "the 21 keypoints of a hand model",
    72: "the 24 keypoints of a dog model", 180: "the angles of rotated boxes",
    60: "the box distances of a head that is not decoded"}
"""How many channels a head has besides its boxes and the scores of its classes, and what they are."""
USUAL_CLASSES = (80, 1)
"""COCO's, and a model of one thing: what a head without labels most often has."""


def slack(spec: TensorSpec) -> float:
    """Return by how much a score may leave 0-1."""
    return max(SLACK, 4 * spec.scale)


def scores_doubt(votes: Reals, spec: TensorSpec) -> str | None:
    """Return why these values (cells, classes) cannot be scores of classes; None if they can."""
    if not votes.size or not np.isfinite(votes).all():
        return None
    low, high = float(votes.min()), float(votes.max())
    # One scale for pixels and scores lets a score reach 1.2.
    most = 1 + max(SLACK, 0.3 if spec.quantised else 0.0)
    if low < -slack(spec) or high > most:
        return f"values from {low:.3g} to {high:.3g} where scores of 0-1 are expected"
    return None


def votes_doubt(votes: Reals) -> str | None:
    """Return why these columns beside an objectness cannot be classes, which exclude each other; None if they can."""
    if not votes.size or not np.isfinite(votes).all():
        return None
    if votes.shape[1] > _ANGLES and np.median(votes[:, -_ANGLES:].sum(axis=1)) > _ANGLES_SUM:
        return f"the last {_ANGLES} columns have values in every cell, as angles of rotated boxes have"
    share = float((votes >= SURE).mean())
    if share > _MOST and share * votes.shape[1] > _SURE_TOGETHER:
        return f"{share:.0%} of all class scores are {SURE} or more, and classes exclude each other"
    return None


def full_doubt(best: Reals) -> str | None:
    """Return why the best scores of all cells cannot be a detector's; None if they can."""
    share = float((best >= SURE).mean()) if best.size else 0.0
    if share > FULL_SHARE:
        return (f"{share:.0%} of the cells have a score of {SURE} or more on a drawn picture, so every frame would be "
                "full")
    return None


def boxes_doubt(boxes: Reals, spec: TensorSpec, shape: InputShape) -> str | None:
    """Return why rows (cells, 4) cannot be cx, cy, width, height; None if they can."""
    if not boxes.size or not np.isfinite(boxes).all():
        return None
    sizes = boxes[:, 2:]
    if sizes.min() < -max(4 * spec.scale, SLACK):
        return f"widths and heights down to {sizes.min():.3g}"
    if boxes.any() and not sizes.any():
        return "boxes without a size"
    if boxes.any() and (boxes[:, 2:] > boxes[:, :2]).all(axis=1).mean() >= CORNERS_SHARE and len(boxes) > 1:
        return "boxes that are two corners"
    if PIXELS_ABOVE < boxes.max() < min(shape.width, shape.height) / 4:
        return f"numbers up to {boxes.max():.3g} where boxes in 0-1 or in pixels are expected"
    return None


def extras_of(channels: int, labels: int) -> str | None:
    """Return what the channels beside boxes and classes are, where their number is known from somewhere else."""
    for classes in (labels,) if labels else USUAL_CLASSES:
        extra = channels - 4 - classes
        if extra in KNOWN_EXTRAS:
            return f"{channels} channels are 4 + {classes} + {extra}: {KNOWN_EXTRAS[extra]}"
    return None
