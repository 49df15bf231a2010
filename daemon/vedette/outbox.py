"""The bounded waiting room for messages while the broker is away or slow.

Invariants: at most `limit` passing messages wait, and the oldest makes room, counted; a retained message
replaces the one waiting for its topic and is never dropped, so there are no more of them than topics; what
waits comes out in the order it was put in, and what is given back comes out first; no call blocks.
Any thread may call anything.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass

from vedette.types import Message


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message with its place in the order."""

    number: int
    message: Message


class Outbox:
    """Messages on their way to the broker, in two lines that are served as one."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._passing: deque[Waiting] = deque()
        self._states: dict[str, Waiting] = {}
        self._latest: dict[str, Message] = {}
        self._dropped = 0
        self._number = 0
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Outbox passing={len(self._passing)}/{self._limit} states={len(self._states)} dropped={self._dropped}>"

    def __len__(self) -> int:
        return len(self._passing) + len(self._states)

    @property
    def dropped(self) -> int:
        """Passing messages that made room for newer ones, in all."""
        return self._dropped

    def put(self, message: Message) -> None:
        """Let a message wait behind all others."""
        with self._lock:
            if message.retain:
                self._latest[message.topic] = message
                self._states.pop(message.topic, None)
                self._states[message.topic] = self._numbered(message)
            else:
                self._passing.append(self._numbered(message))
                self._make_room()

    def drop(self) -> None:
        """Count a message that was not even let in."""
        with self._lock:
            self._dropped += 1

    def next(self) -> Waiting | None:
        """Take the message that has waited longest, or None."""
        with self._lock:
            state = next(iter(self._states.values()), None)
            if state is not None and (not self._passing or state.number < self._passing[0].number):
                return self._states.pop(state.message.topic)
            return self._passing.popleft() if self._passing else None

    def give_back(self, unsent: Collection[Waiting]) -> None:
        """Let messages wait again at their old place. A state that a newer one has replaced meanwhile is left out."""
        with self._lock:
            by_number = sorted([*unsent, *self._passing, *self._states.values()], key=lambda waiting: waiting.number)
            self._passing = deque(waiting for waiting in by_number if not waiting.message.retain)
            newest = {waiting.message.topic: waiting.number for waiting in by_number if waiting.message.retain}
            self._states = {waiting.message.topic: waiting for waiting in by_number
                            if newest.get(waiting.message.topic) == waiting.number}
            self._make_room()

    def renew_states(self) -> None:
        """Let the latest message of every retained topic wait (again): for a broker that may have lost them."""
        with self._lock:
            for topic, message in self._latest.items():
                if topic not in self._states:
                    self._states[topic] = self._numbered(message)

    def _numbered(self, message: Message) -> Waiting:
        self._number += 1
        return Waiting(self._number, message)

    def _make_room(self) -> None:
        while len(self._passing) > self._limit:
            self._passing.popleft()
            self._dropped += 1
