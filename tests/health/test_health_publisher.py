"""Health: published at once on a change, at most once a second, and never `ok` during a failure."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any, Literal

import pytest

from tests.support.fakes import IDENTITY, FakeClock, FakeDetector, FakePublisher, StatusCamera, make_frame
from vedette._lib.worker import Worker
from vedette.config.load import Loaded
from vedette.config.models import CameraConfig, Config
from vedette.config.reload import Reloader
from vedette.detect.pipeline import Pipeline
from vedette.device.board import BoardReading
from vedette.device.board_monitor import BoardMonitor
from vedette.device.throttle import Throttle
from vedette.device.wall_clock import WallClock
from vedette.health.meters import FrameMeters
from vedette.health.publisher import HealthPublisher
from vedette.health.report import HealthReport
from vedette.health.states import StatePublisher
from vedette.messages.health_shapes import DriftHealth
from vedette.types import ModelStatus, ReasonCode


class QuietBoard:
    """A board without problems, or with the given ones."""

    def __init__(self) -> None:
        self.reading = BoardReading(clock_synced=True)

    def read(self, capture_pid: int | None = None) -> BoardReading:
        assert capture_pid == 42
        return self.reading


class Source:
    """A source of reasons that the test sets."""

    def __init__(self) -> None:
        self.now: dict[ReasonCode, str] = {}

    def reasons(self) -> dict[ReasonCode, str]:
        return self.now


class Quiet:
    """The fallbacks and the drift of a device that has neither."""

    def __init__(self, section: Any) -> None:
        self._section = section

    def health(self) -> Any:
        return self._section


class Models:
    """The updater, as far as health reads it."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.now = ModelStatus("pinned")
        self._pipeline = pipeline

    def status(self) -> ModelStatus:
        facts = self._pipeline.status().facts
        return replace(self.now, model=facts.model) if facts else ModelStatus("none")


class Child:
    """A camera with a capture child."""

    child_pid = 42


DRIFT: DriftHealth = {"learning_hours": None, "labels": {}, "latency": {"mean_ms": None, "baseline_ms": None},
         "image": {"changes": [], "likeness": None, "focus": None, "references": 0, "learning_hours": 48.0},
         "feedback": {"count": 0, "wrong": 0, "error_rate": None}}


class Rig:
    """The publisher with strict fakes, called several times a second as on the main thread."""

    def __init__(self, frames: int = 3, *, has_model: bool = True) -> None:
        config = Config(camera=CameraConfig(source="auto"))
        self.clock = FakeClock()
        self.publisher = FakePublisher()
        self.camera = StatusCamera([make_frame(self.clock, seq) for seq in range(1, frames + 1)])
        self.meters = FrameMeters(self.clock)
        self.pipeline = Pipeline(self.camera, lambda: FakeDetector() if has_model else None, self.clock, config.camera)
        self.blind = 0
        self.pipeline.subscribe(self.meters.on_result)
        self.pipeline.on_blind.append(self.count)
        self.board = QuietBoard()
        self.running = Reloader(Loaded(config), lambda: Loaded(config))
        self.own, self.other = Source(), Source()
        self.models = Models(self.pipeline)
        self.monitor = BoardMonitor(self.board, Child(), self.clock)
        self.throttle = Throttle(config, self.pipeline, self.clock)
        self.monitor.subscribe(self.throttle.on_reading)
        report = HealthReport(self.camera, self.pipeline, self.meters,
                              Quiet({"looking": None, "cloud": None, "motion_results": None}), Quiet(DRIFT),
                              self.publisher, self.monitor, self.throttle)
        self.states = StatePublisher(self.publisher, self.running, IDENTITY, camera=self.camera, pipeline=self.pipeline,
                                     models=self.models, limits=lambda: None, board=None)
        self.health = HealthPublisher(
            self.publisher, config, self.clock, IDENTITY, report=report,
            sources=(self.camera, self.pipeline, self.monitor, WallClock(self.clock), self.throttle,
                     self.own, self.other))

    def count(self) -> None:
        self.blind += 1

    def tick(self) -> None:
        self.monitor.tick()
        self.states.tick()
        self.pipeline.report_blindness()
        self.health.tick()

    def detect_all(self) -> None:
        worker = Worker("detect", self.pipeline.run)
        self.pipeline.run(worker)

    def published(self, topic: str = "health") -> list[dict[str, Any]]:
        return [json.loads(message.payload) for message in self.publisher.messages if message.topic == topic]


def test_ok_when_nothing_fails_and_counts_add_up() -> None:
    """There is no reason, the state is ok, and captured == detected + dropped + pending."""
    rig = Rig()
    rig.detect_all()
    rig.tick()
    published = rig.published()[-1]
    assert (published["state"], published["reasons"]) == ("ok", [])
    capture = published["capture"]
    assert capture["captured"] == capture["detected"] + sum(capture["dropped"].values()) + capture["pending"] == 3
    assert published["inference"]["xnnpack_share"] == 1.0
    assert published["inference"]["timing_ms"]["invoke"]["p50"] == 3.0
    assert rig.blind == 0


def test_a_short_interruption_ends_the_earlier_counts() -> None:
    """An interruption between two ticks ends the counts of the time before it, once."""
    rig = Rig()
    rig.detect_all()
    rig.tick()
    rig.camera.now = replace(rig.camera.now, interruptions=1)
    for _ in range(3):
        rig.tick()
    assert rig.blind == 1
    rig.camera.raised = {"camera_rate": ""}
    rig.tick()
    assert rig.blind == 1


