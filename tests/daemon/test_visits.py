"""What a subscriber of events, zones and best pictures gets from the whole daemon, also when it is killed."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.support.broker.mosquitto import running
from tests.support.broker.subscriber import Subscriber, listening, send
from tests.support.daemon.config import DEVICE, write_config
from tests.support.daemon.running import RunningDaemon
from tests.support.waiting.until import wait_until
from vedette.cli.schemas import json_schemas

pytestmark = pytest.mark.daemon

CAMERA = "{source: 'synthetic?seed=5', width: 640, height: 360, fps: 8}"
WHOLE = "{all: {points: [[0, 0], [1, 0], [1, 1], [0, 1]]}}"


def of_type(subscriber: Subscriber, kind: str) -> list[dict[str, Any]]:
    """The events' messages of a type, each repeat once."""
    by_key = {(event["run"], event["seq"]): event for event in subscriber.published("events")}
    return [event for event in by_key.values() if event["type"] == kind]


def test_events_zones_and_pictures_through_a_kill(tmp_path: Path) -> None:
    """Things come and go on the drawn street; what is open when the daemon is killed ends in the next run."""
    with running(tmp_path) as broker, listening(broker.client(), f"vedette/{DEVICE}/#") as subscriber:
        config = write_config(tmp_path, broker.port, camera=CAMERA, detector="{threads: 1}", zones=WHOLE,
                              events="{pictures: on, keep_s: 0.5}", commands="{allow: [pause]}")
        with RunningDaemon(tmp_path, "--config", config) as daemon:
            assert wait_until(lambda: of_type(subscriber, "end")), daemon.log
            first = of_type(subscriber, "start")[0]
            zones = subscriber.published("zones")
            assert zones[0]["zones"] is None or zones[0]["zones"] == {"all": {}}
            assert wait_until(lambda: any(each["zones"] and each["zones"]["all"]
                                          for each in subscriber.published("zones"))), daemon.log
            send(broker.client(), f"vedette/{DEVICE}/cmd/pause", json.dumps({"seconds": 3}).encode())
            assert wait_until(lambda: subscriber.published("zones")[-1]["zones"] is None), daemon.log
            open_now = {event["id"] for event in of_type(subscriber, "start")} - {
                event["id"] for event in of_type(subscriber, "end")}
            assert open_now
            daemon.signal(signal.SIGKILL)
            daemon.ends()
        with RunningDaemon(tmp_path, "--config", config) as daemon:
            assert wait_until(lambda: open_now <= {event["id"] for event in of_type(subscriber, "end")}), daemon.log
            daemon.signal(signal.SIGTERM)
            assert daemon.ends() == 0
        assert wait_until(lambda: subscriber.availability[-1] == b"offline")
        ended = of_type(subscriber, "end")
        assert sorted(event["id"] for event in of_type(subscriber, "start")) == sorted(event["id"] for event in ended)
        assert all(event["interrupted"] and event["run"] == 2 for event in ended if event["id"] in open_now)
        assert first["zones"] == ["all"]
        for event in subscriber.published("events"):
            Draft202012Validator(json_schemas()["events-1"]).validate(event)
        shown = next(event for event in ended if event["best"])
        pictures = [message.payload for message in subscriber.received
                    if message.topic == f"vedette/{DEVICE}/best/{shown['label']}"]
        assert shown["best"]["bytes"] in {len(picture) for picture in pictures}
        assert all(picture.startswith(b"\xff\xd8") for picture in pictures)


def test_a_run_with_pictures_off_takes_back_what_an_earlier_one_published(tmp_path: Path) -> None:
    """The broker then has no picture of anybody."""
    with running(tmp_path) as broker:
        mqtt = broker.client()
        for pictures in ("on", "off"):
            with listening(mqtt, f"vedette/{DEVICE}/best/#", f"vedette/{DEVICE}/events") as subscriber, \
                    RunningDaemon(tmp_path, "--config", write_config(
                        tmp_path, broker.port, camera=CAMERA, detector="{threads: 1}",
                        events=f"{{pictures: {pictures}, keep_s: 0.5, best_after_s: 0.5}}")) as daemon:
                def shown(subscriber: Subscriber = subscriber) -> list[bytes]:
                    return [message.payload for message in subscriber.received if "/best/" in message.topic]

                if pictures == "on":
                    assert wait_until(lambda: any(shown())), daemon.log
                else:
                    assert wait_until(lambda: b"" in shown()), daemon.log
                daemon.signal(signal.SIGTERM)
                assert daemon.ends() == 0
        with listening(mqtt, f"vedette/{DEVICE}/best/#", f"vedette/{DEVICE}/info") as late:
            assert late.waits_for(lambda message: message.topic.endswith("/info"))
            assert [topic for topic in late.topics() if "/best/" in topic] == []
