"""The dialect of DeepStack and CodeProject.AI: the fields of its forms, and its answers.

Invariants: pure; boxes are whole pixels of the image as sent; scores have 3 decimals, as in messages, and the best one
comes first; unexpected content of a field is a ValueError.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from vedette.serve.form import form_field

if TYPE_CHECKING:
    from vedette.messages.cloud_shapes import DeepStackModels, DeepStackPayload, DeepStackPrediction
    from vedette.types import Detection, DetectionResult

VISION = "/v1/vision/"
DETECT = f"{VISION}detection"
CUSTOM = f"{VISION}custom/"
MODELS = f"{CUSTOM}list"
URL_ENCODED = "application/x-www-form-urlencoded"

_NUMBER_BYTES = 32
_NAMED = 3


def key_of(content_type: str, body: bytes) -> str:
    """Return the field `api_key` of a form, or "" where there is none."""
    try:
        if content_type.lower().startswith(URL_ENCODED):
            return parse_qs(body.decode("latin-1"), max_num_fields=9).get("api_key", [""])[0]
        return form_field(content_type, body, "api_key").decode("utf-8", "replace")
    except ValueError:
        return ""


def min_confidence(content_type: str, body: bytes) -> float:
    """Return the field `min_confidence` of a form, or 0 where there is none. Raises: ValueError."""
    try:
        text = form_field(content_type, body, "min_confidence").strip()
    except ValueError:
        return 0.0
    try:
        lowest = float(text or b"0") if len(text) <= _NUMBER_BYTES else -1.0
    except ValueError:
        lowest = -1.0
    if not 0 <= lowest <= 1:
        raise ValueError("expected min_confidence as a number from 0 to 1")
    return lowest


def answer(result: DetectionResult, lowest: float) -> DeepStackPayload:
    """Return the detections whose score is at least `lowest`."""
    frame, timing = result.frame, result.timing
    every = (_prediction(each, frame.width, frame.height) for each in result.detections)
    predictions = [each for each in every if each["confidence"] >= lowest]
    labels = ", ".join(each["label"] for each in predictions[:_NAMED])
    more = "..." if len(predictions) > _NAMED else ""
    return {"success": True, "message": f"Found {labels}{more}" if predictions else "No objects found",
            "count": len(predictions), "predictions": predictions, "inferenceMs": round(timing.invoke_ms),
            "processMs": round(timing.prepare_ms + timing.invoke_ms + timing.decode_ms)}


def models(name: str) -> DeepStackModels:
    """Return the list of models, which is the server's one model."""
    return {"success": True, "models": [name]}


def _prediction(detection: Detection, width: int, height: int) -> DeepStackPrediction:
    box = detection.box
    return {"label": detection.label, "confidence": round(detection.score or 0.0, 3),
            "x_min": round(box.xmin * width), "y_min": round(box.ymin * height),
            "x_max": round(box.xmax * width), "y_max": round(box.ymax * height)}
