"""COCO's average precision, computed by pycocotools.

Invariants: detections and truth are matched by label. A label that only the model has does not count; objects of a
label that only the truth has count as missed. pycocotools is the `eval` extra: it is imported only when precision is
computed.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vedette.errors import ExtraMissing, SourceInvalid, SourceMissing
from vedette.types import Box, Detection

_ALL_AREAS, _HUNDRED_DETECTIONS = 0, 2      # positions on pycocotools' axes


@dataclass(frozen=True, slots=True)
class LabelPrecision:
    """Of one label: AP over IoU 0.50-0.95, AP at IoU 0.50, and the number of objects in the truth."""

    ap: float
    ap50: float
    things: int


@dataclass(frozen=True, slots=True)
class Precision:
    """Average precision over IoU 0.50-0.95 and at IoU 0.50, and of each label of the truth."""

    ap: float
    ap50: float
    labels: Mapping[str, LabelPrecision]


@dataclass
class Truth:
    """The objects that images show, as a COCO document; images are added one by one, or read from a folder."""

    document: dict[str, Any]
    _category_ids: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self._category_ids = {each["name"]: each["id"] for each in self.document["categories"]}

    @classmethod
    def of_labels(cls, labels: Sequence[str]) -> Truth:
        """Return the truth without any image."""
        categories = [{"id": number, "name": label} for number, label in enumerate(labels, 1)]
        return cls({"images": [], "annotations": [], "categories": categories})

    @classmethod
    def of_folder(cls, folder: Path) -> Truth:
        """Read `annotations.json`. Raises: SourceMissing, SourceInvalid."""
        path = folder / "annotations.json"
        try:
            document = json.loads(path.read_bytes())
            truth = cls({key: document[key] for key in ("images", "annotations", "categories")})
        except OSError as error:
            raise SourceMissing(f"{path}: {error.strerror}; expected a folder with annotations.json and images/"
                                ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise SourceInvalid(f"{path}: {error}; expected COCO annotations") from error
        if not truth.images:
            raise SourceInvalid(f"{path}: names no image; expected COCO annotations of at least one")
        return truth

    @property
    def images(self) -> Mapping[int, str]:
        """File names by image id."""
        return {image["id"]: image["file_name"] for image in self.document["images"]}

    def only(self, image_ids: Collection[int]) -> Truth:
        """Return the truth of these images."""
        document = self.document
        return Truth({
            **document, "images": [image for image in document["images"] if image["id"] in image_ids],
            "annotations": [thing for thing in document["annotations"] if thing["image_id"] in image_ids]})

    def add(self, image_id: int, width: int, height: int, things: Iterable[tuple[str, Box]]) -> None:
        """Add an image with its objects: labels, and boxes in 0-1."""
        self.document["images"].append({"id": image_id, "width": width, "height": height, "file_name": str(image_id)})
        for label, box in things:
            place = _in_pixels(box, width, height)
            self.document["annotations"].append({
                "id": len(self.document["annotations"]) + 1, "image_id": image_id, "bbox": place,
                "category_id": self._category_ids[label], "area": place[2] * place[3], "iscrowd": 0})

    def rows(self, image_id: int, width: int, height: int, detections: Iterable[Detection]) -> list[dict[str, Any]]:
        """Return the detections of an image as pycocotools takes them, without labels that the truth does not have."""
        return [{"image_id": image_id, "category_id": self._category_ids[found.label], "score": found.score,
                 "bbox": _in_pixels(found.box, width, height)}
                for found in detections if found.label in self._category_ids]


def average_precision(truth: Truth, rows: list[dict[str, Any]]) -> Precision:
    """Compute the precision of the detections of all images. Raises: ExtraMissing without pycocotools."""
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise ExtraMissing(f"pycocotools cannot be imported ({error}); install it with: pip install 'vedette[eval]'"
                           ) from error
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO()
        known.dataset = {"info": {}, **truth.document}
        known.createIndex()
        # loadRes refuses an empty list. An empty COCO object stands for no detection at all.
        evaluation = COCOeval(known, known.loadRes(rows) if rows else COCO(), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    names = {category["id"]: category["name"] for category in truth.document["categories"]}
    things = _count(truth)
    labels = {names[category_id]: _of_label(evaluation.eval["precision"][:, :, place], things[category_id])
              for place, category_id in enumerate(evaluation.params.catIds) if things.get(category_id)}
    return Precision(max(0.0, float(evaluation.stats[0])), max(0.0, float(evaluation.stats[1])), labels)


def _of_label(precision: Any, things: int) -> LabelPrecision:
    """Return the precision of one label from its part of the table: IoUs, recalls, areas, most detections."""
    table = precision[:, :, _ALL_AREAS, _HUNDRED_DETECTIONS]
    return LabelPrecision(max(0.0, float(table.mean())), max(0.0, float(table[0].mean())), things)


def _count(truth: Truth) -> dict[int, int]:
    counts: dict[int, int] = {}
    for annotation in truth.document["annotations"]:
        if not annotation.get("iscrowd"):
            counts[annotation["category_id"]] = counts.get(annotation["category_id"], 0) + 1
    return counts


def _in_pixels(box: Box, width: int, height: int) -> list[float]:
    """Return x, y, width and height in pixels."""
    return [box.xmin * width, box.ymin * height, (box.xmax - box.xmin) * width, (box.ymax - box.ymin) * height]
