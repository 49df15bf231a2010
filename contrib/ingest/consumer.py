"""One session at the broker, which stays there while the program is away.

Invariants: never a clean start; a message is acknowledged only when the caller says so, and only on the
connection on which it came: a broker that has lost the session uses the same numbers for other messages. Everything
that was not acknowledged comes again.
"""

from __future__ import annotations

import logging
import random
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from .database import Message

log = logging.getLogger(__name__)

FOR_EVER_S = 0xFFFFFFFF
KEEPALIVE_S = 60
WINDOW = 1000
"""Messages that may wait for their acknowledgement."""
PACKET_BYTES = 262_144
RETRY_CAP_S = 30.0


def retry_s(tries: int) -> float:
    """Return how long to wait after so many failures in a row, from 1."""
    return min(2.0 ** min(tries, 10) / 2, RETRY_CAP_S)


@dataclass(frozen=True, slots=True)
class Broker:
    """Where it is, and how to log in. `ca_file`: None without TLS, empty for the certificates of the system.

    `is_old`: it speaks MQTT 3.1.1 only. It then sends as many messages at once as its own configuration says.
    """

    host: str
    port: int
    username: str | None = None
    password: str | None = None
    ca_file: str | None = None
    is_old: bool = False


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message, and what acknowledges it. `mid`: 0 where it needs no acknowledgement (QoS 0)."""

    message: Message
    mid: int
    epoch: int


class Consumer:
    """Receives messages; all calls on one thread. `received`: what was not taken yet."""

    def __init__(self, broker: Broker, client_id: str, filters: Sequence[str]) -> None:
        self.client_id = client_id
        self.is_old = broker.is_old
        self._broker = broker
        self._filters = filters
        self._epoch = 0
        """Changes with each connection, and when it is lost."""
        self._has_session = False
        self._tries = 0
        self._retry_at_s = 0.0
        self.connected = False
        self.received: list[Delivery] = []
        self._asked: dict[int | None, str] = {}
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id, clean_session=False if broker.is_old else None,
            protocol=paho.MQTTv311 if broker.is_old else paho.MQTTv5, manual_ack=True)
        if broker.username is not None:
            self._client.username_pw_set(broker.username, broker.password)
        if broker.ca_file is not None:
            self._client.tls_set_context(ssl.create_default_context(cafile=broker.ca_file or None))
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message

    def poll(self, timeout_s: float) -> None:
        """Stay connected, and receive for `timeout_s` at most, or for one message."""
        if self._client.socket() is None:
            self._connect(timeout_s)
        elif (code := self._client.loop(timeout_s)) != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._lost(paho.error_string(code))

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge what is written. What came on an earlier connection comes again, and is a repeat."""
        for each in deliveries:
            if each.mid and each.epoch == self._epoch:
                self._client.ack(each.mid, 1)

    def close(self) -> None:
        """Disconnect. The session stays, and the broker keeps messages for it."""
        self._client.disconnect()
        deadline_s = time.monotonic() + 2
        while self._client.socket() is not None and time.monotonic() < deadline_s:
            self._client.loop(0.1)
        self.connected = False

    def _connect(self, timeout_s: float) -> None:
        wait_s = self._retry_at_s - time.monotonic()
        if wait_s > 0:
            time.sleep(min(wait_s, timeout_s))
            return
        self._tries += 1
        self._retry_at_s = time.monotonic() + random.uniform(0.5, 1) * retry_s(self._tries)     # noqa: S311
        try:
            if self._broker.is_old:
                self._client.connect(self._broker.host, self._broker.port, KEEPALIVE_S)
            else:
                properties = Properties(PacketTypes.CONNECT)   # type: ignore[no-untyped-call]  # paho leaves it untyped
                properties.SessionExpiryInterval = FOR_EVER_S
                properties.ReceiveMaximum = WINDOW
                properties.MaximumPacketSize = PACKET_BYTES
                self._client.connect(self._broker.host, self._broker.port, KEEPALIVE_S, clean_start=False,
                                     properties=properties)
        except (OSError, ssl.CertificateError) as error:
            self._lost(str(error))

    def _lost(self, why: str) -> None:
        log.warning("broker %s:%d: %s", self._broker.host, self._broker.port, why)
        self._forget()

    def _forget(self) -> None:
        """What was received comes again on the next connection."""
        self.connected = False
        self._epoch += 1
        self.received = []

    def _on_connect(self, _client: Any, _: Any, flags: paho.ConnectFlags, code: ReasonCode, _properties: Any) -> None:
        if code.is_failure:
            log.error("broker: %s", code)
            return
        if self._has_session and not flags.session_present:
            log.error("broker: it has lost this session. What it kept for it is lost: see max_queued_messages, "
                      "persistence and autosave_interval in the README")
        self._has_session = True
        self._forget()
        # Each time: a broker may keep the session and lose its subscriptions.
        self._asked = {self._client.subscribe(each, qos=1)[1]: each for each in self._filters}

    def _on_subscribe(self, _client: Any, _: Any, mid: int, codes: list[ReasonCode], _properties: Any) -> None:
        asked = self._asked.pop(mid, "")
        if any(code.is_failure for code in codes):
            log.error("broker: refused: %s: %s", asked, codes[0])
            self._client.disconnect()
        elif not self._asked:
            log.info("broker %s:%d: connected", self._broker.host, self._broker.port)
            self.connected = True
            self._tries = 0

    def _on_message(self, _client: Any, _: Any, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""
        mid = message.mid if message.qos else 0
        self.received.append(Delivery(Message(topic, bytes(message.payload)), mid, self._epoch))
