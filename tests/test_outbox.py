"""The outbox: bounded, in order, states kept, drops counted."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from vedette.outbox import Outbox, Waiting
from vedette.types import Message

TOPICS = ("info", "health", "counts")


def passing(number: int) -> Message:
    return Message("detections", str(number).encode())


def state(topic: str, number: int) -> Message:
    return Message(topic, str(number).encode(), retain=True)


def emptied(outbox: Outbox) -> list[Message]:
    taken = []
    while (waiting := outbox.next()) is not None:
        taken.append(waiting.message)
    return taken


@given(st.lists(st.sampled_from(["detections", *TOPICS])), st.integers(1, 10))
def test_newest_results_and_states_survive(puts: list[str], limit: int) -> None:
    """What comes out are the newest results up to the limit and the last of each state, in the order of putting."""
    outbox = Outbox(limit)
    messages = [state(topic, n) if topic in TOPICS else passing(n) for n, topic in enumerate(puts)]
    for message in messages:
        outbox.put(message)
    results = [message for message in messages if not message.retain]
    last = {message.topic: message for message in messages if message.retain}
    kept = [*results[-limit:], *last.values()]
    assert emptied(outbox) == [message for message in messages if any(message is one for one in kept)]
    assert outbox.dropped == max(0, len(results) - limit)


def test_given_back_comes_first() -> None:
    """A message that could not be sent keeps its place before those put in meanwhile."""
    outbox = Outbox(10)
    for number in range(3):
        outbox.put(passing(number))
    unsent = [outbox.next(), outbox.next()]
    outbox.put(passing(3))
    outbox.give_back([waiting for waiting in unsent if waiting is not None])
    assert emptied(outbox) == [passing(number) for number in range(4)]


def test_given_back_state_yields_to_a_newer_one() -> None:
    """A state that was replaced while it was under way never comes out after its successor."""
    outbox = Outbox(10)
    outbox.put(state("health", 1))
    unsent = outbox.next()
    assert unsent is not None
    outbox.put(state("health", 2))
    outbox.give_back([unsent])
    assert emptied(outbox) == [state("health", 2)]


def test_renewed_states() -> None:
    """Every state ever put comes out again, its latest value once, for a broker that lost it."""
    outbox = Outbox(10)
    for message in (state("info", 1), state("health", 1), state("health", 2), passing(1)):
        outbox.put(message)
    emptied(outbox)
    outbox.put(state("info", 2))
    outbox.renew_states()
    assert emptied(outbox) == [state("info", 2), state("health", 2)]


class Machine(RuleBasedStateMachine):
    """Any order of putting, taking, giving back and acknowledging."""

    @initialize(limit=st.integers(1, 5))
    def begin(self, limit: int) -> None:
        self.limit = limit
        self.outbox = Outbox(limit)
        self.under_way: list[Waiting] = []
        self.put_results = self.done_results = 0

    @rule(topic=st.sampled_from(["detections", *TOPICS]))
    def put(self, topic: str) -> None:
        self.put_results += topic not in TOPICS
        self.outbox.put(Message(topic, b"", retain=topic in TOPICS))

    @rule()
    def take(self) -> None:
        waiting = self.outbox.next()
        if waiting is not None:
            assert all(waiting.number > one.number for one in self.under_way)
            self.under_way.append(waiting)

    @rule()
    def give_back(self) -> None:
        self.outbox.give_back(tuple(self.under_way))
        self.under_way = []

    @precondition(lambda self: self.under_way)
    @rule()
    def acknowledge(self) -> None:
        self.done_results += not self.under_way.pop(0).message.retain

    @invariant()
    def accounts_are_exact(self) -> None:
        if not hasattr(self, "outbox"):
            return
        results_under_way = sum(not waiting.message.retain for waiting in self.under_way)
        assert len(self.outbox) <= self.limit + len(TOPICS)
        waiting = self.put_results - self.done_results - results_under_way - self.outbox.dropped
        assert 0 <= waiting <= len(self.outbox)


TestAccounts = Machine.TestCase


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval_s)


@pytest.mark.usefixtures("hasty_threads")
def test_renewing_never_brings_back_what_was_replaced_meanwhile() -> None:
    """However the network thread's renewal and another's put fall together, the latest of a state comes out last."""
    outbox = Outbox(10)
    done = threading.Event()

    def renew() -> None:
        while not done.is_set():
            emptied(outbox)
            outbox.renew_states()

    network = threading.Thread(target=renew)
    network.start()
    try:
        for number in range(5_000):
            outbox.put(state("health", number))
    finally:
        done.set()
        network.join(10)
    outbox.renew_states()
    assert emptied(outbox) == [state("health", 4_999)]
