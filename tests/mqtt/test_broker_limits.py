"""Brokers that take small messages only: the large one is refused and counted, and everything else goes on."""

from __future__ import annotations

import itertools
import signal
import socket
import threading
from pathlib import Path

import pytest

from tests.mqtt.test_publisher import BASE, connected, publishing
from tests.support.broker.mosquitto import running
from tests.support.broker.subscriber import listening
from tests.support.network.rude_server import Behave, serving
from tests.support.waiting.until import wait_until
from vedette.config.models import MqttConfig
from vedette.mqtt.outbox import Waiting
from vedette.mqtt.poison_message import BELIEVED_S, CAREFUL_S, STRIKES, PoisonMessages
from vedette.types import Message

LONG = b"x" * 1000
SIZE = 1 + 2 + 2 + len(f"{BASE}/detections") + 2 + 1 + len(LONG)
ROUNDS = 6
"""More short lives than a device of the same name would need to be suspected."""


@pytest.mark.parametrize("limit", ["max_packet_size 600", "message_size_limit 400"])
def test_too_large_messages_are_refused_and_the_others_flow(limit: str, tmp_path: Path,
                                                            caplog: pytest.LogCaptureFixture) -> None:
    """With MQTT 5, by CONNACK or by PUBACK, what is too large is refused, counted and named; the connection stands."""
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
    assert [message.payload for message in subscriber.heard if message.topic == f"{BASE}/detections"] == [
        str(number).encode() for number in range(ROUNDS)]
    assert (status.reconnects, status.published, status.refused, status.reasons) == (
        0, ROUNDS, 2 * ROUNDS, ("mqtt_denied",))
    assert any(f"{BASE}/detections" in words and f"{SIZE} bytes" in words for words in caplog.messages), caplog.text


def test_a_message_at_which_the_broker_hangs_up_is_given_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """MQTT 3.1.1 has no word for "too large": hung up on again and again it is refused, a state too."""
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
            heard = [int(message.payload) for message in subscriber.heard if message.topic == f"{BASE}/detections"]
    assert sorted(set(heard)) == list(range(ROUNDS))
    assert (status.connected, status.reconnects, status.refused) == (True, STRIKES, ROUNDS + 1)
    assert status.reasons == ("mqtt_denied",)
    assert f"detections with {len(LONG)} bytes is given up" in caplog.text
    assert "with 1 bytes" not in caplog.text


def test_one_end_of_a_connection_gives_nothing_up(tmp_path: Path) -> None:
    """A broker that dies with messages in flight, comes back and takes them, loses none."""
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
    assert (status.published, status.refused, status.reasons) == (4, 0, ())


def short_lived(dies_at: int, heard: list[bytes]) -> Behave:
    """A broker (MQTT 3.1.1) that takes what it is told, but ends the first connections at a message for detections."""
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
                    heard.append(content[topic_end + 2:])
                connection.sendall(b"\x40\x02" + content[topic_end:topic_end + 2])
    return behave


def test_a_broker_that_dies_twice_over_one_message_loses_none() -> None:
    """Alone in flight at both, and the largest yet: two ends are no proof that the broker cannot take it."""
    heard: list[bytes] = []
    with serving(short_lived(2, heard)) as port, \
            publishing(MqttConfig(host="127.0.0.1", port=port, protocol="3.1.1")) as publisher:
        assert wait_until(lambda: connected(publisher))
        publisher.publish(Message("detections", b"kept"))
        assert publisher.flush(60)
        assert (heard, publisher.status().refused) == ([b"kept"], 0)


def waiting(number: int, size: int, *, retain: bool = False) -> Waiting:
    return Waiting(number, Message("detections", b"x" * size, retain=retain), since_s=0)


def hung_up_at(hang_ups: PoisonMessages, *messages: Waiting) -> Waiting | None:
    """One connection that has taken a first word, to its end."""
    hang_ups.connected()
    hang_ups.taken(None)
    return hang_ups.ended(messages)


