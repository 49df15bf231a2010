"""How a release ends on the devices that it is for: one outcome for each device, and the counts of a fleet.

Invariants: free of I/O; each expected device has exactly one outcome; who is silent is never good; a message counts
only for the device on whose topic it came.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from vedette.fleet.roster import Row, kinds
from vedette.store.release import Target

Kind = Literal["good", "trial", "failed", "silent", "waiting"]


@dataclass(frozen=True, slots=True)
class DeviceOutcome:
    """How a release is doing on one device. `code`: of what failed."""

    kind: Kind
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Tally:
    """How many devices are expected to have a release, and how it is doing there. `failed` is by code."""

    expected: int
    good: int
    trial: int
    failed: dict[str, int]
    silent: int
    waiting: int


def outcome_of(row: Row, target: Target, *, now: datetime, silent_after: timedelta) -> DeviceOutcome:
    """Return how a release is doing on a device that it is for.

    `failed`: its last update was this release and failed, however silent it is now, or its health is failed while it
    runs this release. `waiting`: it has not begun, or it downloads, proves or compares, or it is pinned.
    """
    number = target.release.release
    report = row if target.release.kind == "model" else row.configuration
    is_last = report.last_release == number or (report.last_release is None and report.last_sha256 == target.sha256)
    if is_last and report.last_ok is False:
        return DeviceOutcome("failed", report.failed or "unknown")
    runs = report.release == number and report.state in {"trial", "good"}
    if runs and row.health_failure is not None:
        return DeviceOutcome("failed", row.health_failure)
    if row.is_silent(now, silent_after):
        return DeviceOutcome("silent")
    if runs:
        return DeviceOutcome("good" if report.state == "good" else "trial")
    return DeviceOutcome("waiting")


def expected_of(rows: Iterable[Row], target: Target, targets: Sequence[Target]) -> list[Row]:
    """Return the devices that are to run a release: it is for them, and no higher one of `targets` is.

    A device without a `receiver` is not among them, since nobody knows what it takes.
    """
    release = target.release
    higher = [other.release for other in targets
              if other.release.kind == release.kind and other.release.release > release.release]
    return [row for row in rows
            if row.receiver is not None and release.is_for(row.device, row.receiver)
            and not any(other.is_for(row.device, row.receiver) for other in higher)]


def tally(rows: Iterable[Row], target: Target, *, now: datetime, silent_after: timedelta) -> Tally:
    """Count the outcomes of a release on the devices that are expected to have it."""
    outcomes = [outcome_of(row, target, now=now, silent_after=silent_after) for row in rows]
    counts = Counter(outcome.kind for outcome in outcomes)
    return Tally(len(outcomes), counts["good"], counts["trial"], kinds(outcome.code for outcome in outcomes),
                 counts["silent"], counts["waiting"])
