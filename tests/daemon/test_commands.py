"""Commands: carried out on the main thread, each answered exactly once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.fakes import (
    IDENTITY,
    FakeCamera,
    FakeClock,
    FakeDetector,
    FakePublisher,
    make_frame,
    make_pipeline,
    make_result,
)
from vedette.commands import WAITING_LIMIT, CommandDesk
from vedette.config.load import Loaded
from vedette.config.models import CameraConfig, Config, PublishConfig
from vedette.config.reload import Reloader
from vedette.detect.switch import FILE, DetectionSwitch
from vedette.errors import StateUnusable, UpdateRefused, UsageError, VedetteError
from vedette.messages.results import ResultReporter
from vedette.types import Command

PUBLISHED = 100
"""Results of this run."""


class FakeUpdates:
    """An updater that refuses if it has a refusal, and records requests to roll back."""

    def __init__(self) -> None:
        self.refusal: VedetteError | None = None
        self.waiting: list[Callable[[str, VedetteError | None], None]] = []

    def nudge(self) -> float:
        if self.refusal:
            raise self.refusal
        return 12.34

    def request_roll_back(self, answered: Callable[[str, VedetteError | None], None]) -> None:
        self.waiting.append(answered)


class FakeDrift:
    """Counts feedback by result, as the real one does."""

    def __init__(self) -> None:
        self.words: dict[tuple[int, int], bool] = {}
        self.relearnt: list[str] = []

    def feedback(self, run: int, seq: int, *, right: bool, label: str = "") -> tuple[bool, int, int]:
        news = self.words.get((run, seq)) is not right
        self.words[run, seq] = right
        return news, len(self.words), list(self.words.values()).count(False)

    def relearn(self, part: str) -> None:
        self.relearnt.append(part)


class FakeCollection:
    """A collection that answers with an error if it has one, and records what it was asked."""

    def __init__(self) -> None:
        self.error: VedetteError | None = None
        self.asked: list[str] = []

    def request(self, what: str, answered: Callable[[VedetteError | None], None]) -> None:
        self.asked.append(what)
        answered(self.error)


class Rig:
    """A desk whose inbox is emptied by hand."""

    def __init__(self, folder: Path, frames: int = 1) -> None:
        clock = FakeClock()
        self.publisher = FakePublisher()
        self.inbox: list[Callable[[], None]] = []
        self.restarts = 0
        camera = FakeCamera([make_frame(clock)] * frames)
        self.pipeline = make_pipeline(camera, FakeDetector, clock)
        config = Config(camera=CameraConfig(source="auto"), publish=PublishConfig(results="all"))
        self.results = ResultReporter(self.publisher, config, clock, IDENTITY, flow=self.pipeline, camera=camera,
                                      clock_synced=lambda: True)
        for seq in range(PUBLISHED):
            self.results.on_result(make_result(make_frame(clock, seq)))
            clock.advance(1)
        self.publisher.messages.clear()
        self.updates = FakeUpdates()
        self.drift = FakeDrift()
        self.collection = FakeCollection()
        self.reloader = Reloader(Loaded(config), lambda: Loaded(config))
        self.desk = CommandDesk(camera, self.publisher, updates=self.updates, drift=self.drift, results=self.results,
                                main_thread=self, switch=DetectionSwitch(self.pipeline, folder, allowed=True),
                                configuration=self.reloader)
        self.desk.collection = self.collection

    def call(self, action: Callable[[], None]) -> None:
        self.inbox.append(action)

    def stop(self, exit_code: int, why: str) -> None:
        assert (exit_code, why) == (0, "a command requested a restart")
        self.restarts += 1

    def send(self, name: str, arguments: Mapping[str, object] | None = None) -> dict[str, Any]:
        self.desk.accept(Command(name, arguments or {}, "t-1", f"vedette/gate/reply/{name}"))
        before = len(self.publisher.messages)
        self.inbox.pop()()
        replies = [message for message in self.publisher.messages[before:] if message.topic.startswith("/")]
        assert len(replies) == 1
        assert replies[0].topic == f"/vedette/gate/reply/{name}"
        answer: dict[str, Any] = json.loads(replies[0].payload)
        assert answer["transaction"] == "t-1"
        return answer


def test_accepting_only_enqueues(tmp_path: Path) -> None:
    """The network thread only enqueues: the broker gets its acknowledgement before anything happens."""
    rig = Rig(tmp_path)
    rig.desk.accept(Command("restart", {}, None, "vedette/gate/reply/restart"))
    assert rig.restarts == 0
    assert rig.publisher.messages == []


def test_pause_and_resume(tmp_path: Path) -> None:
    """A pause lasts an hour at most, and is a reason until it is resumed."""
    rig = Rig(tmp_path)
    assert rig.send("pause", {"seconds": 60})["data"] == {"seconds": 60}
    assert "paused" in rig.pipeline.reasons()
    assert rig.send("resume")["status"] == "ok"
    assert "paused" not in rig.pipeline.reasons()
    assert rig.send("pause")["data"] == {"seconds": 3600}


def test_the_switch_pauses_until_it_is_switched_on(tmp_path: Path) -> None:
    """OFF has no end, and `pause` cannot give it one. ON ends any pause, and so does `resume`."""
    rig = Rig(tmp_path)
    assert rig.send("detection", {"state": "OFF"})["status"] == "ok"
    assert rig.pipeline.reasons()["paused"] == "until it is switched on"
    assert rig.send("pause", {"seconds": 1})["status"] == "refused"
    assert rig.pipeline.reasons()["paused"] == "until it is switched on"
    assert rig.send("detection", {"state": "ON"})["status"] == "ok"
    assert "paused" not in rig.pipeline.reasons()
    rig.send("pause")
    assert rig.send("detection", {"state": "ON"})["status"] == "ok"
    assert "paused" not in rig.pipeline.reasons()
    rig.send("detection", {"state": "OFF"})
    assert rig.send("resume")["status"] == "ok"
    assert rig.send("pause", {"seconds": 1})["status"] == "ok"


def test_what_is_switched_off_is_off_after_a_restart(tmp_path: Path) -> None:
    """A power cut switches nothing on. Where the command is not allowed any more, nobody could switch it on."""
    Rig(tmp_path).send("detection", {"state": "OFF"})
    again = Rig(tmp_path)
    assert "paused" in again.pipeline.reasons()
    assert not DetectionSwitch(again.pipeline, tmp_path, allowed=False).is_off
    assert "paused" not in again.pipeline.reasons()
    assert "paused" not in Rig(tmp_path).pipeline.reasons()


def test_a_switch_that_the_disk_does_not_keep(tmp_path: Path) -> None:
    """It holds in this run, and the answer says that a restart would undo it."""
    rig = Rig(tmp_path)
    (tmp_path / FILE).mkdir()
    answer = rig.send("detection", {"state": "OFF"})
    assert answer["status"] == "failed"
    assert FILE in answer["error"]
    assert "paused" in rig.pipeline.reasons()


@pytest.mark.parametrize("arguments", [{}, {"state": "off"}, {"state": True}, {"state": ["ON"]},
                                       {"state": "ON", "seconds": 1}])
def test_another_state_of_the_switch_is_refused(tmp_path: Path, arguments: dict[str, object]) -> None:
    """The answer says what is expected; nothing is paused."""
    rig = Rig(tmp_path)
    answer = rig.send("detection", arguments)
    assert (answer["status"], "ON" in answer["error"]) == ("refused", True)
    assert "paused" not in rig.pipeline.reasons()


@pytest.mark.parametrize("seconds", [0, -1, 3601, "ten", None, True, float("nan")])
def test_an_invalid_pause_is_refused(tmp_path: Path, seconds: object) -> None:
    """The answer names the expected value; nothing is paused."""
    rig = Rig(tmp_path)
    answer = rig.send("pause", {"seconds": seconds})
    assert answer["status"] == "refused"
    assert "up to 3600" in answer["error"]
    assert "paused" not in rig.pipeline.reasons()


def test_snapshot_publishes_a_picture_and_answers(tmp_path: Path) -> None:
    """The JPEG is published once with QoS 0, and the answer has its size."""
    rig = Rig(tmp_path)
    answer = rig.send("snapshot")
    picture = next(message for message in rig.publisher.messages if message.topic == "snapshot")
    assert picture.qos == 0
    assert not picture.retain
    assert answer["data"]["bytes"] == len(picture.payload)
    assert (answer["data"]["width"], answer["data"]["height"]) == (8, 6)


def test_a_snapshot_over_the_socket_is_not_published(tmp_path: Path) -> None:
    """Reply and picture go to the one who asked, and the broker gets neither."""
    rig = Rig(tmp_path)
    replies: list[tuple[bytes, bytes]] = []
    rig.desk.accept(Command("snapshot", {}, None, "", lambda reply, jpeg: replies.append((reply, jpeg))))
    while rig.inbox:
        rig.inbox.pop(0)()
    (reply, jpeg), = replies
    assert json.loads(reply)["data"]["bytes"] == len(jpeg) > 0
    assert rig.publisher.messages == []


def test_snapshot_without_a_frame_fails_with_a_message(tmp_path: Path) -> None:
    """No picture is published."""
    rig = Rig(tmp_path, frames=0)
    answer = rig.send("snapshot")
    assert answer["status"] == "failed"
    assert "no frame came" in answer["error"]
    assert len(rig.publisher.messages) == 1


def test_restart_answers_first(tmp_path: Path) -> None:
    """The answer is in the outbox before the stop begins."""
    rig = Rig(tmp_path)
    assert rig.send("restart")["status"] == "ok"
    assert rig.restarts == 1


def test_update_asks_the_source_soon_or_gives_the_reason(tmp_path: Path) -> None:
    """The answer comes at once; the model message has the outcome."""
    rig = Rig(tmp_path)
    assert rig.send("update")["data"] == {"within_s": 12.3}
    rig.updates.refusal = UpdateRefused("pinned: detector.model is street.tflite")
    answer = rig.send("update")
    assert (answer["status"], answer["error"]) == ("refused", "pinned: detector.model is street.tflite")


@pytest.mark.parametrize(("error", "status"), [
    (None, "ok"), (UpdateRefused("no previous model"), "refused"), (StateUnusable("read-only"), "failed")])
def test_rollback_is_answered_when_it_is_done(tmp_path: Path, error: VedetteError | None, status: str) -> None:
    """The answer waits for the outcome from the update thread."""
    rig = Rig(tmp_path)
    rig.desk.accept(Command("rollback", {}, "t-1", "vedette/gate/reply/rollback"))
    rig.inbox.pop()()
    assert rig.publisher.messages == []
    rig.updates.waiting.pop()("" if error else "rolled back to street 3", error)
    (reply,) = rig.publisher.messages
    answer = json.loads(reply.payload)
    assert (reply.topic, answer["status"], answer["transaction"]) == ("/vedette/gate/reply/rollback", status, "t-1")
    assert "street 3" in answer["data"]["words"] if error is None else answer["error"] == str(error)


def test_few_commands_wait_and_the_others_are_answered_at_once(tmp_path: Path) -> None:
    """A flood of commands cannot keep the main thread from its other work; each command is still answered."""
    rig = Rig(tmp_path)
    for _ in range(WAITING_LIMIT + 3):
        rig.desk.accept(Command("resume", {}, None, "vedette/gate/reply/resume"))
    assert len(rig.inbox) == WAITING_LIMIT
    assert [json.loads(message.payload)["status"] for message in rig.publisher.messages] == ["failed"] * 3
    for action in rig.inbox:
        action()
    assert len(rig.publisher.messages) == WAITING_LIMIT + 3
    assert rig.send("resume")["status"] == "ok"


def test_commands_that_a_stop_finds_waiting_are_answered(tmp_path: Path) -> None:
    """They are not carried out, and neither is one that comes later; each gets one reply."""
    rig = Rig(tmp_path)
    for _ in range(2):
        rig.desk.accept(Command("restart", {}, None, "vedette/gate/reply/restart"))
    rig.desk.stop()
    rig.desk.accept(Command("restart", {}, None, "vedette/gate/reply/restart"))
    rig.desk.stop()
    for action in rig.inbox:
        action()
    answers = [json.loads(message.payload) for message in rig.publisher.messages]
    assert [(answer["status"], answer["error"]) for answer in answers] == [("failed", "the daemon stops")] * 3
    assert rig.restarts == 0


def test_feedback_is_counted_and_answered(tmp_path: Path) -> None:
    """Feedback about this run or an earlier one counts; a repetition does not."""
    rig = Rig(tmp_path)
    assert rig.send("feedback", {"run": 7, "seq": 100, "right": True})["data"] == {
        "counted": True, "count": 1, "wrong": 0}
    assert rig.send("feedback", {"run": 6, "seq": 4000, "right": False, "label": "person"})["data"]["wrong"] == 1
    assert rig.send("feedback", {"run": 6, "seq": 4000, "right": False})["data"] == {
        "counted": False, "count": 2, "wrong": 1}


@pytest.mark.parametrize("arguments", [
    {}, {"run": 7, "seq": 1}, {"run": 7, "right": True}, {"run": "7", "seq": 1, "right": True},
    {"run": True, "seq": 1, "right": True}, {"run": 0, "seq": 1, "right": True}, {"run": 7, "seq": -1, "right": True},
    {"run": 7, "seq": 1.5, "right": True}, {"run": 7, "seq": 1, "right": "yes"}, {"run": 7, "seq": 1, "right": None},
    {"run": 7, "seq": 101, "right": True}, {"run": 8, "seq": 1, "right": True},
    {"run": 7, "seq": 1, "right": True, "label": 4}, {"run": 7, "seq": 1, "right": True, "label": "x" * 65},
    {"run": 7, "seq": 1, "right": True, "label": "a\x00"}, {"run": 7, "seq": 1, "right": True, "note": "x"},
    {"run": 2**60, "seq": 1, "right": True}])
def test_feedback_about_no_result_is_refused(tmp_path: Path, arguments: dict[str, object]) -> None:
    """The answer names the expected value, and nothing is counted."""
    rig = Rig(tmp_path)
    answer = rig.send("feedback", arguments)
    assert answer["status"] == "refused"
    assert "expected" in answer["error"] or "no result" in answer["error"]
    assert rig.drift.words == {}


def test_relearn_starts_the_given_part_again(tmp_path: Path) -> None:
    """Scores, picture, or both; anything else is refused."""
    rig = Rig(tmp_path)
    assert rig.send("relearn")["status"] == rig.send("relearn", {"what": "picture"})["status"] == "ok"
    for arguments in ({"what": "camera"}, {"what": ["picture"]}, {"part": "picture"}):     # a slip forgets nothing
        assert rig.send("relearn", arguments)["status"] == "refused"
    assert rig.drift.relearnt == ["all", "picture"]


def test_what_is_tried_is_answered_with_its_keys(tmp_path: Path) -> None:
    """The reply names the keys that are tried now, or each one that is wrong; nothing is tried of a wrong one."""
    rig = Rig(tmp_path)
    zone = {"points": [[0, 0], [1, 0], [1, 1]]}
    reply = rig.send("try", {"zones": {"drive": zone}, "detector": {"score_threshold": 0.7}})
    assert (reply["status"], reply["data"]) == ("ok", {"tried": ["detector.score_threshold", "zones"]})
    assert rig.reloader.config.detector.score_threshold == 0.7
    reply = rig.send("try", {"detector": {"score_threshold": 7}, "camera": {"masks": []}})
    assert reply["status"] == "refused"
    assert "camera.masks: cannot be tried" in reply["error"]
    assert rig.reloader.config.detector.score_threshold == 0.7
    assert rig.send("try")["data"] == {"tried": []}
    assert rig.reloader.config == Config(camera=CameraConfig(source="auto"), publish=PublishConfig(results="all"))


def test_collecting_is_started_stopped_and_cleared(tmp_path: Path) -> None:
    """Each word reaches the collection. What the owner has not enabled is refused, what the disk prevents has failed.
    """
    rig = Rig(tmp_path)
    for what in ("start", "stop", "clear"):
        assert rig.send("collect", {"what": what})["data"] == {"what": what}
    for arguments in ({}, {"what": "fetch"}, {"what": "start", "frames": 9}):
        assert rig.send("collect", arguments)["status"] == "refused"
    assert rig.collection.asked == ["start", "stop", "clear"]
    rig.collection.error = UsageError("collect.enabled is false")
    assert rig.send("collect", {"what": "start"})["status"] == "refused"
    rig.collection.error = StateUnusable("no space")
    assert rig.send("collect", {"what": "clear"})["status"] == "failed"
