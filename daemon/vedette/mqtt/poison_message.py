"""Finds the poison message: the one at which a broker hangs up each time. MQTT 3.1.1 cannot say "too large".

Invariants:
- A broker or a network that dies costs no message.
- A message is poison only if it was in flight at HANG_UPS_MAX hang-ups in a row and the broker was reachable at
  every attempt between them. At all but the first hang-up it was alone in flight, and the broker had just accepted
  something before it. It is also larger than every message that the broker accepted.
- A message as large as a poison message is not sent for LIMIT_TRUSTED_S.
- After a hang-up, messages go one by one for ONE_BY_ONE_S, once the broker has accepted a first one.
- The `mqtt` thread owns this; nothing blocks.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection

from vedette.mqtt.outbox import Waiting
from vedette.types import Message

ONE_BY_ONE_S = 5.0
LIMIT_TRUSTED_S = 600.0
HANG_UPS_MAX = 3


class PoisonMessages:
    """What is known about the size limit of one broker."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._hang_ups_of: dict[int | str, int] = {}
        """For each suspect: the hang-ups in a row."""
        self._has_accepted = False
        """Whether the broker has accepted anything on this connection."""
        self._one_by_one_until_s = 0.0
        self._largest_accepted = 0
        self._too_large = math.inf
        self._limit_trusted_until_s = 0.0

    def connected(self) -> None:
        """A connection is made."""
        self._has_accepted = False
        self._one_by_one_until_s = self._now_s() + ONE_BY_ONE_S

    def accepted(self, waiting: Waiting | None) -> None:
        """The broker acknowledged a message. None: an availability message, or it refused a message with a reason."""
        if waiting is None:
            self._has_accepted = True
        elif waiting.message.qos:       # a QoS 0 message was sent; whether it arrived is unknown
            self._has_accepted = True
            self._largest_accepted = max(self._largest_accepted, len(waiting.message.payload))
            self._hang_ups_of.pop(_name(waiting), None)

    def connection_ended(self, in_flight: Collection[Waiting]) -> Waiting | None:
        """The connection ended; returns the poison message, if it is one.

        `in_flight` is empty if the broker did not hang up, or could not be reached.
        """
        alone = next(iter(in_flight)) if len(in_flight) == 1 and self._has_accepted else None
        before = self._hang_ups_of if alone is not None else {}
        self._hang_ups_of = {name: 1 + before.get(name, 0) for name in map(_name, in_flight)}
        if alone is None or self._hang_ups_of[_name(alone)] < HANG_UPS_MAX:
            return None
        if len(alone.message.payload) <= self._largest_accepted:
            return None
        self._too_large = len(alone.message.payload)
        self._limit_trusted_until_s = self._now_s() + LIMIT_TRUSTED_S
        return alone

    def must_wait(self, in_flight: int) -> bool:
        """Return whether the next message must wait: for those in flight, or for the first to be accepted."""
        goes_one_by_one = bool(self._hang_ups_of) and self._now_s() < self._one_by_one_until_s
        return goes_one_by_one and (in_flight > 0 or not self._has_accepted)

    def is_too_large(self, message: Message) -> bool:
        """Return whether the broker would hang up at this message."""
        return len(message.payload) >= self._too_large and self._now_s() < self._limit_trusted_until_s

    def losses(self) -> str:
        """Say what the size limit costs; empty if none is known."""
        if self._now_s() >= self._limit_trusted_until_s:
            return ""
        return f"it hangs up at a message of {self._too_large} bytes, so messages of that size are lost"


def _name(waiting: Waiting) -> int | str:
    """Return the suspect's name: the topic of a state, since a newer message may have replaced it meanwhile."""
    return waiting.message.topic if waiting.message.retain else waiting.number
