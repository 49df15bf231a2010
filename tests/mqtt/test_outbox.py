"""The outbox: bounded, in order; states stay, drops are counted, a saved message is neither lost nor doubled."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial

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
        outbox.finish(waiting)
        taken.append(waiting.message)
    return taken


def numbers(outbox: Outbox) -> list[int]:
    return [int(message.payload) for message in emptied(outbox)]


@given(st.lists(st.sampled_from(["detections", *TOPICS])), st.integers(1, 10))
def test_newest_results_and_states_survive(puts: list[str], limit: int) -> None:
    """The newest results up to the limit and the latest of each state come out, in the order of `put`."""
    outbox = Outbox(limit)
    messages = [state(topic, n) if topic in TOPICS else passing(n) for n, topic in enumerate(puts)]
    for message in messages:
        outbox.put(message)
    results = [message for message in messages if not message.retain]
    last = {message.topic: message for message in messages if message.retain}
    kept = [*results[-limit:], *last.values()]
    assert emptied(outbox) == [message for message in messages if any(message is one for one in kept)]
    assert outbox.dropped == max(0, len(results) - limit)


def test_requeued_messages_come_first() -> None:
    """A message that could not be sent keeps its place before those put meanwhile."""
    outbox = Outbox(10)
    for number in range(3):
        outbox.put(passing(number))
    outbox.next(), outbox.next()
    outbox.put(passing(3))
    outbox.requeue()
    assert emptied(outbox) == [passing(number) for number in range(4)]


def test_a_newer_state_replaces_a_requeued_one() -> None:
    """A state that was replaced while it was under way never comes out after the newer one."""
    outbox = Outbox(10)
    outbox.put(state("health", 1))
    assert outbox.next() is not None
    outbox.put(state("health", 2))
    outbox.requeue()
    assert emptied(outbox) == [state("health", 2)]


def test_renewed_states() -> None:
    """The latest value of every state comes out again, once, for a broker that lost it."""
    outbox = Outbox(10)
    for message in (state("info", 1), state("health", 1), state("health", 2), passing(1)):
        outbox.put(message)
    emptied(outbox)
    outbox.put(state("info", 2))
    outbox.renew_states()
    assert emptied(outbox) == [state("info", 2), state("health", 2)]


def test_dropped_messages_are_counted_by_kind() -> None:
    """Each kind of topic has its own count, also for messages that never entered the outbox."""
    outbox = Outbox(1)
    for topic in ("detections", "detections", "/vedette/gate-01/reply/pause", "detections"):
        outbox.put(Message(topic, b""))
    outbox.drop({"snapshot": 1})
    assert outbox.dropped_by_kind == Counter(detections=2, reply=1, snapshot=1)


class ManualClock:
    """A clock of seconds that the test sets."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def saving() -> tuple[Outbox, ManualClock]:
    """Six results: two under way, four waiting."""
    now_s = ManualClock()
    outbox = Outbox(100, now_s)
    for number in range(6):
        outbox.put(passing(number))
    outbox.next(), outbox.next()
    return outbox, now_s


def test_only_messages_that_waited_too_long_are_saved(saving: tuple[Outbox, ManualClock]) -> None:
    """Before the time none is saved; then all are, under way or not, in order; states and QoS 0 never are."""
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


def test_a_half_full_outbox_is_saved_at_once() -> None:
    """A burst is saved before the outbox must drop messages."""
    outbox = Outbox(10)
    for number in range(5):
        assert outbox.begin_saving(3.0) == ()
        outbox.put(passing(number))
    assert len(outbox.begin_saving(3.0)) == 5


@pytest.mark.parametrize("saved", [True, False])
@pytest.mark.parametrize("requeued", ["before", "during", "after"])
def test_a_saved_message_is_not_sent_as_well(saving: tuple[Outbox, ManualClock], saved: bool, requeued: str) -> None:
    """Whenever the connection ends during saving: saved messages leave the outbox, unsaved ones stay, in order."""
    outbox, _ = saving
    if requeued == "before":
        outbox.requeue()
    assert len(outbox.begin_saving(0.0)) == 6
    outbox.put(passing(6))
    if requeued == "during":
        outbox.requeue()
    outbox.end_saving(saved=saved)
    if requeued == "after":
        outbox.requeue()
    assert numbers(outbox) == ([6] if saved else list(range(7)))
    assert len(outbox) == 0


@pytest.mark.parametrize("when", ["during", "after"])
def test_an_acknowledged_message_makes_its_saved_copy_redundant(saving: tuple[Outbox, ManualClock], when: str) -> None:
    """The acknowledgement may come while the message is being saved or later; the outbox returns it once."""
    outbox, _ = saving
    outbox.requeue()
    under_way = outbox.next()
    assert under_way is not None
    outbox.begin_saving(0.0)
    if when == "during":
        outbox.finish(under_way)
    outbox.end_saving(saved=True)
    if when == "after":
        outbox.finish(under_way)
    assert [outbox.take_redundant(under_way.number) for _ in range(2)] == [True, False]
    assert not outbox.take_redundant(under_way.number + 1)


