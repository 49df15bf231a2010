"""A small broker with features that mosquitto lacks: any CONNACK, its own limits, packets of any length.

It speaks just enough of MQTT to accept, acknowledge and remember; it has no subscribers of its own.
"""

from __future__ import annotations

import contextlib
import math
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Self

from tests.support.network.rude_server import serving
from vedette.config.models import MqttConfig

ACCEPT_V5 = b"\x20\x03\x00\x00\x00"
ACCEPT_V3 = b"\x20\x02\x00\x00"
CONNECT = 0x10


@dataclass(frozen=True)
class Connect:
    """The contents of a client's CONNECT."""

    level: int
    clean: bool
    will_qos: int
    will_retain: bool
    client_id: str


@dataclass(frozen=True)
class Published:
    """One PUBLISH of a client."""

    topic: str
    payload: bytes
    qos: int
    retain: bool


@dataclass
class Life:
    """One connection as the broker sees it."""

    socket: socket.socket
    connect: Connect
    published: list[Published] = field(default_factory=list)
    unacknowledged: list[bytes] = field(default_factory=list)


Answer = Callable[[Connect], bytes]
"""Gives the CONNACK; empty bytes: the broker hangs up without an answer."""
Accepts = Callable[[Life, Published], bool]
"""Whether the broker takes this message; else it hangs up."""


def _accept_all(_life: Life, _published: Published) -> bool:
    return True


class FakeBroker:
    """`answer` is the CONNACK, or what gives it. `lives` has every connection so far.

    `command_qos`: it hangs up at a subscription with a higher one. `is_slow`: a message is acknowledged only when the
    client has paused. `ends_after_s`: so long lives a connection.
    """

    def __init__(self, answer: bytes | Answer, accepts: Accepts = _accept_all, *, is_slow: bool = False,
                 command_qos: int = 1, ends_after_s: float = math.inf) -> None:
        self._answer = answer
        self._accepts = accepts
        self._is_slow = is_slow
        self._ends_after_s = ends_after_s
        self._command_qos = command_qos
        self._deliveries: list[bytes] = []
        self._stack = ExitStack()
        self.lives: list[Life] = []
        self.acknowledged: list[int] = []
        """Packet identifiers of deliveries that the client acknowledged."""
        self.port = 0
        self.most_unacknowledged = 0
        """The most messages that a client has sent without an acknowledgement."""

    def __enter__(self) -> Self:
        self.port = self._stack.enter_context(serving(self._serve))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def client(self, **changes: Any) -> MqttConfig:
        return MqttConfig(host="127.0.0.1", port=self.port, **changes)

    def deliver(self, topic: str, payload: bytes, *, qos: int, level: int = 5) -> None:
        """Have this message delivered after each subscription of a client of this version of MQTT."""
        self._deliveries.append(_delivery(topic, payload, qos, len(self._deliveries) + 1, is_v5=level == 5))

    def cut(self) -> None:
        """End every connection."""
        for life in tuple(self.lives):
            with contextlib.suppress(OSError):
                life.socket.shutdown(socket.SHUT_RDWR)

    @property
    def published(self) -> list[Published]:
        """Every message that was accepted, over all connections."""
        return [message for life in tuple(self.lives) for message in life.published]

    def _serve(self, connection: socket.socket, stopping: threading.Event) -> None:
        life: Life | None = None
        until_s = time.monotonic() + self._ends_after_s
        while not stopping.is_set() and time.monotonic() < until_s:
            if not select.select([connection], [], [], 0.02)[0]:
                if life is not None:
                    self._acknowledge(life)
                continue
            head, content = _packet(connection)
            if head == CONNECT:
                life = Life(connection, _connect(content))
                self.lives.append(life)
                answer = self._answer if isinstance(self._answer, bytes) else self._answer(life.connect)
                if not answer:
                    return
                connection.sendall(answer)
            elif life is None or not self._handle(life, head, content):
                return

    def _handle(self, life: Life, head: int, content: bytes) -> bool:
        kind, is_v5 = head >> 4, life.connect.level == 5
        if kind == 3:
            return self._publish(life, head, content, is_v5=is_v5)
        if kind == 4:
            self.acknowledged.append(int.from_bytes(content[:2], "big"))
        elif kind == 8:
            granted = bytes(_granted(content[3 if is_v5 else 2:]))
            if max(granted) > self._command_qos:
                return False
            life.socket.sendall(bytes([0x90, 2 + is_v5 + len(granted)]) + content[:2] + b"\0" * is_v5 + granted)
            for delivery in self._deliveries:
                life.socket.sendall(delivery)
        elif kind == 12:
            life.socket.sendall(b"\xd0\0")
        return kind != 14

    def _publish(self, life: Life, head: int, content: bytes, *, is_v5: bool) -> bool:
        end = 2 + int.from_bytes(content[:2], "big")
        qos = head >> 1 & 3
        number = content[end:end + 2 * bool(qos)]
        payload = content[end + len(number) + is_v5:]
        message = Published(content[2:end].decode(), payload, qos, bool(head & 1))
        if not self._accepts(life, message):
            return False
        life.published.append(message)
        if qos:
            life.unacknowledged.append(number)
        self.most_unacknowledged = max(self.most_unacknowledged, len(life.unacknowledged))
        if not self._is_slow:
            self._acknowledge(life)
        return True

    @staticmethod
    def _acknowledge(life: Life) -> None:
        while life.unacknowledged:
            life.socket.sendall(b"\x40\x02" + life.unacknowledged.pop(0))


def _packet(connection: socket.socket) -> tuple[int, bytes]:
    """Read one packet: its first byte and what follows its length. Raises: OSError when the client has closed."""
    head = _read(connection, 1)[0]
    length = shift = 0
    while True:
        byte = _read(connection, 1)[0]
        length |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return head, _read(connection, length)


def _read(connection: socket.socket, size: int) -> bytes:
    content = b""
    while len(content) < size:
        more = connection.recv(size - len(content))
        if not more:
            raise ConnectionError("the client has closed")
        content += more
    return content


def _connect(content: bytes) -> Connect:
    if content[:6] != b"\0\4MQTT":
        raise ConnectionError("that is no MQTT")        # as a TLS hello is not
    level, flags = content[6], content[7]
    rest = content[10:]
    if level == 5:
        rest = rest[1 + rest[0]:]
    length = int.from_bytes(rest[:2], "big")
    return Connect(level, bool(flags & 2), flags >> 3 & 3, bool(flags & 0x20), rest[2:2 + length].decode())


def _granted(content: bytes) -> Iterator[int]:
    """Yield the QoS of each filter of a SUBSCRIBE."""
    while content:
        length = int.from_bytes(content[:2], "big")
        yield content[2 + length] & 3
        content = content[3 + length:]


def _delivery(topic: str, payload: bytes, qos: int, number: int, *, is_v5: bool) -> bytes:
    name = topic.encode()
    body = len(name).to_bytes(2, "big") + name + number.to_bytes(2, "big") * bool(qos) + b"\0" * is_v5 + payload
    return bytes([0x30 | qos << 1]) + _length(len(body)) + body


def _length(value: int) -> bytes:
    encoded = b""
    while True:
        value, low = divmod(value, 128)
        encoded += bytes([low | 128 * bool(value)])
        if not value:
            return encoded
