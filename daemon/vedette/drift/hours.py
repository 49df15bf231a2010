"""Sums by hour over seven days, and the mean that was learnt first, with which they are compared.

Invariants: pure values that serialize themselves; hours are those of the ledger's own clock, which a step of the wall
clock does not move (see `ledger`); memory is fixed. A learnt mean is frozen and never expires.
"""

from __future__ import annotations

from math import ceil
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt

HOUR_S = 3600.0
KEPT_HOURS = 168
LEAST_RESULTS = 100
"""Fewer results give no reliable mean."""
Amount = Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False)]


class State(BaseModel):
    """Base class of everything in the file."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class Hours(State):
    """Numbers and sums of the last seven days."""

    sums: dict[NonNegativeInt, tuple[NonNegativeInt, Amount]] = Field(
        default_factory=dict, max_length=KEPT_HOURS)

    def add(self, now_s: float, number: int, total: float) -> None:
        """Count `number` values whose sum is `total`."""
        hour = hour_of(now_s)
        if hour not in self.sums:
            self._forget(hour)
        self._put(hour, number, total)

    def merge(self, now_s: float, other: Hours) -> None:
        """Add the numbers and sums of `other`."""
        for hour, (number, total) in other.sums.items():
            self._put(hour, number, total)
        self._forget(hour_of(now_s))

    def read(self, now_s: float) -> tuple[int, float, int]:
        """Return the number, the sum, and the count of hours that had values."""
        oldest = hour_of(now_s) - KEPT_HOURS
        recent = [sums for hour, sums in self.sums.items() if hour > oldest]
        return sum(n for n, _ in recent), sum(total for _, total in recent), len(recent)

    def means(self, now_s: float, hours: int = KEPT_HOURS) -> list[float]:
        """Return the mean of each of the last hours that had values."""
        oldest = hour_of(now_s) - hours
        return [total / n for hour, (n, total) in self.sums.items() if n and hour > oldest]

    def _put(self, hour: int, number: int, total: float) -> None:
        n, already = self.sums.get(hour, (0, 0.0))
        self.sums[hour] = (n + number, round(already + total, 4))

    def _forget(self, now: int) -> None:
        self.sums = {hour: sums for hour, sums in self.sums.items() if now - KEPT_HOURS < hour <= now}


class Learnt(State):
    """The mean of the first days. `began_s` is the time of the first value."""

    began_s: float | None = None
    number: NonNegativeInt = 0
    total: Amount = 0.0
    hours: NonNegativeInt = 0
    last_hour: int = -1
    mean: Amount | None = None

    def add(self, now_s: float, number: int, total: float) -> None:
        """Count values into the mean, until it is frozen."""
        if self.mean is not None or not number:
            return
        if self.began_s is None:
            self.began_s = now_s
        self.number += number
        self.total = round(self.total + total, 4)
        self.hours += hour_of(now_s) != self.last_hour
        self.last_hour = hour_of(now_s)

    def freeze(self, now_s: float, learn_s: float, least: int) -> None:
        """Freeze the mean after `learn_s`, once it has `least` values and enough hours."""
        if self.mean is None and self.began_s is not None and now_s - self.began_s >= learn_s \
                and self.number >= least and self.hours >= least_hours(learn_s):
            self.mean = self.total / self.number

    def left_s(self, now_s: float, learn_s: float) -> float | None:
        """Return the least seconds of learning that are left; None once the mean is frozen."""
        if self.mean is not None:
            return None
        return learn_s if self.began_s is None else max(0.0, learn_s - (now_s - self.began_s))


class Series(State):
    """One measure: its last seven days, and its learnt mean."""

    hours: Hours = Field(default_factory=Hours)
    learnt: Learnt = Field(default_factory=Learnt)

    def add(self, now_s: float, number: int, total: float) -> None:
        """Count `number` values whose sum is `total`."""
        self.hours.add(now_s, number, total)
        self.learnt.add(now_s, number, total)

    def mean(self, now_s: float) -> float | None:
        """Return the seven-day mean, None without values."""
        number, total, _ = self.hours.read(now_s)
        return total / number if number else None

    def change(self, now_s: float, learn_s: float, least: int, baseline: float | None = None) -> float | None:
        """Return by what share the seven-day mean is above the learnt one (or `baseline`); None: too few values."""
        known = self.learnt.mean if baseline is None else baseline
        number, total, hours = self.hours.read(now_s)
        if not known or number < least or hours < least_hours(learn_s):
            return None
        return total / number / known - 1


def hour_of(now_s: float) -> int:
    """Return the number of an hour."""
    return int(now_s // HOUR_S)


def least_hours(learn_s: float) -> int:
    """Return how many different hours must have values: a quarter of the hours of learning."""
    return ceil(learn_s / HOUR_S / 4)
