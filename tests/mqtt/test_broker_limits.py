"""Brokers that take small messages only: the large one is refused and counted, and everything else goes on."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from test_publisher import BASE, connected, publishing

from mosquitto import listening, running, wait_until
from vedette.mqtt.hang_ups import BELIEVED_S, CAREFUL_S, HangUps
from vedette.outbox import Waiting
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
    """MQTT 3.1.1 has no word for "too large": hung up on twice it is refused, a state too, and no duplicate is seen."""
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
    assert (status.connected, status.reconnects, status.refused) == (True, 2, ROUNDS + 1)
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


def waiting(number: int, size: int, *, retain: bool = False) -> Waiting:
    return Waiting(number, Message("detections", b"x" * size, retain=retain), since_s=0)


def hung_up_at(hang_ups: HangUps, *messages: Waiting) -> Waiting | None:
    hang_ups.connected()
    return hang_ups.ended(messages)


def test_only_what_was_alone_a_second_time_is_blamed() -> None:
    """Neither a first hang-up, nor one with company, nor one after a connection that ended otherwise blames anybody."""
    hang_ups, first, second = HangUps(), waiting(1, 10), waiting(2, 10)
    assert hung_up_at(hang_ups, first) is None
    assert hung_up_at(hang_ups, first, second) is None
    assert hung_up_at(hang_ups) is None
    assert hung_up_at(hang_ups, second) is None
    assert hung_up_at(hang_ups, first) is None
    assert hung_up_at(hang_ups, first) is first


def test_a_network_that_cuts_twice_costs_no_message() -> None:
    """What is no larger than one the broker has taken is not given up: it was the network, not the size."""
    hang_ups, result = HangUps(), waiting(2, 10)
    hang_ups.taken(waiting(1, 10).message)
    for _ in range(5):
        assert hung_up_at(hang_ups, result) is None


def test_a_state_is_blamed_though_a_newer_one_has_replaced_it() -> None:
    """A state that changes faster than the broker hangs up is one suspect all the same."""
    hang_ups = HangUps()
    assert hung_up_at(hang_ups, waiting(1, 10, retain=True)) is None
    assert hung_up_at(hang_ups, waiting(2, 10, retain=True)) is not None


def test_what_is_as_large_is_not_sent_for_a_while() -> None:
    """The size is believed for its time; not at all where the broker has taken one as large."""
    now_s = [0.0]
    for taken, is_believed in ((99, True), (100, False)):
        hang_ups, large = HangUps(lambda: now_s[0]), waiting(1, 100)
        hang_ups.taken(waiting(0, taken).message)
        hung_up_at(hang_ups, large)
        hung_up_at(hang_ups, large)
        assert [hang_ups.is_too_large(waiting(2, size).message) for size in (99, 100)] == [False, is_believed]
        now_s[0] += BELIEVED_S
        assert not hang_ups.is_too_large(large.message)


def test_messages_go_one_by_one_for_a_while_after_a_hang_up() -> None:
    """While somebody is suspected, the first seconds of a connection have one message in flight."""
    now_s = [0.0]
    hang_ups = HangUps(lambda: now_s[0])
    hang_ups.connected()
    assert not hang_ups.must_wait(1)
    hang_ups.ended((waiting(1, 10),))
    hang_ups.connected()
    assert [hang_ups.must_wait(in_flight) for in_flight in (0, 1)] == [False, True]
    now_s[0] += CAREFUL_S
    assert not hang_ups.must_wait(1)
