"""Health: told at once on change, at most once a second, and never an `ok` that hides a failure."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.support.fakes import EPOCH, FakeCamera, FakeClock, FakeDetector, FakePublisher, make_frame
from vedette._lib.worker import Worker
from vedette.config.models import GovernorConfig
from vedette.detect.pipeline import Pipeline
from vedette.device.board import BoardReading
from vedette.device.throttle import Throttle
from vedette.health.meters import FrameMeters
from vedette.health.publisher import HealthReporter
from vedette.messages import payloads
from vedette.types import CameraStatus, ModelStatus


class QuietBoard:
    """A board without troubles, or with those it is given."""

    def __init__(self) -> None:
        self.reading = BoardReading(clock_synced=True)

    def read(self, capture_pid: int | None = None) -> BoardReading:
        assert capture_pid == 42
        return self.reading


class StatusCamera(FakeCamera):
    """A camera that is whatever the test says."""

    def __init__(self, frames: list) -> None:
        super().__init__(frames, ends=True)
        self.now = CameraStatus("capturing", EPOCH, None, "fake", captured=len(frames))

    def status(self) -> CameraStatus:
        return replace(self.now, pending=len(self.frames))


class Rig:
    """A health reporter over strict fakes."""

    def __init__(self, frames: int = 3, *, has_model: bool = True) -> None:
        self.clock = FakeClock()
        self.publisher = FakePublisher()
        self.camera = StatusCamera([make_frame(self.clock, seq) for seq in range(1, frames + 1)])
        self.meters = FrameMeters()
        self.pipeline = Pipeline(self.camera, lambda: FakeDetector() if has_model else None, (self.meters.record,),
                                 self.clock, max_frame_age_ms=1000)
        self.board = QuietBoard()
        self.own: dict[str, str] = {}
        self.models = ModelStatus("pinned")
        self.not_looking = 0
        self.health = HealthReporter(
            self.publisher, self.camera, self.pipeline, self.meters, self.board, self.clock, device="gate", run=7,
            interval_s=30, capture_pid=lambda: 42, own_reasons=lambda: self.own, stopped_looking=self.count,
            info=lambda camera, facts: payloads.info(
                device="gate", run=7, versions={"vedette": "0", "python": "3", "os": "x"},
                hardware={"board": None, "machine": "x", "cores": 2},
                camera={"source": camera.source, "width": camera.width, "height": camera.height, "fps": 15},
                detector=facts, reason_codes=(), commands=()),
            models=lambda facts: replace(self.models, model=facts.model) if facts else ModelStatus("none"),
            throttle=Throttle(GovernorConfig(), self.clock, full_per_s=15, apply=self.pipeline.limit,
                                detected=lambda: self.pipeline.status().detected),
            drift=lambda: {
                "learning_hours": None, "labels": {}, "latency": {"mean_ms": None, "baseline_ms": None},
                "image": {"changes": [], "likeness": None, "focus": None, "references": 0, "learning_hours": 48.0},
                "feedback": {"count": 0, "wrong": 0, "error_rate": None}},
            fallback=lambda: {"looking": None, "cloud": None, "motion_results": None})

    def count(self) -> None:
        self.not_looking += 1

    def detect_all(self) -> None:
        worker = Worker("detect", self.pipeline.run)
        self.pipeline.run(worker)

    def told(self, topic: str = "health") -> list[dict]:
        return [json.loads(message.payload) for message in self.publisher.messages if message.topic == topic]


def test_ok_when_all_is_well_and_accounts_balance():
    """No reason, state ok, and captured == detected + dropped + pending."""
    rig = Rig()
    rig.detect_all()
    rig.health.tick()
    told = rig.told()[-1]
    assert (told["state"], told["reasons"]) == ("ok", [])
    capture = told["capture"]
    assert capture["captured"] == capture["detected"] + sum(capture["dropped"].values()) + capture["pending"] == 3
    assert told["inference"]["xnnpack_share"] == 1.0
    assert told["inference"]["timing_ms"]["invoke"]["p50"] == 3.0
    assert rig.not_looking == 0


def test_counts_of_before_a_trouble_end_with_it_however_short_it_was():
    """A trouble that was over between two looks is named, and the counts of before it do not stand beside that."""
    rig = Rig()
    rig.detect_all()
    rig.health.tick()
    rig.camera.now = replace(rig.camera.now, reasons=("camera_offline",))
    for _ in range(3):
        rig.health.tick()
    assert rig.not_looking == 1
    rig.camera.now = replace(rig.camera.now, reasons=("camera_offline", "camera_rate"))
    rig.health.tick()
    assert rig.not_looking == 1


def test_told_on_change_at_most_once_a_second_and_every_interval():
    """A change inside the second waits for its end; without change, one message each interval."""
    rig = Rig()
    rig.detect_all()
    rig.health.tick()
    rig.own = {"config_rejected": "line 3"}
    rig.health.tick()
    assert len(rig.told()) == 1
    rig.clock.advance(1)
    rig.health.tick()
    assert [reason["code"] for reason in rig.told()[-1]["reasons"]] == ["config_rejected"]
    for _ in range(29):
        rig.clock.advance(1)
        rig.health.tick()
    assert len(rig.told()) == 2
    rig.clock.advance(1)
    rig.health.tick()
    assert len(rig.told()) == 3


def test_a_message_of_the_interval_holds_no_change_back():
    """A stall that begins right after a periodic message is told at once, not a second later."""
    rig = Rig()
    rig.detect_all()
    rig.health.tick()
    rig.clock.advance(30)
    rig.health.tick()
    rig.clock.advance(0.25)
    rig.own = {"config_rejected": "line 3"}
    rig.health.tick()
    assert len(rig.told()) == 3
    rig.clock.advance(0.25)
    rig.own = {}
    rig.health.tick()
    assert len(rig.told()) == 3


def test_a_reason_keeps_its_beginning():
    """`since` is when the reason began, not when it was last told."""
    rig = Rig()
    rig.detect_all()
    rig.own = {"config_rejected": "line 3"}
    rig.health.tick()
    rig.clock.advance(60)
    rig.health.tick()
    first, second = (told["reasons"][0]["since"] for told in rig.told())
    assert first == second


@pytest.mark.parametrize("code", ["camera_stalled", "camera_offline", "camera_frozen"])
def test_a_blind_camera_is_failed_and_counts_become_null(code: str):
    """A camera that gives nothing is never ok, and the device says that it does not look."""
    rig = Rig()
    rig.detect_all()
    state = code.removeprefix("camera_")
    rig.camera.now = replace(rig.camera.now, state=state, cause="no frame for 3 s", reasons=(code,))
    rig.health.tick()
    assert rig.told()[-1]["state"] == "failed"
    assert rig.told()[-1]["reasons"][0]["detail"] == "no frame for 3 s"
    assert rig.told("camera")[-1]["state"] == state
    assert rig.not_looking == 1


def test_no_model_is_failed():
    """A camera without a model looks alive and sees nothing: it must say so."""
    rig = Rig(has_model=False)
    rig.detect_all()
    rig.health.tick()
    assert rig.told()[-1]["state"] == "failed"
    assert rig.told()[-1]["reasons"][0]["code"] == "no_model"
    assert rig.not_looking == 1
    assert rig.told("model")[-1]["state"] == "none"


def test_info_camera_and_model_are_told_on_change_only():
    """Retained states do not repeat themselves."""
    rig = Rig()
    rig.detect_all()
    for _ in range(5):
        rig.health.tick()
        rig.clock.advance(1)
    for topic in ("info", "camera", "model"):
        assert len(rig.told(topic)) == 1
    assert rig.told("info")[0]["detector"]["decoder"] == "yolov8"


def test_the_boards_troubles_are_reasons():
    """Heat and an unset clock show with their detail."""
    rig = Rig()
    rig.detect_all()
    rig.board.reading = BoardReading(clock_synced=False, temperature_c=85.0)
    rig.health.tick()
    told = rig.told()[-1]
    assert {reason["code"] for reason in told["reasons"]} == {"clock_unsynced", "hot"}
    assert told["board"]["temperature_c"] == 85.0
    assert told["state"] == "degraded"
    assert not rig.health.clock_synced


def test_the_last_word_is_told_in_any_case():
    """At the stop, the final accounts are published even when nothing changed."""
    rig = Rig()
    rig.detect_all()
    rig.health.tick()
    rig.health.tick(final=True)
    assert len(rig.told()) == 2


def test_the_status_line_says_state_camera_rate_and_broker():
    """`systemctl status` shows a line that a person can read."""
    rig = Rig()
    rig.detect_all()
    rig.health.tick()
    line = rig.health.status_line()
    assert line.startswith("ok: camera capturing, ")
    assert line.endswith("connected")


def test_what_models_are_blamed_for_stands_in_health():
    """A reason of the updater is a reason of the device, and its words are the detail."""
    rig = Rig()
    rig.detect_all()
    rig.models = ModelStatus("good", reasons={"update_failed": "blind"})
    rig.health.tick()
    assert [(reason["code"], reason["detail"]) for reason in rig.told()[-1]["reasons"]] == [("update_failed", "blind")]
