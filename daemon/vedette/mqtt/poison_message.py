"""Finds the poison message: the one at which a broker hangs up each time. MQTT 3.1.1 cannot say why.

Invariants:
- A broker or a network that dies costs no message.
- A message is poison only if it was in flight at HANG_UPS_MAX hang-ups in a row and the broker was reachable at
  every attempt between them. At all but the first hang-up it was alone in flight, and the broker had just accepted
  something before it. It is also larger than every message that the broker accepted, or the first of its kind: the
  broker may deny the topic.
- A message as large as a poison message, or of its kind, is not sent for LIMIT_TRUSTED_S.
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
KINDS_MAX = 100


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
        self._kinds_accepted: set[str] = set()
        self._denied: dict[str, float] = {}
        """Kinds of messages that are not sent, and until when."""

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
            if len(self._kinds_accepted) < KINDS_MAX:
                self._kinds_accepted.add(waiting.message.kind)
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
        until_s = self._now_s() + LIMIT_TRUSTED_S
        if len(alone.message.payload) > self._largest_accepted:
            self._too_large, self._limit_trusted_until_s = len(alone.message.payload), until_s
        elif alone.message.kind not in self._kinds_accepted and len(self._denied) < KINDS_MAX:
            self._denied[alone.message.kind] = until_s
        else:
            return None
        return alone

    def must_wait(self, in_flight: int) -> bool:
        """Return whether the next message must wait: for those in flight, or for the first to be accepted."""
        goes_one_by_one = bool(self._hang_ups_of) and self._now_s() < self._one_by_one_until_s
        return goes_one_by_one and (in_flight > 0 or not self._has_accepted)

    def is_too_large(self, message: Message) -> bool:
        """Return whether the broker would hang up at this message."""
        return len(message.payload) >= self._too_large and self._now_s() < self._limit_trusted_until_s

    def is_denied(self, message: Message) -> bool:
        """Return whether the broker would hang up at any message of this kind."""
        return self._now_s() < self._denied.get(message.kind, 0.0)

    def losses(self) -> str:
        """Say what the hang-ups cost; empty if there was none for long."""
        now_s = self._now_s()
        denied = sorted(kind for kind, until_s in self._denied.items() if now_s < until_s)
        size = f"a message of {self._too_large} bytes, so messages of that size are lost"
        return "; ".join([f"it hangs up at {size}"] * (now_s < self._limit_trusted_until_s)
                         + [f"it hangs up at messages for {kind}, so they are lost" for kind in denied])


def _name(waiting: Waiting) -> int | str:
    """Return the suspect's name: the topic of a state, since a newer message may have replaced it meanwhile."""
    return waiting.message.topic if waiting.message.retain else waiting.number
