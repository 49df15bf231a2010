"""How a release ends on each device, and how many devices it is for."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from vedette.fleet.outcomes import DeviceOutcome, expected_of, outcome_of, tally
from vedette.fleet.roster import ConfigurationRow, Roster, Row
from vedette.store.release import Release, Target
from vedette.types import Receiver

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
AFTER = timedelta(minutes=15)
OURS = Receiver("default", "stable", ("indoor",))
GOOD = Row("gate-01", online=True, release=7, state="good", health="ok", health_at="2026-11-30T11:59:00.000Z",
           receiver=OURS)


def target(number: int = 7, **more: Any) -> Target:
    release = Release(name="street", version=str(number), release=number, device_classes=("default",),
                      **{"channel": "stable", **more})
    return Target(f"{number}/street-{number}.tflite", 1000, f"{number:064x}", release)


def outcome(row: Row, of: Target) -> tuple[str, str | None]:
    found = outcome_of(row, of, now=NOW, silent_after=AFTER)
    return found.kind, found.code


@pytest.mark.parametrize(("changes", "expected"), [
    ({}, "good"), ({"state": "trial"}, "trial"), ({"release": 6}, "waiting"), ({"state": "pinned"}, "waiting"),
    ({"release": 6, "state": "downloading"}, "waiting"), ({"release": 6, "state": "shadow"}, "waiting"),
    ({"release": None, "state": "none"}, "waiting"), ({"release": 8}, "waiting"),
    ({"online": False}, "silent"), ({"online": None}, "silent"), ({"state": "trial", "online": False}, "silent"),
    ({"health_at": "2026-11-30T11:44:00.000Z"}, "silent"), ({"health_at": "2027-11-30T11:59:00.000Z"}, "silent"),
    ({"release": 6, "health_at": "2026-11-30T11:44:00.000Z"}, "silent"),
    ({"last_release": 7, "last_ok": False, "failed": "blind", "release": 6}, "failed: blind"),
    ({"last_release": 7, "last_ok": False, "failed": "blind", "release": 6, "online": False}, "failed: blind"),
    ({"last_release": 7, "last_ok": False, "failed": "not_tried", "state": "trial"}, "failed: not_tried"),
    ({"last_release": 6, "last_ok": False, "failed": "blind"}, "good"),
    ({"last_release": 6, "last_ok": False, "failed": "blind", "release": 5}, "waiting"),
    ({"last_sha256": target().sha256, "last_ok": False, "failed": "damaged", "release": 6}, "failed: damaged"),
    ({"last_sha256": target().sha256, "last_release": 5, "last_ok": False, "failed": "slow", "release": 4}, "waiting"),
    ({"last_release": 7, "last_ok": True}, "good"), ({"last_release": 7, "last_ok": True, "release": 6}, "waiting"),
    ({"health": "failed", "reasons": ("clock_unsynced", "camera_offline")}, "failed: camera_offline"),
    ({"health": "failed", "reasons": ("model_failing",), "state": "trial"}, "failed: model_failing"),
    ({"health": "failed", "reasons": ("camera_offline",), "release": 6}, "waiting"),
    ({"health": "failed", "reasons": ("no_model",), "failed": "blind", "last_release": 6}, "failed: no_model"),
    ({"health": "degraded", "reasons": ("camera_offline",)}, "good"), ({"health": None, "health_at": None}, "good")])
def test_how_a_release_is_doing_on_a_device(changes: dict[str, object], expected: str) -> None:
    """A failure of this release stays one in silence; who is silent is not good; all else waits."""
    kind, code = outcome(replace(GOOD, **changes), target())  # type: ignore[arg-type]  # any field
    assert (f"{kind}: {code}" if code else kind) == expected


@pytest.mark.parametrize(("configuration", "expected"), [
    (ConfigurationRow("good", 9), "good"), (ConfigurationRow("trial", 9), "trial"), (ConfigurationRow(), "waiting"),
    (ConfigurationRow("good", 8), "waiting"), (ConfigurationRow("none", 9), "waiting"),
    (ConfigurationRow("good", 8, "unhealthy", last_release=9, last_ok=False), "failed"),
    (ConfigurationRow("none", None, "invalid", last_sha256=f"{9:064x}", last_ok=False), "failed")])
def test_a_configuration_has_outcomes_of_its_own(configuration: ConfigurationRow, expected: str) -> None:
    """The model of the same device, with its number and its failure, has no part in it."""
    row = replace(GOOD, release=9, last_release=9, last_ok=False, failed="blind", configuration=configuration)
    assert outcome(row, target(9, kind="configuration")) == (expected, configuration.failed)
    assert outcome(replace(row, online=False), target(9, kind="configuration"))[0] in {"silent", "failed"}
    assert outcome(row, target(9)) == ("failed", "blind")


def expected_numbers(receiver: Receiver | None, *targets: Target) -> list[int]:
    rows = [replace(GOOD, receiver=receiver)]
    return [each.release.release for each in targets if expected_of(rows, each, targets)]


@pytest.mark.parametrize(("receiver", "numbers"), [
    (OURS, [4, 5]), (Receiver("default", "stable"), [1, 5]), (Receiver("default", "canary"), [3, 5]),
    (Receiver("yard", "stable"), []), (Receiver("default", "beta"), []), (None, [])])
def test_the_release_that_a_device_is_to_run(receiver: Receiver | None, numbers: list[int]) -> None:
    """The highest of each kind that its class, tags, channel and bucket match."""
    assert expected_numbers(
        receiver, target(1), target(2, buckets=(0, 0)), target(3, channel="canary"), target(4, tags=("indoor",)),
        target(5, kind="configuration")) == numbers


def test_a_share_of_the_devices_is_expected() -> None:
    """The buckets of two releases divide the devices between them, and no device is lost."""
    rows = [replace(GOOD, device=f"gate-{number}") for number in range(500)]
    low, high = target(1), target(2, buckets=(0, 999), salt="canary")
    ours = [{row.device for row in expected_of(rows, each, (high, low))} for each in (low, high)]
    assert ours[0] | ours[1] == {row.device for row in rows}
    assert not ours[0] & ours[1]
    assert 20 <= len(ours[1]) <= 90
    assert len(expected_of(rows, low, ())) == 500


def test_counts_add_up() -> None:
    """Each device counts once, whatever it has published, and the most frequent failure comes first."""
    rows = [replace(GOOD, online=online, state=state, release=release, health=health, last_release=7, last_ok=ok,
                    failed=None if ok else code)
            for online, state, release, health, ok, code in itertools.product(
                (True, False, None), ("good", "trial", "shadow", None), (7, 6, None), ("ok", "failed", None),
                (True, False), ("slow", "blind"))]
    rows += [replace(GOOD, last_release=7, last_ok=False, failed="blind")]
    counted = tally(rows, target(), now=NOW, silent_after=AFTER)
    assert counted.expected == len(rows) == (counted.good + counted.trial + sum(counted.failed.values())
                                             + counted.silent + counted.waiting)
    assert next(iter(counted.failed)) == "blind"
    good = [row for row in rows if outcome(row, target())[0] == "good"]
    assert len(good) == counted.good > 0
    assert all(row.online and row.state == "good" and row.release == 7 and row.health != "failed" for row in good)
    assert tally([], target(), now=NOW, silent_after=AFTER).failed == {}


def test_a_device_speaks_for_itself_alone() -> None:
    """What is published on a device's topic changes no other device, whatever name the payload has."""
    heard = Roster()
    heard.update("vedette/gate-01/availability", "online")
    heard.update("vedette/gate-02/availability", "online")
    heard.update("vedette/gate-02/model", {
        "device": "gate-01", "state": "good", "release": 7,
        "last_update": {"release": 7, "sha256": target().sha256, "ok": False, "code": "blind", "at": "now"}})
    assert [outcome_of(row, target(), now=NOW, silent_after=AFTER) for row in heard.rows()] == [
        DeviceOutcome("silent"), DeviceOutcome("failed", "blind")]