def test_published_on_change_at_most_once_a_second_and_every_interval() -> None:
    """A change within the second waits for its end; without a change, one message is published each interval."""
    rig = Rig()
    rig.detect_all()
    rig.tick()
    rig.own.now = {"config_rejected": "line 3"}
    rig.tick()
    assert len(rig.published()) == 1
    rig.clock.advance(1)
    rig.tick()
    assert [reason["code"] for reason in rig.published()[-1]["reasons"]] == ["config_rejected"]
    for _ in range(29):
        rig.clock.advance(1)
        rig.tick()
    assert len(rig.published()) == 2
    rig.clock.advance(1)
    rig.tick()
    assert len(rig.published()) == 3


def test_a_periodic_message_does_not_delay_a_change() -> None:
    """A stall that begins right after a periodic message is published at once, not a second later."""
    rig = Rig()
    rig.detect_all()
    rig.tick()
    rig.clock.advance(30)
    rig.tick()
    rig.clock.advance(0.25)
    rig.own.now = {"config_rejected": "line 3"}
    rig.tick()
    assert len(rig.published()) == 3
    rig.clock.advance(0.25)
    rig.own.now = {}
    rig.tick()
    assert len(rig.published()) == 3


def test_since_is_the_beginning_of_the_reason() -> None:
    """`since` is the time when the reason began, not when it was last published."""
    rig = Rig()
    rig.detect_all()
    rig.own.now = {"config_rejected": "line 3"}
    rig.tick()
    rig.clock.advance(60)
    rig.tick()
    first, second = (published["reasons"][0]["since"] for published in rig.published())
    assert first == second


@pytest.mark.parametrize(("state", "code"), [
    ("stalled", "camera_stalled"), ("offline", "camera_offline"), ("frozen", "camera_frozen")])
def test_a_camera_without_frames_is_failed_and_counts_become_null(state: Literal["stalled", "offline", "frozen"],
                                                         code: ReasonCode) -> None:
    """A camera without frames is never ok, and the device reports that it does not detect."""
    rig = Rig()
    rig.detect_all()
    rig.camera.now = replace(rig.camera.now, state=state, cause="no frame for 3 s")
    rig.camera.raised = {code: "no frame for 3 s"}
    rig.tick()
    assert rig.published()[-1]["state"] == "failed"
    assert rig.published()[-1]["reasons"][0]["detail"] == "no frame for 3 s"
    assert rig.published("camera")[-1]["state"] == state
    assert rig.blind == 1


def test_no_model_is_failed() -> None:
    """A camera works but there is no model: health reports it as failed."""
    rig = Rig(has_model=False)
    rig.detect_all()
    rig.tick()
    assert rig.published()[-1]["state"] == "failed"
    assert rig.published()[-1]["reasons"][0]["code"] == "no_model"
    assert rig.blind == 1
    assert rig.published("model")[-1]["state"] == "none"


def test_info_camera_and_model_are_published_on_change_only() -> None:
    """Retained states are not published again without a change."""
    rig = Rig()
    rig.detect_all()
    for _ in range(5):
        rig.tick()
        rig.clock.advance(1)
    for topic in ("info", "camera", "model"):
        assert len(rig.published(topic)) == 1
    assert rig.published("info")[0]["detector"]["decoder"] == "yolov8"
    assert rig.published("info")[0]["config"]["detector"]["score_threshold"] == 0.5
    rig.running.try_out({"detector": {"deny": ["pass=hunter2"]}})
    rig.tick()
    assert rig.published("info")[1]["config"]["detector"]["deny"] == ["pass=***"]
    assert rig.published("info")[1]["places"] == {"detector.deny": "tried"}


def test_board_problems_are_reasons() -> None:
    """Heat and an unset clock are reasons with a detail."""
    rig = Rig()
    rig.detect_all()
    rig.board.reading = BoardReading(clock_synced=False, temperature_c=85.0)
    rig.tick()
    published = rig.published()[-1]
    assert {reason["code"] for reason in published["reasons"]} == {"clock_unsynced", "hot"}
    assert published["board"]["temperature_c"] == 85.0
    assert published["state"] == "degraded"
    assert not rig.monitor.clock_synced()


def test_the_final_health_is_always_published() -> None:
    """At the stop, the final counts are published even if nothing changed."""
    rig = Rig()
    rig.detect_all()
    rig.tick()
    rig.health.tick(final=True)
    assert len(rig.published()) == 2


def test_the_status_line_has_state_camera_rate_and_broker() -> None:
    """`systemctl status` shows a line that a person can read."""
    rig = Rig()
    rig.detect_all()
    rig.tick()
    line = rig.health.status_line()
    assert line.startswith("ok: camera capturing, ")
    assert line.endswith("connected")


def test_a_reason_of_two_sources_keeps_both_details() -> None:
    """The disk may fail in two places at once; a detail that both give is published once."""
    rig = Rig()
    rig.detect_all()
    rig.own.now = {"store_failed": "/models: read-only", "update_failed": "blind"}
    rig.other.now = {"store_failed": "/state: removed", "update_failed": "blind"}
    rig.tick()
    assert [(reason["code"], reason["detail"]) for reason in rig.published()[-1]["reasons"]] == [
        ("store_failed", "/models: read-only; /state: removed"), ("update_failed", "blind")]


def test_the_system_is_named_without_starting_a_process() -> None:
    """The message `info` names the system as Python does. Python runs `uname -p` for a word that it then leaves out."""
    code = ("import platform, sys; from vedette.health.states import system; started = []; "
            "sys.addaudithook(lambda event, _: started.append(event) if event == 'subprocess.Popen' else None); "
            "print(system(), len(started), system() == platform.platform())")
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.split(" ", 1)[1] == "0 True\n"
