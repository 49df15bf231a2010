"""The composition root: the only place that names concrete classes together.

Invariants: parts start in the order of `_parts` and stop in its exact reverse; the state folder is locked before
anything else exists and freed after everything has stopped; a bad reload changes nothing and is named in health.
"""

from __future__ import annotations

import logging
import os
import platform
import socket
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vedette import __version__
from vedette._lib import logs, stacks
from vedette._lib.clock import SystemClock
from vedette._lib.sdnotify import Notifier
from vedette._lib.worker import Worker
from vedette.camera.open import open_camera
from vedette.commands import CommandDesk
from vedette.config.load import load
from vedette.config.reload import live_part, restart_keys
from vedette.detect.open_model import DetectorOpener, chosen
from vedette.detect.pipeline import Listener, Pipeline
from vedette.device.board import Board, boot_id
from vedette.device.governor import NORMAL_TIMING
from vedette.device.identity import StateFolder, default_name, state_path
from vedette.device.last_run import RunRecord
from vedette.device.throttle import Throttle
from vedette.drift.build import build_drift
from vedette.errors import ConfigError
from vedette.fallback.build import Fallbacks
from vedette.health.meters import FrameMeters
from vedette.health.publisher import HealthReporter
from vedette.health.reasons import REASONS
from vedette.messages import payloads
from vedette.messages.results import Printer, ResultReporter
from vedette.mqtt.outbox import Outbox
from vedette.mqtt.publisher import MqttPublisher
from vedette.mqtt.spool_worker import RunFacts, SpoolWorker
from vedette.store.inbox import MODELS
from vedette.store.model_store import ModelStore
from vedette.supervisor import EXIT_INTERNAL, STOP_TIMEOUT_S, Part, Supervisor
from vedette.types import RunIdentity
from vedette.update.build import build
from vedette.update.shadow import ShadowPublisher

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from vedette.camera.remote import RemoteCamera
    from vedette.config.models import Config
    from vedette.device.governor import GovernorTiming
    from vedette.messages.shapes import InfoPayload
    from vedette.types import CameraStatus, Command, DetectionResult, DetectorFacts, Frame
    from vedette.vision.local import LocalDetector

log = logging.getLogger(__name__)

FLUSH_TIMEOUT_S = 2.0
COMMAND_WITHIN_S = 3.0
"""A command that changes the model store holds the state folder no longer."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks of one run."""

    config_path: Path | None
    overrides: Mapping[str, object]
    print_results: bool = False
    stop_after: int | None = None
    verbose: bool = False

    def load(self) -> Config:
        """Return the configuration as it is now. Raises: ConfigError."""
        return load(self.config_path, overrides=self.overrides)


def run_daemon(options: Options) -> int:
    """Run the daemon on this thread until it ends; returns its exit code.

    Raises: ConfigError, AlreadyRunning, StateUnusable, or SourceInvalid for a source that nobody understands, before
    anything was started.
    """
    logs.setup(logging.DEBUG if options.verbose else logging.INFO)
    stacks.dump_on_signals()
    config = options.load()
    state = StateFolder(state_path(os.environ), wait_s=COMMAND_WITHIN_S)
    try:
        return Daemon(options, config, state).run()
    finally:
        state.close()


