"""The answers of an HTTP detection server: ours, a plain YOLOv5/Flask one's, and DeepStack's.

Invariants: those of the package.
"""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeInt
from typing_extensions import TypedDict  # pydantic reads typing's own only from Python 3.12

from vedette.messages.shapes import Count, DetectionPayload, ModelRefPayload, Unit

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


class DeepStackPrediction(TypedDict):
    """One object, as DeepStack and CodeProject.AI write it. The box is in whole pixels of the image as sent."""

    label: str
    confidence: Unit
    x_min: Count
    y_min: Count
    x_max: Count
    y_max: Count


class DeepStackPayload(TypedDict):
    """The detections of one image, as DeepStack and CodeProject.AI write them."""

    success: Literal[True]
    message: str
    """Says in words which labels come first."""
    count: Count
    predictions: list[DeepStackPrediction]
    """The best score comes first."""
    inferenceMs: Count
    """Milliseconds of the interpreter alone."""
    processMs: Count
    """Milliseconds of all stages that make detections from the decoded image."""


class DeepStackModels(TypedDict):
    """The names of the models that `/v1/vision/custom/` takes."""

    success: Literal[True]
    models: list[str]


class DeepStackErrorPayload(TypedDict):
    """Why there is no answer, for clients of DeepStack."""

    success: Literal[False]
    error: str


class ErrorPayload(TypedDict):
    """Why there is no answer."""

    error: str
