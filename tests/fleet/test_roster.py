"""The roster of devices, filled from their messages."""

import math

import pytest

from tests.support.present import present
from vedette.fleet import roster
from vedette.fleet.roster import Roster

MODEL = {"state": "trial", "title": "street", "installed_version": "4", "release": 7, "variant": "b",
         "update_percentage": None, "last_outcome": None}
HEALTH = {"state": "degraded", "reasons": [{"code": "clock_unsynced"}], "capture": {"fps": 14.9},
          "inference": {"timing_ms": {"invoke": {"p50": 31.2}}}}


def test_a_row_is_built_from_a_devices_topics() -> None:
    """Availability, model and health; figures alone are not news."""
    heard = Roster()
    assert present(heard.update("vedette/gate-01/availability", "online")).online is True
    assert present(heard.update("vedette/gate-01/model", MODEL)).variant == "b"
    assert present(heard.update("vedette/gate-01/health", HEALTH)).reasons == ("clock_unsynced",)
    assert heard.update("vedette/gate-01/health", {**HEALTH, "capture": {"fps": 3}}) is None
    (row,) = heard.rows()
    assert (row.model, row.release, row.state, row.fps, row.invoke_ms) == ("street", 7, "trial", 3, 31.2)
    assert present(heard.update("vedette/gate-01/availability", "offline")).state == "trial"
    assert heard.summary() == "1 devices, 0 online; street 4: 1; trial: 1"


@pytest.mark.parametrize("payload", [
    None, 7, "maybe", [], {}, {"state": 3}, {"state": "ok", "reasons": 3, "capture": [], "inference": {"timing_ms": 1}},
    {"state": "ok", "reasons": [None, {"code": 3}], "capture": {"fps": math.inf}}, {"state": "trial", "release": True}])
@pytest.mark.parametrize("topic", ["availability", "model", "health", "elsewhere/deep"])
def test_messages_of_other_shapes_do_no_harm(topic: str, payload: object) -> None:
    """A value that cannot be read stays unknown."""
    heard = Roster()
    heard.update(f"vedette/gate-01/{topic}", payload)
    (row,) = heard.rows()
    assert (row.fps, row.invoke_ms, row.release, row.reasons) == (None, None, None, ())


@pytest.mark.slow
def test_strangers_cannot_fill_the_memory() -> None:
    """Devices are bounded in number, their texts in length."""
    heard = Roster()
    for number in range(roster.DEVICES_MAX + 5):
        heard.update(f"vedette/{number}/availability", "online")
    heard.update("vedette/0/model", {**MODEL, "title": "x" * 10_000})
    rows = heard.rows()
    assert len(rows) == roster.DEVICES_MAX
    assert len(present(rows[0].model)) == 80
