"""A fleet of simulated devices: what they would have retained on a broker, in the shapes of the daemon's own payloads.

Of `count` devices one in 200 is offline, its health a day old, and `FAILED` are failures of three kinds.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.support.waiting.fair_clock import PATIENCE_S
from vedette.config.models import MqttConfig
from vedette.messages import payloads, updates
from vedette.messages.health_shapes import HealthPayload
from vedette.mqtt.connection import Connection
from vedette.types import BrokerStatus, CameraStatus, DetectorFacts, LastUpdate, ModelRef, ModelStatus, UpdateCode

FAILED = 31
OLD, NEW = (ModelRef("street", version, digit * 64, None) for version, digit in (("3", "a"), ("4", "b")))


@dataclass(frozen=True)
class Device:
    """One simulated device. `failure`: the code that it must be counted under."""

    name: str
    online: bool
    status: ModelStatus
    reasons: tuple[str, ...]
    state: str
    failure: str | None


def devices(count: int, seed: int = 0) -> list[Device]:
    """Return that many devices, at least 400, always the same ones for a seed."""
    chance = random.Random(seed)
    good = [Device(f"gate-{number:05}", online=True, reasons=(), state="ok", failure=None,
                   status=ModelStatus("good", OLD, 1, "4") if chance.random() < 0.5 else
                   ModelStatus("trial", NEW, 2, "4")) for number in range(count)]
    chosen = chance.sample(range(count), FAILED + count // 200)
    for place, number in enumerate(chosen[:FAILED]):
        good[number] = _failed(good[number], place)
    for number in chosen[FAILED:]:
        good[number] = replace(good[number], online=False)
    return good


def expected(fleet: list[Device]) -> dict[str, Any]:
    """Return the summary that the fleet must have, its counts by name."""
    def counts(values: Iterator[str | None]) -> dict[str, int]:
        found = [value for value in values if value is not None]
        return {value: found.count(value) for value in sorted(set(found))}
    return {
        "devices": len(fleet), "online": sum(device.online for device in fleet),
        "models": counts(f"street {_ref(device).version}" for device in fleet),
        "states": counts(device.status.state for device in fleet), "failed": counts(each.failure for each in fleet),
        "silent": sum(not device.online for device in fleet)}


def publish(mqtt: MqttConfig, fleet: list[Device]) -> None:
    """Publish everything as retained messages, and wait until the broker has it."""
    publish_all(mqtt, _messages(fleet))


def publish_all(mqtt: MqttConfig, messages: Iterable[tuple[str, bytes]]) -> None:
    """Publish topics with their retained messages, and wait until the broker has them."""
    connection = Connection(mqtt, "test.many-devices")
    try:
        while not connection.connected:
            connection.poll(1)
        for topic, payload in messages:
            while not connection.has_room:
                connection.poll(PATIENCE_S)
            connection.publish(topic, payload, qos=0, retain=True)
        connection.publish("vedette/published", b"", qos=1)     # the broker reads in order, so this is the last one
        while not connection.is_idle:
            connection.poll(1)
    finally:
        connection.close(send_disconnect=True)


def _messages(fleet: list[Device]) -> Iterator[tuple[str, bytes]]:
    now = datetime.now(UTC)
    for device in fleet:
        yield f"vedette/{device.name}/availability", b"online" if device.online else b"offline"
        yield f"vedette/{device.name}/model", payloads.encode(updates.model(device.status))
        said = health(device, now if device.online else now - timedelta(days=1))
        yield f"vedette/{device.name}/health", payloads.encode(said)


def _failed(device: Device, place: int) -> Device:
    if place % 4 == 0:
        return replace(device, state="failed", reasons=("camera_offline", "clips_failed"), failure="camera_offline")
    code: UpdateCode = "blind" if place % 4 == 1 else "slow"
    last = LastUpdate(2, NEW.sha256, ok=False, code=code, at=datetime.now(UTC))
    return replace(device, state="degraded", reasons=("update_failed",), failure=code,
                   status=replace(device.status, last_update=last))


def _ref(device: Device) -> ModelRef:
    assert device.status.model is not None
    return device.status.model


def health(device: Device, at: datetime) -> HealthPayload:
    """Return what a device says about itself."""
    stage = {"p50": 31.25, "p95": 40.5, "p99": 44.75}
    camera = CameraStatus("capturing", at, None, "rtsp://10.0.0.2/stream", captured=1_234_567,
                          dropped={"replaced": 12_345}, fps=14.98, brightness=101.2, contrast=33.3)
    facts = DetectorFacts(_ref(device), "litert", "2.3.0", 0.98, 4, "ltrb", 320, 320, ("person",))
    rest: Mapping[str, Any] = {
        "fallback": {"looking": None, "motion_results": 0, "cloud": None},
        "scores": {name: {"count": 20, "mean": 0.7, "histogram": [0, 0, 0, 0, 2, 3, 5, 5, 5, 0]}
                   for name in ("person", "car", "dog")},
        "image": payloads.image_health(camera),
        "drift": {"learning_hours": None, "labels": {}, "latency": {"mean_ms": 31.0, "baseline_ms": 30.0},
                  "image": {"changes": [], "likeness": 0.9, "focus": 0.9, "references": 3, "learning_hours": None},
                  "feedback": {"count": 0, "wrong": 0, "error_rate": None}},
        "collect": None,
        "mqtt": payloads.mqtt_health(BrokerStatus(True, None)),
        "governor": {"step": 0, "share": 1.0, "limit_per_s": None, "why": None, "since": None}}
    return {
        "schema": "vedette.health/1", "device": device.name, "run": 7, "at": payloads.timestamp(at),
        "uptime_s": 86_400.5, "last_end": None, "state": device.state,
        "reasons": [{"code": code, "since": payloads.timestamp(at), "detail": "simulated"} for code in device.reasons],
        "capture": payloads.capture_health(camera, detected=1_222_222, dropped={"stale": 0}, in_hand=0,
                                           age_ms=stage),
        "inference": payloads.inference_health(facts, count=1_222_222, errors=0, timing_ms=dict.fromkeys(
            ("wait", "prepare", "invoke", "decode", "track"), stage)),
        **rest}     # type: ignore[typeddict-item]


def size_of(fleet: list[Device]) -> int:
    """Return the bytes of all payloads."""
    return sum(len(payload) for _, payload in _messages(fleet))
