"""Brokers without some features: the device connects without them, and reports the loss."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.mqtt.test_connection import poll_until_it_ends
from tests.mqtt.test_publisher import BASE, connected, publishing
from tests.support.broker.fake_broker import ACCEPT_V3, ACCEPT_V5, Connect, FakeBroker, Life, Published
from tests.support.broker.mosquitto import running
from tests.support.broker.subscriber import Subscriber
from tests.support.network.rude_server import serving
from tests.support.waiting.until import wait_until
from vedette.config.models import MqttConfig
from vedette.errors import BrokerAway
from vedette.mqtt.connection import Connection
from vedette.mqtt.publisher import MqttPublisher
from vedette.mqtt.reconnect_policy import PROOF_CONNECTIONS, SHORT_CONNECTIONS
from vedette.mqtt.terms import IN_FLIGHT_MAX, Start, Terms
from vedette.types import Message

pytestmark = pytest.mark.slow

NO_QOS_1 = "takes no QoS 1"
NO_RETAINED = "keeps no retained messages"
NO_MQTT_5 = "does not take MQTT 5"
COUNT = 50


def limits(publisher: MqttPublisher) -> str:
    """Return the reported loss; fails if there is another reason."""
    reasons = publisher.reasons()
    assert reasons.keys() <= {"mqtt_limited"}
    return reasons.get("mqtt_limited", "")


def publish_results(publisher: MqttPublisher) -> None:
    for number in range(COUNT):
        publisher.publish(Message("detections", str(number).encode()))
    assert publisher.flush(30), publisher.status()


@pytest.mark.parametrize(("protocol", "settings", "lost"), [
    (5, "max_qos 0", [NO_QOS_1]), (5, "retain_available false", [NO_RETAINED]), (5, "max_inflight_messages 1", []),
    (5, "max_qos 0\nretain_available false", [NO_QOS_1, NO_RETAINED]),
    ("3.1.1", "max_qos 0", [NO_QOS_1]), ("3.1.1", "retain_available false", [NO_RETAINED]),
    ("3.1.1", "max_inflight_messages 1", [])])
def test_results_flow_and_the_loss_is_reported(protocol: int | str, settings: str, lost: list[str],
                                                tmp_path: Path) -> None:
    """The will, `online`, states and results use only this broker's features, whether it announces them or not."""
    with running(tmp_path, f"allow_anonymous true\n{settings}") as broker:
        mqtt = broker.client(protocol=protocol)
        with closing(Subscriber(mqtt, f"{BASE}/#")) as subscriber, publishing(mqtt) as publisher:
            assert wait_until(lambda: connected(publisher), 10), publisher.status()
            publisher.publish(Message("info", b"{}", retain=True))
            publish_results(publisher)
            assert subscriber.waits_for(lambda message: message.payload == str(COUNT - 1).encode())
            said = limits(publisher)
            assert publisher.status().reconnects == 0
        assert subscriber.waits_for(lambda message: message.payload == b"offline")
    assert [word in said for word in (NO_QOS_1, NO_RETAINED)] == [word in lost for word in (NO_QOS_1, NO_RETAINED)]
    assert bool(said) == bool(lost)
    assert {b"{}", b"online"} <= {message.payload for message in subscriber.received}


def test_a_small_limit_is_reported(tmp_path: Path) -> None:
    """The loss is reported before the first message is too large."""
    with running(tmp_path, "allow_anonymous true\nmax_packet_size 2000") as broker, \
            publishing(broker.client()) as publisher:
        assert wait_until(lambda: connected(publisher))
        publish_results(publisher)
        assert "at most 2000 bytes" in limits(publisher)


@pytest.mark.parametrize("receive_maximum", [1, 3, 19, 65_535])
def test_messages_in_flight_stay_below_receive_maximum(receive_maximum: int) -> None:
    """Receive Maximum counts messages without an acknowledgement; `online` is one of them."""
    announced = b"\x21" + receive_maximum.to_bytes(2, "big")
    with FakeBroker(b"\x20\x06\x00\x00\x03" + announced, is_slow=True) as broker, \
            publishing(broker.client()) as publisher:
        assert wait_until(lambda: connected(publisher))
        publish_results(publisher)
        assert limits(publisher) == ""
    most = min(receive_maximum, IN_FLIGHT_MAX)
    assert most / 2 <= broker.most_unacknowledged <= most


def test_there_is_no_room_beyond_the_messages_in_flight() -> None:
    """Also where only the terms say so, after a broker that named no limit has refused more."""
    with FakeBroker(ACCEPT_V5, is_slow=True) as broker:
        connection = Connection(broker.client(), "gate", Start(Terms(is_v5=True, in_flight=2)))
        while not connection.connected:
            connection.poll(1)
        for room in (True, False):
            connection.publish("a", b"x", qos=1)
            assert connection.has_room is room
        connection.close()


