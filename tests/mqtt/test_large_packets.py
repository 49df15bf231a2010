"""Packets larger than the memory for them: the broker or a publisher may send any length."""

from __future__ import annotations

import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.mqtt.test_publisher import BASE
from tests.support.broker.fake_broker import ACCEPT_V5, FakeBroker
from tests.support.broker.mosquitto import running
from tests.support.broker.subscriber import send
from tests.support.network.rude_server import serving
from tests.support.waiting.until import eventually
from vedette.config.models import MqttConfig
from vedette.errors import BrokerAway
from vedette.mqtt.command_filter import Incoming
from vedette.mqtt.connection import COMMAND_PACKET, RECEIVED_MAX, Connection
from vedette.mqtt.packets import publish_bytes

MEGABYTE = 1_000_000
ENOUGH_S = 60
PAUSE = f"{BASE}/cmd/pause"


class Peak:
    """The most memory in use during the block, above that at its start, in bytes."""

    bytes = 0


@contextmanager
def measured_peak() -> Iterator[Peak]:
    peak = Peak()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    try:
        yield peak
    finally:
        peak.bytes = tracemalloc.get_traced_memory()[1] - before
        tracemalloc.stop()


def received_until(connection: Connection, payload: bytes) -> list[Incoming]:
    received: list[Incoming] = []
    until_s = time.monotonic() + ENOUGH_S
    while not any(message.payload == payload for message in received):
        assert time.monotonic() < until_s
        received += connection.poll(0.1)
    return received


@pytest.mark.parametrize("qos", [0, 1])
def test_a_broker_that_ignores_the_limit_costs_no_memory(qos: int, caplog: pytest.LogCaptureFixture) -> None:
    """A message of 40 MB is skipped: it is acknowledged and logged, never held, and the next one arrives."""
    with FakeBroker(ACCEPT_V5) as broker:
        broker.deliver(PAUSE, b" " * (40 * MEGABYTE), qos=qos)
        broker.deliver(PAUSE, b"{}", qos=1)
        with measured_peak() as peak:
            connection = Connection(broker.client(), "gate", filters=[PAUSE])
            received = received_until(connection, b"{}")
        eventually(lambda: connection.poll(0.01) == [] and broker.acknowledged == [1] * qos + [2])
        connection.close()
    assert [message.payload for message in received] == [b"{}"]
    assert peak.bytes < 4 * MEGABYTE
    assert f"a message for {PAUSE} is not read: its packet has 400000" in caplog.text


def test_a_retained_message_without_a_limit_costs_no_memory(tmp_path: Path) -> None:
    """MQTT 3.1.1 cannot announce a limit: the broker sends any retained message at every connect."""
    with running(tmp_path) as broker:
        mqtt = broker.client(protocol="3.1.1")
        send(mqtt, PAUSE, b" " * (40 * MEGABYTE), retain=True)
        for _ in range(2):
            with measured_peak() as peak:
                connection = Connection(mqtt, "gate", filters=[PAUSE, "done"])
                while not connection.connected:
                    connection.poll(1)
                connection.publish("done", b"{}", qos=1)
                received = received_until(connection, b"{}")
            connection.close(send_disconnect=True)
            assert [message.payload for message in received] == [b"{}"]
            assert peak.bytes < 4 * MEGABYTE


@pytest.mark.parametrize("more", [0, 1, 2])
def test_the_limit_is_exact(more: int) -> None:
    """A packet of the limit is delivered whole; one byte more is not delivered at all."""
    body = COMMAND_PACKET - publish_bytes(PAUSE, b"", 1, is_v5=True) + 2
    payload = b"x" * (body + more)
    with FakeBroker(ACCEPT_V5) as broker:
        broker.deliver(PAUSE, payload, qos=1)
        broker.deliver(PAUSE, b"{}", qos=1)
        connection = Connection(broker.client(), "gate", filters=[PAUSE])
        received = received_until(connection, b"{}")
        connection.close()
    assert [message.payload for message in received] == [payload] * (more == 0) + [b"{}"]


@pytest.mark.parametrize("packet", [
    b"\x90\xff\xff\xff\x7f\x00\x01\x00", b"\x20\xff\xff\xff\x7f\x00\x00", b"\x34\x05\x00\x01a\x00\x07"])
def test_unexpected_packets_end_the_connection(packet: bytes) -> None:
    """A long packet that is no message, and QoS 2, which would be kept until the broker releases it, end it."""
    def behave(connection: socket.socket, stopping: threading.Event) -> None:
        connection.recv(1000)
        connection.sendall(ACCEPT_V5 + packet)
        stopping.wait(ENOUGH_S)

    with serving(behave) as port:
        connection = Connection(MqttConfig(port=port), "gate")
        with pytest.raises(BrokerAway, match=r"not MQTT: a (packet of 268435455 bytes|message of QoS 2)"):
            received_until(connection, b"never")
        connection.close()


def test_a_broker_that_reads_nothing_fills_no_memory() -> None:
    """While acknowledgements cannot be sent, no more messages are read."""
    message = b"\x32" + b"\x80\x80\x02" + b"\x00\x01a" + b"\x00\x07" + b"\x00" + b"x" * (32768 - 6)
    sent = [0]

    def behave(connection: socket.socket, stopping: threading.Event) -> None:
        connection.recv(1000)
        connection.sendall(ACCEPT_V5)
        connection.setblocking(False)
        left = b""
        while not stopping.wait(0.0001):
            left = left or message
            try:
                left = left[connection.send(left):]
                sent[0] += not left
            except BlockingIOError:
                stopping.wait(0.01)

    with serving(behave) as port:
        connection = Connection(MqttConfig(port=port), "gate")
        while not connection.connected:
            connection.poll(1)
        connection.publish("large", b"x" * (16 * MEGABYTE), qos=1)      # fills what the system buffers
        until_s = time.monotonic() + 1
        while time.monotonic() < until_s and sent[0] < 40 * RECEIVED_MAX:
            assert connection.poll(0.01) == []
        assert len(connection._received) <= RECEIVED_MAX + 1
        connection.close()
