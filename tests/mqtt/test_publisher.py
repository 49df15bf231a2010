"""The publisher against a real mosquitto: what a subscriber receives, whatever happens to the connection."""

from __future__ import annotations

import gc
import json
import multiprocessing
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.broker.cutting_proxy import CuttingProxy
from tests.support.broker.fake_broker import ACCEPT_V5, Connect, FakeBroker
from tests.support.broker.mosquitto import Mosquitto, configuration, running
from tests.support.broker.subscriber import listening, send
from tests.support.network.another_host import possible, use_hosts
from tests.support.waiting.until import wait_until
from vedette._lib.clock import SystemClock
from vedette.config.models import MqttConfig
from vedette.config.page import CommandName
from vedette.messages import payloads
from vedette.mqtt.bounded_client import BoundedClient
from vedette.mqtt.connection import Connection
from vedette.mqtt.publisher import RETRY_CAP_S, RETRY_FIRST_S, MqttPublisher
from vedette.mqtt.reconnect_policy import PROOF_CONNECTIONS, SHORT_CONNECTIONS, TAKEN_OVER_PAUSE_S
from vedette.mqtt.terms import CONNECT_TIMEOUT_S, Terms
from vedette.types import Command, Message

pytestmark = pytest.mark.slow

BASE = "vedette/gate-01"


@contextmanager
def publishing(mqtt: MqttConfig, device: str = "gate-01", commands: queue.SimpleQueue[Command] | None = None,
               allow: tuple[CommandName, ...] = ("update", "resume")) -> Iterator[MqttPublisher]:
    inbox = commands or queue.SimpleQueue()
    publisher = MqttPublisher(configuration(mqtt, allow), device, SystemClock())
    publisher.subscribe(inbox.put)
    publisher.start()
    try:
        yield publisher
        assert publisher.worker.failure is None
    finally:
        assert publisher.stop(60)


def connected(publisher: MqttPublisher) -> bool:
    return publisher.status().connected


@pytest.mark.parametrize("protocol", [5, "3.1.1"])
def test_online_states_results_offline(broker: Mosquitto, protocol: int | str) -> None:
    """A subscriber receives online first, then states and results in order, and offline at an orderly stop."""
    mqtt = broker.client(protocol=protocol)
    with listening(mqtt, "vedette/#") as subscriber:
        with publishing(mqtt) as publisher:
            publisher.publish(Message("info", b"{}", retain=True))
            publisher.publish(Message("detections", b"1"))
            publisher.publish(Message("detections", b"2"))
            assert publisher.flush(10)
            status = publisher.status()
        assert subscriber.waits_for(lambda message: message.payload == b"offline")
    assert [(message.topic, message.payload) for message in subscriber.received] == [
        (f"{BASE}/availability", b"online"), (f"{BASE}/info", b"{}"),
        (f"{BASE}/detections", b"1"), (f"{BASE}/detections", b"2"), (f"{BASE}/availability", b"offline")]
    assert (status.connected, publisher.reasons(), status.published, status.outbox_depth) == (True, {}, 3, 0)


def test_a_broker_that_starts_later_gets_the_waiting_messages(tmp_path: Path) -> None:
    """Messages from before the broker's start arrive when it starts; until then mqtt_offline is a reason."""
    broker = Mosquitto(tmp_path)
    with publishing(broker.client()) as publisher:
        publisher.publish(Message("counts", b"old", retain=True))
        publisher.publish(Message("detections", b"kept"))
        publisher.publish(Message("snapshot", b"jpeg", qos=0))
        publisher.publish(Message("counts", b"new", retain=True))
        assert wait_until(lambda: "refused" in (publisher.status().cause or ""))
        assert publisher.reasons().keys() == {"mqtt_offline", "outbox_dropping"}
        assert "refused" in publisher.reasons()["mqtt_offline"]
        assert publisher.reasons()["outbox_dropping"] == "messages dropped in this run: 1"
        assert publisher.status().outbox_dropped == 1
        broker.start()
        try:
            assert wait_until(lambda: connected(publisher), 5)
            assert publisher.flush(5)
            with listening(broker.client(), f"{BASE}/#") as subscriber:
                assert subscriber.waits_for(lambda message: message.payload == b"new")
                assert not any(message.payload == b"old" for message in subscriber.received)
        finally:
            publisher.stop(60)
            broker.stop()


