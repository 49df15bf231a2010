"""The shipped bridge from a site's mosquitto to a central one, with both brokers."""

from __future__ import annotations

import json
import queue
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.broker.cutting_proxy import CuttingProxy
from tests.support.broker.mosquitto import Mosquitto, configuration, running
from tests.support.broker.subscriber import listening, send
from tests.support.waiting.until import wait_until
from vedette._lib.clock import SystemClock
from vedette.cli import main
from vedette.config.models import MqttConfig
from vedette.messages import topics
from vedette.mqtt.publisher import MqttPublisher
from vedette.types import Command, Message

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "contrib" / "mosquitto"
BASE = "vedette/gate-01"
SHIPPED = "address central.example.com:8883\nbridge_capath /etc/ssl/certs\n"
"""What differs in this test: there is no TLS on loopback."""

CUT_OFF = "vedette-bridges/site-a/connected", b"0"


def bridge_to(port: int) -> str:
    """Return the shipped settings of a site whose central broker has this port."""
    settings = (RECIPE / "bridge.conf").read_text()
    assert SHIPPED in settings
    return "allow_anonymous true\nmax_queued_messages 10\n" + settings.replace(SHIPPED, f"address 127.0.0.1:{port}\n")


@contextmanager
def central(folder: Path) -> Iterator[Mosquitto]:
    """A broker with the shipped access rules, and the users that they name. It forgets nothing at a restart."""
    passwords, acl = folder / "passwords", folder / "acl"
    passwords.touch(mode=0o600)
    for user in ("site-a", "operator"):
        subprocess.run(["mosquitto_passwd", "-b", str(passwords), user, "change-me"], check=True, capture_output=True)
    acl.write_text((ROOT / "systemd" / "mosquitto.acl").read_text() + (RECIPE / "central.acl").read_text())
    acl.chmod(0o600)
    with running(folder, f"allow_anonymous false\npassword_file {passwords}\nacl_file {acl}\n"
                         f"persistence true\npersistence_location {folder}/") as broker:
        yield broker


def has(mqtt: MqttConfig, **states: bytes) -> bool:
    """Whether a new subscriber receives these retained states of the device."""
    def found() -> bool:
        with listening(mqtt, "vedette/#", name="new") as subscriber:
            return wait_until(lambda: states.items() <= {
                message.topic.removeprefix(f"{BASE}/"): message.payload for message in tuple(subscriber.received)
                if message.retain}.items(), 0.3)

    return wait_until(found)


@pytest.mark.slow
def test_states_go_up_and_commands_come_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The centre has the states and the will of a site's device, and commands it, also after the centre was away."""
    secret = tmp_path / "secret"
    secret.write_text("change-me")
    commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
    with central(tmp_path) as far, running(tmp_path, bridge_to(far.port)) as near, CuttingProxy(near.port) as proxy:
        operator = far.client(username="operator", password_file=secret)
        mqtt = MqttConfig(host="127.0.0.1", port=proxy.port, protocol="3.1.1")     # its will has no delay
        device = MqttPublisher(configuration(mqtt, ["resume", "update"]), "gate-01", SystemClock())
        device.subscribe(commands.put)
        device.start()
        try:
            device.publish(Message(topics.HEALTH, b"first", retain=True))
            device.publish(Message(topics.MODEL, b"{}", retain=True))
            device.publish(Message(topics.COUNTS, b"stays at the site", retain=True))
            assert has(operator, availability=b"online", health=b"first", model=b"{}")
            send(operator, f"{BASE}/cmd/resume", b"")
            send(operator, topics.FLEET_UPDATE, b"")
            assert [commands.get(timeout=240).name for _ in range(2)] == ["resume", "update"]

            far.stop()
            for state in [*range(40), "second"]:        # more than the site's broker keeps for the centre
                device.publish(Message(topics.HEALTH, str(state).encode(), retain=True))
                assert device.flush(60)
            far.start()
            send(operator, f"{BASE}/cmd/resume", b"")       # the bridge may be still away
            assert commands.get(timeout=240).name == "resume"
            assert has(operator, health=b"second")
            config = tmp_path / "operator.yaml"
            config.write_text(f"mqtt: {{username: operator, password_file: {secret}, port: {far.port}}}\n")
            assert main(["fleet", "watch", "--config", str(config), "--once", "0.5", "--json"]) == 0
            rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
            assert [(row["device"], row["online"]) for row in rows] == [("gate-01", True)]

            proxy.refusing = True
            proxy.cut()
            assert has(operator, availability=b"offline", health=b"second")
            proxy.refusing = False
        finally:
            device.stop(60)
        near.stop()
        with listening(operator, "#", name="after") as subscriber:
            assert subscriber.waits_for(lambda message: (message.topic, message.payload) == CUT_OFF)
            assert f"{BASE}/counts" not in subscriber.topics()
