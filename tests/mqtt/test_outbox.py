"""The outbox: bounded, in order, states kept, drops counted, what is saved neither lost nor doubled."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from vedette.mqtt.outbox import Outbox, Waiting
from vedette.types import Message

TOPICS = ("info", "health", "counts")


def passing(number: int) -> Message:
    return Message("detections", str(number).encode())


def state(topic: str, number: int) -> Message:
    return Message(topic, str(number).encode(), retain=True)


def emptied(outbox: Outbox) -> list[Message]:
    taken = []
    while (waiting := outbox.next()) is not None:
        outbox.settle(waiting)
        taken.append(waiting.message)
    return taken


def numbers(outbox: Outbox) -> list[int]:
    return [int(message.payload) for message in emptied(outbox)]


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
    outbox.next(), outbox.next()
    outbox.put(passing(3))
    outbox.give_back()
    assert emptied(outbox) == [passing(number) for number in range(4)]


def test_given_back_state_yields_to_a_newer_one() -> None:
    """A state that was replaced while it was under way never comes out after its successor."""
    outbox = Outbox(10)
    outbox.put(state("health", 1))
    assert outbox.next() is not None
    outbox.put(state("health", 2))
    outbox.give_back()
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


def test_dropped_messages_are_counted_by_kind() -> None:
    """Each kind of topic has its own count, also for what was never let in."""
    outbox = Outbox(1)
    for topic in ("detections", "detections", "/vedette/gate-01/reply/pause", "detections"):
        outbox.put(Message(topic, b""))
    outbox.drop({"snapshot": 1})
    assert outbox.dropped_by_kind == Counter(detections=2, reply=1, snapshot=1)


class Hand:
    """A clock of seconds that is set by hand."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def saving() -> tuple[Outbox, Hand]:
    """Six results: two under way, four waiting."""
    now_s = Hand()
    outbox = Outbox(100, now_s)
    for number in range(6):
        outbox.put(passing(number))
    outbox.next(), outbox.next()
    return outbox, now_s


def test_only_what_waited_too_long_is_saved(saving: tuple[Outbox, Hand]) -> None:
    """Nothing is due before its time; then all of it is, under way or not, in order; states and QoS 0 never."""
    outbox, now_s = saving
    outbox.put(state("health", 9))
    outbox.put(Message("snapshot", b"8", qos=0))
    now_s.now_s += 2.9
    assert outbox.begin_saving(3.0) == ()
    now_s.now_s += 0.1
    assert [int(waiting.message.payload) for waiting in outbox.begin_saving(3.0)] == list(range(6))
    outbox.end_saving(saved=True)
    assert numbers(outbox) == [9]
    assert outbox.dropped_by_kind == Counter(snapshot=1)


def test_half_a_room_is_saved_at_once() -> None:
    """A burst is saved before it could make the outbox drop."""
    outbox = Outbox(10)
    for number in range(5):
        assert outbox.begin_saving(3.0) == ()
        outbox.put(passing(number))
    assert len(outbox.begin_saving(3.0)) == 5


@pytest.mark.parametrize("saved", [True, False])
@pytest.mark.parametrize("given_back", ["before", "during", "after"])
def test_what_is_saved_is_not_sent_as_well(saving: tuple[Outbox, Hand], saved: bool, given_back: str) -> None:
    """However a connection ends beside the writing: what is on disk waits no more, what is not does, in order."""
    outbox, _ = saving
    if given_back == "before":
        outbox.give_back()
    assert len(outbox.begin_saving(0.0)) == 6
    outbox.put(passing(6))
    if given_back == "during":
        outbox.give_back()
    outbox.end_saving(saved=saved)
    if given_back == "after":
        outbox.give_back()
    assert numbers(outbox) == ([6] if saved else list(range(7)))
    assert len(outbox) == 0


@pytest.mark.parametrize("when", ["during", "after"])
def test_what_is_settled_meanwhile_needs_no_second_copy(saving: tuple[Outbox, Hand], when: str) -> None:
    """The broker's late word on a message that was being saved, or is, makes its copy needless; told once."""
    outbox, _ = saving
    outbox.give_back()
    under_way = outbox.next()
    assert under_way is not None
    outbox.begin_saving(0.0)
    if when == "during":
        outbox.settle(under_way)
    outbox.end_saving(saved=True)
    if when == "after":
        outbox.settle(under_way)
    assert [outbox.take_needless(under_way.number) for _ in range(2)] == [True, False]
    assert not outbox.take_needless(under_way.number + 1)


def test_what_is_settled_while_saving_fails_does_not_come_back(saving: tuple[Outbox, Hand]) -> None:
    """A failed disk brings back only what the broker has not got."""
    outbox, _ = saving
    outbox.give_back()
    first = outbox.next()
    assert first is not None
    outbox.begin_saving(0.0)
    outbox.settle(first)
    outbox.end_saving(saved=False)
    assert numbers(outbox) == [1, 2, 3, 4, 5]
    assert not outbox.take_needless(first.number)


