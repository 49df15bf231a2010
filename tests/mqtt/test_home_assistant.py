"""The announcement to Home Assistant: published when it changes, again at its start, and taken back."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.broker.mosquitto import Mosquitto
from tests.support.broker.subscriber import Subscriber, listening, send
from tests.support.daemon.as_nobody import as_nobody, give_away
from tests.support.daemon.config import DEVICE, write_config
from tests.support.daemon.running import RunningDaemon
from tests.support.fakes import IDENTITY, FakeClock, FakeDetector, FakePublisher
from tests.support.waiting.until import eventually, wait_until
from vedette.config.models import Config
from vedette.messages import topics
from vedette.mqtt.home_assistant import AGAIN_AFTER_S, FILE, RETRY_S, HomeAssistant
from vedette.types import BrokerStatus, DetectorFacts

TOPIC = "/homeassistant/device/gate/config"


def config(*labels: str, enabled: bool = True, **more: Any) -> Config:
    return Config.model_validate({"homeassistant": {"enabled": enabled, "labels": labels}, **more})


class Broker(FakePublisher):
    """A broker that has what it was given, unless it is away."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: dict[str, Callable[[bytes], None]] = {}
        self.away = False

    def status(self) -> BrokerStatus:
        return BrokerStatus(connected=not self.away, cause=None, outbox_depth=len(self.messages) if self.away else 0)

    def sent(self) -> list[tuple[str, int]]:
        """Topic and number of entities of each message; a removed entity counts as -1, an empty message is 0."""
        assert all(message.retain and message.qos == 1 for message in self.messages)
        contents = [json.loads(message.payload)["components"] if message.payload else {} for message in self.messages]
        return [(message.topic, sum(1 if len(each) > 1 else -1 for each in content.values()))
                for message, content in zip(self.messages, contents, strict=True)]

    def components(self) -> dict[str, dict[str, Any]]:
        return dict(json.loads(self.messages[-1].payload)["components"])


class Rig:
    """One run. `labels`: those of the model, None while none runs."""

    def __init__(self, folder: Path, config: Config, labels: tuple[str, ...] | None = None) -> None:
        self.broker, self.clock, self.labels = Broker(), FakeClock(), labels
        self.rounds: list[Callable[[bool], None]] = []
        self.announcer = HomeAssistant(self, self.broker, config, IDENTITY, folder, self.clock, running=lambda: self,
                                       wants_picture=lambda label: False)

    @property
    def facts(self) -> DetectorFacts | None:
        facts = FakeDetector().facts
        return None if self.labels is None else DetectorFacts(
            model=facts.model, runtime="", runtime_version="", xnnpack_share=1, threads=1, decoder="ltrb",
            input_width=1, input_height=1, labels=self.labels)

    def go_on(self, count: int = 3) -> None:
        for _ in range(count):
            for each in self.rounds:
                each(False)


def noted(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / FILE).read_text()))


def test_it_is_off_by_default(tmp_path: Path) -> None:
    """Nothing is published, subscribed to or written."""
    rig = Rig(tmp_path, Config())
    rig.go_on()
    assert (rig.broker.messages, rig.broker.heard, list(tmp_path.iterdir())) == ([], {}, [])


def test_it_is_published_once_and_after_a_change(tmp_path: Path) -> None:
    """A reload of live keys changes the message; one that changes nothing publishes nothing."""
    rig = Rig(tmp_path, config("person"))
    rig.go_on()
    assert [topic for topic, _ in rig.broker.sent()] == [TOPIC]
    rig.announcer.reload(config("person", publish={"max_per_s": 1}))
    rig.go_on()
    assert len(rig.broker.messages) == 1
    rig.announcer.reload(config("person", "car"))
    rig.go_on()
    assert len(rig.broker.messages) == 2
    assert "label-car/count" in rig.broker.components()


def test_an_entity_that_is_gone_is_removed(tmp_path: Path) -> None:
    """Home Assistant keeps one that is only missing: its platform alone removes it, also in later runs."""
    Rig(tmp_path, config("person", "car")).go_on()
    for _ in range(2):
        rig = Rig(tmp_path, config("person"))
        rig.go_on()
        assert rig.broker.components()["label-car/count"] == {"platform": "sensor"}
        assert rig.broker.components()["label-car/occupancy"] == {"platform": "binary_sensor"}
    rig.announcer.reload(config("car"))
    rig.go_on()
    assert len(rig.broker.components()["label-car/count"]) > 1
    assert rig.broker.components()["label-person/count"] == {"platform": "sensor"}


def test_a_restart_removes_nothing_before_the_model_is_known(tmp_path: Path) -> None:
    """Until the model runs, the labels are those of the run before: the message stays the same."""
    Rig(tmp_path, config(), ("person", "car")).go_on()
    rig = Rig(tmp_path, config())
    rig.go_on()
    assert "label-car/count" in rig.broker.components()
    rig.labels = ("person", "car")
    rig.go_on()
    assert len(rig.broker.messages) == 1
    rig.labels = ("person", "bus")
    rig.go_on()
    assert rig.broker.components()["label-car/count"] == {"platform": "sensor"}


def test_a_device_without_a_model_is_announced(tmp_path: Path) -> None:
    """Its problem is what one wants to see."""
    rig = Rig(tmp_path, config())
    rig.go_on()
    assert "problem" in rig.broker.components()