class Daemon:
    """Everything of one run, wired together.

    For fault tests: `camera_opener` (children that misbehave), `board` (a board of files), `timing` (shortened).
    """

    def __init__(self, options: Options, config: Config, state: StateFolder, *,
                 camera_opener: Callable[..., RemoteCamera] = open_camera, board: Callable[[Path], Board] = Board,
                 timing: GovernorTiming = NORMAL_TIMING) -> None:
        self._options = options
        self._config = config
        self._state = state
        self._store = ModelStore(state.path / MODELS, min_free_bytes=int(config.update.min_free_mb * 1e6))
        self._opener = DetectorOpener(config.detector, config.camera.roi, state.path / "proofs.json")
        self._reload_reasons: dict[str, str] = {}
        self._run_number = state.next_run()
        self._boot_id = boot_id()
        self._run_record = RunRecord(state.path, self._run_number, self._boot_id)
        self._device = config.device or default_name(socket.gethostname(), os.environ.get("VEDETTE_INSTANCE", ""),
                                                     state.machine_id(), state.path)
        log.info("vedette %s: device %s, run %d", __version__, self._device, self._run_number)
        clock = SystemClock()
        self._start_store(clock)
        self._camera = camera_opener(config.camera, clock, on_end=self._worker_ended)
        self._board = board(state.path)
        self._meters = FrameMeters()
        self._drift = build_drift(state.path, self._camera, clock, self._boot_id, config=lambda: self._config,
                                  store=self._store, on_end=self._worker_ended)
        self._spool_worker = SpoolWorker(
            Outbox(config.mqtt.outbox_messages), config.mqtt,
            RunFacts(state.path, self._run_number, self._boot_id, clock, self._clock_synced), on_end=self._worker_ended)
        self._publisher = MqttPublisher(
            config.mqtt, device=self._device, on_command=self._on_command, allowed=lambda: self._config.commands.allow,
            utc_now=clock.utc_now, on_end=self._worker_ended, spool=self._spool_worker)
        self._reporter = ResultReporter(self._publisher, config.publish, clock, device=self._device,
                                        run=self._run_number, dropped=self._dropped, clock_synced=self._clock_synced,
                                        frozen=lambda: self._camera.status().state == "frozen")
        self._fallbacks = Fallbacks(config, state.path, self._camera, clock, on_end=self._worker_ended,
                                    tell=lambda result: self._pipeline.tell(result))  # noqa: PLW0108 - made below
        self._pipeline = Pipeline(self._camera, self._open_detector, self._listeners(), clock,
                                  max_frame_age_ms=config.camera.max_frame_age_ms, stop_after=options.stop_after,
                                  fallback=self._fallbacks.fallback, every_frame=config.camera.every_frame)
        self._throttle = Throttle(config.governor, clock, full_per_s=config.camera.fps, apply=self._pipeline.limit,
                                    detected=lambda: self._pipeline.status().detected, timing=timing)
        self._detect = Worker("detect", self._pipeline.run, on_end=self._worker_ended)
        self._health = HealthReporter(
            self._publisher, self._camera, self._pipeline, self._meters, self._board, clock, device=self._device,
            run=self._run_number, interval_s=config.health.interval_s, capture_pid=lambda: self._camera.child_pid,
            own_reasons=self._own_reasons, stopped_looking=self._reporter.stopped_looking, info=self._info,
            models=lambda facts: self._updater.status(facts),  # noqa: PLW0108 - it is made below
            fallback=self._fallbacks.chain.health, drift=self._drift.health,
            throttle=self._throttle, last_end=self._run_record.last)
        self._updater = build(
            self._store, self._opener, self._pipeline, clock, lambda: self._config, device=self._device,
            boot_id=self._boot_id, frame_ms=lambda: self._meters.frame_ms(clock.monotonic_ns()),
            throttled=lambda: self._health.throttled, governed=lambda: self._throttle.limit.step > 0,
            clock_synced=self._clock_synced, show=ShadowPublisher(self._publisher, RunIdentity(self._device, self._run_number, self._boot_id), self._clock_synced), on_end=self._worker_ended)
        self._supervisor = Supervisor(self._parts(), Notifier(), tick=self._tick, reload=self._reload,
                                      ended=lambda: self._pipeline.ended, status=self._health.status_line)
        self._desk = CommandDesk(
            self._pipeline, self._camera, self._publisher, self._updater, call=self._supervisor.call,
            restart=lambda: self._supervisor.stop(0, "restart asked for over MQTT"), encode_jpeg=_encode_jpeg,
            drift=self._drift, published=lambda: (self._run_number, self._reporter.published))

    def run(self) -> int:
        """Start, watch, stop; returns the exit code."""
        code = EXIT_INTERNAL
        self._run_record.begin()
        try:
            code = self._supervisor.run()
        finally:
            self._run_record.ended(code, self._supervisor.why)
        self._updater.ended(cleanly=code != EXIT_INTERNAL)
        return code

    def _start_store(self, clock: SystemClock) -> None:
        """Find the model that runs, and count its start if it is on trial: before it is loaded."""
        self._store.recover()
        if self._config.detector.model is None:
            _, words = self._store.start(self._boot_id, clock.utc_now())
            if words:
                log.warning("rolled back: %s", words)

    def _parts(self) -> tuple[Part, ...]:
        """What the daemon is made of, in the order of starting."""
        drift = self._drift.worker
        return (
            Part("outbox", self._spool_worker.start, lambda: self._spool_worker.stop(STOP_TIMEOUT_S),
                 self._spool_worker.worker),
            Part("mqtt", self._publisher.start, self._stop_publisher, self._publisher.worker),
            Part("capture", self._camera.start, self._stop_camera, self._camera.worker),
            *self._fallbacks.parts(),
            Part("drift", drift.start, lambda: drift.stop(STOP_TIMEOUT_S), drift),
            Part("detect", self._detect.start, lambda: self._detect.stop(STOP_TIMEOUT_S), self._detect),
            Part("update", self._updater.start, lambda: self._updater.stop(STOP_TIMEOUT_S), self._updater.worker),
        )

    def _stop_camera(self) -> None:
        self._camera.close()
        self._health.tick(final=True)   # nothing moves any more, so the accounts balance

    def _stop_publisher(self) -> None:
        if self._publisher.status().connected:
            self._publisher.flush(FLUSH_TIMEOUT_S)
        self._publisher.stop(STOP_TIMEOUT_S)

    def _tick(self) -> None:
        self._pipeline.watch()
        self._health.tick()
        if self._state.reacquire():
            self._run_record.renew()
        self._run_record.stands(self._supervisor.late_workers())
        refusal = self._pipeline.refusal
        if refusal is not None and self._store.state.trial is None and not _is_supervised():
            self._supervisor.stop(refusal.exit_code, "started by hand with a model that cannot be used")

    def _reload(self) -> None:
        try:
            wanted = self._options.load()
        except ConfigError as error:
            log.error("reload refused, nothing changed:\n%s", error)
            self._reload_reasons = {"config_rejected": error.problems[0]}
            return
        pending = restart_keys(self._config, wanted)
        self._reload_reasons = {"restart_needed": ", ".join(pending)} if pending else {}
        self._apply(live_part(self._config, wanted))
        log.info("reloaded%s", f"; at the next start: {', '.join(pending)}" if pending else "")

    def _apply(self, config: Config) -> None:
        """Put the live keys of a configuration to work."""
        self._config = config
        self._reporter.configure(config.publish)
        self._pipeline.max_frame_age_ms = config.camera.max_frame_age_ms
        self._health.interval_s = config.health.interval_s
        self._opener.reload(config.detector)
        self._fallbacks.reload(config)
        self._throttle.configure(config.governor)

    def _open_detector(self) -> LocalDetector | None:
        """Build the detector of the model that is to run. Detect thread."""
        choice = chosen(self._config, self._store)
        return None if choice is None else self._opener.open(choice)

    def _listeners(self) -> tuple[Listener, ...]:
        listeners: tuple[Listener, ...] = (self._meters.record, self._reporter.result, self._hear)
        if self._options.print_results:
            printer = Printer(device=self._device, run=self._run_number, dropped=self._dropped,
                              clock_synced=self._clock_synced)
            listeners += (printer.result,)
        return listeners

    def _hear(self, result: DetectionResult) -> None:
        self._drift.hear(result, timed=self._throttle.limit.step == 0)
        if result.source == "local":
            self._updater.hear(result)

    def _dropped(self) -> dict[str, int]:
        """Totals of this run by cause; the two that every subscriber knows are always there."""
        totals = Counter({"replaced": 0, "stale": 0})
        totals.update(self._camera.dropped)
        totals.update(self._pipeline.dropped)
        return dict(totals)

    def _clock_synced(self) -> bool:
        return self._health.clock_synced

    def _own_reasons(self) -> dict[str, str]:
        late, lost = self._supervisor.late_workers(), self._state.trouble
        return (self._reload_reasons | self._drift.reasons() | ({"worker_hung": ", ".join(late)} if late else {})
                | ({"store_failed": lost} if lost else {}))

    def _info(self, camera: CameraStatus, facts: DetectorFacts | None) -> InfoPayload:
        return payloads.info(
            device=self._device, run=self._run_number,
            versions={"vedette": __version__, "python": platform.python_version(), "os": platform.platform()},
            hardware={"board": self._board.name, "machine": platform.machine(), "cores": os.cpu_count() or 1},
            camera={"source": camera.source, "width": camera.width, "height": camera.height,
                    "fps": self._config.camera.fps},
            detector=facts, reason_codes=tuple(REASONS), commands=self._config.commands.allow)

    def _on_command(self, command: Command) -> None:
        self._desk.accept(command)

    def _worker_ended(self, worker: Worker) -> None:
        self._supervisor.worker_ended(worker)


def _is_supervised() -> bool:
    """Whether a service manager waits for us: then the device stays, says `failed` over MQTT, and tries again."""
    return "NOTIFY_SOCKET" in os.environ


def _encode_jpeg(frame: Frame) -> bytes:
    from vedette.vision.jpeg import encode
    return encode(frame.pixels)
