"""How saved messages are sent: at a limited rate, few at a time, marked, with a corrected time."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from tests.support.fakes import EPOCH, FakeClock, make_frame, make_result
from vedette.config.models import MqttConfig
from vedette.messages import payloads
from vedette.mqtt.backfill import CATCH_UP_S, LATE_IN_FLIGHT_MAX, SAVE_AFTER_S, Backfill, backfilled, corrected
from vedette.mqtt.outbox import Outbox
from vedette.types import Message

POLL_S = 0.5


class Scene:
    """A backfill at 10 messages a second with many late ones, and clocks that a test sets."""

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
        """Let time pass, take each message that may go and acknowledge it at once; returns how many went."""
        sent = 0
        for _ in range(round(seconds / step_s)):
            self.now_s += step_s
            while (waiting := self.replay.next()) is not None:
                self.outbox.finish(waiting)
                sent += 1
        return sent


@pytest.mark.parametrize("step_s", [0.01, 0.3])
def test_rate(step_s: float) -> None:
    """The rate is the configured one, also for a slow loop."""
    scene = Scene()
    scene.replay.connected()
    assert 100 <= scene.sent_in(10.2, step_s=step_s) <= 103 + CATCH_UP_S * 10


def test_no_burst_after_a_long_absence() -> None:
    """After an hour without a message, only CATCH_UP_S of the rate is sent at once."""
    scene = Scene()
    scene.replay.connected()
    scene.sent_in(1)
    scene.now_s += 3600
    assert scene.sent_in(0.01) <= CATCH_UP_S * 10 + 1


def test_few_under_way() -> None:
    """While the broker acknowledges nothing, LATE_IN_FLIGHT_MAX are under way; one acknowledgement lets one more go."""
    scene = Scene()
    scene.replay.connected()
    taken = []
    for _ in range(100):
        scene.now_s += 1
        waiting = scene.replay.next()
        taken += [waiting] if waiting else []
    assert len(taken) == LATE_IN_FLIGHT_MAX
    assert scene.replay.pause_s(POLL_S) == POLL_S
    scene.outbox.finish(taken[0])
    assert scene.replay.next() is not None


def test_pause_ends_when_the_next_may_go() -> None:
    """The loop does not sleep past the time of the next message, and does not spin while it must wait."""
    scene = Scene()
    assert scene.replay.pause_s(POLL_S) == POLL_S     # no connection yet
    scene.replay.connected()
    scene.sent_in(1)
    while scene.replay.next() is not None:
        pass
    pause_s = scene.replay.pause_s(POLL_S)
    scene.now_s += pause_s
    assert 0 < pause_s <= 0.1
    assert scene.replay.next() is not None


def test_late_messages_wait_for_the_clock_once() -> None:
    """Those from before the clock was set wait for it a minute from the first connect, but not again."""
    scene = Scene(unsynced_ns=1)
    scene.replay.connected()
    assert (scene.sent_in(59), scene.replay.pause_s(POLL_S)) == (0, POLL_S)
    assert scene.sent_in(3) > 0
    scene.replay.connected()
    assert scene.sent_in(1) > 0


def test_late_messages_go_as_soon_as_the_clock_is_set() -> None:
    """They do not wait for the rest of the minute."""
    scene = Scene(unsynced_ns=1)
    scene.replay.connected()
    assert scene.sent_in(5) == 0
    scene.is_synced = True
    assert scene.sent_in(1) > 0


def test_marked() -> None:
    """A late result has `backfilled` set and is otherwise unchanged; a payload without that key does not change."""
    clock = FakeClock()
    original = payloads.detections(make_result(make_frame(clock)), device="gate", run=1, seq=2, dropped={"stale": 1},
                               clock_synced=True)
    assert json.loads(backfilled(payloads.encode(original))) == original | {"backfilled": True}
    for payload in (b'{"schema":"vedette.reply/1"}', b"[1]", b"no JSON", b"\xff"):
        assert backfilled(payload) == payload


def test_corrected_capture_time() -> None:
    """The frame gets the wall time of its monotonic time by the clock that was set since; nothing else changes."""
    clock = FakeClock()
    frame = make_frame(clock)
    original = payloads.detections(make_result(frame), device="gate", run=1, seq=2, dropped={}, clock_synced=False)
    message = Message("detections", payloads.encode(original), seq=2, unsynced_ns=frame.captured_ns)
    clock.advance(100)
    clock.epoch = EPOCH + timedelta(days=365)
    right = corrected(message, clock)
    captured_at = payloads.timestamp(frame.captured_at + timedelta(days=365))
    assert json.loads(right.payload) == original | {
        "frame": {**original["frame"], "captured_at": captured_at, "clock_synced": True}}
    assert (right.seq, right.unsynced_ns) == (2, None)


def test_corrected_time_of_counts() -> None:
    """Counts have no `clock_synced` and get the correct time as well."""
    clock = FakeClock()
    message = Message("counts", payloads.encode(payloads.counts({"person": 1}, captured_at=clock.utc_now())),
                      retain=True, unsynced_ns=clock.now_ns)
    before = clock.utc_now()
    clock.epoch = EPOCH - timedelta(days=1)
    assert json.loads(corrected(message, clock).payload) == {
        "schema": "vedette.counts/1", "captured_at": payloads.timestamp(before - timedelta(days=1)),
        "counts": {"person": 1}}


def test_corrected_times_of_an_event() -> None:
    """All of them, that of its picture too, lie as far from each other as before."""
    clock = FakeClock()
    times = [payloads.timestamp(EPOCH + timedelta(seconds=second)) for second in (0, 40, 20)]
    right = [payloads.timestamp(EPOCH + timedelta(days=365, seconds=second)) for second in (0, 40, 20)]
    message, expected = ({"began": began, "ended": ended, "best": {"captured_at": best, "bytes": 1}}
                         for began, ended, best in (times, right))
    clock.epoch = EPOCH + timedelta(days=365)
    event = Message("events", payloads.encode(message), unsynced_ns=0)
    assert json.loads(corrected(event, clock).payload) == expected


def test_a_kept_message_that_waited_in_the_outbox_says_so() -> None:
    """The connection ended with it under way, and the next one came late. At once, it is as it was."""
    scene = Scene()
    scene.outbox.put(Message("events", b'{"backfilled":false}', on_done=lambda: None))
    told = []
    for wait_s in (0.0, SAVE_AFTER_S / 2, SAVE_AFTER_S):
        scene.now_s += wait_s
        waiting = scene.outbox.next()
        assert waiting is not None
        told.append(json.loads(scene.replay.as_of_now(waiting).payload)["backfilled"])
        scene.outbox.requeue()
    assert told == [False, False, True]