def test_a_message_acknowledged_while_saving_fails_does_not_come_back(saving: tuple[Outbox, ManualClock]) -> None:
    """After a failed write, only the messages that the broker does not have wait again."""
    outbox, _ = saving
    outbox.requeue()
    first = outbox.next()
    assert first is not None
    outbox.begin_saving(0.0)
    outbox.finish(first)
    outbox.end_saving(saved=False)
    assert numbers(outbox) == [1, 2, 3, 4, 5]
    assert not outbox.take_redundant(first.number)


def test_abandoned_messages_are_counted(saving: tuple[Outbox, ManualClock]) -> None:
    """Every passing message without a saved copy is dropped, under way or not; states, saved and late ones stay."""
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
    outbox.requeue()
    assert emptied(outbox) == [state("health", 8)]
    assert (outbox.late_left, outbox.abandon()) == (1, 0)


def test_late_messages_are_a_line_of_their_own() -> None:
    """They never come out as live ones, keep their order when requeued, and are not saved again."""
    outbox = Outbox(10)
    outbox.load([passing(number) for number in range(3)])
    assert outbox.next() is None
    assert outbox.begin_saving(0.0) == ()
    assert len(outbox) == 0
    first = outbox.next_late()
    assert first is not None
    assert (outbox.late_under_way, outbox.late_left) == (1, 3)
    outbox.requeue()
    again = outbox.next_late()
    assert again == first
    outbox.finish(first)
    assert outbox.late_left == 2
    assert outbox.forget_late() == Counter(detections=2)
    assert outbox.late_left == 0


def test_loading_may_call_the_outbox() -> None:
    """A generator of loaded messages may ask for each whether it is redundant; nothing deadlocks."""
    outbox = Outbox(10)
    loading = threading.Thread(target=lambda: outbox.load(
        passing(number) for number in range(3) if not outbox.take_redundant(number)), daemon=True)
    loading.start()
    loading.join(60)
    assert not loading.is_alive()
    assert outbox.late_left == 3


def test_highest_acknowledged_result() -> None:
    """A refused message and one that is not a result do not count."""
    outbox = Outbox(10)
    for seq in (1, 2, None, 3):
        outbox.put(Message("detections", b"", seq=seq))
    for accepted in (True, True, True, False):
        waiting = outbox.next()
        assert waiting is not None
        outbox.finish(waiting, accepted=accepted)
    assert outbox.acknowledged_seq == 2


class Machine(RuleBasedStateMachine):
    """Any order of putting, taking, requeueing, acknowledging, and saving with or without success."""

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
    def requeue(self) -> None:
        self.outbox.requeue()
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
        self.outbox.finish(waiting)
        self.done |= {waiting.number} if not waiting.message.retain else set()

    @invariant()
    def accounts_are_exact(self) -> None:
        if not hasattr(self, "outbox"):
            return
        held = self.put_results - len(self.done | self.on_disk) - self.outbox.dropped
        unknown = len(self.saving)      # dropped meanwhile, but lost only if saving fails too
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
def test_renewing_never_brings_back_a_replaced_state() -> None:
    """Whenever one thread renews while another puts, the latest value of a state comes out last."""
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


class OneDrop(Mapping[str, int]):
    """Tells, when it is counted, whether another thread could count at the same moment."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self.was_locked = False

    def __getitem__(self, _kind: str) -> int:
        self.was_locked = self._outbox._lock.locked()
        return 1

    def __iter__(self) -> Iterator[str]:
        return iter(("detections",))

    def __len__(self) -> int:
        return 1


def test_drops_are_counted_under_the_lock() -> None:
    """Two threads count: without the lock one of them could be lost between reading and writing."""
    outbox = Outbox(10)
    dropped = OneDrop(outbox)
    outbox.drop(dropped)
    assert (dropped.was_locked, outbox.dropped) == (True, 1)


def test_a_kept_message_is_never_dropped_or_saved_and_tells_when_it_is_done() -> None:
    """Whoever gave it keeps it. It comes in its order, and again after a lost connection."""
    done: list[str] = []
    outbox = Outbox(2)
    for number in range(5):
        outbox.put(Message("events", b"%d" % number, on_done=partial(done.append, str(number))))
        outbox.put(Message("detections", b"%d" % number))
    assert outbox.dropped_by_kind == {"detections": 3}
    assert len(outbox) == 7
    first = outbox.next()
    assert first is not None
    saved = outbox.begin_saving(0)
    assert {waiting.message.topic for waiting in saved} == {"detections"}
    outbox.end_saving(saved=True)
    outbox.requeue()
    taken = list(iter(outbox.next, None))
    assert [(waiting.message.topic, waiting.message.payload) for waiting in taken] == [
        ("events", b"%d" % number) for number in range(5)]
    assert outbox.abandon() == 0
    assert done == []
    for waiting in taken[:3]:
        outbox.finish(waiting)
    outbox.discard(taken[3])
    assert done == ["0", "1", "2", "3"]
    assert len(outbox) == 1
