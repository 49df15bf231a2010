"""Brokers that accept small messages only: a large one is refused and counted, and the others are sent."""

from __future__ import annotations

import itertools
import signal
import socket
import threading
from pathlib import Path

import pytest

from tests.mqtt.test_publisher import BASE, connected, publishing
from tests.support.broker.fake_broker import ACCEPT_V3, FakeBroker
from tests.support.broker.mosquitto import running
from tests.support.broker.subscriber import listening
from tests.support.network.rude_server import Behave, serving
from tests.support.waiting.until import wait_until
from vedette.config.models import MqttConfig
from vedette.messages import payloads
from vedette.mqtt.outbox import Waiting
from vedette.mqtt.poison_message import HANG_UPS_MAX, LIMIT_TRUSTED_S, ONE_BY_ONE_S, PoisonMessages
from vedette.types import Message

pytestmark = pytest.mark.slow

LONG = b"x" * 1000
SIZE = 1 + 2 + 2 + len(f"{BASE}/detections") + 2 + 1 + len(LONG)
ROUNDS = 6
"""More short connections than the publisher needs to suspect another device of the same name."""


@pytest.mark.parametrize("limit", ["max_packet_size 600", "message_size_limit 400"])
def test_too_large_messages_are_refused_and_the_others_flow(limit: str, tmp_path: Path,
                                                            caplog: pytest.LogCaptureFixture) -> None:
    """With MQTT 5, by CONNACK or PUBACK, a too large message is refused, counted and logged; the connection stays."""
    with running(tmp_path, f"allow_anonymous true\n{limit}") as broker, \
            listening(broker.client(), f"{BASE}/#") as subscriber, publishing(broker.client()) as publisher:
        assert wait_until(lambda: connected(publisher))
        for number in range(ROUNDS):
            publisher.publish(Message("detections", LONG))
            publisher.publish(Message("info", LONG, retain=True))
            publisher.publish(Message("detections", str(number).encode()))
            assert publisher.flush(10)
        assert subscriber.waits_for(lambda message: message.payload == str(ROUNDS - 1).encode())
        status = publisher.status()
    assert [message.payload for message in subscriber.received if message.topic == f"{BASE}/detections"] == [
        str(number).encode() for number in range(ROUNDS)]
    announced = {"mqtt_limited"} if limit.startswith("max_packet_size") else set()
    assert (status.reconnects, status.published, status.refused, set(publisher.reasons())) == (
        0, ROUNDS, 2 * ROUNDS, {"mqtt_denied"} | announced)
    assert any(f"{BASE}/detections" in words and f"{SIZE} bytes" in words for words in caplog.messages), caplog.text


def test_a_message_at_which_the_broker_hangs_up_is_given_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """MQTT 3.1.1 cannot say "too large": after repeated hang-ups the message is refused, a state too."""
    with running(tmp_path, "allow_anonymous true\nmax_packet_size 600") as broker:
        mqtt = broker.client(protocol="3.1.1")
        with listening(mqtt, f"{BASE}/#") as subscriber, publishing(mqtt) as publisher:
            assert wait_until(lambda: connected(publisher))
            for number in range(ROUNDS):
                publisher.publish(Message("detections", LONG))
                publisher.publish(Message("info", LONG + str(number).encode(), retain=True))
                publisher.publish(Message("detections", str(number).encode()))
                publisher.publish(Message("counts", str(number).encode(), retain=True))
            assert publisher.flush(30), publisher.status()
            assert subscriber.waits_for(lambda message: message.payload == str(ROUNDS - 1).encode())
            status = publisher.status()
            reasons = publisher.reasons()
            received = [int(message.payload) for message in subscriber.received
                        if message.topic == f"{BASE}/detections"]
    assert sorted(set(received)) == list(range(ROUNDS))
    assert (status.connected, status.reconnects, status.refused) == (True, HANG_UPS_MAX, ROUNDS + 1)
    assert set(reasons) == {"mqtt_denied", "mqtt_limited"}
    assert f"hangs up at a message of {len(LONG)} bytes" in reasons["mqtt_limited"]
    assert f"detections with {len(LONG)} bytes is discarded" in caplog.text
    assert "with 1 bytes" not in caplog.text


@pytest.mark.parametrize("protocol", [5, "3.1.1"])
def test_health_that_is_too_large_comes_in_its_brief_form(protocol: int | str, tmp_path: Path) -> None:
    """State and reasons arrive, so no old health stays retained as if it were still true."""
    healths = [{"at": str(number), "drift": "x" * 1000} for number in range(3)]
    with running(tmp_path, "allow_anonymous true\nmax_packet_size 600") as broker:
        mqtt = broker.client(protocol=protocol)
        with listening(mqtt, f"{BASE}/#") as subscriber, publishing(mqtt) as publisher:
            assert wait_until(lambda: connected(publisher))
            for health in healths:
                publisher.publish(Message("health", payloads.encode(health), retain=True))
                assert publisher.flush(10)
            assert wait_until(lambda: subscriber.health == {"at": "2"}), subscriber.health
            assert "mqtt_limited" in publisher.reasons()


