"""Finds the message at which a broker hangs up: MQTT 3.1.1 has no other word for "too large", and it would come again.

Invariants: a broker or a network that dies costs no message. Blamed is only what was in flight at STRIKES hang-ups in a
row, at all but the first of them alone and behind something that the broker had just taken, with the broker there at
every attempt between them; and what is larger than all it ever took. What is as large as one that was blamed is not to
be sent for a while. After a hang-up messages go one by one, for CAREFUL_S, once the broker has taken a first one. The
`mqtt` thread owns this; nothing blocks.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection

from vedette.mqtt.outbox import Waiting
from vedette.types import Message

CAREFUL_S = 5.0
BELIEVED_S = 600.0
STRIKES = 3


class PoisonMessages:
    """What is known of one broker's limit."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._strikes: dict[int | str, int] = {}
        """Of each suspect: hang-ups in a row."""
        self._has_taken = False
        """Whether the broker has taken anything on this connection."""
        self._careful_until_s = 0.0
        self._largest_taken = 0
        self._too_large = math.inf
        self._believed_until_s = 0.0

    def connected(self) -> None:
        """A connection has been made."""
        self._has_taken = False
        self._careful_until_s = self._now_s() + CAREFUL_S

    def taken(self, waiting: Waiting | None) -> None:
        """The broker has acknowledged a message; None: a word on availability, or it has refused one by its reason."""
        if waiting is None:
            self._has_taken = True
        elif waiting.message.qos:       # of others it is only known that they were sent
            self._has_taken = True
            self._largest_taken = max(self._largest_taken, len(waiting.message.payload))
            self._strikes.pop(_name(waiting), None)

    def ended(self, in_flight: Collection[Waiting]) -> Waiting | None:
        """The broker hung up with these in flight (none: it did not, or was not there); returns the one to blame."""
        alone = next(iter(in_flight)) if len(in_flight) == 1 and self._has_taken else None
        self._strikes = {name: 1 + (self._strikes.get(name, 0) if alone is not None else 0)
                         for name in map(_name, in_flight)}
        if alone is None or self._strikes[_name(alone)] < STRIKES or len(alone.message.payload) <= self._largest_taken:
            return None
        self._too_large = len(alone.message.payload)
        self._believed_until_s = self._now_s() + BELIEVED_S
        return alone

    def must_wait(self, in_flight: int) -> bool:
        """Whether the next message must wait for what is in flight, or for the first to be taken."""
        return (in_flight > 0 or not self._has_taken) and bool(self._strikes) and self._now_s() < self._careful_until_s

    def is_too_large(self, message: Message) -> bool:
        """Whether the broker would hang up at it."""
        return len(message.payload) >= self._too_large and self._now_s() < self._believed_until_s


def _name(waiting: Waiting) -> int | str:
    """A state is the same although a newer one has replaced it meanwhile."""
    return waiting.message.topic if waiting.message.retain else waiting.number
