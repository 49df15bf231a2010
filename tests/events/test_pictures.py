"""Retained pictures of events: which are published, how many bytes a day, and that each is taken back."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.broker.mosquitto import Mosquitto
from tests.support.broker.subscriber import Subscriber, listening
from tests.support.daemon.as_nobody import as_nobody, give_away
from tests.support.fakes import FakeClock, FakePublisher, make_frame
from tests.support.waiting.until import wait_until
from vedette._lib.clock import SystemClock
from vedette.config.models import Config
from vedette.events.best_picture import BestPicture
from vedette.events.pictures import FILE, LABELS_MAX, BestPictures, PictureBudget
from vedette.mqtt.publisher import MqttPublisher
from vedette.types import Box, BrokerStatus


def config(pictures: object = "on", **more: Any) -> Config:
    return Config.model_validate({"events": {"pictures": pictures, **more.pop("events", {})}, **more})


def picture(noise: bool = False) -> BestPicture:
    made, frame = BestPicture(), make_frame(FakeClock(), width=320, height=240)
    if noise:
        frame.pixels.cast("B")[:] = np.random.default_rng(1).integers(0, 256, 320 * 240 * 3, np.uint8).data
    assert made.consider(frame, Box(0.2, 0.2, 0.8, 0.8), 0.9)
    return made


class Broker(FakePublisher):
    """A broker that has what it was given, unless it is away."""

    away = False

    def status(self) -> BrokerStatus:
        return BrokerStatus(connected=not self.away, cause=None, outbox_depth=len(self.messages) if self.away else 0)

    def sent(self) -> list[tuple[str, int]]:
        """Topic and whether there is content, of each message."""
        assert all(message.retain and message.qos == 1 for message in self.messages)
        return [(message.topic, len(message.payload)) for message in self.messages]


def noted(folder: Path) -> list[str]:
    return list(json.loads((folder / FILE).read_text()))


def test_a_picture_is_published_and_taken_back_when_switched_off(tmp_path: Path) -> None:
    """The empty message follows a reload, once; the note is gone when the broker has it."""
    broker = Broker()
    pictures = BestPictures(broker, config(), tmp_path, FakeClock())
    size = pictures.publish("person", picture())
    assert size
    assert broker.sent() == [("best/person", size)]
    assert broker.messages[0].payload == picture().jpeg()
    pictures.tidy()
    assert noted(tmp_path) == ["person"]
    pictures.reload(config("off"))
    for _ in range(3):
        pictures.tidy()
    assert broker.sent()[1:] == [("best/person", 0)]
    assert noted(tmp_path) == []


@pytest.mark.parametrize("wanted", [
    config("off"), config(["car"]), config(events={"enabled": False}), config(events={"labels": ["car"]}),
    config(detector={"allow": ["car"]}), Config(),
], ids=["off", "other labels", "no events", "no events of it", "not detected", "default"])
def test_what_is_not_wanted_is_not_published_and_taken_back_by_the_next_run(tmp_path: Path, wanted: Config) -> None:
    """A run begins with another configuration: the picture of the earlier run goes, and no new one comes."""
    BestPictures(Broker(), config(), tmp_path, FakeClock()).publish("person", picture())
    broker = Broker()
    pictures = BestPictures(broker, wanted, tmp_path, FakeClock())
    assert not pictures.wants("person")
    assert pictures.publish("person", picture()) is None
    assert broker.sent() == []
    pictures.tidy()
    assert broker.sent() == [("best/person", 0)]


def test_chosen_labels_alone(tmp_path: Path) -> None:
    """A label that is chosen is published, under a name that is one level."""
    broker = Broker()
    pictures = BestPictures(broker, config(["person", "a/b"]), tmp_path, FakeClock())
    assert [bool(pictures.publish(label, picture())) for label in ("person", "car", "a/b", "a")] == [
        True, False, True, False]
    assert [topic for topic, _ in broker.sent()] == ["best/person", "best/a%2Fb"]


@pytest.mark.parametrize("camera", [{"masks": [[[0, 0], [1, 0], [1, 1]]]}, {"rotate": 90}])
def test_a_picture_of_before_a_mask_is_taken_back(tmp_path: Path, camera: dict[str, Any]) -> None:
    """It may show what is hidden now. One that is made with the masks of now stays, and the note says so."""
    BestPictures(Broker(), config(), tmp_path, FakeClock()).publish("person", picture())
    broker = Broker()
    pictures = BestPictures(broker, config(camera=camera), tmp_path, FakeClock())
    for _ in range(2):
        pictures.tidy()
    assert broker.sent() == [("best/person", 0)]
    assert noted(tmp_path) == []
    assert pictures.publish("person", picture())
    again = Broker()
    BestPictures(again, config(camera=camera), tmp_path, FakeClock()).tidy()
    assert again.sent() == []


def test_a_new_picture_replaces_one_of_before_a_mask(tmp_path: Path) -> None:
    """It comes before the old one was taken back, so there is nothing to take back any more."""
    BestPictures(Broker(), config(), tmp_path, FakeClock()).publish("person", picture())
    broker = Broker()
    pictures = BestPictures(broker, config(camera={"rotate": 180}), tmp_path, FakeClock())
    assert pictures.publish("person", picture())
    pictures.tidy()
    assert [bool(size) for _, size in broker.sent()] == [True]


def test_the_note_stays_until_the_broker_has_the_empty_message(tmp_path: Path) -> None:
    """A run that ends while the broker is away leaves the rest to the next one."""
    BestPictures(Broker(), config(), tmp_path, FakeClock()).publish("person", picture())
    for _ in range(2):
        broker = Broker()
        broker.away = True
        pictures = BestPictures(broker, config("off"), tmp_path, FakeClock())
        for _ in range(3):
            pictures.tidy()
        assert broker.sent() == [("best/person", 0)]
        assert noted(tmp_path) == ["person"]
    broker.away = False
    pictures.tidy()
    assert noted(tmp_path) == []


def test_a_label_that_is_wanted_again(tmp_path: Path) -> None:
    """A picture that comes while the old one is taken back stays, and is taken back in its turn."""
    broker = Broker()
    broker.away = True
    pictures = BestPictures(broker, config(), tmp_path, FakeClock())
    for _ in range(2):
        pictures.reload(config())
        assert pictures.publish("person", picture())
        pictures.reload(config("off"))
        pictures.tidy()
    assert [bool(size) for _, size in broker.sent()] == [True, False, True, False]
    pictures.reload(config())
    pictures.publish("person", picture())
    broker.away = False
    pictures.tidy()
    assert noted(tmp_path) == ["person"]


def test_a_disk_that_fails_publishes_no_new_label(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without its note a picture could stay for ever; a label that is noted goes on. It is said once."""
    pictures = BestPictures(Broker(), config(), tmp_path, FakeClock())
    assert pictures.publish("person", picture())
    (tmp_path / FILE).unlink()
    (tmp_path / FILE).mkdir()
    assert [pictures.publish(label, picture()) is None for label in ("car", "dog", "person")] == [True, True, False]
    assert len([record for record in caplog.records if FILE in record.message]) == 1


