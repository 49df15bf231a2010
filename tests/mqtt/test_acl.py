"""The shipped access rules, on a real broker."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.broker.mosquitto import Mosquitto, running
from tests.support.broker.subscriber import listening, send
from tests.support.waiting.until import wait_until
from vedette.cli import schemas
from vedette.config.models import MqttConfig
from vedette.messages import topics

ACL = Path(__file__).parents[2] / "systemd" / "mosquitto.acl"
USERS = ("gate-01", "gate-02", "operator", "dashboard", "homeassistant")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    passwords, acl = tmp_path / "passwords", tmp_path / "vedette.acl"
    passwords.touch(mode=0o600)
    acl.write_bytes(ACL.read_bytes())
    acl.chmod(0o600)
    for user in USERS:
        subprocess.run(["mosquitto_passwd", "-b", str(passwords), user, f"secret of {user}"], check=True,
                       capture_output=True)
        (tmp_path / user).write_text(f"secret of {user}\n")
    with running(tmp_path, f"allow_anonymous false\npassword_file {passwords}\nacl_file {acl}\n"
                           "use_username_as_clientid true") as broker:
        yield broker


def login(broker: Mosquitto, folder: Path, user: str) -> MqttConfig:
    return broker.client(username=user, password_file=folder / user)


def test_a_device_writes_only_its_own_topics(broker: Mosquitto, tmp_path: Path) -> None:
    """The broker accepts every topic that a device publishes, but no commands, other devices' topics or fleet nudge."""
    own = [channel.topic.format(command="pause", label="a%2Fb", device="gate-01") for channel in schemas.CHANNELS
           if not channel.incoming]
    forbidden = ["/vedette/gate-01/cmd/restart", "/vedette/gate-02/detections", "/vedette/gate-02/cmd/restart",
                 "/vedette/fleet/update", "/vedette/gate-01/other", "/elsewhere",
                 "/homeassistant/device/gate-02/config", "/homeassistant/sensor/gate-01/config",
                 "/homeassistant/status"]
    with listening(login(broker, tmp_path, "homeassistant"), "vedette/#", "elsewhere", "homeassistant/#") as subscriber:
        for topic in [*forbidden, *own]:
            send(login(broker, tmp_path, "gate-01"), topics.absolute("gate-01", topic), b"x")
        assert wait_until(lambda: len(subscriber.received) >= len(own))
        assert subscriber.topics() == [topics.absolute("gate-01", topic) for topic in own]


def test_only_operators_command(broker: Mosquitto, tmp_path: Path) -> None:
    """A device receives an operator's command, but none from a dashboard or another device."""
    with listening(login(broker, tmp_path, "gate-01"), *topics.subscriptions("gate-01")) as device:
        for user in ("gate-02", "dashboard", "operator"):
            send(login(broker, tmp_path, user), "vedette/gate-01/cmd/resume", user.encode())
        send(login(broker, tmp_path, "operator"), topics.FLEET_UPDATE, b"")
        assert device.waits_for(lambda message: message.topic == topics.FLEET_UPDATE)
        assert [message.payload for message in device.received] == [b"operator", b""]


def test_home_assistant_announces_its_start_and_commands(broker: Mosquitto, tmp_path: Path) -> None:
    """Devices hear that it has started, and its buttons. It sends no nudge to the fleet, and no results."""
    with listening(login(broker, tmp_path, "gate-01"), "homeassistant/#", "vedette/#") as device:
        for topic in (topics.FLEET_UPDATE, "vedette/gate-01/counts", "vedette/gate-01/cmd/detection",
                      topics.HOME_ASSISTANT_STATUS):
            send(login(broker, tmp_path, "homeassistant"), topic, b"x")
        assert device.waits_for(lambda message: message.topic == topics.HOME_ASSISTANT_STATUS)
        assert device.topics() == ["vedette/gate-01/cmd/detection", topics.HOME_ASSISTANT_STATUS]


def test_device_receives_no_commands_for_another_device(broker: Mosquitto, tmp_path: Path) -> None:
    """A device that subscribes to everything receives only its own commands."""
    with listening(login(broker, tmp_path, "gate-01"), "vedette/#", "vedette/gate-01/cmd/+") as device:
        send(login(broker, tmp_path, "operator"), "vedette/gate-02/cmd/resume", b"")
        send(login(broker, tmp_path, "operator"), "vedette/gate-01/cmd/resume", b"")
        assert device.waits_for(lambda message: message.topic == "vedette/gate-01/cmd/resume")
        assert set(device.topics()) == {"vedette/gate-01/cmd/resume"}