def test_what_is_abandoned_is_counted(saving: tuple[Outbox, Hand]) -> None:
    """All that passes and is nowhere else goes, under way or not; states stay, and what was saved or loaded is safe."""
    outbox, _ = saving
    outbox.begin_saving(0.0)
    outbox.end_saving(saved=True)       # 0 to 5, of which two are under way
    outbox.load([passing(0)])
    for number in (6, 7):
        outbox.put(passing(number))
    outbox.put(state("health", 8))
    assert outbox.next() is not None
    assert outbox.abandon() == 2
    assert outbox.dropped_by_kind == Counter(detections=2)
    outbox.give_back()
    assert emptied(outbox) == [state("health", 8)]
    assert (outbox.late_left, outbox.abandon()) == (1, 0)


def test_late_messages_are_a_line_of_their_own() -> None:
    """They never come out as live ones, keep their order when given back, and are not saved again."""
    outbox = Outbox(10)
    outbox.load([passing(number) for number in range(3)])
    assert outbox.next() is None
    assert outbox.begin_saving(0.0) == ()
    assert len(outbox) == 0
    first = outbox.next_late()
    assert first is not None
    assert (outbox.late_under_way, outbox.late_left) == (1, 3)
    outbox.give_back()
    again = outbox.next_late()
    assert again == first
    outbox.settle(first)
    assert outbox.late_left == 2
    assert outbox.forget_late() == Counter(detections=2)
    assert outbox.late_left == 0


def test_loading_may_ask_the_outbox() -> None:
    """Whoever loads messages one by one may ask for each whether it is needless; nothing locks up."""
    outbox = Outbox(10)
    loading = threading.Thread(target=lambda: outbox.load(
        passing(number) for number in range(3) if not outbox.take_needless(number)), daemon=True)
    loading.start()
    loading.join(60)
    assert not loading.is_alive()
    assert outbox.late_left == 3


def test_highest_acknowledged_result() -> None:
    """What was refused, and what is no result, does not count."""
    outbox = Outbox(10)
    for seq in (1, 2, None, 3):
        outbox.put(Message("detections", b"", seq=seq))
    for accepted in (True, True, True, False):
        waiting = outbox.next()
        assert waiting is not None
        outbox.settle(waiting, accepted=accepted)
    assert outbox.acknowledged_seq == 2


class Machine(RuleBasedStateMachine):
    """Any order of putting, taking, giving back, acknowledging, and saving with or without success."""

    @initialize(limit=st.integers(1, 5))
    def begin(self, limit: int) -> None:
        self.limit = limit
        self.outbox = Outbox(limit)
        self.under_way: list[Waiting] = []
        self.put_results = 0
        self.saving: tuple[Waiting, ...] = ()
        self.done: set[int] = set()
        self.on_disk: set[int] = set()

    @rule(topic=st.sampled_from(["detections", *TOPICS]))
    def put(self, topic: str) -> None:
        self.put_results += topic not in TOPICS
        self.outbox.put(Message(topic, b"", retain=topic in TOPICS))

    @rule()
    def take(self) -> None:
        waiting = self.outbox.next()
        if waiting is not None:
            assert all(waiting.number > one.number for one in self.under_way)
            assert waiting.number not in self.on_disk
            self.under_way.append(waiting)

    @rule()
    def give_back(self) -> None:
        self.outbox.give_back()
        self.under_way = []

    @precondition(lambda self: not self.saving)
    @rule()
    def begin_saving(self) -> None:
        self.saving = self.outbox.begin_saving(0.0)
        assert not self.on_disk & {waiting.number for waiting in self.saving}

    @precondition(lambda self: self.saving)
    @rule(saved=st.booleans())
    def end_saving(self, saved: bool) -> None:
        self.outbox.end_saving(saved=saved)
        self.on_disk |= {waiting.number for waiting in self.saving} if saved else set()
        self.saving = ()

    @precondition(lambda self: self.under_way)
    @rule()
    def acknowledge(self) -> None:
        waiting = self.under_way.pop(0)
        self.outbox.settle(waiting)
        self.done |= {waiting.number} if not waiting.message.retain else set()

    @invariant()
    def accounts_are_exact(self) -> None:
        if not hasattr(self, "outbox"):
            return
        held = self.put_results - len(self.done | self.on_disk) - self.outbox.dropped
        unknown = len(self.saving)      # pushed out meanwhile: lost only if they are not saved either
        assert len(self.outbox) - len(self.under_way) <= self.limit + len(TOPICS)
        assert 0 <= held <= len(self.outbox) + unknown


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
        network.join(60)
    outbox.renew_states()
    assert emptied(outbox) == [state("health", 4_999)]