def test_a_read_only_folder_is_a_disk_that_fails(tmp_path: Path) -> None:
    """As for a user without rights."""
    (tmp_path / "state").mkdir()
    give_away(tmp_path / "state")
    (tmp_path / "state").chmod(0o500)
    assert as_nobody(lambda: BestPictures(Broker(), config(), tmp_path / "state", FakeClock()).publish(
        "person", picture())) is None


@pytest.mark.parametrize("content", ["", "{", '{"a": 1}', '["a"]', "\0" * 100])
def test_a_damaged_note_is_said_and_written_again(tmp_path: Path, caplog: pytest.LogCaptureFixture,
                                                  content: str) -> None:
    """Whoever damaged it; the labels of this run are noted again."""
    (tmp_path / FILE).write_text(content)
    pictures = BestPictures(Broker(), config(), tmp_path, FakeClock())
    pictures.tidy()
    assert pictures.publish("person", picture())
    assert noted(tmp_path) == ["person"]
    assert "may stay" in caplog.text


def test_labels_are_bounded(tmp_path: Path) -> None:
    """Each costs the memory of its picture, so there are at most so many; none of those is lost."""
    broker = Broker()
    pictures = BestPictures(broker, config(), tmp_path, FakeClock())
    one = picture()
    assert all(pictures.publish(f"label {number}", one) for number in range(LABELS_MAX))
    assert pictures.publish("one more", one) is None
    assert pictures.publish("label 0", one)


def test_the_file_is_written_only_for_a_new_label(tmp_path: Path) -> None:
    """A camera that publishes a picture a minute wears no card out."""
    pictures = BestPictures(Broker(), config(), tmp_path, FakeClock())
    pictures.publish("person", picture())
    before = (tmp_path / FILE).stat().st_ino
    for _ in range(5):
        assert pictures.publish("person", picture())
        pictures.tidy()
    assert (tmp_path / FILE).stat().st_ino == before


def test_the_budget_of_a_day(caplog: pytest.LogCaptureFixture) -> None:
    """It is never exceeded, said once, and there again 24 hours after its first picture."""
    clock = FakeClock()
    budget = PictureBudget(clock, 100)
    clock.advance(80_000)
    assert budget.take(60)
    clock.advance(86_000)
    assert [budget.take(41), budget.take(1), budget.take(40)] == [False] * 3
    assert budget.spent_bytes == 60
    assert len(caplog.records) == 1
    clock.advance(401)
    assert [budget.take(100), budget.take(1)] == [True, False]


def test_a_used_up_budget_publishes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The bytes of the pictures count; the log says it once."""
    caplog.set_level(logging.WARNING)
    clock, broker = FakeClock(), Broker()
    pictures = BestPictures(broker, config(), tmp_path, clock)
    noise = picture(noise=True)
    pictures._budget = PictureBudget(clock, 2 * len(noise.jpeg()))
    assert [pictures.publish("person", noise) is None for _ in range(5)] == [False, False, True, True, True]
    assert len(broker.messages) == 2
    assert len(caplog.records) == 1


@pytest.mark.slow
def test_a_broker_has_no_picture_after_it_was_taken_back(broker: Mosquitto, subscriber: Subscriber,
                                                         tmp_path: Path) -> None:
    """Whoever subscribes later gets the retained picture; after a run with pictures off, nobody gets one."""
    def run(settings: Config, act: str) -> None:
        publisher = MqttPublisher(settings, "gate", SystemClock())
        publisher.start()
        try:
            pictures = BestPictures(publisher, settings, tmp_path, SystemClock())
            if act == "publish":
                assert pictures.publish("traffic light", picture())
                assert publisher.flush(60)
            else:
                assert wait_until(lambda: tidied(pictures))
        finally:
            publisher.stop(60)

    def tidied(pictures: BestPictures) -> bool:
        pictures.tidy()
        return not noted(tmp_path)

    def retained() -> bytes:
        with listening(broker.client(), "vedette/gate/best/+", "vedette/gate/availability", name="later") as later:
            assert wait_until(lambda: later.last("vedette/gate/availability"))
            found = later.last("vedette/gate/best/traffic light")
            return found.payload if found else b""

    mqtt = {"host": "127.0.0.1", "port": broker.port}
    run(config(mqtt=mqtt), "publish")
    assert retained() == picture().jpeg()
    run(config("off", mqtt=mqtt), "tidy")
    assert retained() == b""