def test_health_comes_in_its_brief_form_after_the_broker_refused_a_larger_message(tmp_path: Path) -> None:
    """Some limits are not announced: the refusal of one message shows them."""
    healths = [{"at": str(number), "drift": "x" * 1000} for number in range(3)]
    with running(tmp_path, "allow_anonymous true\nmessage_size_limit 400") as broker, \
            listening(broker.client(), f"{BASE}/#") as subscriber, publishing(broker.client()) as publisher:
        assert wait_until(lambda: connected(publisher))
        for health in healths:
            publisher.publish(Message("health", payloads.encode(health), retain=True))
            assert publisher.flush(10)
        assert wait_until(lambda: subscriber.health == {"at": "2"}), subscriber.health
        assert publisher.status().refused == 1


def test_one_end_of_a_connection_gives_nothing_up(tmp_path: Path) -> None:
    """A broker that dies with messages in flight, comes back and accepts them costs no message."""
    with running(tmp_path) as broker, publishing(broker.client(protocol="3.1.1")) as publisher:
        for count in (1, 3):
            assert wait_until(lambda: connected(publisher))
            broker.freeze()
            for _ in range(count):
                publisher.publish(Message("detections", b"kept"))
            broker.stop(signal.SIGKILL)
            assert wait_until(lambda: not connected(publisher))
            broker.start()
            assert publisher.flush(30)
        status = publisher.status()
    assert (status.published, status.refused, publisher.reasons()) == (4, 0, {})


def short_lived(dies_at: int, received: list[bytes]) -> Behave:
    """A broker (MQTT 3.1.1) that accepts all, but ends the first connections at a message for detections."""
    died = itertools.count()

    def behave(connection: socket.socket, stopping: threading.Event) -> None:
        while (head := connection.recv(1)) and not stopping.is_set():
            content = connection.recv(connection.recv(1)[0], socket.MSG_WAITALL)
            kind = head[0] >> 4
            if kind == 1:
                connection.sendall(b"\x20\x02\x00\x00")
            elif kind == 8:
                connection.sendall(b"\x90\x04" + content[:2] + b"\x01\x01")
            elif kind == 3:
                topic_end = 2 + int.from_bytes(content[:2], "big")
                if content[2:topic_end].endswith(b"/detections"):
                    if next(died) < dies_at:
                        return
                    received.append(content[topic_end + 2:])
                connection.sendall(b"\x40\x02" + content[topic_end:topic_end + 2])
    return behave


def test_a_broker_that_dies_twice_over_one_message_loses_none() -> None:
    """The message is alone in flight both times and the largest so far, but two hang-ups prove nothing."""
    received: list[bytes] = []
    with serving(short_lived(2, received)) as port, \
            publishing(MqttConfig(host="127.0.0.1", port=port, protocol="3.1.1")) as publisher:
        assert wait_until(lambda: connected(publisher))
        publisher.publish(Message("detections", b"kept"))
        assert publisher.flush(60)
        assert (received, publisher.status().refused) == ([b"kept"], 0)


def waiting(number: int, size: int, *, retain: bool = False) -> Waiting:
    return Waiting(number, Message("detections", b"x" * size, retain=retain), since_s=0)


def hung_up_at(poison: PoisonMessages, *messages: Waiting) -> Waiting | None:
    """One connection on which the broker accepts a first message, up to its end."""
    poison.connected()
    poison.accepted(None)
    return poison.connection_ended(messages)


def test_only_a_message_that_was_alone_each_time_is_refused() -> None:
    """At the first hang-up others may be in flight too; each later hang-up that proves less restarts the count."""
    poison, first, second = PoisonMessages(), waiting(1, 10), waiting(2, 10)
    for others in ((), (second,)):
        for _ in range(HANG_UPS_MAX - 1):
            assert hung_up_at(poison, first) is None
        assert hung_up_at(poison, *others) is None
    poison.connected()
    assert poison.connection_ended((first,)) is None
    assert hung_up_at(poison, first, second) is None
    repeated = HANG_UPS_MAX - 1
    assert [hung_up_at(poison, first) for _ in range(repeated)] == [*[None] * (repeated - 1), first]


