"""Finds the message at which a broker hangs up: MQTT 3.1.1 has no other word for "too large", and it would come again.

Invariants: blamed is only what was alone in flight, when the broker hung up at it a second time in a row, and what is
larger than all it ever took: a network that cuts twice looks the same, and must cost no message; what is as large as
one that was blamed is not to be sent for a while. After a hang-up
messages go one by one, for CAREFUL_S. The `mqtt` thread owns this; nothing blocks.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection

from vedette.outbox import Waiting
from vedette.types import Message

CAREFUL_S = 5.0
BELIEVED_S = 600.0


class HangUps:
    """What is known of one broker's limit."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._suspects: frozenset[int | str] = frozenset()
        self._careful_until_s = 0.0
        self._largest_taken = 0
        self._too_large = math.inf
        self._believed_until_s = 0.0

    def connected(self) -> None:
        """A connection has been made."""
        self._careful_until_s = self._now_s() + CAREFUL_S

    def taken(self, message: Message) -> None:
        """The broker has acknowledged a message."""
        self._largest_taken = max(self._largest_taken, len(message.payload))

    def ended(self, in_flight: Collection[Waiting]) -> Waiting | None:
        """The broker hung up with these in flight (none: the connection ended otherwise); returns the one to blame."""
        alone = next(iter(in_flight)) if len(in_flight) == 1 else None
        is_to_blame = alone is not None and _name(alone) in self._suspects \
            and len(alone.message.payload) > self._largest_taken
        blamed = alone if is_to_blame else None
        self._suspects = frozenset(map(_name, in_flight))
        if blamed is not None:
            self._too_large = len(blamed.message.payload)
            self._believed_until_s = self._now_s() + BELIEVED_S
        return blamed

    def must_wait(self, in_flight: int) -> bool:
        """Whether the next message must wait for what is in flight."""
        return in_flight > 0 and bool(self._suspects) and self._now_s() < self._careful_until_s

    def is_too_large(self, message: Message) -> bool:
        """Whether the broker would hang up at it."""
        return len(message.payload) >= self._too_large and self._now_s() < self._believed_until_s


def _name(waiting: Waiting) -> int | str:
    """A state is the same although a newer one has replaced it meanwhile."""
    return waiting.message.topic if waiting.message.retain else waiting.number
