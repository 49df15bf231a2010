"""The bounded waiting room for messages while the broker is away or slow.

Invariants: at most `limit` passing messages wait, and the oldest makes room, counted by kind; a retained message
replaces the one waiting for its topic and is never dropped, so there are no more of them than topics; what
waits comes out in the order it was put in, and what is given back comes out first; a message has left for good only
when it was settled, dropped, or saved elsewhere; late messages (saved once, loaded again) are a line of their own;
no call blocks. Any thread may call anything, but `begin_saving` and `end_saving` belong to one thread.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from vedette.types import Message


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message with its place in the order. `since_s` is monotonic; `late`: it was saved and loaded again."""

    number: int
    message: Message
    since_s: float
    late: bool = False

    @property
    def is_live(self) -> bool:
        """Whether it passes, and has not been saved before."""
        return not self.late and not self.message.retain


class Outbox:
    """Messages on their way to the broker: two lines served as one, and behind them the late ones."""

    def __init__(self, limit: int, now_s: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._now_s = now_s
        self._passing: deque[Waiting] = deque()
        self._states: dict[str, Waiting] = {}
        self._latest: dict[str, Message] = {}
        self._late: deque[Waiting] = deque()
        self._under_way: dict[int, Waiting] = {}
        self._saving: dict[int, Waiting] = {}
        self._saved: set[int] = set()
        """Of those under way: a copy is safe elsewhere."""
        self._needless: set[int] = set()
        """Saved, and then settled all the same."""
        self._dropped: Counter[str] = Counter()
        self._acknowledged_seq = 0
        self._number = 0
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return (f"<Outbox passing={len(self._passing)}/{self._limit} states={len(self._states)} "
                f"late={len(self._late)} under way={len(self._under_way)} dropped={self.dropped}>")

    def __len__(self) -> int:
        """Messages that wait or are under way, without the late ones."""
        with self._lock:
            own_under_way = sum(not waiting.late for waiting in self._under_way.values())
            return len(self._passing) + len(self._states) + own_under_way

    @property
    def dropped(self) -> int:
        """Passing messages that made room for newer ones, in all."""
        return self._dropped.total()

    @property
    def dropped_by_kind(self) -> Counter[str]:
        """The same, by kind of topic."""
        with self._lock:
            return self._dropped.copy()

    @property
    def acknowledged_seq(self) -> int:
        """The highest `seq` of a result that was settled as accepted; 0 before the first."""
        return self._acknowledged_seq

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

    def drop(self, dropped: Mapping[str, int]) -> None:
        """Count messages, by kind, that were not even let in, or that were lost where they had been saved."""
        with self._lock:
            self._dropped.update(dropped)

    def next(self) -> Waiting | None:
        """Take the message that has waited longest, or None; late ones are not among them."""
        with self._lock:
            state = next(iter(self._states.values()), None)
            if state is not None and (not self._passing or state.number < self._passing[0].number):
                return self._sent(self._states.pop(state.message.topic))
            return self._sent(self._passing.popleft()) if self._passing else None

    def settle(self, waiting: Waiting, *, accepted: bool = True) -> None:
        """Let a message that was taken go for good."""
        with self._lock:
            self._under_way.pop(waiting.number, None)
            if waiting.number in self._saving or waiting.number in self._saved:
                self._needless.add(waiting.number)
                self._saved.discard(waiting.number)
            if accepted and waiting.message.seq is not None:
                self._acknowledged_seq = max(self._acknowledged_seq, waiting.message.seq)

    def give_up(self, waiting: Waiting) -> None:
        """Let a message that was taken go, which no broker takes. As a state it is not renewed either."""
        self.settle(waiting, accepted=False)
        with self._lock:
            if self._latest.get(waiting.message.topic) is waiting.message:
                del self._latest[waiting.message.topic]

    def give_back(self) -> None:
        """Let all that is under way wait again at its old place: but a state that was replaced, or what was saved."""
        with self._lock:
            unsent = list(self._under_way.values())
            self._under_way.clear()
            self._late = deque(_ordered([*self._late, *(waiting for waiting in unsent if waiting.late)]))
            self._passing = deque(_ordered([*self._passing, *(
                waiting for waiting in unsent if waiting.is_live and waiting.number not in self._saved)]))
            states = _ordered([*self._states.values(), *(waiting for waiting in unsent if waiting.message.retain)])
            newest = {waiting.message.topic: waiting.number for waiting in states}
            self._states = {waiting.message.topic: waiting for waiting in states
                            if newest[waiting.message.topic] == waiting.number}
            self._saved.clear()
            self._make_room()

    def renew_states(self) -> None:
        """Let the latest message of every retained topic wait (again): for a broker that may have lost them."""
        with self._lock:
            for topic, message in self._latest.items():
                if topic not in self._states:
                    self._states[topic] = self._numbered(message)

    def begin_saving(self, older_than_s: float) -> tuple[Waiting, ...]:
        """Return all passing messages, those under way too, once one has waited so long or half the room is taken.

        They wait on, and may be sent meanwhile. What needs a connection (QoS 0) and waits so long is dropped, counted.
        `end_saving` must follow unless nothing is returned.
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
        """Say whether what `begin_saving` gave is safe now: then it waits no more."""
        with self._lock:
            saving, self._saving = self._saving, {}
            if saved:
                self._saved |= saving.keys() & self._under_way.keys()
                self._passing = deque(waiting for waiting in self._passing if waiting.number not in saving)
            else:
                held = self._needless | self._under_way.keys() | {waiting.number for waiting in self._passing}
                self._dropped.update(waiting.message.kind for number, waiting in saving.items() if number not in held)
                self._needless -= saving.keys()

    def take_needless(self, number: int) -> bool:
        """Tell, once, whether a message that was saved under this number has been settled since."""
        with self._lock:
            known = number in self._needless
            self._needless.discard(number)
            return known

    def load(self, messages: Iterable[Message]) -> None:
        """Let messages that had been saved wait in the line of the late ones."""
        loaded = tuple(messages)     # outside the lock: who gives them one by one may ask the outbox meanwhile
        with self._lock:
            self._late.extend(self._numbered(message, late=True) for message in loaded)

    def first_late(self) -> Waiting | None:
        """Return the late message that is next, and leave it there."""
        with self._lock:
            return self._late[0] if self._late else None

    def next_late(self) -> Waiting | None:
        """Take the late message that has waited longest, or None."""
        with self._lock:
            return self._sent(self._late.popleft()) if self._late else None

    @property
    def in_doubt(self) -> bool:
        """Whether the broker may yet acknowledge what has been saved because it did not."""
        return bool(self._saved)

    @property
    def late_under_way(self) -> int:
        """Late messages taken and not settled."""
        with self._lock:
            return sum(waiting.late for waiting in self._under_way.values())

    @property
    def late_left(self) -> int:
        """Late messages that wait or are under way."""
        with self._lock:
            return len(self._late) + sum(waiting.late for waiting in self._under_way.values())

    def abandon(self) -> int:
        """Let all go that passes and is saved nowhere, counted as dropped, as nobody will send it; returns how many."""
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
        """Let every late message go, uncounted, as whoever loaded them will do that; returns them by kind."""
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
            if pushed_out.number not in self._saving:      # those are counted once it is known that they are not safe
                self._dropped[pushed_out.message.kind] += 1


def _ordered(waiting: Iterable[Waiting]) -> list[Waiting]:
    return sorted(waiting, key=lambda one: one.number)