def test_without_an_accepted_message_none_is_refused() -> None:
    """The broker or its network may have died before it read the message; a sent QoS 0 message proves nothing."""
    poison, result = PoisonMessages(), waiting(1, 10)
    for _ in range(2 * HANG_UPS_MAX):
        poison.connected()
        poison.accepted(Waiting(2, Message("snapshot", b"x" * 100, qos=0), since_s=0))
        assert poison.connection_ended((result,)) is None
    hung_up_at(poison, result)
    assert hung_up_at(poison, result) is result


def test_a_network_that_cuts_again_and_again_costs_no_message() -> None:
    """A message no larger than an accepted one is not given up: the network was the cause, not the size."""
    poison, result = PoisonMessages(), waiting(2, 10)
    poison.accepted(waiting(1, 10))
    for _ in range(2 * HANG_UPS_MAX):
        assert hung_up_at(poison, result) is None


@pytest.mark.parametrize("is_taken", [False, True])
def test_a_state_is_one_suspect_until_a_newer_value_is_accepted(is_taken: bool) -> None:
    """Its value may change faster than the broker hangs up. An accepted value between two hang-ups clears it."""
    poison = PoisonMessages()
    refused = None
    for number in range(HANG_UPS_MAX):
        if is_taken:
            poison.accepted(waiting(10 + number, 5, retain=True))
        refused = hung_up_at(poison, waiting(20 + number, 10, retain=True))
    assert (refused is None) == is_taken


def test_a_message_as_large_as_a_refused_one_is_not_sent_for_a_while() -> None:
    """The limit is trusted for LIMIT_TRUSTED_S; not at all if the broker accepted a message as large."""
    now_s = [0.0]
    for taken, is_believed in ((99, True), (100, False)):
        poison, large = PoisonMessages(lambda: now_s[0]), waiting(1, 100)
        poison.accepted(waiting(0, taken))
        for _ in range(HANG_UPS_MAX):
            hung_up_at(poison, large)
        assert [poison.is_too_large(waiting(2, size).message) for size in (99, 100)] == [False, is_believed]
        now_s[0] += LIMIT_TRUSTED_S
        assert not poison.is_too_large(large.message)


def test_messages_of_a_kind_that_was_never_accepted_are_not_sent_for_a_while() -> None:
    """The broker may deny their topic. The other kinds are sent, however large they are."""
    now_s = [0.0]
    poison, event = PoisonMessages(lambda: now_s[0]), Waiting(1, Message("events", b"x"), since_s=0)
    other = waiting(2, 50)
    poison.accepted(other)
    assert [hung_up_at(poison, event) for _ in range(HANG_UPS_MAX)] == [*[None] * (HANG_UPS_MAX - 1), event]
    assert (poison.is_denied(event.message), poison.is_denied(other.message)) == (True, False)
    assert poison.losses() == "it hangs up at messages for events, so they are lost"
    now_s[0] += LIMIT_TRUSTED_S
    assert not poison.is_denied(event.message)
    assert poison.losses() == ""


def test_a_broker_that_hangs_up_at_a_topic_gets_everything_else() -> None:
    """MQTT 3.1.1 cannot say "denied". A device that learnt a new topic must not be cut off by old access rules."""
    with FakeBroker(ACCEPT_V3, lambda _life, published: not published.topic.endswith("/events")) as broker, \
            publishing(broker.client(protocol="3.1.1")) as publisher:
        assert wait_until(lambda: connected(publisher))
        publisher.publish(Message("info", LONG, retain=True))
        for number in range(ROUNDS):
            publisher.publish(Message("events", b"event"))
            publisher.publish(Message("detections", str(number).encode()))
        assert publisher.flush(30), publisher.status()
        assert (publisher.status().connected, publisher.status().refused) == (True, ROUNDS)
        assert set(publisher.reasons()) == {"mqtt_denied", "mqtt_limited"}
        received = [published.payload for life in broker.lives for published in life.published
                    if published.topic.endswith("/detections")]
        assert {int(payload) for payload in received} == set(range(ROUNDS))


def test_messages_go_one_by_one_for_a_while_after_a_hang_up() -> None:
    """While a message is suspected, a connection first waits for one acceptance, then has one in flight at a time."""
    now_s = [0.0]
    poison, suspect = PoisonMessages(lambda: now_s[0]), waiting(1, 10)
    poison.connected()
    assert not poison.must_wait(1)
    poison.connection_ended((suspect,))
    poison.connected()
    assert [poison.must_wait(in_flight) for in_flight in (0, 1)] == [True, True]
    poison.accepted(None)
    assert [poison.must_wait(in_flight) for in_flight in (0, 1)] == [False, True]
    now_s[0] += ONE_BY_ONE_S
    assert not poison.must_wait(1)
    now_s[0] = 0.0
    poison.accepted(suspect)
    assert not poison.must_wait(1)
