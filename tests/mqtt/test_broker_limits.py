"""Brokers that take small messages only: the large one is refused and counted, and everything else goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_publisher import BASE, connected, publishing

from mosquitto import listening, running, wait_until
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
