"""A model's scores by label and its times: the last seven days compared with what was learnt of this model.

Invariants: scores belong to a model, so another model, or other thresholds, has other values (`key`); labels are
bounded: the most frequent by name, the rest as `other`, which is published but never evaluated, since its mean depends
on its mixture. A reason ends at a smaller change than it begins at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from vedette.drift.hours import LEAST_RESULTS, Series, State
from vedette.types import ReasonCode

LABELS = 16
GUESTS = 64
"""The most labels with values of their own until the next `fold`: a new one has an hour to become frequent."""
OTHER = "other"
FALLS, RECOVERS = -0.10, -0.09
SLOWS, CATCHES_UP = 0.20, 0.15
LEAST_MINUTES = 30
Label = Annotated[str, Field(max_length=100)]


@dataclass(frozen=True, slots=True)
class Terms:
    """The time of learning, and given mean scores to compare with (None: compare with the learnt ones)."""

    learn_s: float
    given: Mapping[str, float] | None = None

    def baseline_of(self, label: str, series: Series) -> float | None:
        """Return the mean score that a label is compared with."""
        return series.learnt.mean if self.given is None else self.given.get(label)


class ModelScores(State):
    """One model's values. `sunk` and `slow`: the labels whose scores fell, and whether it is slower."""

    key: Annotated[str, Field(max_length=200)]
    labels: dict[Label, Series] = Field(default_factory=dict, max_length=LABELS + 1)      # in the file
    invoke_ms: Series = Field(default_factory=Series)
    sunk: list[Label] = Field(default_factory=list, max_length=LABELS + 1)
    slow: bool = False

    def add_scores(self, now_s: float, sums: Mapping[str, tuple[int, float]]) -> None:
        """Add numbers and sums of scores by label."""
        for label, (number, total) in sums.items():
            named = label[:100] if label[:100] in self.labels or len(self.labels) < GUESTS else OTHER
            self.labels.setdefault(named, Series()).add(now_s, number, total)

    def fold(self, now_s: float) -> None:
        """Keep the most frequent labels of seven days and count the rest as `other`. Call it once an hour."""
        ordered = sorted(self.labels.keys() - {OTHER}, key=lambda label: -self.labels[label].hours.read(now_s)[0])
        for label in ordered[LABELS:]:
            self.labels.setdefault(OTHER, Series()).hours.merge(now_s, self.labels.pop(label).hours)
        self.sunk = [label for label in self.sunk if label in self.labels]

    def add_invoke_ms(self, now_s: float, median_ms: float) -> None:
        """Add the median of a minute."""
        self.invoke_ms.add(now_s, 1, median_ms)

    def evaluate(self, now_s: float, terms: Terms) -> None:
        """Freeze the learnt means, and decide which labels fell and whether the model is slower."""
        for series in self.labels.values():
            series.learnt.freeze(now_s, terms.learn_s, LEAST_RESULTS)
        self.invoke_ms.learnt.freeze(now_s, terms.learn_s, LEAST_MINUTES)
        self.sunk = [label for label in self.labels if self._has_sunk(label, now_s, terms)]
        slower = self.invoke_ms.change(now_s, terms.learn_s, LEAST_MINUTES)
        self.slow = slower is not None and slower > (CATCHES_UP if self.slow else SLOWS)

    def reasons(self, now_s: float, terms: Terms) -> dict[ReasonCode, str]:
        """Return the health reasons with their details."""
        reasons: dict[ReasonCode, str] = {}
        if self.sunk:
            reasons["score_drift"] = "; ".join(self._message(label, now_s, terms) for label in sorted(self.sunk))
        mean, was = self.invoke_ms.mean(now_s), self.invoke_ms.learnt.mean
        if self.slow and mean is not None and was is not None:
            reasons["latency_drift"] = f"{mean:.1f} ms a frame over seven days, {was:.1f} ms at first"
        return reasons

    def _has_sunk(self, label: str, now_s: float, terms: Terms) -> bool:
        baseline = terms.baseline_of(label, self.labels[label])
        if label == OTHER or baseline is None:
            return False
        change = self.labels[label].change(now_s, terms.learn_s, LEAST_RESULTS, baseline)
        return change is not None and change < (RECOVERS if label in self.sunk else FALLS)

    def _message(self, label: str, now_s: float, terms: Terms) -> str:
        mean, was = self.labels[label].mean(now_s) or 0.0, terms.baseline_of(label, self.labels[label]) or 1.0
        return f"{label}: {mean:.3f} as the mean of seven days, {was:.3f} before ({100 * (mean / was - 1):+.1f} %)"