def test_a_restarted_broker_gets_every_state_again(broker: Mosquitto) -> None:
    """A broker that lost everything gets availability and the latest of every retained topic again."""
    with publishing(broker.client()) as publisher:
        for state in (b"first", b"second"):
            publisher.publish(Message("health", state, retain=True))
        assert publisher.flush(10)
        broker.stop()
        assert wait_until(lambda: not connected(publisher))
        broker.start()
        with listening(broker.client(), f"{BASE}/#") as subscriber:
            assert subscriber.waits_for(lambda message: message.payload == b"online", 5)
            assert subscriber.waits_for(lambda message: message.payload == b"second", 5)
        assert publisher.status().reconnects == 1


def test_a_refused_login_is_reported(tmp_path: Path) -> None:
    """A refusal never counts as a connection, has the broker's reason, and ends when the password is right."""
    passwords = tmp_path / "passwords"
    passwords.touch(mode=0o600)
    subprocess.run(["mosquitto_passwd", "-b", str(passwords), "gate", "right"], check=True, capture_output=True)
    secret = tmp_path / "secret"
    secret.write_text("wrong\n")
    with running(tmp_path, f"allow_anonymous false\npassword_file {passwords}") as broker, \
            publishing(broker.client(username="gate", password_file=secret)) as publisher:
        assert wait_until(lambda: publisher.reasons().keys() == {"mqtt_refused"})
        assert "Not authorized" in str(publisher.status().cause)
        secret.write_text("right\n")
        assert wait_until(lambda: connected(publisher), 5)


def test_a_missing_password_file_is_named(broker: Mosquitto, tmp_path: Path) -> None:
    """The message names the missing file, and the connection is made once the file is there."""
    secret = tmp_path / "later"
    with publishing(broker.client(username="gate", password_file=secret)) as publisher:
        assert wait_until(lambda: str(secret) in str(publisher.status().cause))
        secret.write_text("any")
        assert wait_until(lambda: connected(publisher), 5)


@pytest.mark.parametrize("protocol", [5, "3.1.1"])
def test_the_will_of_a_killed_device_says_offline(broker: Mosquitto, protocol: int | str) -> None:
    """The broker keeps a will for the device that publishes offline, retained."""
    mqtt = broker.client(protocol=protocol)
    with publishing(mqtt) as publisher:
        assert wait_until(lambda: connected(publisher))
    with listening(mqtt, f"{BASE}/availability") as subscriber:
        assert subscriber.waits_for(lambda message: message.payload == b"offline" and message.retain)


@pytest.mark.slow
def test_a_frozen_broker_keeps_the_outbox_bounded(broker: Mosquitto) -> None:
    """While the broker is stopped publish never waits; afterwards all states and results arrive."""
    mqtt = MqttConfig(host="127.0.0.1", port=broker.port, outbox_messages=50)
    with publishing(mqtt) as publisher:
        assert wait_until(lambda: connected(publisher))
        broker.freeze()
        for number in range(500):
            publisher.publish(Message("detections", str(number).encode()))
        assert wait_until(lambda: not connected(publisher))
        status = publisher.status()
        assert status.outbox_depth <= 50
        assert status.outbox_dropped >= 500 - 50 - 20
        assert "acknowledged nothing" in str(status.cause)
        broker.thaw()
        with listening(mqtt, f"{BASE}/#") as subscriber:
            assert wait_until(lambda: connected(publisher), 5)
            assert subscriber.waits_for(lambda message: message.payload == b"499", 5)
        assert "duplicate_device" not in publisher.reasons()


@pytest.mark.parametrize("protocol", [5, "3.1.1"])
def test_a_takeover_is_reported(broker: Mosquitto, protocol: int | str) -> None:
    """Of two clients with one name, one reports the duplicate and pauses; the other keeps its connection."""
    mqtt = broker.client(protocol=protocol)
    with publishing(mqtt) as first, publishing(mqtt) as second:
        both = (first, second)
        assert wait_until(lambda: any("duplicate_device" in one.reasons() for one in both))
        assert wait_until(lambda: any(connected(one) for one in both))
        loser = next(one for one in both if "duplicate_device" in one.reasons())
        assert loser.reasons()["duplicate_device"] == "another client uses the client id vedette-gate-01"
        winner = second if loser is first else first
        assert wait_until(lambda: connected(winner))


