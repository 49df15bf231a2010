"""A paho client that asks for the terms, and judges the declared length of a packet before it buffers the body.

paho buffers a packet of any length (up to 256 MB) before anybody may refuse it. MQTT 3.1.1 cannot announce a limit, and
a broker may ignore the one that MQTT 5 announces.

Invariants: at most `largest` bytes of a packet are kept, whatever length it declares. The rest of a message is read and
dropped, so that the connection and its other messages live on. A long packet that is no message, and a message with a
QoS that nobody subscribed to, end the connection.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt import MQTTException
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from vedette.config.models import MqttConfig
from vedette.mqtt.login import password, user_name
from vedette.mqtt.terms import SESSION_EXPIRY_S, WILL_DELAY_S, Terms
from vedette.mqtt.tls import tls_context
from vedette.types import Message

_PUBLISH = 3
_CHUNK = 64 * 1024
_CHUNKS_AT_ONCE = 64
"""So many chunks are dropped before the loop attends to other work."""


class BoundedClient(paho.Client):
    """`declared` and `is_cut` describe the message that is being delivered."""

    def __init__(self, largest: int, terms: Terms, client_id: str, *, clean: bool) -> None:
        super().__init__(CallbackAPIVersion.VERSION2, client_id, reconnect_on_failure=False,
                         protocol=paho.MQTTv5 if terms.is_v5 else paho.MQTTv311,
                         clean_session=None if terms.is_v5 else clean)
        self._largest = largest
        self._terms = terms
        self._begins_clean = clean
        self.turn = 0
        """Which address of the broker's name is tried first, modulo their number; the others follow."""
        self.first_byte: int | None = None
        """The first byte that the peer sent."""
        self.dropped_s = 0.0
        """When bytes were dropped last: the connection lives, but other packets must wait. Monotonic."""

    def configure(self, mqtt: MqttConfig, will: Message | None) -> None:
        """Take login, TLS and the will from the configuration. Raises: ValueError, OSError."""
        if mqtt.username is not None:
            self.username_pw_set(user_name(mqtt.username), password(mqtt.password_file))
        if mqtt.tls is not None:
            self.tls_set_context(tls_context(mqtt.tls))
        if will is not None:
            terms = self._terms
            delay = _properties(PacketTypes.WILLMESSAGE, WillDelayInterval=WILL_DELAY_S) if terms.is_v5 else None
            self.will_set(will.topic, will.payload, min(will.qos, terms.qos), will.retain and terms.retain, delay)

    def send_connect(self, mqtt: MqttConfig, *, keep_session: bool) -> None:
        """Open the socket and send CONNECT. Raises: ValueError, OSError, TlsRefused."""
        if self._terms.is_v5:
            asked = _properties(PacketTypes.CONNECT, SessionExpiryInterval=SESSION_EXPIRY_S if keep_session else 0,
                                MaximumPacketSize=self._largest)
            self.connect(mqtt.host, mqtt.port, mqtt.keepalive_s, clean_start=self._begins_clean, properties=asked)
        else:
            self.connect(mqtt.host, mqtt.port, mqtt.keepalive_s)

    def ask_for(self, filters: Sequence[str], qos: int) -> int | None:
        """Subscribe to topics; returns the packet identifier."""
        asked: Any = SubscribeOptions(qos=qos) if self._terms.is_v5 else qos
        return self.subscribe([(topic, asked) for topic in filters])[1]

    @property
    def declared(self) -> int:
        """The length that the packet declares."""
        return int(self._in_packet["remaining_length"])

    @property
    def is_cut(self) -> bool:
        """Whether only the first part of the packet was kept."""
        return self.declared > len(self._in_packet["packet"])

    def _check_keepalive(self) -> None:
        """Overrides paho's, which gives up a connection whose TLS or whose answer takes longer than the keep-alive."""
        if self.is_connected():
            super()._check_keepalive()

    def _create_socket_connection(self) -> socket.socket:
        """Overrides paho's, which always begins with the first address of the name."""
        found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        first = self.turn % len(found)
        addresses = [str(one[-1][0]) for one in found[first:] + found[:first]]
        for address in addresses[:-1]:
            with suppress(OSError):
                return socket.create_connection((address, self._port), self.connect_timeout)
        return socket.create_connection((addresses[-1], self._port), self.connect_timeout)

    def _sock_recv(self, bufsize: int) -> bytes:
        packet = self._in_packet
        if not packet["have_remaining"]:
            head = super()._sock_recv(bufsize)
            if self.first_byte is None and head:
                self.first_byte = head[0]
            return head
        self._judge(packet["command"])
        room = self._largest - 1 - len(packet["packet"])      # the last byte is always kept
        return super()._sock_recv(min(bufsize, room)) if room > 0 else self._drop()

    def _judge(self, command: int) -> None:
        """Raises: MQTTException for a packet that must not be read."""
        if command >> 4 == _PUBLISH:
            if (command & 0x06) > 0x02:
                raise MQTTException("a message of QoS 2, although QoS 1 was subscribed to")
        elif self.declared > self._largest:
            raise MQTTException(f"a packet of {self.declared} bytes that is no message")

    def _drop(self) -> bytes:
        """Read and drop the rest of a packet, and return its last byte."""
        packet = self._in_packet
        for _ in range(_CHUNKS_AT_ONCE):
            if packet["to_process"] == 1:
                return super()._sock_recv(1)
            dropped = super()._sock_recv(min(packet["to_process"] - 1, _CHUNK))
            if not dropped:
                return dropped
            packet["to_process"] -= len(dropped)
            self.dropped_s = time.monotonic()
            if self._ping_t:        # the answer to a ping waits behind the packet
                self._ping_t = self.dropped_s
        raise BlockingIOError


def _properties(packet_type: int, **values: int) -> Properties:
    properties = Properties(packet_type)  # type: ignore[no-untyped-call]  # paho leaves it untyped
    for name, value in values.items():
        setattr(properties, name, value)
    return properties
