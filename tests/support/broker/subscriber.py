"""Clients of a broker that the tests use: one listens in its own thread, one sends a single message."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.waiting.fair_clock import PATIENCE_S
from tests.support.waiting.until import wait_until
from vedette.config.models import MqttConfig
from vedette.mqtt.command_filter import Incoming
from vedette.mqtt.connection import Connection

Payload = dict[str, Any]
"""A JSON object from the wire, as a test reads it."""


class Subscriber:
    """Collects the messages that a client receives, in its own thread."""

    def __init__(self, mqtt: MqttConfig, *filters: str, name: str = "subscriber") -> None:
        self.received: list[Incoming] = []
        self._stopping = threading.Event()
        self._connection = Connection(mqtt, f"test.{name}", filters=filters, largest_packet=16_000_000)
        while not self._connection.connected:
            self.received += self._connection.poll(1)
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while not self._stopping.is_set():
            self.received += self._connection.poll(0.05)

    def topics(self) -> list[str]:
        return [message.topic for message in self.received]

    def last(self, topic: str) -> Incoming | None:
        return next((message for message in reversed(self.received) if message.topic == topic), None)

    def published(self, topic: str) -> list[Payload]:
        """The messages that devices published on this topic, such as `health` or `reply/snapshot`."""
        return [json.loads(message.payload) for message in tuple(self.received)
                if message.topic.split("/", 2)[-1] == topic]

    @property
    def results(self) -> list[Payload]:
        return self.published("detections")

    def results_from(self, source: str) -> list[Payload]:
        """The results whose `source` is this one, such as `cloud`."""
        return [result for result in self.results if result["source"] == source]

    @property
    def health(self) -> Payload:
        """The newest health message; before the first one, a health without a state."""
        return (self.published("health") or [{"state": None, "reasons": []}])[-1]

    @property
    def reasons(self) -> dict[str, str | None]:
        """The reasons in the newest health message: code -> detail."""
        return {reason["code"]: reason["detail"] for reason in self.health["reasons"]}

    @property
    def availability(self) -> list[bytes]:
        """Every payload of the availability topic, in order."""
        return [message.payload for message in tuple(self.received) if message.topic.endswith("/availability")]

    def waits_for_reason(self, code: str, within_s: float = PATIENCE_S) -> bool:
        return wait_until(lambda: code in self.reasons, within_s)

    def waits_for_results(self, count: int = 1, within_s: float = PATIENCE_S) -> bool:
        return wait_until(lambda: len(self.results) >= count, within_s)

    def waits_for(self, holds: Callable[[Incoming], bool], within_s: float = PATIENCE_S) -> bool:
        return wait_until(lambda: any(holds(message) for message in tuple(self.received)), within_s)

    def close(self) -> None:
        self._stopping.set()
        self._thread.join(PATIENCE_S)
        self._connection.close(send_disconnect=True)


@contextmanager
def listening(mqtt: MqttConfig, *filters: str, name: str = "subscriber") -> Iterator[Subscriber]:
    subscriber = Subscriber(mqtt, *filters, name=name)
    try:
        yield subscriber
    finally:
        subscriber.close()


def send(mqtt: MqttConfig, topic: str, payload: bytes, *, retain: bool = False, name: str = "sender") -> None:
    """Publish one message with QoS 1 and wait for its acknowledgement."""
    connection = Connection(mqtt, f"test.{name}")
    try:
        while not connection.connected:
            connection.poll(1)
        connection.publish(topic, payload, qos=1, retain=retain)
        while not connection.is_idle:
            connection.poll(1)
    finally:
        connection.close(send_disconnect=True)
