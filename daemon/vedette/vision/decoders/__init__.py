"""One decoder for each family of exports, from output tensors to candidates.

Invariants: the names are those of `detector.decoder`; the order is the order in which they are tried on tensor shapes,
strictest first, so that a looser one never takes another's model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vedette.vision.decoders.anchors import Anchors
from vedette.vision.decoders.grid import Classifier, Fomo
from vedette.vision.decoders.ltrb import Ltrb
from vedette.vision.decoders.ssd import Ssd
from vedette.vision.decoders.yolo import YoloEndToEnd, YoloV5, YoloV8

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vedette.tflite.file import ModelFile
    from vedette.vision.decoders.base import Decoder
    from vedette.vision.geometry import InputShape

DECODERS: Mapping[str, Callable[[ModelFile, InputShape], Decoder]] = {
    "ssd": lambda model, _: Ssd(model),
    "yolov8": YoloV8,
    "yolov5": YoloV5,
    "yolo_end2end": YoloEndToEnd,
    "anchors": Anchors,
    "ltrb": Ltrb,
    "fomo": Fomo,
    "classifier": lambda model, _: Classifier(model),
}
