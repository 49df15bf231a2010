"""Payloads built from the daemon's values: nothing is lost, numbers are rounded, and the schemas hold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tests.support.fakes import MODEL, FakeClock, make_frame, make_result
from vedette.cli import schemas
from vedette.messages import payloads, updates
from vedette.messages.health_shapes import BoardHealth, HealthPayload, Percentiles
from vedette.types import Box, BrokerStatus, CameraStatus, Detection, DetectorFacts, LastUpdate, ModelRef, ModelStatus

AT = datetime(2026, 11, 21, 0, 42, 7, 123_900, UTC)
FACTS = DetectorFacts(MODEL, "litert", "2.3.0", 0.987654, 2, "yolov8", 416, 416, ("person",), ())
CAMERA = CameraStatus("capturing", AT, None, "rtsp://gate/1", captured=9, dropped={"replaced": 2}, pending=1, fps=14.98,
                      brightness=101.26, contrast=33.3)

unit = st.floats(0, 1)
scores = st.none() | unit
found = st.builds(Detection, label=st.text(max_size=12), class_id=st.none() | st.integers(0, 1000), score=scores,
                  box=st.builds(Box, unit, unit, unit, unit))


@cache
def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(schemas.json_schemas()[name])


def validate(name: str, payload: Mapping[str, Any]) -> None:
    validator(name).validate(json.loads(payloads.encode(payload)))


def health() -> HealthPayload:
    stage: Percentiles = {"p50": 1.0, "p95": 2.0, "p99": 3.0}
    board: BoardHealth = {"temperature_c": 51.2, "throttled_now": [], "throttled_ever": ["under_voltage"],
                          "cpu_mhz": 1800.0, "cpu_highest_mhz": None, "cpu_slowed": False, "rss_mb": 90.1,
                          "capture_rss_mb": None, "memory_available_mb": 1000.0, "memory_allowed_mb": None,
                          "memory_stalled": 0.01, "memory_pressed": False, "cma_free_mb": None,
                          "disk_free_mb": 1e4, "disk_mb": 3e4, "clock_synced": None}
    return {
        "schema": "vedette.health/1", "device": "gate-01", "run": 1, "at": payloads.timestamp(AT), "uptime_s": 3.5,
        "state": "degraded", "reasons": [{"code": "clock_unsynced", "since": payloads.timestamp(AT), "detail": None}],
        "capture": payloads.capture_health(CAMERA, detected=6, dropped={"stale": 0}, in_hand=0, age_ms=stage),
        "inference": payloads.inference_health(FACTS, count=6, errors=0, timing_ms={
            "wait": stage, "prepare": stage, "invoke": None, "decode": None, "track": None}),
        "scores": {"person": {"count": 2, "mean": 0.7, "histogram": [0, 0, 0, 0, 0, 0, 1, 1, 0, 0]}},
        "fallback": {"looking": "motion", "motion_results": 3, "cloud": {
            "breaker": "open", "calls": 5, "results": 1, "late": 1, "failed": 3, "sent_mb": 0.2, "cause": "no answer",
            "left": {"hour": {"calls": 715, "mb": 99.8}}}},
        "image": payloads.image_health(CAMERA),
        "drift": {
            "learning_hours": 12.5, "labels": {"person": {"mean": 0.71, "baseline": 0.81, "count": 4000}},
            "latency": {"mean_ms": 31.0, "baseline_ms": None},
            "image": {"changes": ["moved", "dark"], "likeness": 0.12, "focus": 0.4, "references": 3,
                      "learning_hours": None},
            "feedback": {"count": 20, "wrong": 1, "error_rate": 0.05}},
        "collect": {"state": "collecting", "pictures": 120, "mb": 9.3, "hours_left": 10.5, "missed": 0},
        "mqtt": payloads.mqtt_health(BrokerStatus(True, None)),
        "board": board, "last_end": None,
        "governor": {"step": 2, "share": 0.5, "limit_per_s": 7.5, "why": "76 degrees Celsius",
                     "since": payloads.timestamp(AT)},
    }


@given(st.lists(found, max_size=4), st.booleans())
def test_parse_of_encode_is_the_payload(detections: list[Detection], synced: bool) -> None:
    """Parsing the bytes gives what was encoded, and it fits the schema, for any labels and scores."""
    result = make_result(make_frame(FakeClock()), tuple(detections))
    payload = payloads.detections(result, device="gate-01", run=1, seq=2, dropped={"stale": 1}, clock_synced=synced)
    assert json.loads(payloads.encode(payload)) == payload
    validate("detections-1", payload)


def test_keys_and_rounding_of_a_result() -> None:
    """The keys, their order and the rounding are as promised to subscribers."""
    result = make_result(make_frame(FakeClock()), (Detection("person", 0, 0.91249, Box(0.12344, 0.23451, 0.5, 1.0)),))
    payload = payloads.detections(result, device="gate-01", run=412, seq=81234, dropped={}, clock_synced=True)
    assert list(payload) == ["schema", "device", "run", "seq", "source", "frame", "age_ms", "timing_ms", "model",
                             "dropped", "backfilled", "detections"]
    assert payload["detections"] == [{"label": "person", "class_id": 0, "score": 0.912,
                                      "box": [0.1234, 0.2345, 0.5, 1.0], "track": None}]
    assert payload["model"] == {"name": "street", "version": "3", "sha256": MODEL.sha256, "variant": None}


@pytest.mark.parametrize(("name", "payload"), [
    ("counts-1", payloads.counts({"person": 2}, captured_at=AT)),
    ("counts-1", payloads.counts(None, captured_at=AT)),
    ("camera-1", payloads.camera(CAMERA)),
    ("health-1", health()),
    ("model-1", updates.model(ModelStatus("shadow", ModelRef("street", "3", "ab" * 32, "B"), 7, "4", in_progress=True,
                                           percentage=41.4, last_outcome="good",
                                           last_update=LastUpdate(None, "ab" * 32, ok=True, code="good", at=AT)))),
    ("model-1", updates.model(ModelStatus("none"))),
    ("reply-1", payloads.reply("ok", transaction="t", data={"a": [1, None]})),
    ("reply-1", payloads.reply("refused", transaction=None, error="no")),
    ("info-1", payloads.info(device="gate-01", run=1, versions={"vedette": "0.1.0", "python": "3.11", "os": "Debian"},
                             hardware={"board": None, "machine": "aarch64", "cores": 4},
                             camera={"source": "auto", "width": 0, "height": 0, "fps": 15}, detector=FACTS,
                             reason_codes=["paused"], commands=["update"],
                             config={"zones": {}}, places={"zones": "config.yaml:3"})),
])
def test_messages_fit_their_schemas(name: str, payload: Mapping[str, Any]) -> None:
    """Every kind of message fits its published schema, and parses back to the same."""
    validate(name, payload)
    assert json.loads(payloads.encode(payload)) == payload


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_nan_and_infinity_are_never_published(number: float) -> None:
    """JSON has no NaN and no infinity, so they raise and never reach a subscriber."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        payloads.encode({"age_ms": number})


def test_half_a_surrogate_becomes_a_question_mark() -> None:
    """A file name that is not UTF-8 still gives a message in UTF-8."""
    assert json.loads(payloads.encode({"source": "/videos/\udcff.mp4"})) == {"source": "/videos/?.mp4"}


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=2)), timezone(timedelta(hours=-3, minutes=-30))])
def test_timestamps(zone: timezone) -> None:
    """Every moment is published in UTC with milliseconds and a Z, whatever its time zone was."""
    assert payloads.timestamp(AT.astimezone(zone)) == "2026-11-21T00:42:07.123Z"


def test_a_shadow_message_fits_its_schema() -> None:
    """It has both models' detections of one frame, separately."""
    seen = (Detection("person", 0, 0.9, Box(0.1, 0.2, 0.3, 0.4)),)
    payload = payloads.shadow(make_frame(FakeClock()), device="gate-01", run=1, clock_synced=True, model=MODEL,
                              invoke_ms=3.0, detections=seen, active_invoke_ms=2.0, active_detections=())
    validate("shadow-1", payload)
    assert (len(payload["detections"]), len(payload["active_detections"])) == (1, 0)
