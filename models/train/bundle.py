"""Packs the graph into a bundle, as `vedette model pack` does. The golden frames and the baseline come later.

Invariants: the thresholds are those of the card. A model that does not run, or that would be read differently, is not
packed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from vedette.camera.street.objects import LABELS
from vedette.config.models import DetectorConfig
from vedette.tflite.file import read_model
from vedette.validate.packing import pack
from vedette.vision.model_spec import resolve

if TYPE_CHECKING:
    from pathlib import Path

NAME, VERSION = "vedette-street", "1"
HOW = DetectorConfig(decoder="ltrb", color="rgb", resize="letterbox", score_threshold=0.35, iou_threshold=0.6)


def bundled(graph: Path) -> bytes:
    """Return the complete `.tflite` file for the flatbuffer of the network. Raises: ModelError, RuntimeMissing."""
    model = read_model(graph)
    return pack(model, replace(resolve(model, HOW), labels=LABELS), name=NAME, version=VERSION).content
