"""One connection to an MQTT broker, from CONNECT to its end: with bounded_client.py the only file that knows paho.

Invariants: one thread owns a connection, and paho's own loop is not started, so an exception in a callback reaches the
caller; "connected" means that the broker accepted the CONNECT; what paho holds is bounded, since `has_room` is false
while a byte is unsent or `terms.in_flight` messages are unacknowledged; every wait is bounded, the connect by
`Start.within_s` for each address, for TLS, and for the answer to it; the end of a connection is always
a BrokerError. A broker that accepts and then acknowledges nothing for FROZEN_AFTER_S counts as frozen. What CONNACK
announces is obeyed: QoS, retained messages, and the number and size of messages, since each breach would end the
connection. A message longer than `largest_packet` is never delivered and never held.
"""

from __future__ import annotations

import itertools
import logging
import select
import ssl
import struct
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import paho.mqtt.client as paho
from paho.mqtt import MQTTException
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from vedette._lib.clock import pause
from vedette.config.models import MqttConfig
from vedette.errors import BrokerAway, BrokerBusy, BrokerError, BrokerRefused, BrokerTakenOver
from vedette.mqtt.bounded_client import BoundedClient
from vedette.mqtt.command_filter import Incoming
from vedette.mqtt.packets import Receipt, Sent, publish_bytes
from vedette.mqtt.terms import REFUSED_TERMS, Start, Terms
from vedette.mqtt.tls import TlsRefused, expects_tls
from vedette.types import Message

log = logging.getLogger(__name__)

FROZEN_AFTER_S = 10.0
RECEIVED_MAX = 20
"""Messages that are held until their acknowledgement was sent. While there are more, nothing is read."""
GATHER_S = 0.002
"""The pause before a new message is sent. The thread that put it has work to begin, and both share one GIL."""
COMMAND_PACKET = 256 * 1024
"""Room for the largest command that is answered; with MQTT 5 the broker does not deliver larger ones."""
_TAKEN_OVER, _UNSPECIFIED, _TOO_LARGE = 0x8E, 0x80, 0x95
_NOT_CAUSED_BY_A_MESSAGE = REFUSED_TERMS | {0x8B, 0x8D, _TAKEN_OVER}
"""Besides the terms: the server shuts down; the keep-alive timed out; the session was taken over."""
_NOT_CAUSED_BY_THE_LOGIN = frozenset({0x88, 0x89, 0x97, 0x9C, 0x9D, 0x9F})
"""The server is unavailable, busy, or another one; a quota or the rate of connections is exceeded."""
_TLS_ALERT = 0x15
_FIRST_BYTES = {ord("H"): "it answers like a web server", ord("<"): "it answers like a web server",
                ord("S"): "it answers like an SSH server"}
_EXPLANATION_MAX = 200
_UNSENT_NUMBERS = 2**16
"""The first number for messages that are never sent: beyond any packet identifier."""
_BUSY = (TimeoutError, ConnectionResetError, BrokenPipeError, ssl.SSLEOFError, ssl.SSLZeroReturnError)
"""How a connect fails at a broker, or at a proxy before it, that has too much to do."""
_NOT_MQTT = (ValueError, IndexError, KeyError, struct.error, MQTTException)
"""What paho raises when the peer sends something that is not MQTT."""
# mosquitto 2.0.11 sends this PUBACK for a message above its `message_size_limit`. MQTT 5 has no such PUBACK, so paho
# would end every connection.
ReasonCode.names[_TOO_LARGE]["Packet too large"].append(PacketTypes.PUBACK)


class _Socket(Protocol):
    def fileno(self) -> int: ...


