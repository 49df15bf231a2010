"""Gathers what every device of a fleet has published, and says when all of it has come.

A broker drops messages for a subscriber that cannot keep up: mosquitto drops what is beyond 1,000 waiting messages. So
one topic is asked for after another, and afterwards each device whose message is missing, a few hundred at a time.

Invariants: QoS 0, since a broker queues fewer messages of a burst with QoS 1; what is missing at the end was asked for
again, on its own, until no more came; it ends, whatever the broker drops.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from vedette.fleet.roster import FOLLOWED, Roster, Row
from vedette.messages import topics

if TYPE_CHECKING:
    from vedette.mqtt.listener import Listener

QUIET_S = 0.2
"""After the broker's answer and such a pause, no more retained messages are expected."""
ANSWERED_WITHIN_S = 3.0
"""After so long without an answer and without a retained message, the answer was dropped: mosquitto drops every kind of
packet for a client with 1,000 packets waiting."""
ASKED_AT_ONCE = 500
"""Fewer than the messages that a broker queues."""

ASKED_TIMES_MAX = 5
"""So often a device is asked for on its own, while more come or answers are dropped."""
COUNTED_ONCE_MAX = 20_000
"""Of more devices even the short messages may be dropped, so the broker is asked until no new device comes."""


class Gathering:
    """Fills a roster over a connection that has no subscription. `parsed` reads a payload."""

    def __init__(self, connection: Listener, roster: Roster, parsed: Callable[[bytes], Any]) -> None:
        self.is_complete = False
        """Whether the broker has sent everything that it keeps."""
        self._connection = connection
        self._roster = roster
        self._parsed = parsed
        self._steps = self._all_steps()
        self._single: Sequence[str] = ()
        self._awaited: set[str] = set()
        self._is_unsure = False
        """Whether an answer to a subscription was dropped since this was set."""
        self._busy_s = self._heard_s = 0.0
        self._next_step()

    def listen(self, seconds: float) -> list[Row]:
        """Receive messages for some seconds; returns the rows that have news. Raises: BrokerError."""
        changed: dict[str, Row] = {}
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0:
            for incoming in self._connection.poll(left_s if self.is_complete else min(left_s, QUIET_S)):
                if incoming.retain:
                    self._busy_s = self._heard_s = time.monotonic()
                self._awaited.discard(incoming.topic)
                row = self._roster.update(incoming.topic, self._parsed(incoming.payload))
                if row is not None:
                    changed[row.device] = row
            now_s = time.monotonic()
            if self._connection.unanswered and now_s - self._heard_s < ANSWERED_WITHIN_S:
                self._busy_s = now_s
            elif not self.is_complete and (self._has_answers or now_s - self._busy_s >= QUIET_S):
                self._next_step()
        return [*changed.values()]

    def finish(self, within_s: float) -> bool:
        """Listen until the broker has sent everything that it keeps; returns whether it has, in time.

        Raises: BrokerError.
        """
        end_s = time.monotonic() + within_s
        while not self.is_complete and time.monotonic() < end_s:
            self.listen(QUIET_S / 2)
        return self.is_complete

    @property
    def _has_answers(self) -> bool:
        """Whether every single device that was asked for has answered."""
        return bool(self._single) and not self._awaited

    def _next_step(self) -> None:
        if self._single:
            self._connection.unsubscribe(self._single)      # the whole topic is subscribed to as well
        self._single = ()
        self._is_unsure = self._is_unsure or bool(self._connection.unanswered)
        self._connection.unanswered.clear()
        step = next(self._steps, None)
        self.is_complete = step is None
        if step is not None:
            self._busy_s = self._heard_s = time.monotonic()
            self._connection.subscribe(step, qos=0)

    def _all_steps(self) -> Iterator[Sequence[str]]:
        """Yield the filters to subscribe to; `_single` is set where each names one device."""
        for topic in FOLLOWED:
            yield (topics.absolute("+", topic),)
        known = COUNTED_ONCE_MAX
        while len(self._roster) > known:
            known = len(self._roster)
            yield (topics.absolute("+", topics.AVAILABILITY),)
        for topic in FOLLOWED:
            for _ in range(ASKED_TIMES_MAX):
                lacking = self._roster.lacking(topic)
                self._is_unsure = False
                for start in range(0, len(lacking), ASKED_AT_ONCE):
                    self._single = [topics.absolute(device, topic) for device in lacking[start:start + ASKED_AT_ONCE]]
                    self._awaited = set(self._single)
                    yield self._single
                if not self._is_unsure and len(self._roster.lacking(topic)) in {0, len(lacking)}:
                    break
