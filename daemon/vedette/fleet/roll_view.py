"""What the devices of a rollout do, as far as it was heard.

A device is silent when nothing new has come of it for some time, by the clock of this machine. So a wrong clock of a
device, or a step of this machine's clock, makes nobody silent.

Invariants: free of I/O; names that were not known when the rollout began count for nothing; a device counts once; who
was left out counts again when it says something about this release.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Final

from vedette.fleet.outcomes import DeviceOutcome, Tally, outcome_of
from vedette.fleet.roster import Row, kinds, some
from vedette.store.release import Target, bucket_of

_ANY_TIME: Final = datetime(2000, 1, 1, tzinfo=UTC)
NAMED_MAX: Final = 10


class RollView:
    """The devices of a rollout, by bucket. Times are seconds on one clock that never jumps.

    `left_out`: devices that are not expected, and why.
    """

    def __init__(self, target: Target, devices: Iterable[str], left_out: Mapping[str, str],
                 silent_after_s: float) -> None:
        self.target = target
        self._silent_after_s = silent_after_s
        placed = sorted((bucket_of(target.release.salt, device), device) for device in devices)
        self.buckets: Sequence[int] = [*map(itemgetter(0), placed)]
        """Of each device, ascending."""
        self.devices: Sequence[str] = [*map(itemgetter(1), placed)]
        self._left_out = dict(left_out)
        self._rows: Mapping[str, Row] = {}
        self._alive_s: dict[str, float] = {}
        self.listening_s: float | None = None
        """Since when everything is heard; None: it is not."""

    def begin(self, rows: Mapping[str, Row], now_s: float) -> None:
        """Take all that the broker keeps, at the begin of a connection. Nobody has been silent yet."""
        self._rows = dict(rows)
        self._alive_s = {}
        self.listening_s = now_s

    def update(self, rows: Mapping[str, Row], now_s: float) -> None:
        """Take what has come since then."""
        for device in self.devices:
            new, old = rows.get(device), self._rows.get(device)
            if new is not None and new is not old and new != old and new.online is True:
                self._alive_s[device] = now_s
        self._rows = dict(rows)

    def end(self) -> None:
        """The connection is lost: nothing is known any more."""
        self.listening_s = None

    def leave_out(self, devices: Mapping[str, str]) -> None:
        """Expect nothing of these devices from now on."""
        self._left_out |= devices

    def tally(self, end: int, since_s: float, now_s: float) -> Tally:
        """Count the outcomes in the buckets before `end`. `since_s`: silence before that moment does not count."""
        outcomes = [self._outcome(device, since_s, now_s) for device in self.devices[:bisect_left(self.buckets, end)]
                    if self._is_expected(device)]
        counts = Counter(outcome.kind for outcome in outcomes)
        return Tally(len(outcomes), counts["good"], counts["trial"], kinds(outcome.code for outcome in outcomes),
                     counts["silent"], counts["waiting"])

    def unfit(self, first: int, end: int, now_s: float) -> dict[str, str]:
        """Return the devices of these buckets that are not to be expected, each with the reason."""
        devices = self.devices[bisect_left(self.buckets, first):bisect_left(self.buckets, end)]
        reasons = {device: self._unfitness(device, now_s) for device in devices}
        return {device: reason for device, reason in reasons.items() if reason is not None}

    def fit(self, unfit: Mapping[str, str]) -> list[int]:
        """Return the buckets of all other devices, ascending."""
        return [bucket for bucket, device in zip(self.buckets, self.devices, strict=True) if device not in unfit]

    def among(self, unfit: Mapping[str, str], end: int) -> dict[str, str]:
        """Return those of these devices whose bucket is before `end`."""
        before = set(self.devices[:bisect_left(self.buckets, end)])
        return {device: why for device, why in unfit.items() if device in before}

    def _unfitness(self, device: str, now_s: float) -> str | None:
        row = self._rows.get(device)
        if row is None or row.online is not True or row.health is None or self._is_silent(device, 0, now_s):
            return "silent"
        if row.state == "pinned" and self.target.release.kind == "model":
            return "pinned"
        return "failed" if row.health_failure is not None else None

    def _outcome(self, device: str, since_s: float, now_s: float) -> DeviceOutcome:
        outcome = outcome_of(self._row(device), self.target, now=_ANY_TIME, silent_after=timedelta.max)
        if outcome.kind == "failed":
            return outcome
        if self._is_silent(device, since_s, now_s):
            return DeviceOutcome("silent")
        return DeviceOutcome("waiting") if outcome.kind == "silent" else outcome

    def _is_silent(self, device: str, since_s: float, now_s: float) -> bool:
        if self.listening_s is None:
            return False
        heard_s = max(self._alive_s.get(device, since_s), since_s, self.listening_s)
        return now_s - heard_s >= self._silent_after_s

    def _is_expected(self, device: str) -> bool:
        """Return whether it counts: it was not left out, or it speaks about this release by now."""
        if device in self._left_out:
            row = self._row(device)
            outcome = outcome_of(row, self.target, now=_ANY_TIME, silent_after=timedelta.max)
            report = row if self.target.release.kind == "model" else row.configuration
            if outcome.kind in {"good", "trial"} or report.last_release == self.target.release.release:
                del self._left_out[device]
        return device not in self._left_out

    def _row(self, device: str) -> Row:
        return self._rows.get(device) or Row(device)


def named(left_out: Mapping[str, str]) -> str:
    """Return who is left out in words: a few names for each reason."""
    parts = []
    for reason in sorted(set(left_out.values())):
        names = sorted(device for device, why in left_out.items() if why == reason)
        parts.append(f"{len(names)} {reason} ({some(names, NAMED_MAX)})")
    return ", ".join(parts)
