"""Lets messages that waited on disk go out behind the live ones: at a rate, few at a time.

Invariants: a live message never waits for more than WINDOW late ones; late messages whose time stamps are from before
the clock was set wait for it, bounded, once. The `mqtt` thread owns this; nothing blocks.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from vedette.messages import payloads

if TYPE_CHECKING:
    from vedette.config.models import MqttConfig
    from vedette.mqtt.outbox import Outbox, Waiting
    from vedette.ports import Clock
    from vedette.types import Message

WINDOW = 10
CATCH_UP_S = 0.5
"""A loop that comes round seldom may send at once what it has missed of the rate meanwhile."""
_LEAST_PAUSE_S = 0.005


class Backfill:
    """The gate before the outbox's line of late messages."""

    def __init__(self, outbox: Outbox, mqtt: MqttConfig, clock: Clock, clock_synced: Callable[[], bool],
                 now_s: Callable[[], float] = time.monotonic) -> None:
        self._outbox = outbox
        self._period_s = 1 / mqtt.replay_per_s
        self._clock_wait_s = mqtt.clock_wait_s
        self._clock = clock
        self._clock_synced = clock_synced
        self._now_s = now_s
        self._next_s = 0.0
        self._began_s: float | None = None

    def begin(self) -> None:
        """A connection has been made; the network that gave it may give the time as well, the first time."""
        if self._began_s is None:
            self._began_s = self._now_s()

    def next(self) -> Waiting | None:
        """Take the next late message, or None where it is not its turn."""
        now_s = self._now_s()
        if now_s < self._next_s or not self._may(now_s):
            return None
        self._next_s = max(self._next_s, now_s - CATCH_UP_S) + self._period_s
        return self._outbox.next_late()

    def pause_s(self, longest_s: float) -> float:
        """Return how long nothing but an answer of the broker can let the next one go."""
        now_s = self._now_s()
        return min(longest_s, max(_LEAST_PAUSE_S, self._next_s - now_s)) if self._may(now_s) else longest_s

    def put_right(self, message: Message) -> Message:
        """Return the message with a right time stamp: once the clock is set, none leaves that was taken before."""
        is_wrong = message.unsynced_ns is not None and self._clock_synced()
        return corrected(message, self._clock) if is_wrong else message

    def _may(self, now_s: float) -> bool:
        first = self._outbox.first_late()
        if self._began_s is None or first is None or self._outbox.late_under_way >= WINDOW:
            return False
        is_right = first.message.unsynced_ns is None or self._clock_synced()
        return is_right or now_s - self._began_s >= self._clock_wait_s


def backfilled(payload: bytes) -> bytes:
    """Return a payload marked as one that comes late, where its schema has a place for that."""
    return _changed(payload, lambda content: content.update(backfilled=True) if "backfilled" in content else None)


def corrected(message: Message, clock: Clock) -> Message:
    """Return a message with the time of its frame as the clock, which has been set since, would have told it."""
    assert message.unsynced_ns is not None  # noqa: S101 - for the type checker: the caller has looked
    captured_at: datetime = clock.utc_now() - timedelta(microseconds=(clock.monotonic_ns() - message.unsynced_ns) / 1e3)

    def correct(content: dict[str, object]) -> None:
        stamped = content.get("frame", content)
        if isinstance(stamped, dict) and "captured_at" in stamped:
            stamped["captured_at"] = payloads.timestamp(captured_at)
            if "clock_synced" in stamped:
                stamped["clock_synced"] = True

    return replace(message, payload=_changed(message.payload, correct), unsynced_ns=None)


def _changed(payload: bytes, change: Callable[[dict[str, object]], None]) -> bytes:
    try:
        content = json.loads(payload)
    except ValueError:
        return payload
    if not isinstance(content, dict):
        return payload
    change(content)
    return payloads.encode(content)
