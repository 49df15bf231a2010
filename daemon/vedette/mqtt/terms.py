"""What the device asks of a broker, what the broker allows, and what is lost if that is less.

Invariants: pure; terms only ever become less, except that a new connection begins with those that were asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

from vedette.mqtt.packets import LARGEST_PACKET

CONNECT_TIMEOUT_S = 5.0
IN_FLIGHT_MAX = 20
"""Messages that are sent and not yet acknowledged."""
SESSION_EXPIRY_S = 60
WILL_DELAY_S = 20
"""Longer than a restart of the daemon, so that subscribers see no absence."""
ROOMY_PACKET = 16 * 1024
"""Every message but a snapshot fits into so many bytes."""
_NO_MQTT_5, _IN_FLIGHT_EXCEEDED, _NO_RETAINED, _NO_SUCH_QOS = 0x84, 0x93, 0x9A, 0x9B
REFUSED_TERMS = frozenset({_NO_MQTT_5, _IN_FLIGHT_EXCEEDED, _NO_RETAINED, _NO_SUCH_QOS})
"""Reason codes of MQTT 5 that name a term."""

_LESSER = ((True, 1, 1), (True, 1, 0), (True, 0, 0), (False, 1, 1), (False, 0, 0))
"""Retained messages, QoS, and QoS of commands: the most useful first."""


@dataclass(frozen=True, slots=True)
class Terms:
    """Of one connection. `qos` is the highest, `in_flight` the most messages without an acknowledgement.

    `command_qos` is that of the subscription to commands. `largest` is in bytes of a packet, `session_s` the time that
    the broker keeps the session of an absent device.
    """

    is_v5: bool
    qos: int = 1
    command_qos: int = 1
    retain: bool = True
    in_flight: int = IN_FLIGHT_MAX
    largest: int = LARGEST_PACKET
    session_s: int = SESSION_EXPIRY_S

    def without(self, refusal: int) -> Terms | None:
        """Return the terms to ask for after this reason code. None: it is not about the terms, or nothing is left."""
        less = {_NO_MQTT_5: replace(self, is_v5=False), _NO_RETAINED: replace(self, retain=False),
                _NO_SUCH_QOS: replace(self, qos=0, command_qos=0),
                _IN_FLIGHT_EXCEEDED: replace(self, in_flight=1)}.get(refusal, self)
        return None if less == self else less

    def limited(self, announced: object) -> Terms:
        """Return what is left of the terms under the properties of a CONNACK."""
        return replace(
            self, qos=min(self.qos, getattr(announced, "MaximumQoS", self.qos)),
            retain=self.retain and bool(getattr(announced, "RetainAvailable", 1)),
            in_flight=min(self.in_flight, getattr(announced, "ReceiveMaximum", self.in_flight)),
            largest=getattr(announced, "MaximumPacketSize", LARGEST_PACKET),
            session_s=getattr(announced, "SessionExpiryInterval", SESSION_EXPIRY_S))

    def lesser(self) -> Iterator[Terms]:
        """Yield all terms that ask for less, the most useful first."""
        for is_v5, (retain, qos, command_qos) in product((False, True), _LESSER):
            terms = replace(self, is_v5=is_v5, retain=retain, qos=qos, command_qos=command_qos)
            is_less = is_v5 <= self.is_v5 and retain <= self.retain and qos <= self.qos
            if is_less and command_qos <= self.command_qos and terms != self:
                yield terms

    def losses(self, *, wanted_v5: bool) -> str:
        """Say in words what is lost under these terms; empty if nothing is."""
        lost = {
            "it does not take MQTT 5, so it cannot say which messages it refuses, and each short absence is published "
            "as offline": wanted_v5 and not self.is_v5,
            "it takes no QoS 1, so results under way are lost when a connection ends": not self.qos,
            "it ends a connection that asks for commands with QoS 1, as a cluster does that lost a node, so commands "
            "to an absent device are lost": self.qos > self.command_qos,
            "it keeps no retained messages, so a new subscriber sees availability, health and other states only when "
            "they are published next": not self.retain,
            f"it takes at most {self.largest} bytes a message, so larger ones are lost": self.largest < ROOMY_PACKET,
            f"it ends a session after {self.session_s} s, so a short absence is published as offline":
                self.is_v5 and self.session_s < WILL_DELAY_S,
        }
        return "; ".join(words for words, is_so in lost.items() if is_so)


@dataclass(frozen=True, slots=True)
class Start:
    """How a connection begins. `clean`: discard the session that the broker kept for this client id.

    `keep_session`: it keeps this one at its end. `within_s`: how long the socket, TLS and the answer to CONNECT may
    take, each. `expects_tls`: whether the port expects TLS, although none is configured; None: not known. `turn`: which
    of the addresses of the broker's name is tried first, modulo their number.
    """

    terms: Terms
    clean: bool = True
    keep_session: bool = True
    within_s: float = CONNECT_TIMEOUT_S
    expects_tls: bool | None = None
    turn: int = 0

    @property
    def only_discards(self) -> bool:
        """Whether this connection only discards a session: MQTT 3.1.1 keeps no session of one that begins clean."""
        return self.clean and self.keep_session and not self.terms.is_v5