@pytest.mark.slow
def test_a_missing_broker_is_no_takeover(broker: Mosquitto) -> None:
    """However often the connection is short: after a takeover the broker would be there at once."""
    with publishing(broker.client(protocol="3.1.1")) as publisher:
        for _ in range(SHORT_CONNECTIONS + 1):
            assert wait_until(lambda: connected(publisher), TAKEN_OVER_PAUSE_S[0] / 2)
            broker.stop()
            assert wait_until(lambda: "no connection" in str(publisher.status().cause), TAKEN_OVER_PAUSE_S[0] / 2)
            assert "duplicate_device" not in publisher.reasons()
            broker.start()


def test_a_takeover_can_be_reported_within_a_minute() -> None:
    """The pausing device reports the reason when it returns: short connections and the longest pause leave time.

    In a fight, a life lasts until the other one comes back.
    """
    assert (SHORT_CONNECTIONS + PROOF_CONNECTIONS) * (RETRY_CAP_S + RETRY_FIRST_S) + TAKEN_OVER_PAUSE_S[1] < 60


def test_two_devices_do_not_evict_each_other(broker: Mosquitto) -> None:
    """Devices of different names keep their connections."""
    with publishing(broker.client(), "pi-aaaa") as first, publishing(broker.client(), "pi-bbbb") as second:
        assert wait_until(lambda: connected(first) and connected(second))
        for publisher in (first, second):
            publisher.publish(Message("detections", b"x"))
            assert publisher.flush(10)
            assert publisher.status().reconnects == 0


def test_a_command_is_handed_over_and_answered(broker: Mosquitto) -> None:
    """An allowed command reaches the daemon once, and its reply reaches the sender."""
    commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
    with publishing(broker.client(), commands=commands) as publisher, \
            listening(broker.client(), f"{BASE}/reply/+") as subscriber:
        assert wait_until(lambda: connected(publisher))
        send(broker.client(), f"{BASE}/cmd/resume", b'{"transaction": "t1", "x": 1}')
        command = commands.get(timeout=240)
        assert command == Command("resume", {"x": 1}, "t1", f"{BASE}/reply/resume")
        answer = payloads.reply("ok", transaction=command.transaction)
        publisher.publish(Message("/" + command.reply_topic, payloads.encode(answer)))
        send(broker.client(), f"{BASE}/cmd/resume", b'{"transaction": "t1", "x": 1}')
        send(broker.client(), f"{BASE}/cmd/restart", b"")
        assert subscriber.waits_for(lambda message: b"refused" in message.payload)
        answers = [json.loads(message.payload) for message in subscriber.received]
    assert [(answer["status"], answer["transaction"]) for answer in answers] == [("ok", "t1"), ("refused", None)]
    assert commands.empty()


def test_a_retained_command_is_ignored(broker: Mosquitto) -> None:
    """A retained command, which would act again on every connect, never reaches the daemon."""
    commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
    send(broker.client(), f"{BASE}/cmd/resume", b"", retain=True)
    with publishing(broker.client(), commands=commands) as publisher:
        assert wait_until(lambda: connected(publisher))
        send(broker.client(), f"{BASE}/cmd/resume", b"", retain=True)      # also one that comes while we listen
        send(broker.client(), f"{BASE}/cmd/update", b"")
        assert commands.get(timeout=240).name == "update"
    assert commands.empty()


@pytest.mark.parametrize("protocol", [5, "3.1.1"])
def test_a_command_during_a_short_absence_is_delivered(broker: Mosquitto, protocol: int | str) -> None:
    """The broker keeps the session from the first connection on, and an old one is discarded before it."""
    mqtt = broker.client(protocol=protocol)
    commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
    old = BoundedClient(1000, Terms(protocol == 5), "vedette-gate-01", clean=False)
    old.send_connect(mqtt, keep_session=True)
    while not old.is_connected():
        old.loop(1)
    old.ask_for([f"{BASE}/cmd/+"], 1)
    while old.want_write():
        old.loop(1)
    old.disconnect()
    send(mqtt, f"{BASE}/cmd/resume", b"")
    with CuttingProxy(broker.port) as proxy, \
            publishing(mqtt.model_copy(update={"port": proxy.port}), commands=commands) as publisher:
        assert wait_until(lambda: connected(publisher))
        publisher.publish(Message("detections", b"1"))
        assert publisher.flush(60)      # the subscription was before it
        proxy.refusing = True
        proxy.cut()
        send(mqtt, f"{BASE}/cmd/update", b"")
        proxy.refusing = False
        assert commands.get(timeout=240).name == "update"
    assert commands.empty()


