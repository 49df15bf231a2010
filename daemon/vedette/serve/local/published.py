"""Keeps the newest of what the daemon publishes, on its way to the broker, for the clients of the local socket.

Invariants:
- Every message goes on unchanged, and first. Nothing is encoded or copied here.
- What is kept is bounded: the newest message of each retained topic, MESSAGES_KEPT others of at most KEPT_BYTES, and
  EVENTS_KEPT events. It does not matter whether there is a broker.
- Messages of other devices' topics, such as replies, are not kept.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from vedette.messages import topics

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vedette.ports import Publisher
    from vedette.types import BrokerStatus, Message

MESSAGES_KEPT = 200
KEPT_BYTES = 256 * 1024
EVENTS_KEPT = 100
RETAINED_MAX = 200


class Kept(NamedTuple):
    """One message: its number of this run, its topic below the base, and its JSON. A picture has the payload null."""

    number: int
    topic: str
    payload: bytes


class PublishedMessages:
    """A ports.Publisher in front of another one. Any thread; never blocks."""

    def __init__(self, publisher: Publisher) -> None:
        self.on_new: Callable[[], None] | None = None
        """Called after a message was kept, on the thread that published it. Must not block."""
        self._publisher = publisher
        self._lock = threading.Lock()
        self._last = 0
        self._newest: deque[Kept] = deque()
        self._bytes = 0
        self._retained: dict[str, Kept] = {}
        self._pictures: dict[str, bytes] = {}
        self._events: dict[str, bytes] = {}

    def __repr__(self) -> str:
        return f"<PublishedMessages {self._last} published, {len(self._newest)} kept>"

    def publish(self, message: Message) -> None:
        """As ports.Publisher."""
        self._publisher.publish(message)
        if message.topic.startswith("/") or message.kind in (topics.SNAPSHOT, topics.EVENTS):
            return      # `on_event` gets the events, whether there is a broker or not
        if message.kind != topics.BEST:
            self._keep(message.topic, message.payload, retain=message.retain)
            return
        with self._lock:
            self._pictures.pop(message.topic, None)
            if message.payload:
                self._pictures[message.topic] = message.payload
        self._keep(message.topic, b"null", retain=bool(message.payload))

    def status(self) -> BrokerStatus:
        """As ports.Publisher."""
        return self._publisher.status()

    def on_event(self, event: str, payload: bytes) -> None:
        """Keep a message about an event, by the event's id."""
        with self._lock:
            self._events.pop(event, None)
            self._events[event] = payload
            if len(self._events) > EVENTS_KEPT:
                self._events.pop(next(iter(self._events)))
        self._keep(topics.EVENTS, payload, retain=False)

    def since(self, number: int | None) -> tuple[int, Sequence[Kept]]:
        """Return the number of the last message, and the messages after this one.

        None, or one from which on not all are kept any more: the newest of each retained topic in their place.
        """
        with self._lock:
            first = self._newest[0].number if self._newest else self._last + 1
            if number is None or not first - 1 <= number <= self._last:
                return self._last, tuple(self._retained.values())
            return self._last, tuple(kept for kept in self._newest if kept.number > number)

    def newest(self, topic: str) -> bytes | None:
        """Return the payload of the newest message of a retained topic; None if there is none."""
        with self._lock:
            kept = self._retained.get(topic)
        return kept.payload if kept else None

    def picture(self, topic: str) -> bytes | None:
        """Return the JPEG of a best picture that is published now; None if there is none."""
        with self._lock:
            return self._pictures.get(topic)

    def events(self) -> Sequence[bytes]:
        """Return the newest message of each of the last events, the oldest first."""
        with self._lock:
            return tuple(self._events.values())

    def _keep(self, topic: str, payload: bytes, *, retain: bool) -> None:
        with self._lock:
            self._last += 1
            kept = Kept(self._last, topic, payload)
            self._newest.append(kept)
            self._bytes += len(payload)
            while len(self._newest) > MESSAGES_KEPT or (self._bytes > KEPT_BYTES and self._newest):
                self._bytes -= len(self._newest.popleft().payload)
            self._retained.pop(topic, None)
            if retain and len(self._retained) < RETAINED_MAX:
                self._retained[topic] = kept
        if self.on_new is not None:
            self.on_new()
