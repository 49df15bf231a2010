"""`vedette snapshot` from a real file, and from a device over a real broker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.broker.mosquitto import Mosquitto, configuration, running
from tests.support.present import present
from tests.support.waiting.until import wait_until
from vedette._lib.clock import SystemClock
from vedette.cli import main
from vedette.config.page import CommandName
from vedette.messages import payloads, topics
from vedette.mqtt.publisher import MqttPublisher
from vedette.types import Command, Message


def test_file_with_masks(tmp_path: Path) -> None:
    """A frame of a folder of pictures is saved with its privacy mask painted."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    cv2.imwrite(str(pictures / "white.png"), np.full((64, 64, 3), 255, np.uint8))
    config = tmp_path / "config.yaml"
    config.write_text("camera: {width: 64, height: 64, loop: true, masks: [[[0, 0], [0.5, 0], [0.5, 1], [0, 1]]]}\n")
    out = tmp_path / "frame.jpg"
    assert main(["snapshot", "--config", str(config), "--source", str(pictures), "--out", str(out)]) == 0
    picture = present(cv2.imread(str(out)))
    assert picture.shape == (64, 64, 3)
    assert picture[:, :24].mean() < 8
    assert picture[:, 40:].mean() > 247


def test_missing_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A source that is not there ends with its code and leaves no file."""
    out = tmp_path / "frame.jpg"
    assert main(["snapshot", "--source", str(tmp_path / "none.mp4"), "--out", str(out)]) == 69
    assert "none.mp4" in capsys.readouterr().err
    assert not out.exists()


@contextmanager
def device(broker: Mosquitto, allowed: tuple[CommandName, ...]) -> Iterator[None]:
    """A device that answers `snapshot` with the same bytes each time."""
    def answer(command: Command) -> None:
        publisher.publish(Message(topics.SNAPSHOT, b"jpeg", qos=0))
        reply = payloads.reply("ok", transaction=command.transaction)
        publisher.publish(Message("/" + command.reply_topic, payloads.encode(reply)))

    publisher = MqttPublisher(configuration(broker.client(), allowed), "gate-01", SystemClock())
    publisher.subscribe(answer)
    publisher.start()
    try:
        assert wait_until(lambda: publisher.status().connected)
        yield
    finally:
        assert publisher.stop(60)


@pytest.mark.parametrize(("allowed", "wait", "code", "expected"), [
    (("snapshot",), "10", 0, "4 bytes"),
    ((), "10", 69, "commands.allow"),
])
def test_device_is_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str], allowed: tuple[CommandName, ...],
                         wait: str, code: int, expected: str) -> None:
    """A running device sends its frame, or the reason of its refusal is printed."""
    out = tmp_path / "frame.jpg"
    with running(tmp_path) as broker, device(broker, allowed):
        assert main(["snapshot", "--host", "127.0.0.1", "--port", str(broker.port), "--device", "gate-01",
                     "--out", str(out), "--wait", wait]) == code
    assert expected in "".join(capsys.readouterr())
    assert out.exists() is (code == 0)


def test_absent_device(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A device that does not answer in time is named."""
    with running(tmp_path) as broker:
        assert main(["snapshot", "--host", "127.0.0.1", "--port", str(broker.port), "--device", "gate-09",
                     "--out", str(tmp_path / "x.jpg"), "--wait", "0.3"]) == 69
    assert json.dumps("gate-09").strip('"') in capsys.readouterr().err


def test_unwritable_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A place that cannot be written is named, with the usage code."""
    picture = tmp_path / "picture.png"
    cv2.imwrite(str(picture), np.zeros((48, 48, 3), np.uint8))
    out = tmp_path / "no" / "folder.jpg"
    assert main(["snapshot", "--source", str(tmp_path), "--out", str(out)]) == 64
    assert str(out) in capsys.readouterr().err
