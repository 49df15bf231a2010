"""Turns the daemon's own values into message payloads, and payloads into bytes.

Invariants: parse(encode(x)) == x; NaN and infinity are never published (`encode` raises ValueError instead); boxes
have 4 decimals, scores 3, milliseconds 2. Nothing here reads a clock: the caller passes every moment.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from pydantic import JsonValue

from vedette.messages.health_shapes import (
    CaptureHealth,
    ImageHealth,
    InferenceHealth,
    MqttHealth,
    Percentiles,
    StagePercentiles,
)
from vedette.messages.shapes import (
    CameraInfo,
    CameraPayload,
    CountsPayload,
    DetectionPayload,
    DetectionsPayload,
    DetectorInfo,
    FramePayload,
    HardwareInfo,
    InfoPayload,
    ModelRefPayload,
    ReplyPayload,
    ReplyStatus,
    ShadowPayload,
    VersionsInfo,
)
from vedette.types import BrokerStatus, CameraStatus, Detection, DetectionResult, DetectorFacts, ModelRef

SCHEMA_IDS = tuple(f"vedette.{name}/1" for name in (
    "detections", "events", "counts", "zones", "camera", "health", "info", "model", "shadow", "reply"))

_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


class FrameFacts(Protocol):
    """The facts of a frame that a payload has."""

    @property
    def seq(self) -> int:
        """Its number in this run."""

    @property
    def width(self) -> int:
        """Pixels."""

    @property
    def height(self) -> int:
        """Pixels."""

    @property
    def captured_at(self) -> datetime:
        """When it was captured."""


def encode(payload: Mapping[str, Any]) -> bytes:
    """Return the payload as compact UTF-8 JSON. Raises: ValueError for NaN and infinity.

    Half a surrogate pair becomes a question mark. A file name that is not UTF-8 leaves such a half.
    """
    return _JSON.encode(payload).encode("utf-8", "replace")


def timestamp(moment: datetime) -> str:
    """Return a moment that has a time zone as ISO 8601 UTC, with milliseconds and a Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def detections(result: DetectionResult, *, device: str, run: int, seq: int, dropped: Mapping[str, int],
               clock_synced: bool, backfilled: bool = False) -> DetectionsPayload:
    """Return the result of one frame. `dropped` has totals of the run, by cause."""
    frame, timing = result.frame, result.timing
    return {
        "schema": "vedette.detections/1",
        "device": device,
        "run": run,
        "seq": seq,
        "source": result.source,
        "frame": _frame(frame, clock_synced=clock_synced),
        "age_ms": round(result.age_ms, 2),
        "timing_ms": {
            "wait": round(timing.wait_ms, 2),
            "prepare": round(timing.prepare_ms, 2),
            "invoke": round(timing.invoke_ms, 2),
            "decode": round(timing.decode_ms, 2),
            "track": round(timing.track_ms, 2),
        },
        "model": None if result.model is None else model_ref(result.model),
        "dropped": dict(dropped),
        "backfilled": backfilled,
        "detections": [{**plain, "track": found.track} for plain, found in zip(
            _detections(result.detections), result.detections, strict=True)],
    }


def shadow(frame: FrameFacts, *, device: str, run: int, clock_synced: bool, model: ModelRef, invoke_ms: float,
           detections: Sequence[Detection], active_invoke_ms: float,
           active_detections: Sequence[Detection]) -> ShadowPayload:
    """Return the detections of a model in shadow and of the active model in one frame."""
    return {
        "schema": "vedette.shadow/1",
        "device": device,
        "run": run,
        "frame": _frame(frame, clock_synced=clock_synced),
        "model": model_ref(model),
        "invoke_ms": round(invoke_ms, 2),
        "detections": _detections(detections),
        "active_invoke_ms": round(active_invoke_ms, 2),
        "active_detections": _detections(active_detections),
    }


def counts(per_label: Mapping[str, int] | None, *, captured_at: datetime) -> CountsPayload:
    """Return how many of each label are in view. None: the device does not detect."""
    return {
        "schema": "vedette.counts/1",
        "captured_at": timestamp(captured_at),
        "counts": None if per_label is None else dict(per_label),
    }


def camera(status: CameraStatus) -> CameraPayload:
    """Return what the camera does."""
    return {
        "schema": "vedette.camera/1",
        "state": status.state,
        "since": timestamp(status.since),
        "cause": status.cause,
        "source": status.source,
    }


