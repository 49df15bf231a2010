"""The answers of an HTTP detection server, ours and the plain YOLOv5/Flask one. Both sides build on these shapes.

Invariants: those of the package.
"""

from __future__ import annotations

from pydantic import NonNegativeInt
from typing_extensions import TypedDict  # pydantic reads typing's own only from Python 3.12

from vedette.messages.shapes import DetectionPayload, ModelRefPayload, Unit

DEADLINE_HEADER = "Vedette-Deadline-Ms"
"""How long the client still waits for its answer, whole milliseconds."""


class LookPayload(TypedDict):
    """What one picture shows."""

    model: ModelRefPayload | None
    detections: list[DetectionPayload]
    """Best score first; boxes are in 0-1 of the picture as sent, upright as its EXIF says."""


Yolov5Record = TypedDict("Yolov5Record", {
    "xmin": float, "ymin": float, "xmax": float, "ymax": float,      # pixels of the picture as sent
    "confidence": Unit, "class": NonNegativeInt, "name": str})
"""One object as `results.pandas().xyxy[0].to_json(orient="records")` of YOLOv5 writes it."""


class ErrorPayload(TypedDict):
    """Why there is no answer."""

    error: str
