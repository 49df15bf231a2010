"""The composition root: the only module that puts the concrete classes together.

Invariants: parts start in the order of `parts` and stop in its exact reverse; the state folder is locked before
anything else exists and freed after everything has stopped.
"""

from __future__ import annotations

import logging
import os
import socket
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from vedette import __version__
from vedette._lib import logs, stacks
from vedette._lib.clock import SystemClock
from vedette._lib.sdnotify import Notifier
from vedette._lib.worker import Worker
from vedette.camera.open import open_camera
from vedette.commands import CommandDesk
from vedette.config.load import load_with
from vedette.config.reload import Reloader
from vedette.detect.open_model import DetectorOpener
from vedette.detect.opening_count import OpeningCount
from vedette.detect.pipeline import Pipeline
from vedette.detect.switch import DetectionSwitch
from vedette.device.board import Board, boot_id
from vedette.device.board_monitor import BoardMonitor
from vedette.device.governor import NORMAL_TIMING
from vedette.device.identity import StateFolder, default_name, socket_path, state_path
from vedette.device.last_run import RunRecord
from vedette.device.throttle import Throttle
from vedette.device.wall_clock import WallClock
from vedette.drift.bundled import BundledScores
from vedette.drift.ledger import FILE, Ledger
from vedette.drift.watch import DriftWatch
from vedette.errors import ModelTimedOut
from vedette.events.clips import Clips
from vedette.events.journal import EventJournal
from vedette.events.pictures import BestPictures
from vedette.events.reporter import EventReporter
from vedette.events.results import ResultTracker
from vedette.events.zone_reporter import ZoneReporter
from vedette.fallback.build import Fallbacks
from vedette.health.meters import FrameMeters
from vedette.health.publisher import HealthPublisher
from vedette.health.report import HealthReport
from vedette.health.result_check import ResultCheck
from vedette.health.states import StatePublisher
from vedette.messages.results import Printer, ResultReporter
from vedette.mqtt.home_assistant import HomeAssistant
from vedette.mqtt.outbox import Outbox
from vedette.mqtt.publisher import MqttPublisher
from vedette.mqtt.spool_worker import SpoolWorker
from vedette.serve.local.published import PublishedMessages
from vedette.serve.local.recent_results import RecentResults
from vedette.serve.local.server import LocalSocket
from vedette.store.configurations import ConfigurationStore
from vedette.store.inbox import MODELS
from vedette.store.model_store import ModelStore
from vedette.supervisor import EXIT_INTERNAL, STOP_TIMEOUT_S, Part, Supervisor
from vedette.types import RunIdentity
from vedette.update.build import Surroundings, Updates
from vedette.update.live_configuration import configuration_at_start
from vedette.workshop.collector import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from vedette._lib.child import Child
    from vedette.camera.remote import RemoteCamera
    from vedette.config.load import Loaded
    from vedette.config.signed import Signed
    from vedette.device.governor import GovernorTiming
    from vedette.ports import ReasonSource
    from vedette.vision.local import LocalDetector

log = logging.getLogger(__name__)

FLUSH_TIMEOUT_S, SOCKET_STOP_S = 2.0, 1.0
COMMAND_WITHIN_S = 3.0
"""The longest time for which a command that changes the model store locks the state folder."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the command line for one run."""

    config_path: Path | None
    overrides: Mapping[str, object]
    print_results: bool = False
    stop_after: int | None = None
    verbose: bool = False

    def load(self, signed: Signed | None = None) -> Loaded:
        """Return the configuration as it is now, with these signed keys. Raises: ConfigError."""
        return load_with(self.config_path, self.overrides, signed)


def run_daemon(options: Options, child: Child | None = None) -> int:
    """Run the daemon on this thread until it ends; returns its exit code. `child`: as in `open_camera`.

    Raises, before anything was started: ConfigError, AlreadyRunning, StateUnusable, or SourceInvalid for a source that
    does not exist.
    """
    logs.setup(logging.DEBUG if options.verbose else logging.INFO)
    stacks.dump_on_signals()
    loaded = options.load()
    state = StateFolder(state_path(os.environ), wait_s=COMMAND_WITHIN_S)
    try:
        return Daemon(options, loaded, state, camera_opener=partial(open_camera, child=child)).run()
    finally:
        state.close()


