"""The list of decoders. Each one turns the output tensors of one family of exports into candidates.

To add a decoder:
1. Write a module in this folder with a subclass of `base.Decoder`. Its constructor takes the model and its input shape.
   It raises ModelUnsupported, saying what it expected, for a model of another family.
2. Set the class attributes that `base.Decoder` lists: whether NMS follows, and how the family feeds its models.
3. Add the class to `DECODERS` below, above every decoder that is less strict, and its name to the values of
   `detector.decoder` in `config/models.py`. If its shapes fit other families too, write its `doubt`.
4. Write a plain reference in `tests/support/truth/decoder_references.py` and compare the two in a test.
5. Add a row and an explanation to docs/models.md, add its exporter to `tests/support/models/exporters.py`, and run
   `make docs`.

Invariants: the keys are the values of `detector.decoder`; decoders are tried on a model's tensor shapes in this order,
the strictest first, so that a less strict one never takes the model of another family. Where shapes fit and the values
do not, the decoder's `doubt` says why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vedette.vision.decoders.anchors import Anchors
from vedette.vision.decoders.grid import Classifier, Fomo
from vedette.vision.decoders.ltrb import Ltrb
from vedette.vision.decoders.ssd import Ssd
from vedette.vision.decoders.yolo import YoloEndToEnd, YoloV5, YoloV8
from vedette.vision.decoders.yolox import YoloV6, YoloX

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vedette.tflite.file import ModelFile
    from vedette.vision.decoders.base import Decoder
    from vedette.vision.geometry import InputShape

DECODERS: Mapping[str, Callable[[ModelFile, InputShape], Decoder]] = {
    "ssd": Ssd,
    "yolov8": YoloV8,
    "yolov6": YoloV6,
    "yolox": YoloX,
    "yolov5": YoloV5,
    "yolo_end2end": YoloEndToEnd,
    "anchors": Anchors,
    "ltrb": Ltrb,
    "fomo": Fomo,
    "classifier": Classifier,
}
