"""Sends messages that were saved on disk after the live ones: at a limited rate, few at a time.

Invariants: a live message never waits for more than LATE_IN_FLIGHT_MAX late ones. Late messages with time stamps from
before the clock was set wait until it is set, for a bounded time, once. The `mqtt` thread owns this; nothing blocks.
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

SAVE_AFTER_S = 3.0
"""A message that waits for so long is late. With the poll and a slow disk: at most 5 s of results are lost with the
process."""
LATE_IN_FLIGHT_MAX = 10
"""Late messages that are sent and not yet acknowledged."""
CATCH_UP_S = 0.5
"""A slow loop may send at once what the rate allowed during this time."""
_LEAST_PAUSE_S = 0.005
STAMPS = ("captured_at", "began", "ended")


class Backfill:
    """Decides when the outbox's next late message may be sent."""

    def __init__(self, outbox: Outbox, mqtt: MqttConfig, clock: Clock, clock_synced: Callable[[], bool],
                 now_s: Callable[[], float] = time.monotonic) -> None:
        self._outbox = outbox
        self._period_s = 1 / mqtt.replay_per_s
        self._clock_wait_s = mqtt.clock_wait_s
        self._clock = clock
        self._clock_synced = clock_synced
        self._now_s = now_s
        self._next_s = 0.0
        self._connected_s: float | None = None

    def connected(self) -> None:
        """A connection is made. From the first one on, the network may also set the clock, so the wait starts here."""
        if self._connected_s is None:
            self._connected_s = self._now_s()

    def next(self) -> Waiting | None:
        """Take the next late message, or None if it must wait."""
        now_s = self._now_s()
        if now_s < self._next_s or not self._may_send(now_s):
            return None
        self._next_s = max(self._next_s, now_s - CATCH_UP_S) + self._period_s
        return self._outbox.next_late()

    def pause_s(self, longest_s: float) -> float:
        """Return how long the loop may wait, at most `longest_s`, before the next late message may be sent.

        An acknowledgement of the broker may let it go earlier.
        """
        now_s = self._now_s()
        return min(longest_s, max(_LEAST_PAUSE_S, self._next_s - now_s)) if self._may_send(now_s) else longest_s

    def as_of_now(self, waiting: Waiting) -> Message:
        """Return the message, with a corrected time stamp if it was stamped before the clock was set.

        One that its giver keeps (`on_done`) is marked if it is late: the outbox never saves it.
        """
        message = waiting.message
        if message.on_done and self._now_s() - waiting.since_s >= SAVE_AFTER_S:
            message = replace(message, payload=backfilled(message.payload))
        is_wrong = message.unsynced_ns is not None and self._clock_synced()
        return corrected(message, self._clock) if is_wrong else message

    def _may_send(self, now_s: float) -> bool:
        first = self._outbox.first_late()
        if self._connected_s is None or first is None or self._outbox.late_under_way >= LATE_IN_FLIGHT_MAX:
            return False
        has_correct_time = first.message.unsynced_ns is None or self._clock_synced()
        return has_correct_time or now_s - self._connected_s >= self._clock_wait_s


def backfilled(payload: bytes) -> bytes:
    """Return the payload with `backfilled` set to true, if its schema has that key."""
    def mark(content: dict[str, object]) -> None:
        if "backfilled" in content:
            content["backfilled"] = True

    return _changed(payload, mark)


def corrected(message: Message, clock: Clock) -> Message:
    """Return the message with the times that the clock, which has been set since, would have given.

    `unsynced_ns` belongs to the first of them, and the others lie as far from it as before.
    """
    assert message.unsynced_ns is not None  # noqa: S101 - for the type checker: the caller has checked
    right: datetime = clock.utc_now() - timedelta(microseconds=(clock.monotonic_ns() - message.unsynced_ns) / 1e3)

    def correct(content: dict[str, object]) -> None:
        stamped = content.get("frame", content)
        holders = [each for each in (stamped, content.get("best")) if isinstance(each, dict)]
        times = [(holder, key, datetime.fromisoformat(holder[key]))
                 for holder in holders for key in STAMPS if holder.get(key) is not None]
        for holder, key, wrong in times:
            holder[key] = payloads.timestamp(right + (wrong - times[0][2]))
        if times and isinstance(stamped, dict) and "clock_synced" in stamped:
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