class Daemon:
    """Everything of one run, wired together.

    For fault tests: `camera_opener` (children that misbehave), `board` (a board of files), `timing` (shortened).
    """

    def __init__(self, options: Options, loaded: Loaded, state: StateFolder, *,
                 camera_opener: Callable[..., RemoteCamera] = open_camera, board: Callable[[Path], Board] = Board,
                 timing: GovernorTiming = NORMAL_TIMING) -> None:
        self._options = options
        self._state = state
        self._clock = SystemClock()
        self._configurations = ConfigurationStore(state.path)
        loaded = configuration_at_start(self._configurations, loaded, options.load, boot_id=boot_id(),
                                        now=self._clock.utc_now())
        self._config = loaded.config
        self._notifier = Notifier()
        self._supervisor = Supervisor(self._notifier)
        self._reloader = Reloader(loaded, self._load)
        self._build_device(camera_opener, board(state.path))
        self._build_detection(timing)
        self._build_messages()
        self._build_updates()
        self._build_health()

    def _build_device(self, camera_opener: Callable[..., RemoteCamera], board: Board) -> None:
        """Build the identity of this run, the store, the camera, and what reads the board."""
        config, state = self._config, self._state
        device = config.device or default_name(socket.gethostname(), os.environ.get("VEDETTE_INSTANCE", ""),
                                               state.machine_id(), state.path, state.machine_digits())
        self._identity = RunIdentity(device, state.next_run(), boot_id())
        self._run_record = RunRecord(state.path, self._identity)
        log.info("vedette %s: device %s, run %d", __version__, device, self._identity.run)
        self._store = ModelStore(state.path / MODELS, min_free_bytes=int(config.update.min_free_mb * 1e6))
        self._start_store()
        self._camera = camera_opener(config.camera, self._clock, on_end=self._supervisor.worker_ended)
        self._board_name = board.name
        self._monitor = BoardMonitor(board, self._camera, self._clock)
        self._wall_clock = WallClock(self._clock)

    def _build_detection(self, timing: GovernorTiming) -> None:
        """Build the flow from camera to results, and what measures it."""
        config, clock, folder, ended = self._config, self._clock, self._state.path, self._supervisor.worker_ended
        last, probes = self._run_record.last, self._store.state.probes
        died = last is not None and last.kind in ("killed", "hung") and not any(probe.open_boot for probe in probes)
        self._openings = OpeningCount(folder, died=died)
        self._opener = DetectorOpener(config, self._store, folder / "proofs.json", self._openings)
        self._fallbacks = Fallbacks(config, folder, self._camera, clock, boot_id=self._identity.boot_id, on_end=ended)
        self._pipeline = Pipeline(self._camera, self._open_detector, clock, config.camera,
                                  fallback=self._fallbacks.configured, stop_after=self._options.stop_after,
                                  read_files=self._opener.read_files, open_within_s=lambda: self._opener.within_s)
        self._tracker = ResultTracker(config, clock, self._camera)
        self._pipeline.follow = self._tracker.follow
        self._pipeline.on_blind.append(self._tracker.on_blind)
        self._pipeline.wants_all.append(self._tracker.follows)
        self._throttle = Throttle(config, self._pipeline, clock, timing)
        self._monitor.subscribe(self._throttle.on_reading)
        self._meters, self._result_check = FrameMeters(clock), ResultCheck(config, clock)
        self._drift = DriftWatch(Ledger(folder / FILE, clock, self._identity.boot_id), self._camera, config,
                                 bundled=BundledScores(self._opener), governed=self._throttle.governed, on_end=ended)
        self._clips = Clips(config, clock, device=self._identity.device, on_end=ended)
        self._collector = Collector(config, folder, clock, self._opener, self._reloader, on_end=ended)
        self._pipeline.wants_all.append(self._collector.is_due)
        for part in (self._meters, self._result_check, self._drift, self._clips, self._collector):
            self._pipeline.subscribe(part.on_result)
        self._detect = Worker("detect", self._pipeline.run, on_end=ended)

    def _build_messages(self) -> None:
        """Build the connection to the broker, and what publishes results."""
        config, clock, identity, synced = self._config, self._clock, self._identity, self._monitor.clock_synced
        self._spool_worker = SpoolWorker(Outbox(config.mqtt.outbox_messages), config.mqtt, self._state.path, identity,
                                         clock, clock_synced=synced, on_end=self._supervisor.worker_ended)
        self._mqtt = MqttPublisher(config, identity.device, clock, spool=self._spool_worker,
                                   on_end=self._supervisor.worker_ended)
        self._publisher = PublishedMessages(self._mqtt)
        self._pictures = BestPictures(self._publisher, config, self._state.path, clock)
        self._home_assistant = HomeAssistant(self._spool_worker, self._mqtt, config, identity, self._state.path,
                                             clock, running=self._pipeline.status, wants_picture=self._pictures.wants)
        self._journal = EventJournal(self._spool_worker, self._publisher, self._state.path, identity, clock,
                                     pictures=self._pictures, memory_only=not config.mqtt.spool_mb)
        self._journal.listeners.append(self._publisher.on_event)
        self._tracker.events = EventReporter(config, identity, put=self._journal.put, clock_synced=synced,
                                             wants_picture=self._pictures.wants, clips=self._clips)
        self._tracker.zones = ZoneReporter(self._publisher, clock, clock_synced=synced)
        self._pipeline.subscribe(self._tracker.on_result)
        self._results = ResultReporter(self._publisher, config, clock, identity, flow=self._pipeline,
                                       camera=self._camera, clock_synced=synced)
        self._pipeline.subscribe(self._results.on_result)
        self._pipeline.on_blind.append(self._results.on_blind)
        self._pipeline.wants_all.append(self._results.is_due)
        self._recent = RecentResults(identity, self._camera, flow=self._pipeline, clock_synced=synced)
        self._pipeline.subscribe(self._recent.on_result)
        self._pipeline.wants_all.append(self._recent.is_due)
        if self._options.print_results:
            self._pipeline.subscribe(Printer(identity, flow=self._pipeline, clock_synced=synced).on_result)

    def _build_updates(self) -> None:
        """Build the parts that decide which model runs, and which signed configuration."""
        around = Surroundings(self._opener, self._pipeline, self._reloader, self._options.load, self._supervisor.call,
                              self._monitor.clock_synced, self._monitor.throttled, self._throttle.governed)
        updates = Updates(self._config, self._store, self._configurations, self._clock, self._identity,
                          self._publisher, around, on_end=self._supervisor.worker_ended)
        self._updater, self._candidates = updates.updater, updates.candidates

    def _build_health(self) -> None:
        """Build the parts that publish health and states, and the commands."""
        config, publisher, identity = self._config, self._publisher, self._identity
        self._sources: tuple[ReasonSource, ...] = (
            self._camera, self._pipeline, self._result_check, self._mqtt, self._monitor, self._wall_clock,
            self._throttle, self._updater, self._store, self._state, self._reloader, self._drift, self._journal,
            self._clips, self._collector, self._supervisor)
        report = HealthReport(self._camera, self._pipeline, self._meters, self._fallbacks.chain, self._drift, publisher,
                              self._monitor, self._throttle)
        self._health = HealthPublisher(publisher, config, self._clock, identity, sources=self._sources, report=report,
                                       last_end=self._run_record.last)
        if self._updater.configurations is not None:
            self._updater.configurations.trial.failed_reasons = self._health.failed_reasons
        self._states = StatePublisher(publisher, self._reloader, identity, camera=self._camera, models=self._updater,
                                      pipeline=self._pipeline, limits=self._opener.limits, board=self._board_name)
        switch = DetectionSwitch(self._pipeline, self._state.path, allowed=config.obeys("detection"))
        self._desk = CommandDesk(self._camera, publisher, updates=self._updater, drift=self._drift, switch=switch,
                                 results=self._results, main_thread=self._supervisor, configuration=self._reloader)
        report.collection = self._desk.collection = self._collector
        self._mqtt.subscribe(self._desk.accept)
        self._socket = LocalSocket(socket_path(os.environ, self._state.path), self._reloader, publisher, self._recent,
                                   accept=self._desk.accept, models=self._store.listed, limits=self._opener.limits,
                                   on_end=self._supervisor.worker_ended)
        self._reloader.parts = (self._results, self._pipeline, self._pictures, self._clips, self._tracker, self._opener,
                                self._fallbacks, self._throttle, self._drift, self._candidates, self._mqtt,
                                self._health, self._result_check, self._collector)
        self._reloader.lasting_parts = (self._home_assistant,)      # what is tried comes and goes; its entities stay

    def run(self) -> int:
        """Start, watch, stop; returns the exit code."""
        code = EXIT_INTERNAL
        self._run_record.begin()
        if (within_s := self._notifier.allow_longer(self._run_record.hangs)) is not None:
            log.warning("runs in a row that hung: %d; the watchdog waits for %g s", self._run_record.hangs, within_s)
        try:
            self._monitor.tick()    # before the first result, which says whether the clock is set
            code = self._supervisor.run(self)
        finally:
            self._run_record.ended(code, self._supervisor.why)
        self._updater.ended(cleanly=code != EXIT_INTERNAL)
        return code

    def parts(self) -> tuple[Part, ...]:
        """The threads of the daemon, in the order of starting."""
        spool, drift, detect = self._spool_worker, self._drift.worker, self._detect
        return (
            Part("outbox", spool.start, partial(spool.stop, STOP_TIMEOUT_S), spool.worker),
            Part("mqtt", self._mqtt.start, self._stop_publisher, self._mqtt.worker),
            Part("capture", self._camera.start, self._stop_camera, self._camera.worker),
            *self._fallbacks.parts(),
            Part("drift", drift.start, partial(drift.stop, STOP_TIMEOUT_S), drift),
            Part("clips", self._clips.start, partial(self._clips.stop, STOP_TIMEOUT_S)),    # may hang with its disk
            Part("collect", self._collector.start, partial(self._collector.stop, STOP_TIMEOUT_S)),  # as its disk may
            Part("detect", detect.start, self._stop_detect, detect),
            Part("update", self._updater.start, partial(self._updater.stop, STOP_TIMEOUT_S), self._updater.worker),
            Part("socket", self._socket.start, partial(self._socket.stop, SOCKET_STOP_S)),      # a viewer ends nothing
        )

    def tick(self) -> None:
        """Do the main thread's regular work, several times a second."""
        self._monitor.tick()
        self._wall_clock.tick(synced=self._monitor.reading.clock_synced)
        self._pipeline.check_hang()
        self._publish_states()
        if self._state.reacquire():
            self._run_record.renew()
        self._run_record.update(self._supervisor.late_workers())
        refusal = self._pipeline.refusal
        is_final = refusal is not None and not isinstance(refusal, ModelTimedOut)
        if refusal is not None and is_final and self._store.state.trial is None and "NOTIFY_SOCKET" not in os.environ:
            self._supervisor.stop(refusal.exit_code, "started by hand with a model that cannot be used")

    def reload(self) -> None:
        """Read the configuration again, and try a refused model again."""
        self._openings.forget()
        self._pipeline.retry_model()
        self._reloader.reload()

    def ended(self) -> str | None:
        """Return a message if the source has ended, or if enough results were made."""
        return self._pipeline.ended

    def status_line(self) -> str:
        """Return one line for `systemctl status`."""
        return self._health.status_line()

    def _load(self) -> Loaded:
        return self._options.load(self._configurations.signed)

    def _open_detector(self) -> LocalDetector | None:
        """Open a detector of the model that is to run. Detect thread."""
        return self._opener.open_chosen()

    def _start_store(self) -> None:
        """Read which model runs, and count its start if it is on trial. This comes before it is loaded."""
        self._store.recover()
        if self._config.detector.model is None:
            _, reason = self._store.start(self._identity.boot_id, self._clock.utc_now(),
                                          hung=self._run_record.hangs > 0)
            if reason:
                log.warning("rolled back: %s", reason)

    def _publish_states(self, *, final: bool = False) -> None:
        self._states.tick()
        self._pipeline.report_blindness()
        self._health.tick(final=final)

    def _stop_detect(self) -> None:
        if self._detect.stop(STOP_TIMEOUT_S):
            self._tracker.close()

    def _stop_camera(self) -> None:
        self._camera.close()
        self._publish_states(final=True)    # nothing moves any more, so the counts add up

    def _stop_publisher(self) -> None:
        try:
            self._desk.stop()
            self._journal.settle(FLUSH_TIMEOUT_S)
            if self._mqtt.status().connected:
                self._mqtt.flush(FLUSH_TIMEOUT_S)
        finally:
            self._mqtt.stop(STOP_TIMEOUT_S)
