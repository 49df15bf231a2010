"""How messages from disk go out: at a rate, few at a time, marked, with their time put right."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from tests.support.fakes import EPOCH, FakeClock, make_frame, make_result
from vedette.config.models import MqttConfig
from vedette.messages import payloads
from vedette.mqtt.backfill import CATCH_UP_S, WINDOW, Backfill, backfilled, corrected
from vedette.mqtt.outbox import Outbox
from vedette.types import Message

POLL_S = 0.5


class Scene:
    """A replay at 10 a second with many late messages, and hands on its clocks."""

    def __init__(self, *, unsynced_ns: int | None = None) -> None:
        self.now_s = 100.0
        self.is_synced = False
        self.outbox = Outbox(10, self.now)
        self.outbox.load(Message("detections", b"{}", unsynced_ns=unsynced_ns) for _ in range(1000))
        self.replay = Backfill(self.outbox, MqttConfig(replay_per_s=10, clock_wait_s=60), FakeClock(),
                             lambda: self.is_synced, self.now)

    def now(self) -> float:
        return self.now_s

    def sent_in(self, seconds: float, *, step_s: float = 0.01) -> int:
        """Let time pass, taking what may go and acknowledging it at once; returns how many went."""
        sent = 0
        for _ in range(round(seconds / step_s)):
            self.now_s += step_s
            while (waiting := self.replay.next()) is not None:
                self.outbox.settle(waiting)
                sent += 1
        return sent


@pytest.mark.parametrize("step_s", [0.01, 0.3])
def test_rate(step_s: float) -> None:
    """As many a second as configured, however seldom the loop comes round."""
    scene = Scene()
    scene.replay.begin()
    assert 100 <= scene.sent_in(10.2, step_s=step_s) <= 103 + CATCH_UP_S * 10


def test_no_burst_after_a_long_absence() -> None:
    """What could not be sent for an hour is not made up for at once."""
    scene = Scene()
    scene.replay.begin()
    scene.sent_in(1)
    scene.now_s += 3600
    assert scene.sent_in(0.01) <= CATCH_UP_S * 10 + 1


def test_few_under_way() -> None:
    """While the broker acknowledges nothing, so many are under way and no more; one answer lets one go."""
    scene = Scene()
    scene.replay.begin()
    taken = []
    for _ in range(100):
        scene.now_s += 1
        waiting = scene.replay.next()
        taken += [waiting] if waiting else []
    assert len(taken) == WINDOW
    assert scene.replay.pause_s(POLL_S) == POLL_S
    scene.outbox.settle(taken[0])
    assert scene.replay.next() is not None


def test_pause_ends_when_the_next_may_go() -> None:
    """The loop sleeps neither past its turn nor without end at nothing."""
    scene = Scene()
    assert scene.replay.pause_s(POLL_S) == POLL_S     # no connection yet
    scene.replay.begin()
    scene.sent_in(1)
    while scene.replay.next() is not None:
        pass
    pause_s = scene.replay.pause_s(POLL_S)
    scene.now_s += pause_s
    assert 0 < pause_s <= 0.1
    assert scene.replay.next() is not None


def test_late_messages_wait_for_the_clock_once() -> None:
    """Those from before the clock was set wait for it a minute from the first connect, and not again."""
    scene = Scene(unsynced_ns=1)
    scene.replay.begin()
    assert (scene.sent_in(59), scene.replay.pause_s(POLL_S)) == (0, POLL_S)
    assert scene.sent_in(3) > 0
    scene.replay.begin()
    assert scene.sent_in(1) > 0


def test_late_messages_go_as_soon_as_the_clock_is_set() -> None:
    """Nothing is left to wait for then."""
    scene = Scene(unsynced_ns=1)
    scene.replay.begin()
    assert scene.sent_in(5) == 0
    scene.is_synced = True
    assert scene.sent_in(1) > 0


def test_marked() -> None:
    """A result says that it comes late, and is otherwise what it was; what has no place for that is left alone."""
    clock = FakeClock()
    told = payloads.detections(make_result(make_frame(clock)), device="gate", run=1, seq=2, dropped={"stale": 1},
                               clock_synced=True)
    assert json.loads(backfilled(payloads.encode(told))) == told | {"backfilled": True}
    for payload in (b'{"schema":"vedette.reply/1"}', b"[1]", b"no JSON", b"\xff"):
        assert backfilled(payload) == payload


def test_time_put_right() -> None:
    """The frame gets the moment that the clock, set since, gives to its monotonic one; nothing else changes."""
    clock = FakeClock()
    frame = make_frame(clock)
    told = payloads.detections(make_result(frame), device="gate", run=1, seq=2, dropped={}, clock_synced=False)
    message = Message("detections", payloads.encode(told), seq=2, unsynced_ns=frame.captured_ns)
    clock.advance(100)
    clock.epoch = EPOCH + timedelta(days=365)
    right = corrected(message, clock)
    captured_at = payloads.timestamp(frame.captured_at + timedelta(days=365))
    assert json.loads(right.payload) == told | {
        "frame": {**told["frame"], "captured_at": captured_at, "clock_synced": True}}
    assert (right.seq, right.unsynced_ns) == (2, None)


def test_time_of_counts_put_right() -> None:
    """Counts, which have no word on the clock, get the right moment as well."""
    clock = FakeClock()
    message = Message("counts", payloads.encode(payloads.counts({"person": 1}, captured_at=clock.utc_now())),
                      retain=True, unsynced_ns=clock.now_ns)
    before = clock.utc_now()
    clock.epoch = EPOCH - timedelta(days=1)
    assert json.loads(corrected(message, clock).payload) == {
        "schema": "vedette.counts/1", "captured_at": payloads.timestamp(before - timedelta(days=1)),
        "counts": {"person": 1}}
