"""Holds messages, up to a limit, while the broker is away or slow.

A passing message is one that is not retained. A state is a retained message. A late message was saved on disk and
loaded again. A kept message has `on_done`: whoever gave it keeps it too, and limits how many wait here.

Invariants:
- At most `limit` passing messages wait; the oldest is dropped for a newer one and counted by kind.
- A state replaces the one that waits for its topic and is never dropped, so there are no more of them than topics.
- Messages come out in the order of `put`; requeued ones come out first; late ones wait in a line of their own.
- A message leaves only when it is finished, dropped, or saved elsewhere.
- No call blocks. Any thread may call anything, but `begin_saving` and `end_saving` belong to one thread.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter

from vedette.types import Message


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message with its number in the order. `since_s` is monotonic; `late`: it was saved and loaded again."""

    number: int
    message: Message
    since_s: float
    late: bool = False

    @property
    def is_live(self) -> bool:
        """Whether it is a passing message that was never saved."""
        return not (self.late or self.message.retain or self.message.on_done)


class Outbox:
    """Messages on their way to the broker: passing messages and states in one order, and after them the late ones."""

    def __init__(self, limit: int, now_s: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._now_s = now_s
        self._passing: deque[Waiting] = deque()
        self._kept: deque[Waiting] = deque()
        self._states: dict[str, Waiting] = {}
        self._latest: dict[str, Message] = {}
        self._late: deque[Waiting] = deque()
        self._under_way: dict[int, Waiting] = {}
        self._saving: dict[int, Waiting] = {}
        self._saved: set[int] = set()
        """Numbers of messages under way that have a saved copy."""
        self._redundant: set[int] = set()
        """Numbers of messages that were saved and then finished: their saved copy is redundant."""
        self._dropped: Counter[str] = Counter()
        self._acknowledged_seq = 0
        self._number = 0
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return (f"<Outbox passing={len(self._passing)}/{self._limit} states={len(self._states)} "
                f"late={len(self._late)} under way={len(self._under_way)} dropped={self.dropped}>")

    def __len__(self) -> int:
        """Return how many messages wait or are under way, without the late ones."""
        with self._lock:
            own_under_way = sum(not waiting.late for waiting in self._under_way.values())
            return len(self._passing) + len(self._kept) + len(self._states) + own_under_way

    @property
    def dropped(self) -> int:
        """Passing messages that were dropped for newer ones, in total."""
        return self._dropped.total()

    @property
    def dropped_by_kind(self) -> Counter[str]:
        """The same, by kind of topic."""
        with self._lock:
            return self._dropped.copy()

    @property
    def acknowledged_seq(self) -> int:
        """The highest `seq` of a result that was accepted; 0 before the first."""
        return self._acknowledged_seq

    def put(self, message: Message) -> None:
        """Add a message behind all others."""
        with self._lock:
            if message.retain:
                self._latest[message.topic] = message
                self._states.pop(message.topic, None)
                self._states[message.topic] = self._numbered(message)
            elif message.on_done:
                self._kept.append(self._numbered(message))
            else:
                self._passing.append(self._numbered(message))
                self._make_room()

    def drop(self, dropped: Mapping[str, int]) -> None:
        """Count dropped messages, by kind, that never entered the outbox or whose saved copy was lost."""
        with self._lock:
            self._dropped.update(dropped)

    def next(self) -> Waiting | None:
        """Take the message that has waited longest, or None if none waits; never a late one."""
        with self._lock:
            state = next(iter(self._states.values()), None)
            first = {line[0].number: line for line in (self._passing, self._kept) if line}
            if state is not None and state.number < min(first, default=state.number + 1):
                return self._sent(self._states.pop(state.message.topic))
            return self._sent(first[min(first)].popleft()) if first else None

    def finish(self, waiting: Waiting, *, accepted: bool = True) -> None:
        """Remove a message that was taken: the broker has accepted or refused it."""
        with self._lock:
            self._under_way.pop(waiting.number, None)
            if waiting.number in self._saving or waiting.number in self._saved:
                self._redundant.add(waiting.number)
                self._saved.discard(waiting.number)
            if accepted and waiting.message.seq is not None:
                self._acknowledged_seq = max(self._acknowledged_seq, waiting.message.seq)
        if waiting.message.on_done:
            waiting.message.on_done()

    def discard(self, waiting: Waiting) -> None:
        """Remove a message that was taken and that no broker accepts. If it is a state, it is not renewed either."""
        self.finish(waiting, accepted=False)
        with self._lock:
            if self._latest.get(waiting.message.topic) is waiting.message:
                del self._latest[waiting.message.topic]

    def requeue(self) -> None:
        """Put every message under way back at its old place, except replaced states and messages that were saved."""
        with self._lock:
            unsent = list(self._under_way.values())
            self._under_way.clear()
            self._late = deque(_ordered([*self._late, *(waiting for waiting in unsent if waiting.late)]))
            self._passing = deque(_ordered([*self._passing, *(
                waiting for waiting in unsent if waiting.is_live and waiting.number not in self._saved)]))
            self._kept = deque(_ordered([*self._kept, *(waiting for waiting in unsent if waiting.message.on_done)]))
            states = _ordered([*self._states.values(), *(waiting for waiting in unsent if waiting.message.retain)])
            newest = {waiting.message.topic: waiting.number for waiting in states}
            self._states = {waiting.message.topic: waiting for waiting in states
                            if newest[waiting.message.topic] == waiting.number}
            self._saved.clear()
            self._make_room()

    def renew_states(self) -> None:
        """Queue the latest message of every retained topic again, for a broker that may have lost them."""
        with self._lock:
            for topic, message in self._latest.items():
                if topic not in self._states:
                    self._states[topic] = self._numbered(message)

    def begin_saving(self, older_than_s: float) -> tuple[Waiting, ...]:
        """Return all passing messages, those under way too, if one waited `older_than_s` or the outbox is half full.

        They stay in the outbox and may be sent meanwhile. QoS 0 messages among them are dropped and counted: they need
        a connection. `end_saving` must follow unless nothing is returned.
        """
        with self._lock:
            live = _ordered([*self._passing, *(
                waiting for waiting in self._under_way.values()
                if waiting.is_live and waiting.message.qos and waiting.number not in self._saved)])
            is_full = len(self._passing) * 2 >= self._limit
            if not live or not (is_full or self._now_s() - live[0].since_s >= older_than_s):
                return ()
            self._dropped.update(waiting.message.kind for waiting in live if not waiting.message.qos)
            self._passing = deque(waiting for waiting in self._passing if waiting.message.qos)
            self._saving = {waiting.number: waiting for waiting in live if waiting.message.qos}
            return tuple(self._saving.values())

    def end_saving(self, *, saved: bool) -> None:
        """End what `begin_saving` began. `saved`: the messages are safe elsewhere and leave the outbox."""
        with self._lock:
            saving, self._saving = self._saving, {}
            if saved:
                self._saved |= saving.keys() & self._under_way.keys()
                self._passing = deque(waiting for waiting in self._passing if waiting.number not in saving)
            else:
                held = self._redundant | self._under_way.keys() | {waiting.number for waiting in self._passing}
                self._dropped.update(waiting.message.kind for number, waiting in saving.items() if number not in held)
                self._redundant -= saving.keys()

    def take_redundant(self, number: int) -> bool:
        """Return, once, whether the message that was saved under this number was finished later."""
        with self._lock:
            known = number in self._redundant
            self._redundant.discard(number)
            return known

    def load(self, messages: Iterable[Message]) -> None:
        """Add saved messages to the line of the late ones."""
        loaded = tuple(messages)     # outside the lock: a generator of messages may call the outbox meanwhile
        with self._lock:
            self._late.extend(self._numbered(message, late=True) for message in loaded)

    def first_late(self) -> Waiting | None:
        """Return the next late message without taking it."""
        with self._lock:
            return self._late[0] if self._late else None

    def next_late(self) -> Waiting | None:
        """Take the late message that has waited longest, or None."""
        with self._lock:
            return self._sent(self._late.popleft()) if self._late else None

    @property
    def in_doubt(self) -> bool:
        """Whether a message under way was saved, so that the broker may still acknowledge it."""
        return bool(self._saved)

    @property
    def late_under_way(self) -> int:
        """Late messages that are taken and not finished."""
        with self._lock:
            return sum(waiting.late for waiting in self._under_way.values())

    @property
    def late_left(self) -> int:
        """Late messages that wait or are under way."""
        with self._lock:
            return len(self._late) + sum(waiting.late for waiting in self._under_way.values())

    def abandon(self) -> int:
        """Drop and count every passing message that is not saved: nobody will send it. Returns how many."""
        with self._lock:
            sent = [waiting for waiting in self._under_way.values()
                    if waiting.is_live and waiting.number not in self._saved]
            lost = [*self._passing, *sent]
            self._passing.clear()
            for waiting in sent:
                del self._under_way[waiting.number]
            self._dropped.update(waiting.message.kind for waiting in lost)
            return len(lost)

    def forget_late(self) -> Counter[str]:
        """Remove every late message and return their number by kind. The caller loaded them and counts them."""
        with self._lock:
            late = [*self._late, *(waiting for waiting in self._under_way.values() if waiting.late)]
            self._late.clear()
            self._under_way = {number: waiting for number, waiting in self._under_way.items() if not waiting.late}
            return Counter(waiting.message.kind for waiting in late)

    def _sent(self, waiting: Waiting) -> Waiting:
        self._under_way[waiting.number] = waiting
        return waiting

    def _numbered(self, message: Message, *, late: bool = False) -> Waiting:
        self._number += 1
        return Waiting(self._number, message, self._now_s(), late)

    def _make_room(self) -> None:
        while len(self._passing) > self._limit:
            pushed_out = self._passing.popleft()
            if pushed_out.number not in self._saving:      # `end_saving` counts those, if they could not be saved
                self._dropped[pushed_out.message.kind] += 1


def _ordered(waiting: Iterable[Waiting]) -> list[Waiting]:
    return sorted(waiting, key=attrgetter("number"))
