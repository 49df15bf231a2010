"""A message on the wire: the size of its packet, and its receipt.

Invariants: sizes are exact to the byte, since a broker ends the connection over one byte too many. No I/O.
"""

from __future__ import annotations

from typing import NamedTuple

LARGEST_PACKET = 5 + (2**28 - 1)
"""The largest packet that MQTT allows, in bytes."""


class Receipt(NamedTuple):
    """How a message ended: `accepted` by the broker (QoS 0: sent), or refused by it or for its size."""

    number: int
    accepted: bool


class Sent(NamedTuple):
    """A message that is not acknowledged yet. `size`: the bytes of its packet."""

    since_s: float
    topic: str
    size: int


def publish_bytes(topic: str, payload: bytes, qos: int, *, is_v5: bool) -> int:
    """Return the size of a PUBLISH packet without properties (MQTT 5, 3.3; MQTT 3.1.1, 3.3)."""
    rest = 2 + len(topic.encode()) + 2 * (qos > 0) + is_v5 + len(payload)
    return 1 + max(1, -(-rest.bit_length() // 7)) + rest