def test_left_out_labels_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The log has the number of labels that got no entities."""
    caplog.set_level(logging.INFO)
    Rig(tmp_path, config(), tuple(map(str, range(80)))).go_on()
    assert "60 labels got none" in caplog.text


def test_it_is_published_again_when_home_assistant_starts(tmp_path: Path) -> None:
    """Also if it starts again and again, at most once in a while, and the last start is not forgotten."""
    rig = Rig(tmp_path, config("person"))
    rig.go_on()
    heard = rig.broker.heard[topics.HOME_ASSISTANT_STATUS]
    heard(b"offline")
    rig.go_on()
    assert len(rig.broker.messages) == 1
    for _ in range(50):
        heard(b"online")
        rig.go_on()
    assert len(rig.broker.messages) == 2
    rig.clock.advance(AGAIN_AFTER_S)
    rig.go_on()
    assert len(rig.broker.messages) == 3
    rig.clock.advance(AGAIN_AFTER_S)
    rig.go_on()
    assert len(rig.broker.messages) == 3


@pytest.mark.parametrize("later", [config(enabled=False), Config(), config("car", homeassistant={
    "enabled": True, "prefix": "ha/test", "labels": ["car"]})], ids=["off", "default", "another prefix"])
def test_the_next_run_takes_it_back(tmp_path: Path, later: Config) -> None:
    """Once it is switched off, or has another prefix, which is used when the old message is gone."""
    Rig(tmp_path, config("person")).go_on()
    rig = Rig(tmp_path, later)
    rig.go_on()
    assert rig.broker.sent()[0] == (TOPIC, 0)
    assert [topic for topic, _ in rig.broker.sent()[1:]] == (
        ["/ha/test/device/gate/config"] if later.homeassistant.enabled else [])
    assert noted(tmp_path)["topic"] == ("ha/test/device/gate/config" if later.homeassistant.enabled else "")
    again = Rig(tmp_path, config(enabled=False) if not later.homeassistant.enabled else later)
    again.go_on()
    assert (TOPIC, 0) not in again.broker.sent()


def test_the_note_stays_until_the_broker_has_the_empty_message(tmp_path: Path) -> None:
    """A run that ends while the broker is away leaves the rest to the next one."""
    Rig(tmp_path, config("person")).go_on()
    for _ in range(2):
        rig = Rig(tmp_path, Config())
        rig.broker.away = True
        rig.go_on()
        assert rig.broker.sent() == [(TOPIC, 0)]
        assert noted(tmp_path)["topic"] == TOPIC[1:]
    rig.broker.away = False
    rig.go_on()
    assert noted(tmp_path)["topic"] == ""


def test_without_a_note_nothing_is_announced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It could stay for ever. It is said once, and tried again when the disk may work."""
    rig = Rig(tmp_path, config("person"))
    (tmp_path / FILE).mkdir()
    for _ in range(3):
        rig.go_on()
        rig.clock.advance(RETRY_S)
    assert rig.broker.messages == []
    assert len([record for record in caplog.records if "nothing new is announced" in record.message]) == 1
    (tmp_path / FILE).rmdir()
    rig.go_on()
    assert len(rig.broker.messages) == 1


def test_a_read_only_folder_is_a_disk_that_fails(tmp_path: Path) -> None:
    """As for a user without rights."""
    (tmp_path / "state").mkdir()
    give_away(tmp_path / "state")
    (tmp_path / "state").chmod(0o500)

    def announced() -> int:
        rig = Rig(tmp_path / "state", config("person"))
        rig.go_on()
        return len(rig.broker.messages)
    assert as_nobody(announced) == 0


@pytest.mark.parametrize("content", ["", "[", "[1]", '{"topic": "a"}', '{"topic": 1, "labels": [], "components": {}}',
                                     '{"topic": "a", "labels": 1, "components": {}}', "\0" * 100])
def test_a_damaged_note_is_said_and_written_again(tmp_path: Path, caplog: pytest.LogCaptureFixture,
                                                  content: str) -> None:
    """Whoever damaged it; what is announced now is noted."""
    (tmp_path / FILE).write_text(content)
    Rig(tmp_path, config("person")).go_on()
    assert noted(tmp_path)["topic"] == TOPIC[1:]
    assert "may stay" in caplog.text


@pytest.mark.daemon
@pytest.mark.slow
def test_a_daemon_announces_itself_and_takes_it_back(tmp_path: Path, broker: Mosquitto,
                                                     subscriber: Subscriber) -> None:
    """Over a real broker: retained, again after the birth message, and gone for whoever subscribes after a run without.

    The switch pauses and resumes with bare words.
    """
    topic = f"homeassistant/device/{DEVICE}/config"

    def run(enabled: str) -> RunningDaemon:
        return RunningDaemon(tmp_path, "--config", write_config(
            tmp_path, broker.port, homeassistant=f"{{enabled: {enabled}, labels: [lamp]}}",
            commands="{allow: [detection]}"))

    with listening(broker.client(), topic, name="home assistant") as listener, run("true") as daemon:
        message = json.loads(eventually(lambda: listener.last(topic)).payload)
        assert {"label-lamp/count", "detection"} <= message["components"].keys()
        assert subscriber.waits_for_results(1), daemon.log
        send(broker.client(), topics.HOME_ASSISTANT_STATUS, b"online")
        assert wait_until(lambda: listener.topics().count(topic) == 2), daemon.log
        switch = message["components"]["detection"]["command_topic"]
        send(broker.client(), switch, b"OFF")
        assert wait_until(lambda: subscriber.published("counts")[-1]["counts"] is None), daemon.log
        assert wait_until(lambda: subscriber.reasons.get("paused") == "until it is switched on"), daemon.log
        send(broker.client(), switch, b"ON")
        assert wait_until(lambda: subscriber.published("counts")[-1]["counts"] is not None), daemon.log
    with listening(broker.client(), topic, name="later") as later:
        assert eventually(lambda: later.last(topic)).retain
        with run("false") as daemon:
            assert wait_until(lambda: later.received[-1].payload == b""), daemon.log
            assert wait_until(lambda: noted(tmp_path / "state")["topic"] == ""), daemon.log
