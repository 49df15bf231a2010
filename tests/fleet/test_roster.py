"""The roster of devices, filled from their messages."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.present import present
from vedette.fleet import roster
from vedette.fleet.roster import ConfigurationRow, Roster, Row
from vedette.types import Receiver

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
    assert heard.summary() == "1 device, 0 online; street 4: 1; trial: 1"


def test_a_row_says_what_the_device_takes_and_how_its_updates_ended() -> None:
    """So the operator's side can tell which releases are for it."""
    heard = Roster()
    last = {"release": 8, "sha256": "a" * 64, "ok": False, "code": "blind", "at": "2026-11-30T10:00:00Z"}
    row = present(heard.update("vedette/gate-01/model", {
        **MODEL, "last_update": last, "receiver": {"device_class": "dome", "channel": "canary", "tags": ["shop", 7]},
        "configuration": {"state": "trial", "release": 9, "last_update": {**last, "ok": True, "code": "good"}}}))
    assert row.receiver == Receiver("dome", "canary", ("shop",))
    assert (row.failed, row.last_release, row.last_sha256, row.last_ok) == ("blind", 8, "a" * 64, False)
    assert row.configuration == ConfigurationRow("trial", 9, None, 8, "a" * 64, True)


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


NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
AFTER = timedelta(minutes=15)
FINE = Row("gate-01", online=True, state="good", health="ok", health_at="2026-11-30T11:59:00.000Z")


@pytest.mark.parametrize(("changes", "silent"), [
    ({}, False), ({"online": False}, True), ({"online": None}, True), ({"health": None, "health_at": None}, False),
    ({"state": None}, False), ({"state": None, "health": None}, True),
    ({"health_at": "2026-11-30T11:44:00.000Z"}, True),
    ({"health_at": "2026-11-30T11:44:00.000Z", "reasons": ("clock_unsynced",)}, False),
    ({"health_at": "2026-11-30T12:14:00Z"}, False),
    ({"health_at": "2026-11-30T12:16:00Z"}, True), ({"health_at": "yesterday"}, False),
    ({"health_at": "2026-11-29T11:44:00"}, False)])
def test_who_is_silent(changes: dict[str, object], silent: bool) -> None:
    """Who is offline, says nothing but its availability, or has a health of another time by a clock that is right."""
    assert replace(FINE, **changes).is_silent(NOW, AFTER) is silent   # type: ignore[arg-type]  # any field


@pytest.mark.parametrize(("changes", "code"), [
    ({}, None), ({"failed": "blind"}, "blind"), ({"failed": "blind", "reasons": ("update_failed",)}, "blind"),
    ({"health": "degraded", "reasons": ("clock_unsynced", "update_failed")}, "update_failed"),
    ({"health": "degraded", "reasons": ("clock_unsynced",)}, None),
    ({"health": "failed", "reasons": ("clock_unsynced", "camera_offline")}, "camera_offline"),
    ({"health": "failed", "reasons": ("clock_unsynced", "of_a_newer_version")}, "of_a_newer_version"),
    ({"health": "failed"}, "failed")])
def test_what_has_failed(changes: dict[str, object], code: str | None) -> None:
    """The last update by its code, or else the reason for which the device does not detect."""
    assert replace(FINE, **changes).failure == code       # type: ignore[arg-type]  # any field


def test_counts_of_a_fleet() -> None:
    """Each device counts once; too many kinds are counted together, and nothing is left out."""
    heard = Roster()
    for number in range(150):
        heard.update(f"vedette/gate-{number}/availability", "online" if number else "offline")
        heard.update(f"vedette/gate-{number}/model", {**MODEL, "title": f"model-{max(number, 40)}"})
        heard.update(f"vedette/gate-{number}/health", {**HEALTH, "at": f"2026-11-30T11:{min(number, 59):02}:00Z",
                                                       "reasons": []})
    heard.update("vedette/gate-7/model", {**MODEL, "last_update": {"ok": False, "code": "slow"}})
    counted = heard.counted(NOW, AFTER)
    assert (counted.devices, counted.online, counted.states) == (150, 149, {"trial": 150})
    assert (counted.failed, counted.silent) == ({"slow": 1}, 45)
    assert (sum(counted.models.values()), counted.models["model-40 4"], len(counted.models)) == (150, 40, 101)
    assert present(heard.longest_silent(NOW, AFTER)).device == "gate-0"
    assert heard.update(f"vedette/{'x' * 81}/availability", "online") is None
    assert heard.counted(NOW, AFTER).devices == 150


def test_only_certain_devices() -> None:
    """Each of them is there, also if it has published nothing; a flood of other names changes nothing."""
    seen = Roster(["gate-1", "gate-2"])
    for number in range(5):
        seen.update(f"vedette/gate-{number}/availability", "online")
    seen.update("vedette/gate-7/availability", "online")
    assert [(row.device, row.online) for row in seen.rows()] == [("gate-1", True), ("gate-2", True)]
    assert not seen.is_full
    assert Roster(["gate-9"]).lacking("model") == ["gate-9"]