def test_only_what_was_alone_again_and_again_is_blamed() -> None:
    """The first hang-up may be one with company; each after it that says less than the one before begins anew."""
    hang_ups, first, second = PoisonMessages(), waiting(1, 10), waiting(2, 10)
    for others in ((), (second,)):
        for _ in range(STRIKES - 1):
            assert hung_up_at(hang_ups, first) is None
        assert hung_up_at(hang_ups, *others) is None
    hang_ups.connected()
    assert hang_ups.ended((first,)) is None
    assert hung_up_at(hang_ups, first, second) is None
    assert [hung_up_at(hang_ups, first) for _ in range(STRIKES - 1)] == [*[None] * (STRIKES - 2), first]


def test_a_broker_that_has_taken_nothing_on_a_connection_blames_nobody() -> None:
    """It may have died, or its network, before it came to the message; what was sent as QoS 0 proves nothing."""
    hang_ups, result = PoisonMessages(), waiting(1, 10)
    for _ in range(2 * STRIKES):
        hang_ups.connected()
        hang_ups.taken(Waiting(2, Message("snapshot", b"x" * 100, qos=0), since_s=0))
        assert hang_ups.ended((result,)) is None
    hung_up_at(hang_ups, result)
    assert hung_up_at(hang_ups, result) is result


def test_a_network_that_cuts_again_and_again_costs_no_message() -> None:
    """What is no larger than one the broker has taken is not given up: it was the network, not the size."""
    hang_ups, result = PoisonMessages(), waiting(2, 10)
    hang_ups.taken(waiting(1, 10))
    for _ in range(2 * STRIKES):
        assert hung_up_at(hang_ups, result) is None


@pytest.mark.parametrize("is_taken", [False, True])
def test_a_state_is_one_suspect_until_a_newer_one_of_it_is_taken(is_taken: bool) -> None:
    """It may change faster than the broker hangs up; between hang-ups that are days apart it has been taken."""
    hang_ups = PoisonMessages()
    blamed = None
    for number in range(STRIKES):
        if is_taken:
            hang_ups.taken(waiting(10 + number, 5, retain=True))
        blamed = hung_up_at(hang_ups, waiting(20 + number, 10, retain=True))
    assert (blamed is None) == is_taken


def test_what_is_as_large_is_not_sent_for_a_while() -> None:
    """The size is believed for its time; not at all where the broker has taken one as large."""
    now_s = [0.0]
    for taken, is_believed in ((99, True), (100, False)):
        hang_ups, large = PoisonMessages(lambda: now_s[0]), waiting(1, 100)
        hang_ups.taken(waiting(0, taken))
        for _ in range(STRIKES):
            hung_up_at(hang_ups, large)
        assert [hang_ups.is_too_large(waiting(2, size).message) for size in (99, 100)] == [False, is_believed]
        now_s[0] += BELIEVED_S
        assert not hang_ups.is_too_large(large.message)


def test_messages_go_one_by_one_for_a_while_after_a_hang_up() -> None:
    """While somebody is suspected, the first seconds of a connection have one in flight, behind a first that came."""
    now_s = [0.0]
    hang_ups, suspect = PoisonMessages(lambda: now_s[0]), waiting(1, 10)
    hang_ups.connected()
    assert not hang_ups.must_wait(1)
    hang_ups.ended((suspect,))
    hang_ups.connected()
    assert [hang_ups.must_wait(in_flight) for in_flight in (0, 1)] == [True, True]
    hang_ups.taken(None)
    assert [hang_ups.must_wait(in_flight) for in_flight in (0, 1)] == [False, True]
    now_s[0] += CAREFUL_S
    assert not hang_ups.must_wait(1)
    now_s[0] = 0.0
    hang_ups.taken(suspect)
    assert not hang_ups.must_wait(1)
