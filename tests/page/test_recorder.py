"""Which scores belong to an event."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.fakes import IDENTITY
from tests.support.network.local_rig import PERSON, Rig, started
from vedette.messages import topics
from vedette.messages.payloads import timestamp
from vedette.page.device_state import DeviceState
from vedette.page.history import Filter, History
from vedette.page.recorder import Recorder
from vedette.serve.local.client import LocalClient


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with started(Rig(tmp_path)) as one:
        yield one


@pytest.fixture
def history() -> Iterator[History]:
    one = History(None, days=36_500, mb=10)      # the clock of the rig is not that of the machine
    yield one
    one.close()


def tell(recorder: Recorder, rig: Rig, event: str, **more: Any) -> None:
    """The recorder gets a message of an event."""
    payload = {"device": IDENTITY.device, "run": IDENTITY.run, "seq": 1, "type": "start", "id": event, "track": 99,
               "label": "person", "began": timestamp(rig.clock.utc_now()), "entered": [], "stationary": False,
               "best": None} | more
    state = DeviceState(rig.path, datetime.now(UTC), IDENTITY.device, reachable=True)
    recorder.on_messages(state, [(topics.EVENTS, payload)], LocalClient(rig.path))


def scores(history: History, event: str) -> list[list[float]]:
    found: list[list[float]] = next(each["scores"] for each in history.events(Filter(IDENTITY.device))
                                    if each["id"] == event)
    return found


def test_scores_from_before_the_start_message(rig: Rig, history: History) -> None:
    """The start of an event comes late. Results that were read before it, for another event, count all the same."""
    recorder = Recorder(history)
    began = timestamp(rig.clock.utc_now())
    rig.see()
    tell(recorder, rig, "7-1")
    rig.see()
    tell(recorder, rig, "7-2", track=PERSON.track, began=began)
    rig.see()
    tell(recorder, rig, "7-2", track=PERSON.track, began=began, seq=2, type="end")
    assert scores(history, "7-2") == [[0.1, 0.9], [0.2, 0.9], [0.3, 0.9]]
    assert scores(history, "7-1") == []


def test_tracks_of_another_run(rig: Rig, history: History) -> None:
    """Numbers of tracks begin anew in each run, so the same number in another run is another thing."""
    recorder = Recorder(history)
    began = timestamp(rig.clock.utc_now())
    rig.see()
    tell(recorder, rig, "6-1", track=PERSON.track, began=began, run=IDENTITY.run - 1)
    assert scores(history, "6-1") == []
