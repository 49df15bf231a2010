"""A daemon as the page follows it: what it publishes, when it is away, and what goes into the history."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.fakes import IDENTITY
from tests.support.network.local_rig import Rig, started
from tests.support.waiting.until import wait_until
from vedette.messages import topics
from vedette.messages.payloads import encode, timestamp
from vedette.page.device import Device
from vedette.page.history import Filter, History
from vedette.page.recorder import AWAY, SCORES_MAX, UNRECORDED, Recorder
from vedette.types import Message

NAME = IDENTITY.device


class Quick(Device):
    """Asks again at once."""

    wait_s, period_s, away_s = 0.2, 0.01, 0.05


@pytest.fixture
def history() -> Iterator[History]:
    one = History(None, days=36_500, mb=10)     # the clock of the fakes stands in the past
    yield one
    one.close()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with started(Rig(tmp_path)) as one:
        yield one


@contextmanager
def following(path: Path, history: History) -> Iterator[Device]:
    device = Quick(path, Recorder(history), owner_of=lambda _name, path: path, on_change=lambda: None)
    device.worker.start()
    try:
        yield device
    finally:
        assert device.worker.stop(60)
    assert device.worker.failure is None


def put(rig: Rig, topic: str, payload: dict[str, Any]) -> None:
    rig.published.publish(Message(topic, encode(payload), retain=True))


def put_event(rig: Rig, event: str = "7-1", **more: Any) -> None:
    payload = {"device": NAME, "run": 7, "seq": 1, "type": "start", "id": event, "track": 3, "label": "person",
               "began": timestamp(rig.clock.utc_now()), "entered": [], "stationary": False, "best": None} | more
    rig.published.on_event(event, encode(payload))


def health(**more: Any) -> dict[str, Any]:
    capture = {"fps": 15.0, "detected": 0, "age_ms": {"p50": 12.0}} | more.pop("capture", {})
    return {"run": 7, "state": "ok", "reasons": [], "uptime_s": 10.0, "capture": capture, "scores": {},
            "board": {"temperature_c": 51.0}} | more


def events(history: History) -> list[dict[str, Any]]:
    return history.events(Filter(NAME))


def test_the_newest_of_each_topic_is_known(rig: Rig, history: History) -> None:
    """Messages from before and from now; results and events are not among them."""
    put(rig, topics.INFO, {"run": 7})
    with following(rig.path, history) as device:
        assert wait_until(lambda: device.state.messages.get(topics.INFO) == {"run": 7})
        put(rig, topics.INFO, {"run": 8})
        put(rig, topics.DETECTIONS, {"detections": []})
        assert wait_until(lambda: device.state.messages.get(topics.INFO) == {"run": 8})
        assert (device.state.device, device.state.reachable) == (NAME, True)
        assert topics.DETECTIONS not in device.state.messages


def test_a_run_that_begins_has_nothing_of_the_run_before(tmp_path: Path, history: History) -> None:
    """What a daemon said last stays while it is away, and goes when it answers again and has not said it again."""
    with following(tmp_path / "socket", history) as device:
        with started(Rig(tmp_path)) as before:
            for run in (6, 7):
                put(before, topics.INFO, {"run": run})
            assert wait_until(lambda: device.state.messages.get(topics.INFO) == {"run": 7})
        assert wait_until(lambda: not device.state.reachable)
        assert device.state.messages[topics.INFO] == {"run": 7}
        with started(Rig(tmp_path)) as after:
            put(after, topics.COUNTS, {"counts": None})
            assert wait_until(lambda: device.state.reachable and topics.COUNTS in device.state.messages)
            assert dict(device.state.messages) == {topics.COUNTS: {"counts": None}}


def test_a_daemon_that_goes_and_comes(tmp_path: Path, history: History) -> None:
    """It is away before and between, its last messages stay, and the time is blind."""
    with following(tmp_path / "socket", history) as device:
        assert wait_until(lambda: device.state.error is not None)
        assert not device.state.reachable
        with started(Rig(tmp_path)) as rig:
            put(rig, topics.INFO, {"run": 7})
            assert wait_until(lambda: device.state.reachable and topics.INFO in device.state.messages)
        assert wait_until(lambda: not device.state.reachable)
        assert device.state.messages[topics.INFO] == {"run": 7}
        assert wait_until(lambda: [each["why"] for each in history.blind(NAME, "")] == [AWAY])
        with started(Rig(tmp_path)):
            assert wait_until(lambda: device.state.reachable)
            assert wait_until(lambda: history.blind(NAME, "")[0]["to"] is not None)


def test_events_from_before_the_page_are_kept(rig: Rig, history: History) -> None:
    """Those that the daemon still knows."""
    put_event(rig, "7-1")
    put_event(rig, "7-2")
    with following(rig.path, history):
        assert wait_until(lambda: {each["id"] for each in events(history)} == {"7-1", "7-2"})


def test_an_event_has_the_scores_of_its_track(rig: Rig, history: History) -> None:
    """Those of all results that show it, with the seconds since it began, and no others."""
    began = timestamp(rig.clock.utc_now())
    for _ in range(3):
        rig.see()       # its person has the track 3
    put_event(rig, began=began)
    put_event(rig, "7-2", track=4, began=began)
    with following(rig.path, history):
        assert wait_until(lambda: len(events(history)) == 2)
        rig.see()
        put_event(rig, type="end", seq=2, began=began)
        assert wait_until(lambda: any(each["type"] == "end" for each in events(history)))
    found = {each["id"]: each["scores"] for each in events(history)}
    assert found == {"7-1": [[0.1, 0.9], [0.2, 0.9], [0.3, 0.9], [0.4, 0.9]], "7-2": []}


def test_the_scores_of_a_long_event_are_bounded(history: History, tmp_path: Path) -> None:
    """They are thinned out, and still reach from its begin to its end."""
    with started(Rig(tmp_path)) as rig:
        began = timestamp(rig.clock.utc_now())
        with following(rig.path, history):
            for seq in range(1, 8):
                for _ in range(60):
                    rig.see()
                put_event(rig, seq=seq, began=began)
                assert wait_until(lambda: [each["seq"] for each in events(history)] == [seq])  # noqa: B023 - at once
    times = [at for at, _ in events(history)[0]["scores"]]
    assert times == sorted(times)
    assert SCORES_MAX / 2 <= len(times) <= SCORES_MAX
    assert times[0] < 1 and times[-1] > 41  # noqa: PT018 - one range


def test_only_the_picture_of_this_event_is_kept(rig: Rig, history: History) -> None:
    """The retained picture of a label may be that of another event by now: its size tells."""
    rig.published.publish(Message("best/person", b"\xff\xd8jpeg", retain=True))
    put_event(rig, "7-1", type="end", best={"bytes": 6})
    put_event(rig, "7-2", type="end", best={"bytes": 7})
    with following(rig.path, history):
        assert wait_until(lambda: len(events(history)) == 2)
    assert {each["id"]: each["picture"] for each in events(history)} == {"7-1": True, "7-2": False}
    assert history.picture(NAME, "7-1") == b"\xff\xd8jpeg"


def test_a_time_without_counts_is_blind(rig: Rig, history: History) -> None:
    """From counts that are null to the next that are not; the worst reason says why."""
    put(rig, topics.HEALTH, health(reasons=[{"code": "mqtt_offline"}, {"code": "paused"}]))
    put(rig, topics.COUNTS, {"counts": None})
    with following(rig.path, history):
        assert wait_until(lambda: [(each["to"], each["why"]) for each in history.blind(NAME, "")] == [(None, "paused")])
        put(rig, topics.COUNTS, {"counts": {}})
        assert wait_until(lambda: history.blind(NAME, "")[0]["to"] is not None)
    assert len(history.blind(NAME, "")) == 1


def test_the_time_in_which_the_page_did_not_run_is_said(rig: Rig, history: History) -> None:
    """From the last minute that was kept to now."""
    history.put_minute(NAME, 1_000_000_020, {"state": "ok"})
    with following(rig.path, history):
        assert wait_until(lambda: [each["why"] for each in history.blind(NAME, "")] == [UNRECORDED])
    assert history.blind(NAME, "")[0]["from"] == "2001-09-09T01:48:00.000Z"
    assert history.blind(NAME, "")[0]["to"] is not None


def test_minutes_have_rates_and_scores_since_the_message_before(rig: Rig, history: History) -> None:
    """The counts of health are those of the whole run."""
    put(rig, topics.HEALTH, health(scores={"person": {"count": 10, "mean": 0.5}}))
    with following(rig.path, history) as device:
        assert wait_until(lambda: history.minutes(NAME, 0))
        put(rig, topics.HEALTH, health(uptime_s=20.0, capture={"detected": 50},
                                       scores={"person": {"count": 30, "mean": 0.7}}))
        assert wait_until(lambda: device.state.messages[topics.HEALTH]["uptime_s"] == 20)
    assert history.minutes(NAME, 0)[-1][1] == {
        "state": "ok", "age_ms": 12.0, "captured_per_s": 15.0, "detected_per_s": 5.0, "temperature_c": 51.0,
        "score": 0.8}


@pytest.mark.parametrize("payload", [b"null", b"7", b"[]", b'{"counts": 7}', b'{"id": 1, "best": {}}'])
def test_messages_of_another_shape_cost_nothing(rig: Rig, history: History, payload: bytes) -> None:
    """A daemon of another version may send them: the page goes on."""
    for topic in (topics.HEALTH, topics.COUNTS, topics.ZONES):
        rig.published.publish(Message(topic, payload, retain=True))
    rig.published.on_event("7-1", payload)
    with following(rig.path, history) as device:
        assert wait_until(lambda: device.state.messages.get(topics.ZONES) == json.loads(payload))
        put_event(rig, "7-2")
        assert wait_until(lambda: [each["id"] for each in events(history)] == ["7-2"])