def publish_one(hosts: Path, port: int) -> None:
    """Process: a device whose broker's name is in `hosts`. Its exit code is 0 if the broker accepts a result."""
    use_hosts(hosts)
    with publishing(MqttConfig(host="brokers", port=port)) as publisher:
        publisher.publish(Message("detections", b"1"))
        sys.exit(not publisher.flush(60))


@pytest.mark.skipif(not possible(), reason="namespaces need root")
def test_a_node_that_hangs_up_is_left_for_another(tmp_path: Path) -> None:
    """The broker's name has two addresses. The resolver puts the one of the bad node first, each time."""
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 brokers\n127.0.1.2 brokers\n")
    with FakeBroker(b"") as bad, running(tmp_path, f"allow_anonymous true\nlistener {bad.port} 127.0.1.2"):
        device = multiprocessing.get_context("spawn").Process(target=publish_one, args=(hosts, bad.port))
        device.start()
        device.join()
    assert device.exitcode == 0


def test_a_message_that_the_broker_refuses_is_counted_and_reported(tmp_path: Path) -> None:
    """A message that access rules withhold never counts as published: it is refused, with the reason mqtt_denied."""
    acl = tmp_path / "rules"
    acl.write_text(f"topic write {BASE}/availability\ntopic write {BASE}/counts\n")
    acl.chmod(0o600)
    with running(tmp_path, f"allow_anonymous true\nacl_file {acl}") as broker, publishing(broker.client()) as publisher:
        assert wait_until(lambda: connected(publisher))
        publisher.publish(Message("detections", b"1"))
        publisher.publish(Message("counts", b"2", retain=True))
        assert publisher.flush(10)
        status = publisher.status()
    assert (status.published, status.refused, status.outbox_dropped) == (1, 1, 0)
    assert publisher.reasons() == {"mqtt_denied": "messages refused in this run: 1"}


def test_a_refused_subscription_is_reported() -> None:
    """It is a health reason for as long as the connection lasts."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        mqtt = MqttConfig(host="127.0.0.1", port=listener.getsockname()[1])
        with publishing(mqtt) as publisher:
            client, _ = listener.accept()
            with client:
                client.recv(1000)
                client.sendall(b"\x20\x03\x00\x00\x00\x90\x05\x00\x01\x00\x87\x01")
                assert wait_until(lambda: publisher.reasons().keys() == {"mqtt_denied"})
                assert "subscription" in publisher.reasons()["mqtt_denied"]
            assert wait_until(lambda: publisher.reasons().keys() == {"mqtt_offline"})


def test_an_error_in_the_command_callback_ends_the_worker(broker: Mosquitto) -> None:
    """An exception on the mqtt thread is never swallowed: the worker ends with it, and the will is published."""
    def fail(command: Command) -> None:
        raise RuntimeError(command.name)

    publisher = MqttPublisher(configuration(broker.client(), ["resume"]), "gate-01", SystemClock())
    publisher.subscribe(fail)
    publisher.start()
    assert wait_until(lambda: connected(publisher))
    send(broker.client(), f"{BASE}/cmd/resume", b"")
    assert wait_until(lambda: not publisher.worker.alive)
    assert isinstance(publisher.worker.failure, RuntimeError)
    assert publisher.stop(1)


def test_a_dead_connection_is_freed(broker: Mosquitto) -> None:
    """Only the end of a dead connection is kept: its messages in flight, snapshots too, take no memory."""
    def connections() -> int:
        gc.collect()
        return sum(isinstance(one, Connection) for one in gc.get_objects())

    with CuttingProxy(broker.port) as proxy, publishing(MqttConfig(host="127.0.0.1", port=proxy.port)) as publisher:
        assert wait_until(lambda: connected(publisher))
        before = connections()
        proxy.cut()
        assert wait_until(lambda: publisher.status().reconnects == 1 and connected(publisher))
        assert connections() == before


def test_a_broker_that_is_only_slow_is_waited_for() -> None:
    """It answers CONNECT later than a first connection waits. The next one waits for longer."""
    def late(_: Connect) -> bytes:
        threading.Event().wait(CONNECT_TIMEOUT_S + 0.5)
        return ACCEPT_V5
    with FakeBroker(late) as broker, publishing(broker.client()) as publisher:
        assert wait_until(lambda: "did not answer CONNECT within 5 s" in str(publisher.status().cause))
        assert wait_until(lambda: connected(publisher))
        assert len(broker.lives) > 1
