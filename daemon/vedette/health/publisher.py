"""How the device is: gathers every part's facts, names the reasons, and tells on change and every so often.

Invariants:
- Health is told on every change of state or reasons, at most once a second, and every `interval_s` without one. A
  message that only came because of the interval holds no change back: a stall must be named within 4 s.
- A reason keeps the moment it began for as long as it holds, told by the clock as it is now.
- While the device does not look, the counts are null: nobody may read silence as an empty scene.
- Only the main thread calls this module; it reads other threads' parts through their `status()`.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

from vedette.device.wall_clock import Since, WallClock
from vedette.health.reasons import state_of
from vedette.messages import payloads, topics
from vedette.types import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vedette.detect.pipeline import Pipeline, PipelineStatus
    from vedette.device.board import Board, BoardReading
    from vedette.device.throttle import Throttle
    from vedette.health.meters import FrameMeters
    from vedette.messages.health_shapes import BoardHealth, DriftHealth, FallbackHealth, HealthPayload, ReasonPayload
    from vedette.messages.shapes import InfoPayload
    from vedette.ports import Camera, Clock, Publisher
    from vedette.types import BrokerStatus, CameraStatus, DetectorFacts, HealthState, LastEnd, ModelStatus

MIN_INTERVAL_S = 1.0
BOARD_INTERVAL_S = 1.0


class HealthReporter:
    """Publishes health, and on change what the camera does, which model runs and what the device is."""

    def __init__(self, publisher: Publisher, camera: Camera, pipeline: Pipeline, meters: FrameMeters, board: Board,
                 clock: Clock, *, device: str, run: int, interval_s: float,
                 capture_pid: Callable[[], int | None], own_reasons: Callable[[], Mapping[str, str]],
                 stopped_looking: Callable[[], None], info: Callable[[CameraStatus, DetectorFacts | None], InfoPayload],
                 models: Callable[[DetectorFacts | None], ModelStatus],
                 fallback: Callable[[], FallbackHealth], drift: Callable[[], DriftHealth], throttle: Throttle,
                 last_end: LastEnd | None = None) -> None:
        self.interval_s = interval_s
        self.state: HealthState = "failed"
        self.clock_synced = False
        self.throttled = False
        self._publisher = publisher
        self._camera = camera
        self._pipeline = pipeline
        self._meters = meters
        self._board = board
        self._clock = clock
        self._device = device
        self._run = run
        self._capture_pid = capture_pid
        self._own_reasons = own_reasons
        self._models = models
        self._fallback = fallback
        self._drift = drift
        self._throttle = throttle
        self._last_end = last_end
        self._stopped_looking = stopped_looking
        self._info = info
        self._started_ns = clock.monotonic_ns()
        self._wall_clock = WallClock(clock)
        self._since: dict[str, Since] = {}
        self._told_reasons: frozenset[str] | None = None
        self._told_ns = 0
        self._told_change_ns = 0
        self._told: dict[str, bytes] = {}
        self._board_read: BoardReading | None = None
        self._board_read_ns = 0

    def tick(self, *, final: bool = False) -> None:
        """Look at everything, and tell what has to be told. Called a few times a second; `final` tells in any case."""
        camera, pipeline, broker = self._camera.status(), self._pipeline.status(), self._publisher.status()
        models = self._models(pipeline.facts)
        known = self._since.keys()
        reasons = self._gather_reasons(camera, pipeline, broker, models)
        self.state = state_of(reasons)
        self._tell_change(topics.CAMERA, payloads.camera(camera))
        self._tell_change(topics.MODEL, payloads.model(models))
        self._tell_change(topics.INFO, self._info(camera, pipeline.facts))
        lapsed = state_of(set(camera.reasons) - known) == "failed"    # a trouble that may be over, and is named
        if camera.state != "capturing" or not pipeline.looking or lapsed:
            self._stopped_looking()
        if final or self._is_due(self._marks(reasons)):
            self._tell_health(camera, pipeline, broker, reasons)

    def status_line(self) -> str:
        """Return one line for `systemctl status`."""
        camera, meters = self._camera.status(), self._meters.read(self._clock.monotonic_ns())
        age = f", {meters.age_ms['p50']:.0f} ms old" if meters.age_ms else ""
        why = f" ({', '.join(sorted(self._since))})" if self._since else ""
        broker = "connected" if self._publisher.status().connected else "no broker"
        return f"{self.state}{why}: camera {camera.state}, {meters.per_s:.1f} results/s{age}, {broker}"

    def _gather_reasons(self, camera: CameraStatus, pipeline: PipelineStatus, broker: BrokerStatus,
                        models: ModelStatus) -> dict[str, str]:
        facts = pipeline.facts
        reasons = dict.fromkeys(camera.reasons, camera.cause or "")
        reasons |= pipeline.reasons
        reasons |= {code: broker.details.get(code, broker.cause or "") for code in broker.reasons}
        board = self._read_board()
        reasons |= board.reasons() | self._wall_clock.reasons(board.clock_synced)
        reasons |= self._throttle.reasons()
        reasons |= models.reasons
        reasons |= self._own_reasons()
        if facts is not None and facts.xnnpack_share == 0:
            reasons["runtime_fallback"] = "; ".join(facts.warnings)
        self._since = {code: self._since.get(code) or Since(self._clock) for code in reasons}
        return reasons

    def _read_board(self) -> BoardReading:
        now_ns = self._clock.monotonic_ns()
        if self._board_read is None or now_ns - self._board_read_ns > BOARD_INTERVAL_S * 1e9:
            self._board_read = self._board.read(self._capture_pid())
            self._board_read_ns = now_ns
            self.clock_synced = bool(self._board_read.clock_synced)
            self.throttled = bool(self._board_read.throttled_now)
            self._throttle.heed(self._board_read)
        return self._board_read

    def _is_due(self, codes: frozenset[str]) -> bool:
        now_ns = self._clock.monotonic_ns()
        if self._told_reasons is None:
            return True
        if codes != self._told_reasons:
            return now_ns - self._told_change_ns >= MIN_INTERVAL_S * 1e9
        return now_ns - self._told_ns >= self.interval_s * 1e9

    def _marks(self, reasons: Mapping[str, str]) -> frozenset[str]:
        """What is told at once when it changes: the reasons, and each step of the governor."""
        return frozenset({*reasons, f"step {self._throttle.limit.step}"})

    def _tell_change(self, topic: str, payload: Mapping[str, Any]) -> None:
        encoded = payloads.encode(payload)
        if encoded != self._told.get(topic):
            self._told[topic] = encoded
            self._publish(topic, encoded)

    def _tell_health(self, camera: CameraStatus, pipeline: PipelineStatus, broker: BrokerStatus,
                     reasons: Mapping[str, str]) -> None:
        codes = self._marks(reasons)
        self._told_ns = self._clock.monotonic_ns()
        if codes != self._told_reasons:
            self._told_reasons, self._told_change_ns = codes, self._told_ns
        self._publish(topics.HEALTH, payloads.encode(self._payload(camera, pipeline, broker, reasons)))

    def _payload(self, camera: CameraStatus, pipeline: PipelineStatus, broker: BrokerStatus,
                 reasons: Mapping[str, str]) -> HealthPayload:
        meters = self._meters.read(self._clock.monotonic_ns())
        return {
            "schema": "vedette.health/1",
            "device": self._device,
            "run": self._run,
            "at": payloads.timestamp(self._clock.utc_now()),
            "uptime_s": round((self._clock.monotonic_ns() - self._started_ns) / 1e9, 1),
            "last_end": None if self._last_end is None else
            {"run": self._last_end.run, "kind": self._last_end.kind, "detail": self._last_end.detail},
            "state": self.state,
            "reasons": [self._reason(code, detail) for code, detail in sorted(reasons.items())],
            "capture": payloads.capture_health(camera, detected=pipeline.detected, dropped=pipeline.dropped,
                                               in_hand=pipeline.in_hand, age_ms=meters.age_ms),
            "inference": payloads.inference_health(pipeline.facts, count=pipeline.invoked, errors=pipeline.errors,
                                                   timing_ms=meters.timing_ms),
            "fallback": self._fallback(),
            "scores": dict(meters.scores),
            "image": payloads.image_health(camera),
            "drift": self._drift(),
            "mqtt": payloads.mqtt_health(broker),
            "board": cast("BoardHealth", asdict(self._read_board())),
            "governor": self._throttle.health(),
        }

    def _reason(self, code: str, detail: str) -> ReasonPayload:
        return {"code": code, "since": payloads.timestamp(self._since[code].utc()), "detail": detail or None}

    def _publish(self, topic: str, payload: bytes) -> None:
        self._publisher.publish(Message(topic, payload, retain=True))