def test_every_limit_of_a_connack_is_kept() -> None:
    """The device sends QoS 0 and no retained messages, although the broker accepted a will of QoS 1."""
    with FakeBroker(b"\x20\x07\x00\x00\x04\x24\x00\x25\x00") as broker, publishing(broker.client()) as publisher:
        assert wait_until(lambda: connected(publisher))
        publisher.publish(Message("info", b"{}", retain=True))
        publish_results(publisher)
        assert wait_until(lambda: len(broker.published) >= COUNT + 2)
        said = limits(publisher)
    assert {(message.qos, message.retain) for message in broker.published} == {(0, False)}
    assert NO_QOS_1 in said
    assert NO_RETAINED in said


def test_a_short_session_is_reported() -> None:
    """The will cannot wait longer than the session, so a short absence is visible."""
    with FakeBroker(b"\x20\x08\x00\x00\x05\x11\x00\x00\x00\x05") as broker, publishing(broker.client()) as publisher:
        assert wait_until(lambda: connected(publisher))
        assert "ends a session after 5 s" in limits(publisher)


def v5_only_by(answer: bytes) -> Callable[[Connect], bytes]:
    def answers(connect: Connect) -> bytes:
        return answer if connect.level == 5 else ACCEPT_V3
    return answers


@pytest.mark.parametrize("answer", [b"", b"\x20\x02\x00\x01", b"\x20\x03\x00\x84\x00", ACCEPT_V3],
                         ids=["hangs up", "refuses in 3.1.1", "refuses in 5", "accepts in 3.1.1"])
def test_a_broker_without_mqtt_5_gets_3_1_1(answer: bytes) -> None:
    """Whatever its answer to a CONNECT of MQTT 5, the device uses 3.1.1 and reports it."""
    with FakeBroker(v5_only_by(answer)) as broker, publishing(broker.client()) as publisher:
        assert wait_until(lambda: connected(publisher), 20), publisher.status()
        publish_results(publisher)
        said = limits(publisher)
    assert NO_MQTT_5 in said
    assert NO_QOS_1 not in said
    assert {(life.connect.will_qos, life.connect.will_retain) for life in broker.lives[-1:]} == {(1, True)}


def test_a_configured_version_is_no_loss() -> None:
    """With `mqtt.protocol: 3.1.1` nothing is reported."""
    with FakeBroker(v5_only_by(b"")) as broker, publishing(broker.client(protocol="3.1.1")) as publisher:
        assert wait_until(lambda: connected(publisher))
        assert limits(publisher) == ""


def test_a_broker_that_hangs_up_at_retained_messages_gets_none() -> None:
    """It accepts the will, and ends the connection without a reason at the first retained message."""
    def accepts(_life: Life, message: Published) -> bool:
        return not message.retain

    with FakeBroker(ACCEPT_V3, accepts) as broker, publishing(broker.client(protocol="3.1.1")) as publisher:
        assert wait_until(lambda: connected(publisher) and bool(publisher.reasons().get("mqtt_limited")), 30)
        publish_results(publisher)
        said = limits(publisher)
    assert NO_RETAINED in said
    assert NO_QOS_1 not in said


def test_the_subscription_asks_for_no_more_than_the_terms() -> None:
    """RabbitMQ hangs up at QoS 1 while the node with the queue of this device is down, even after a clean start."""
    less = replace(Terms(is_v5=False), command_qos=0)
    assert "commands to an absent device are lost" in less.losses(wanted_v5=False)
    with FakeBroker(ACCEPT_V3, command_qos=0) as broker:
        mqtt = broker.client(protocol="3.1.1")
        with closing(Connection(mqtt, "gate", filters=["a"])) as refused, pytest.raises(BrokerAway, match="closed"):
            poll_until_it_ends(refused)
        with closing(Connection(mqtt, "gate", Start(less), filters=["a"])) as connection:
            while not connection.connected:
                connection.poll(1)
            connection.publish("b", b"1", qos=1)
            while not connection.is_idle:
                connection.poll(1)
    assert [message.qos for message in broker.published] == [1]


def test_a_broker_that_restarts_keeps_every_feature() -> None:
    """At first it hangs up, like a proxy whose broker is not up yet; then it accepts everything."""
    count = itertools.count()

    def answers(connect: Connect) -> bytes:
        return ACCEPT_V5 if next(count) >= 3 and connect.level == 5 else ACCEPT_V3 if connect.level == 4 else b""

    with FakeBroker(answers) as broker, publishing(broker.client()) as publisher:
        assert wait_until(lambda: connected(publisher), 20)
        assert limits(publisher) == ""


def gone_with_its_node(answer: bytes) -> Callable[[Connect], bytes]:
    """A cluster that lost the node of each session except a new one, after the first connection."""
    connects = itertools.count()

    def answers(connect: Connect) -> bytes:
        return ACCEPT_V3 if next(connects) == 0 or connect.clean else answer
    return answers


