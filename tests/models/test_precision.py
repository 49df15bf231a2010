"""The recipe's average precision is COCO's."""

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.train.precision import Labelled, Scored, precision_of
from vedette.types import Box

CLASSES = 3


def boxes(rng: np.random.Generator, count: int) -> list[Box]:
    corner, size = rng.uniform(0, 0.7, (count, 2)), rng.uniform(0.02, 0.3, (count, 2))
    return [Box(*row) for row in np.hstack((corner, corner + size)).tolist()]


def scenes(rng: np.random.Generator, count: int) -> tuple[list[list[Scored]], list[list[Labelled]]]:
    """Return detections and truth of some scenes: truth moved a little, some of it missed, some invented."""
    found, truth = [], []
    for _ in range(count):
        there = [Labelled(int(rng.integers(CLASSES - 1)), box) for box in boxes(rng, int(rng.integers(0, 6)))]
        near = [Box(*(np.array(thing.box) + rng.normal(0, 0.015, 4)).tolist()) for thing in there]
        seen = [Scored(thing.class_id, float(rng.random()), box) for thing, box in zip(there, near, strict=True)
                if rng.random() < 0.8 and box.xmin < box.xmax and box.ymin < box.ymax]
        seen += [Scored(int(rng.integers(CLASSES)), float(rng.random()), box)
                 for box in boxes(rng, int(rng.integers(0, 4)))]
        found.append(seen)
        truth.append(there)
    return found, truth


def by_pycocotools(found: list[list[Scored]], truth: list[list[Labelled]]) -> np.ndarray:
    """Return AP and AP50 as pycocotools computes them, boxes in a frame of 1000 x 1000."""
    pytest.importorskip("pycocotools", reason="the eval extra is not installed")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def row(image: int, class_id: int, box: Box) -> dict[str, Any]:
        left, top, right, bottom = (1000 * edge for edge in box)
        return {"image_id": image, "category_id": class_id, "bbox": [left, top, right - left, bottom - top],
                "area": (right - left) * (bottom - top), "iscrowd": 0}
    coco = COCO()
    coco.dataset = {"images": [{"id": image} for image in range(len(truth))],
                    "categories": [{"id": class_id} for class_id in range(CLASSES)],
                    "annotations": [row(image, *thing) | {"id": number + 1} for number, (image, thing) in enumerate(
                        (image, thing) for image, things in enumerate(truth) for thing in things)]}
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
        judged = COCOeval(coco, coco.loadRes([row(image, each.class_id, each.box) | {"score": each.score}
                                              for image, seen in enumerate(found) for each in seen]), "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    stats: np.ndarray = judged.stats
    return stats[:2]


@pytest.mark.slow
@given(st.integers(0, 2**31))
def test_it_agrees_with_pycocotools(seed: int) -> None:
    """AP and AP50 are those of pycocotools on random scenes."""
    found, truth = scenes(np.random.default_rng(seed), 12)
    if not any(truth) or not any(found):
        return
    ours = precision_of(found, truth, CLASSES)
    assert (ours.ap, ours.ap50) == pytest.approx(by_pycocotools(found, truth), abs=1e-6)


def test_perfect_and_empty_answers() -> None:
    """Everything found exactly is 1, nothing found is 0, and a class that is nowhere does not count."""
    rng = np.random.default_rng(1)
    truth = [[Labelled(0, box) for box in boxes(rng, 3)] for _ in range(4)]
    perfect = precision_of([[Scored(0, 0.9, thing.box) for thing in there] for there in truth], truth, 2)
    assert (perfect.ap, perfect.ap50, perfect.ap50_of_class[0]) == pytest.approx((1, 1, 1))
    assert perfect.ap50_of_class[1:] == (None,)
    assert precision_of([[]] * 4, truth, 2).ap == 0