class Connection:
    """A client that has sent one CONNECT. The constructor blocks, for a bounded time, until the socket is open.

    `will` and `filters` name absolute topics.
    Raises: BrokerAway, also for a secret or certificate that cannot be read; BrokerRefused after a TLS alert.
    """

    def __init__(self, mqtt: MqttConfig, client_id: str, start: Start | None = None, *, will: Message | None = None,
                 filters: Sequence[str] = (), largest_packet: int = COMMAND_PACKET) -> None:
        self.terms = (start := start or Start(Terms(mqtt.protocol == 5))).terms
        """What was asked for; once connected, what the broker allows of it."""
        self.demand: Terms | None = None
        """The terms to ask for next time: the broker refused these ones and said which."""
        self.connected = False
        self.answered = False
        """Whether the broker answered CONNECT, with yes or no."""
        self.expects_tls = start.expects_tls
        """Whether the port expects TLS. Only a hang-up before the answer asks for it, with a connection of its own."""
        self._within_s = start.within_s
        self.session_present = False
        """Whether the broker had kept a session of this client id."""
        self.hung_up = False
        """Whether the peer ended the connection without a reason."""
        self.connected_s: float | None = None
        self.closed_by_broker = False
        """Whether the broker accepted the connection and ended it later, without a reason that no message can cause."""
        self.refused_filters: tuple[str, ...] = ()
        """Filters whose subscription the broker has refused."""
        self._where = f"{mqtt.host}:{mqtt.port}"
        self._client_id = client_id
        self._filters = filters
        self._end: BrokerError | None = None
        self._received: list[Incoming] = []
        self._sent: dict[int, Sent] = {}
        self._receipts: dict[int, Receipt] = {}
        self._unsent_numbers = itertools.count(_UNSENT_NUMBERS)
        self._unsent_topics: set[str] = set()
        self._refusals: set[tuple[str, int]] = set()
        self._opened_s = time.monotonic()
        self._mqtt = mqtt
        self._client = self._new_client(largest_packet, start)
        try:
            self._client.configure(mqtt, will)
            self._client.send_connect(mqtt, keep_session=start.keep_session)
        except (OSError, ValueError) as failure:
            raise (BrokerBusy if isinstance(failure, _BUSY) else BrokerAway)(
                f"no connection to the broker at {self._where}: {failure}") from failure
        except TlsRefused as alert:
            raise self._tls_refused(alert) from alert
        self._opened_s = time.monotonic()
        self._check()

    def __repr__(self) -> str:
        state = "connected" if self.connected else "waiting for the broker"
        return f"<Connection {self._where} {'ended' if self._end else state}, {len(self._sent)} unacknowledged>"

    @property
    def has_room(self) -> bool:
        """Whether another message may be handed over."""
        return self.connected and len(self._sent) < self.terms.in_flight and not self._client.want_write()

    @property
    def is_idle(self) -> bool:
        """Whether every message handed over was sent and acknowledged."""
        return not self._sent and not self._client.want_write()

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool = False) -> int:
        """Hand over one message for an absolute topic; returns the number that its receipt will carry.

        QoS and retain are lowered to what the broker allows. If the connection ends meanwhile, the next `poll` raises.
        """
        qos, retain = min(qos, self.terms.qos), retain and self.terms.retain
        size = publish_bytes(topic, payload, qos, is_v5=self.terms.is_v5)
        if size > self.terms.largest:
            return self._refuse(topic, size)
        number = self._client.publish(topic, payload, qos, retain).mid
        if number not in self._receipts:   # a QoS 0 message may have its receipt already
            self._sent[number] = Sent(time.monotonic(), topic, size)
        return number

    def fits(self, topic: str, payload: bytes) -> bool:
        """Return whether the broker takes a message of this size."""
        return publish_bytes(topic, payload, self.terms.qos, is_v5=self.terms.is_v5) <= self.terms.largest

    def receipts(self) -> list[Receipt]:
        """Return the receipts that arrived since the last call."""
        taken, self._receipts = self._receipts, {}
        return list(taken.values())

    def poll(self, timeout_s: float, wake_fd: int | None = None) -> list[Incoming]:
        """Wait for the network, for `wake_fd` to be readable, or for `timeout_s`; then send and receive what is due.

        Returns the messages that arrived, only after their acknowledgement was sent. Raises: BrokerError at the end.
        """
        sock = self._socket()
        if not self._has_buffered(sock):
            self._wait(sock, timeout_s, wake_fd)
        try:
            before = -1
            while self._may_read and (before < len(self._received) < RECEIVED_MAX or self._has_buffered(sock)):
                before = len(self._received)
                self._client.loop_read()
            self._client.loop_write()
            self._client.loop_misc()
        except TlsRefused as alert:
            raise self._tls_refused(alert) from alert
        except _NOT_MQTT as failure:
            self.hung_up = not self.answered
            raise BrokerAway(f"the broker at {self._where} sent something that is not MQTT: "
                             f"{self._other_service() or failure}") from failure
        self._check()
        self._check_patience()
        if self._client.want_write():
            return []
        taken, self._received = self._received, []
        return taken

    def close(self, *, send_disconnect: bool = False) -> None:
        """Close the socket. The broker publishes the last will unless DISCONNECT is sent first. Safe to call twice."""
        if send_disconnect and self._client.socket() is not None:
            self._client.disconnect()
            self._client.loop_write()
        sock = self._client.socket()
        if sock is not None:
            sock.close()
        self._end = self._end or BrokerAway("the connection was closed")

    def _new_client(self, largest_packet: int, start: Start) -> BoundedClient:
        client = BoundedClient(largest_packet, start.terms, self._client_id, clean=start.clean)
        client.connect_timeout, client.turn = start.within_s, start.turn
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        return client

    def _refuse(self, topic: str, size: int) -> int:
        number = next(self._unsent_numbers)
        self._receipts[number] = Receipt(number, accepted=False)
        if topic not in self._unsent_topics:      # one log line per topic is enough
            self._unsent_topics.add(topic)
            log.warning("a message for %s is not sent: it has %d bytes, and the broker at %s accepts at most %d",
                        topic, size, self._where, self.terms.largest)
        return number

    def _socket(self) -> Any:
        self._check()
        return self._client.socket()

    def _wait(self, sock: _Socket, timeout_s: float, wake_fd: int | None) -> None:
        poller = select.poll()
        poller.register(sock.fileno(), (select.POLLIN if self._may_read else 0)
                        | (select.POLLOUT if self._client.want_write() else 0))
        if wake_fd is not None:
            poller.register(wake_fd, select.POLLIN)
        if [fd for fd, _ in poller.poll(timeout_s * 1000)] == [wake_fd]:
            pause(GATHER_S)

    @property
    def _may_read(self) -> bool:
        """Whether there is room for messages: a broker that reads no acknowledgement must not fill the memory."""
        return self._end is None and (len(self._received) < RECEIVED_MAX or not self._client.want_write())

    @staticmethod
    def _has_buffered(sock: Any) -> bool:
        """Return whether TLS holds decrypted bytes: a poll of the descriptor does not see them."""
        return hasattr(sock, "pending") and sock.pending() > 0

    def _tls_refused(self, alert: TlsRefused) -> BrokerRefused:
        return BrokerRefused(f"the broker at {self._where} refuses this client's TLS, mostly its certificate: {alert}")

    def _check(self) -> None:
        if self._end is not None:
            raise self._end

    def _check_patience(self) -> None:
        now_s, other = time.monotonic(), self._other_service()
        if not self.connected and now_s - self._opened_s > self._within_s:
            raise BrokerBusy(f"the broker at {self._where} accepted the connection, but did not answer CONNECT "
                             f"within {self._within_s:g} s" + (f": {other}" if other else ""))
        oldest = next(iter(self._sent.values()), None)
        if oldest is not None and now_s - max(oldest.since_s, self._client.dropped_s) > FROZEN_AFTER_S:
            raise BrokerAway(f"the broker at {self._where} has acknowledged nothing for {FROZEN_AFTER_S:.0f} s")

    def _on_connect(self, _client: object, _userdata: object, flags: paho.ConnectFlags, reason: ReasonCode,
                    properties: object) -> None:
        self.answered = True
        if reason.is_failure:
            self.demand = self.terms.without(reason.value)
            kind = BrokerAway if reason.value in _NOT_CAUSED_BY_THE_LOGIN else BrokerRefused
            self._end = kind(f"the broker at {self._where} refuses {self._client_id}: {_explained(reason, properties)}")
            return
        self.connected, self.connected_s = True, time.monotonic()
        self.session_present = flags.session_present
        self.terms = self.terms.limited(properties)
        if self._filters and self.terms.is_v5:      # a retained command keeps its flag also while it is delivered live
            kept = SubscribeOptions(qos=self.terms.command_qos, retainAsPublished=True)
            self._client.subscribe([(topic, kept) for topic in self._filters])
        elif self._filters:
            self._client.subscribe([(topic, self.terms.command_qos) for topic in self._filters])

    def _on_disconnect(self, _client: object, _userdata: object, flags: paho.DisconnectFlags, reason: ReasonCode,
                       properties: object) -> None:
        was_connected, self.connected = self.connected, False
        if self._end is not None:
            return
        self.closed_by_broker = was_connected and reason.value not in _NOT_CAUSED_BY_A_MESSAGE
        self.hung_up = reason.value == _UNSPECIFIED or not self.answered
        if flags.is_disconnect_packet_from_server:
            self.demand = self.terms.without(reason.value)
        if flags.is_disconnect_packet_from_server and reason.value == _TAKEN_OVER:
            self._end = BrokerTakenOver(f"another client at {self._where} uses the same client id {self._client_id}")
        else:
            cause = "closed without a reason" if reason.value == _UNSPECIFIED else _explained(reason, properties)
            guess = "" if self.answered else f" before it answered{self._hint()}"
            self._end = (BrokerAway if self.answered else BrokerBusy)(
                f"the connection to the broker at {self._where} ended: {cause}{guess}")

    def _hint(self) -> str:
        """Return what is known about a peer that did not answer CONNECT."""
        if self._other_service():
            return f": {self._other_service()}"
        if self._mqtt.tls is not None:
            return ""
        if self._client.first_byte == _TLS_ALERT:
            self.expects_tls = True
        elif self.expects_tls is None:
            self.expects_tls = expects_tls(self._mqtt.host, self._mqtt.port)
        if self.expects_tls:
            return ": the port expects TLS: set mqtt.tls"
        return ": it speaks no TLS; it may take no more clients, or refuse the version of MQTT or the will"

    def _other_service(self) -> str | None:
        """Say what answers in place of a broker, by its first byte. None: not known."""
        return None if self.answered else _FIRST_BYTES.get(self._client.first_byte or 0)

    def _on_subscribe(self, _client: object, _userdata: object, _mid: int, reasons: Sequence[ReasonCode],
                      _properties: object) -> None:
        for topic, reason in zip(self._filters, reasons, strict=False):
            if reason.is_failure:
                self.refused_filters += (topic,)
                log.warning("the broker refuses the subscription to %s (%s)", topic, reason)

    def _on_publish(self, _client: object, _userdata: object, mid: int, reason: ReasonCode,
                    _properties: object) -> None:
        sent = self._sent.pop(mid, None)
        self._receipts[mid] = Receipt(mid, not reason.is_failure)
        if not reason.is_failure or sent is None:
            return
        if reason.value == _TOO_LARGE:
            self.terms = replace(self.terms, largest=min(self.terms.largest, sent.size - 1))
        if (sent.topic, reason.value) not in self._refusals:      # one log line per topic and reason is enough
            self._refusals.add((sent.topic, reason.value))
            log.warning("the broker refuses a message for %s of %d bytes (%s): see its access rules and limits",
                        sent.topic, sent.size, reason)

    def _on_message(self, _client: object, _userdata: object, message: paho.MQTTMessage) -> None:
        if self._client.is_cut:
            log.warning("a message for %s is not read: its packet has %d bytes; remove it if it is retained",
                        message.topic, self._client.declared)
            return
        properties = message.properties
        response_topic = getattr(properties, "ResponseTopic", None) if properties is not None else None
        self._received.append(Incoming(message.topic, bytes(message.payload), bool(message.retain),
                                       message.dup, response_topic))


def _explained(reason: ReasonCode, properties: object) -> str:
    """Return a reason with what the broker says about it: a text, or the server to use instead."""
    said = [str(getattr(properties, name)) for name in ("ServerReference", "ReasonString") if hasattr(properties, name)]
    text = "".join(character if character.isprintable() else "?" for character in "; ".join(said))
    return f"{reason}: {text[:_EXPLANATION_MAX]}" if text else str(reason)