@pytest.mark.parametrize("answer", [b"", b"\x20\x02\x00\x03"], ids=["hangs up", "unavailable"])
def test_a_lost_session_is_replaced_by_a_clean_start(answer: bytes) -> None:
    """A clean start connects where the kept session is gone with its node."""
    with FakeBroker(gone_with_its_node(answer)) as broker, \
            publishing(broker.client(protocol="3.1.1")) as publisher:
        assert wait_until(lambda: connected(publisher))
        broker.cut()
        assert wait_until(lambda: publisher.status().reconnects == 1 and connected(publisher), 20)
        assert limits(publisher) == ""
        publish_results(publisher)


def test_short_connections_are_no_takeover() -> None:
    """A proxy that ends each connection early is no other device: results flow, without a long pause."""
    with FakeBroker(ACCEPT_V3, ends_after_s=0.2) as broker, publishing(broker.client(protocol="3.1.1")) as publisher:
        for number in range(SHORT_CONNECTIONS + PROOF_CONNECTIONS + 1):
            publisher.publish(Message("detections", str(number).encode()))
            assert publisher.flush(15), publisher.status()
            assert wait_until(lambda: not connected(publisher))
            assert not {"duplicate_device", "mqtt_limited"} & publisher.reasons().keys()


def test_a_hang_up_before_the_answer_is_not_reported_as_tls(tmp_path: Path) -> None:
    """MQTT 3.1.1 to a broker without QoS 1, which cannot report that: the message does not mention TLS."""
    with running(tmp_path, "allow_anonymous true\nmax_qos 0") as broker:
        connection = Connection(broker.client(protocol="3.1.1"), "gate", will=Message("a", b"offline"))
        with pytest.raises(BrokerAway, match="before it answered: it speaks no TLS"):
            poll_until_it_ends(connection)


def test_features_are_given_up_one_by_one() -> None:
    """The most useful are kept longest: first MQTT 3.1.1 with all else, at last QoS 0 without retained messages."""
    assert [(terms.is_v5, terms.retain, terms.qos, terms.command_qos) for terms in Terms(is_v5=False).lesser()] == [
        (False, True, 1, 0), (False, True, 0, 0), (False, False, 1, 1), (False, False, 0, 0)]
    every = list(Terms(is_v5=True).lesser())
    assert every[0] == Terms(is_v5=False)
    assert len(every) == 9


def test_a_returning_broker_is_asked_for_every_feature_again(tmp_path: Path) -> None:
    """It may be another broker, or have other settings."""
    with running(tmp_path, "allow_anonymous true\nmax_qos 0") as broker, publishing(broker.client()) as publisher:
        assert wait_until(lambda: NO_QOS_1 in publisher.reasons().get("mqtt_limited", ""))
        broker.stop()
        assert wait_until(lambda: "no connection" in str(publisher.status().cause))
        broker.configure("allow_anonymous true")
        broker.start()
        assert wait_until(lambda: connected(publisher))
        assert limits(publisher) == ""


def test_a_missing_broker_loses_no_feature() -> None:
    """A port without a listener says nothing about the features of a broker."""
    with publishing(MqttConfig(host="127.0.0.1", port=1)) as publisher:
        assert wait_until(lambda: "no connection" in str(publisher.status().cause))
        assert publisher.reasons().keys() == {"mqtt_offline"}


def test_a_refusal_says_what_the_broker_says() -> None:
    """A server to use instead, and a text of the broker, without characters that a terminal must not show."""
    said = b"\x1c\x00\x05other\x1f\x00\x05ask\x1bx"
    with FakeBroker(b"\x20" + bytes((3 + len(said), 0, 0x9C, len(said))) + said) as broker, \
            publishing(broker.client()) as publisher:
        assert wait_until(lambda: "Use another server: other; ask?x" in str(publisher.status().cause)), \
            publisher.status()


@pytest.mark.parametrize("code", [0x88, 0x89, 0x97, 0x9D, 0x9F])
def test_a_broker_that_takes_nobody_now_does_not_refuse_the_login(code: int) -> None:
    """Health says `mqtt_offline`: no other password would help."""
    with FakeBroker(b"\x20\x03\x00" + bytes((code, 0))) as broker, publishing(broker.client()) as publisher:
        assert wait_until(lambda: "refuses vedette-gate" in str(publisher.status().cause)), publisher.status()
        assert set(publisher.reasons()) == {"mqtt_offline"}


@pytest.mark.parametrize(("answer", "said"), [(b"HTTP/1.1 400 Bad\r\n\r\n", "like a web server"),
                                              (b"<html>", "like a web server"), (b"SSH-2.0-x\r\n", "like an SSH")])
def test_a_port_of_another_service_is_called_by_its_kind(answer: bytes, said: str) -> None:
    """A web interface, a WebSockets port or SSH in place of the broker."""
    def behave(connection: socket.socket, _stopping: threading.Event) -> None:
        connection.recv(4096)
        connection.sendall(answer)

    with serving(behave) as port, publishing(MqttConfig(host="127.0.0.1", port=port)) as publisher:
        assert wait_until(lambda: said in str(publisher.status().cause)), publisher.status()
