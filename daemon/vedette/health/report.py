"""Fills the health message with the section of each part.

Invariants: nothing is decided or controlled here; reading a part does not change it. Main thread.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

from vedette.messages import payloads

if TYPE_CHECKING:
    from vedette.detect.pipeline import Pipeline
    from vedette.device.board_monitor import BoardMonitor
    from vedette.device.throttle import Throttle
    from vedette.health.meters import FrameMeters
    from vedette.messages.health_shapes import (
        BoardHealth,
        CollectHealth,
        DriftHealth,
        FallbackHealth,
        HealthPayload,
        LastEndPayload,
        ReasonPayload,
    )
    from vedette.ports import Camera, Publisher
    from vedette.types import HealthState, RunIdentity


T_co = TypeVar("T_co", covariant=True)


class HasSection(Protocol[T_co]):
    """A part that fills its own section."""

    def health(self) -> T_co:
        """Return the section."""


class HealthReport:
    """Collects the sections of the health message."""

    def __init__(self, camera: Camera, pipeline: Pipeline, meters: FrameMeters, fallback: HasSection[FallbackHealth],
                 drift: HasSection[DriftHealth], publisher: Publisher, board: BoardMonitor, throttle: Throttle) -> None:
        self._camera = camera
        self._pipeline = pipeline
        self._meters = meters
        self._fallback = fallback
        self._drift = drift
        self._publisher = publisher
        self._board = board
        self._throttle = throttle
        self.collection: HasSection[CollectHealth | None] | None = None
        """The pictures for the workshop. Set it before the first message."""

    @property
    def governor_step(self) -> int:
        """The governor's step. A change of it is published at once."""
        return self._throttle.limit.step

    def payload(self, identity: RunIdentity, *, at: str, uptime_s: float, last_end: LastEndPayload | None,
                state: HealthState, reasons: list[ReasonPayload]) -> HealthPayload:
        """Return the message with these facts and the section of every part."""
        camera, pipeline, meters = self._camera.status(), self._pipeline.status(), self._meters.read()
        return {
            "schema": "vedette.health/1",
            "device": identity.device,
            "run": identity.run,
            "at": at,
            "uptime_s": uptime_s,
            "last_end": last_end,
            "state": state,
            "reasons": reasons,
            "capture": payloads.capture_health(camera, detected=pipeline.detected, dropped=pipeline.dropped,
                                               in_hand=pipeline.in_hand, age_ms=meters.age_ms),
            "inference": payloads.inference_health(pipeline.facts, count=pipeline.invoked, errors=pipeline.errors,
                                                   timing_ms=meters.timing_ms),
            "fallback": self._fallback.health(),
            "scores": dict(meters.scores),
            "image": payloads.image_health(camera),
            "drift": self._drift.health(),
            "collect": self.collection.health() if self.collection else None,
            "mqtt": payloads.mqtt_health(self._publisher.status()),
            "board": cast("BoardHealth", asdict(self._board.reading)),
            "governor": self._throttle.health(),
        }

    def status_line(self) -> str:
        """Return one line about camera, results and broker, for `systemctl status`."""
        meters = self._meters.read()
        age = f", {meters.age_ms['p50']:.0f} ms old" if meters.age_ms else ""
        broker = "connected" if self._publisher.status().connected else "no broker"
        return f"camera {self._camera.status().state}, {meters.per_s:.1f} results/s{age}, {broker}"