def capture_health(status: CameraStatus, *, detected: int, dropped: Mapping[str, int], in_hand: int,
                   age_ms: Percentiles | None) -> CaptureHealth:
    """Return the counts of frames. `dropped` (by cause) and `in_hand` count frames after the camera's handover."""
    return {
        "state": status.state,
        "fps": round(status.fps, 2),
        "captured": status.captured,
        "detected": detected,
        "dropped": {**status.dropped, **dropped},
        "pending": status.pending + in_hand,
        "age_ms": age_ms,
        "reopened": status.reopened,
        "children_replaced": status.children_replaced,
    }


def inference_health(facts: DetectorFacts | None, *, count: int, errors: int,
                     timing_ms: StagePercentiles) -> InferenceHealth:
    """Return the state of the interpreter. `facts` is None where no model runs."""
    return {
        "count": count,
        "errors": errors,
        "timing_ms": timing_ms,
        "runtime": None if facts is None else facts.runtime,
        "runtime_version": None if facts is None else facts.runtime_version,
        "xnnpack_share": None if facts is None else round(facts.xnnpack_share, 4),
        "threads": None if facts is None else facts.threads,
    }


def image_health(status: CameraStatus) -> ImageHealth:
    """Return the image's brightness and contrast."""
    return {"brightness": rounded(status.brightness, 1), "contrast": rounded(status.contrast, 1)}


def mqtt_health(status: BrokerStatus) -> MqttHealth:
    """Return the state of the connection to the broker."""
    before = status.acknowledged_before
    return {
        "connected": status.connected,
        "reconnects": status.reconnects,
        "outbox_depth": status.outbox_depth,
        "outbox_dropped": status.outbox_dropped,
        "dropped_ever": dict(status.dropped_ever),
        "spooled": status.spooled,
        "spool_mb": round(status.spool_bytes / 1e6, 3),
        "acknowledged_before": None if before is None else {"run": before.run, "seq": before.seq},
        "refused": status.refused,
        "published": status.published,
    }


def info(*, device: str, run: int, versions: VersionsInfo, hardware: HardwareInfo, camera: CameraInfo,
         detector: DetectorFacts | None, reason_codes: Sequence[str], commands: Sequence[str],
         config: dict[str, Any], places: dict[str, str]) -> InfoPayload:
    """Return what the device is, and which messages it uses."""
    return {
        "schema": "vedette.info/1",
        "device": device,
        "run": run,
        "versions": versions,
        "hardware": hardware,
        "camera": camera,
        "detector": None if detector is None else _detector_info(detector),
        "schemas": list(SCHEMA_IDS),
        "reason_codes": list(reason_codes),
        "commands": list(commands),
        "config": config,
        "places": places,
    }


def reply(status: ReplyStatus, *, transaction: str | None, data: Mapping[str, JsonValue] | None = None,
          error: str | None = None) -> ReplyPayload:
    """Return the reply to a command."""
    return {
        "schema": "vedette.reply/1",
        "status": status,
        "data": None if data is None else dict(data),
        "error": error,
        "transaction": transaction,
    }


def _frame(frame: FrameFacts, *, clock_synced: bool) -> FramePayload:
    return {"seq": frame.seq, "width": frame.width, "height": frame.height,
            "captured_at": timestamp(frame.captured_at), "clock_synced": clock_synced}


def _detections(detections: Sequence[Detection]) -> list[DetectionPayload]:
    return [
        {
            "label": detection.label,
            "class_id": detection.class_id,
            "score": None if detection.score is None else round(detection.score, 3),
            "box": [round(corner, 4) for corner in detection.box],
        }
        for detection in detections
    ]


def model_ref(ref: ModelRef) -> ModelRefPayload:
    """Return which model made a result."""
    return {"name": ref.name, "version": ref.version, "sha256": ref.sha256, "variant": ref.variant}


def _detector_info(facts: DetectorFacts) -> DetectorInfo:
    return {
        "runtime": facts.runtime,
        "runtime_version": facts.runtime_version,
        "runtime_choice": facts.runtime_choice,
        "xnnpack_share": round(facts.xnnpack_share, 4),
        "threads": facts.threads,
        "decoder": facts.decoder,
        "input_width": facts.input_width,
        "input_height": facts.input_height,
        "labels": list(facts.labels),
        "warnings": list(facts.warnings),
    }


def rounded(value: float | None, decimals: int) -> float | None:
    """Return the value as it is published. None stays None."""
    return None if value is None else round(value, decimals)
