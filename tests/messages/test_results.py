"""What subscribers are told of each frame: results numbered without gaps, counts on change, null while not looking."""

from __future__ import annotations

import io
import json
import threading
from dataclasses import replace
from typing import Any

from tests.support.fakes import IDENTITY, FakeClock, FakeFlow, FakePublisher, StatusCamera, make_frame, make_result
from vedette.config.models import CameraConfig, Config, PublishConfig
from vedette.messages.results import Printer, ResultReporter
from vedette.types import Box, Detection, Message

PERSON = Detection("person", 0, 0.9, Box(0.1, 0.1, 0.2, 0.2))


class Rig:
    """A reporter whose messages are kept."""

    def __init__(self, **publish: Any) -> None:
        self.clock = FakeClock()
        self.publisher = FakePublisher()
        self.camera = StatusCamera([])
        config = Config(camera=CameraConfig(source="auto"), publish=PublishConfig.model_validate(publish))
        self.reporter = ResultReporter(self.publisher, config, self.clock, IDENTITY, flow=FakeFlow(),
                                       camera=self.camera, clock_synced=lambda: True)

    def see(self, *scenes: tuple[Detection, ...]) -> None:
        for scene in scenes:
            self.clock.advance(1)
            self.reporter.on_result(make_result(make_frame(self.clock), scene))

    def told(self, topic: str) -> list[dict[str, Any]]:
        return [json.loads(message.payload) for message in self.publisher.messages if message.topic == topic]


def test_published_results_are_numbered_from_one_without_gaps() -> None:
    """(device, run, seq) orders results: suppressed ones take no number."""
    rig = Rig(results="detections")
    rig.see((PERSON,), (), (), (), (PERSON,))
    results = rig.told("detections")
    assert [(one["device"], one["run"], one["seq"], len(one["detections"])) for one in results] == [
        ("gate", 7, 1, 1), ("gate", 7, 2, 0), ("gate", 7, 3, 1)]
    assert results[0]["dropped"] == FakeFlow().all_dropped()


def test_counts_are_retained_and_told_on_change_only() -> None:
    """The first counts at once, a change once it was seen twice."""
    rig = Rig()
    rig.see((), (PERSON,), (PERSON,), (PERSON,), ())
    assert [one["counts"] for one in rig.told("counts")] == [{}, {"person": 1}]
    assert all(message.retain for message in rig.publisher.messages if message.topic == "counts")


def test_counts_stay_null_while_the_picture_is_frozen() -> None:
    """What stands still for a minute is no scene, though results of it come."""
    rig = Rig(results="all")
    rig.see((PERSON,))
    rig.camera.now = replace(rig.camera.now, state="frozen")
    for _ in range(3):
        rig.reporter.on_blind()
        rig.see((PERSON,), (PERSON,))
    assert [one["counts"] for one in rig.told("counts")] == [{"person": 1}, None]
    rig.camera.now = replace(rig.camera.now, state="capturing")
    rig.see((PERSON,))
    assert [one["counts"] for one in rig.told("counts")] == [{"person": 1}, None, {"person": 1}]
    assert len(rig.told("detections")) == 8


def test_counts_are_null_once_while_not_looking_and_told_again_after() -> None:
    """Nobody may read silence as an empty scene."""
    rig = Rig()
    rig.reporter.on_blind()
    rig.see((PERSON,))
    rig.reporter.on_blind()
    rig.reporter.on_blind()
    rig.see((PERSON,))
    assert [one["counts"] for one in rig.told("counts")] == [None, {"person": 1}, None, {"person": 1}]


def test_null_counts_are_the_last_word_whatever_the_other_thread_is_at() -> None:
    """A device that stops looking while a result is being told leaves `counts: null` behind, not the result's."""
    rig = Rig()
    halted = threading.Thread(target=rig.reporter.on_blind)
    keep = rig.publisher.publish

    class Interrupted(FakePublisher):
        def publish(self, message: Message) -> None:
            if message.topic == "counts" and halted.ident is None:
                halted.start()
                halted.join(0.2)      # it would be through by then, if it could overtake
            keep(message)

    rig.reporter._publisher = Interrupted()
    rig.see((PERSON,))
    halted.join(60)
    assert [one["counts"] for one in rig.told("counts")] == [{"person": 1}, None]


def test_a_result_of_another_source_is_always_told() -> None:
    """The same counts come from motion: a subscriber must know that the model sees nothing now."""
    rig = Rig(results="changes")
    rig.see((PERSON,), (PERSON,), (PERSON,))
    for source in ("motion", "motion", "local"):
        rig.clock.advance(1)
        rig.reporter.on_result(replace(make_result(make_frame(rig.clock), (PERSON,)), source=source))
    assert [one["source"] for one in rig.told("detections")] == ["local", "motion", "local"]


def test_a_reload_changes_the_rules_from_the_next_result_on() -> None:
    """`publish` is live."""
    rig = Rig(results="changes")
    rig.see((PERSON,), (PERSON,))
    rig.reporter.reload(Config(camera=CameraConfig(source="auto"), publish=PublishConfig(results="all")))
    rig.see((PERSON,), (PERSON,))
    assert [one["seq"] for one in rig.told("detections")] == [1, 2, 3]


def print_on(stream: io.StringIO) -> None:
    clock = FakeClock()
    printer = Printer(IDENTITY, flow=FakeFlow(), clock_synced=lambda: False, stream=stream)
    printer.on_result(make_result(make_frame(clock), (PERSON,)))
    printer.on_result(make_result(make_frame(clock, 2)))


def test_print_gives_json_lines_to_programs() -> None:
    """Every result is one line of JSON with the schema's keys."""
    stream = io.StringIO()
    print_on(stream)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["seq"] for line in lines] == [1, 2]
    assert lines[0]["schema"] == "vedette.detections/1"


def test_print_gives_a_readable_line_to_people() -> None:
    """On a terminal: label and score, or a dash."""
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True
    stream = Terminal()
    print_on(stream)
    first, second = stream.getvalue().splitlines()
    assert first.endswith("person 0.90")
    assert second.endswith("-")
