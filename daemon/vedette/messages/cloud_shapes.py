"""The answers of an HTTP detection server: ours, and a plain YOLOv5/Flask one. Client and server share these shapes.

Invariants: those of the package.
"""

from __future__ import annotations

from pydantic import NonNegativeInt
from typing_extensions import TypedDict  # pydantic reads typing's own only from Python 3.12

from vedette.messages.shapes import DetectionPayload, ModelRefPayload, Unit

DEADLINE_HEADER = "Vedette-Deadline-Ms"
"""How long the client still waits for its answer, in whole milliseconds."""


class LookPayload(TypedDict):
    """The detections of one image."""

    model: ModelRefPayload | None
    detections: list[DetectionPayload]
    """The best score comes first. Boxes are in 0-1 of the sent image, rotated as its EXIF data says."""


Yolov5Record = TypedDict("Yolov5Record", {
    "xmin": float, "ymin": float, "xmax": float, "ymax": float,      # pixels of the image as sent
    "confidence": Unit, "class": NonNegativeInt, "name": str})
"""One object, as YOLOv5's `results.pandas().xyxy[0].to_json(orient="records")` writes it."""


class ErrorPayload(TypedDict):
    """Why there is no answer."""

    error: str
