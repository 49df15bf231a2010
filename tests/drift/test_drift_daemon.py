"""Drift, seen from outside: a real daemon with a film of a camera that is covered, and commands over MQTT."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.support.broker.mosquitto import Mosquitto
from tests.support.broker.subscriber import Subscriber, send
from tests.support.daemon.running import RunningDaemon
from tests.support.truth.bright_squares import write_model
from tests.support.waiting.until import wait_until
from vedette.camera.street.faults import cover
from vedette.camera.street.scene import Scene
from vedette.drift.ledger import FILE, SIZE

pytestmark = pytest.mark.daemon

FPS, WELL_S, COVERED_S = 2, 17, 11
BASE = "vedette/gate"


def write_film(folder: Path) -> Path:
    """A street, then a cloth before the lens."""
    path = folder / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (320, 180))
    scene, picture = Scene(5, 320, 180, FPS), np.empty((180, 320, 3), np.uint8)
    for number in range((WELL_S + COVERED_S) * FPS):
        scene.render(number, picture)
        if number >= WELL_S * FPS:
            cover(picture, number)
        writer.write(picture)
    writer.release()
    return path


def write_config(folder: Path, port: int) -> Path:
    path = folder / "config.yaml"
    path.write_text(f"device: gate\nmqtt: {{port: {port}}}\npublish: {{results: all}}\n"
                    f"commands: {{allow: [feedback, relearn]}}\n"
                    f"detector: {{model: '{write_model(folder)}', threads: 1}}\n"
                    f"camera: {{source: '{write_film(folder)}', loop: true}}\n"
                    "health: {interval_s: 1, image_drift_after_s: 2}\n")
    return path


def published(subscriber: Subscriber, topic: str) -> list[dict[str, Any]]:
    return [json.loads(message.payload) for message in tuple(subscriber.received) if message.topic == f"{BASE}/{topic}"]


def drift(subscriber: Subscriber) -> dict[str, Any]:
    messages = published(subscriber, "health")
    return messages[-1]["drift"] if messages else {"image": {"references": 0, "changes": []}}


def details(subscriber: Subscriber) -> set[str]:
    messages = published(subscriber, "health")
    return {reason["detail"] for reason in messages[-1]["reasons"] if reason["code"] == "image_drift"} \
        if messages else set()


def ask(broker: Mosquitto, subscriber: Subscriber, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Send a command and wait for its reply."""
    before = len(published(subscriber, f"reply/{name}"))
    send(broker.client(), f"{BASE}/cmd/{name}", json.dumps(arguments).encode())
    assert wait_until(lambda: len(published(subscriber, f"reply/{name}")) > before, 60)
    return published(subscriber, f"reply/{name}")[-1]


def test_a_covered_camera_is_reported_and_feedback_is_counted(tmp_path: Path, broker: Mosquitto,
                                                                  subscriber: Subscriber) -> None:
    """The reason names the change and ends; the error rate survives a restart; a command learns the view again."""
    config = write_config(tmp_path, broker.port)
    with RunningDaemon(tmp_path, "--config", config) as daemon:
        assert wait_until(lambda: len(published(subscriber, "detections")) >= 4, 60), daemon.log
        answers = [ask(broker, subscriber, "feedback", {"run": 1, "seq": seq, "right": seq < 3})
                   for seq in (1, 2, 3, 3)]
        assert [answer["data"] for answer in answers] == [
            {"counted": True, "count": 1, "wrong": 0}, {"counted": True, "count": 2, "wrong": 0},
            {"counted": True, "count": 3, "wrong": 1}, {"counted": False, "count": 3, "wrong": 1}]
        assert ask(broker, subscriber, "feedback", {"run": 2, "seq": 1, "right": True})["status"] == "refused"
        assert wait_until(lambda: any("covered" in words for words in details(subscriber)), 120), drift(subscriber)
        assert drift(subscriber)["image"]["changes"] == ["covered"]
        assert wait_until(lambda: not details(subscriber), 120), drift(subscriber)
        assert drift(subscriber)["image"]["references"] >= 1
        assert ask(broker, subscriber, "relearn", {"what": "picture"})["status"] == "ok"
        assert drift(subscriber)["feedback"] == {"count": 3, "wrong": 1, "error_rate": 0.3333}
        daemon.signal(signal.SIGTERM)
        assert daemon.ends() == 0
    assert (tmp_path / "state" / FILE).stat().st_size == SIZE
    with RunningDaemon(tmp_path, "--config", config):
        assert wait_until(lambda: published(subscriber, "health")[-1]["run"] == 2, 60)
        assert drift(subscriber)["feedback"]["count"] == 3
