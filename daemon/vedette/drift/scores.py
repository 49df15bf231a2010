"""How sure a model is of each label, and how long it takes: seven days against what was learnt of this model.

Invariants: scores are the model's, so another model, or other thresholds, is another account (`key`); labels are
bounded: the most frequent by name, the rest as `other`, which is told and never judged, since its mean follows its
mixture. A verdict ends a little later than it began.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from vedette.drift.hours import LEAST_RESULTS, Series, State

LABELS = 16
GUESTS = 64
"""Labels that are told apart until the next fold, at most: a new one has an hour to become frequent."""
OTHER = "other"
FALLS, RECOVERS = -0.10, -0.09
SLOWS, CATCHES_UP = 0.20, 0.15
LEAST_MINUTES = 30
Label = Annotated[str, Field(max_length=100)]


@dataclass(frozen=True, slots=True)
class Terms:
    """How long is learnt, and the mean scores to compare with instead of those learnt (None: those learnt)."""

    learn_s: float
    given: Mapping[str, float] | None = None

    def baseline_of(self, label: str, series: Series) -> float | None:
        """Return what a label's scores are compared with."""
        return series.learnt.mean if self.given is None else self.given.get(label)


class ModelScores(State):
    """One model's account. `sunk` and `slow` are what is named now."""

    key: Annotated[str, Field(max_length=200)]
    labels: dict[Label, Series] = Field(default_factory=dict, max_length=LABELS + 1)      # in the file
    invoke_ms: Series = Field(default_factory=Series)
    sunk: list[Label] = Field(default_factory=list, max_length=LABELS + 1)
    slow: bool = False

    def add_scores(self, now_s: float, sums: Mapping[str, tuple[int, float]]) -> None:
        """Take numbers and sums of scores by label."""
        for label, (number, total) in sums.items():
            named = label[:100] if label[:100] in self.labels or len(self.labels) < GUESTS else OTHER
            self.labels.setdefault(named, Series()).add(now_s, number, total)

    def fold(self, now_s: float) -> None:
        """Keep the most frequent labels of seven days, and count the rest as `other`. Once an hour."""
        ordered = sorted(self.labels.keys() - {OTHER}, key=lambda label: -self.labels[label].hours.read(now_s)[0])
        for label in ordered[LABELS:]:
            self.labels.setdefault(OTHER, Series()).hours.merge(now_s, self.labels.pop(label).hours)
        self.sunk = [label for label in self.sunk if label in self.labels]

    def add_invoke_ms(self, now_s: float, median_ms: float) -> None:
        """Take the median of a minute."""
        self.invoke_ms.add(now_s, 1, median_ms)

    def judge(self, now_s: float, terms: Terms) -> None:
        """Freeze what is learnt, and decide what is named."""
        for series in self.labels.values():
            series.learnt.settle(now_s, terms.learn_s, LEAST_RESULTS)
        self.invoke_ms.learnt.settle(now_s, terms.learn_s, LEAST_MINUTES)
        self.sunk = [label for label in self.labels if self._has_sunk(label, now_s, terms)]
        slower = self.invoke_ms.change(now_s, terms.learn_s, LEAST_MINUTES)
        self.slow = slower is not None and slower > (CATCHES_UP if self.slow else SLOWS)

    def reasons(self, now_s: float, terms: Terms) -> dict[str, str]:
        """Return health reason codes with their details."""
        reasons = {}
        if self.sunk:
            reasons["score_drift"] = "; ".join(self._words(label, now_s, terms) for label in sorted(self.sunk))
        mean, was = self.invoke_ms.mean(now_s), self.invoke_ms.learnt.mean
        if self.slow and mean is not None and was is not None:
            reasons["latency_drift"] = f"{mean:.1f} ms a frame over seven days, {was:.1f} at first"
        return reasons

    def _has_sunk(self, label: str, now_s: float, terms: Terms) -> bool:
        baseline = terms.baseline_of(label, self.labels[label])
        if label == OTHER or baseline is None:
            return False
        change = self.labels[label].change(now_s, terms.learn_s, LEAST_RESULTS, baseline)
        return change is not None and change < (RECOVERS if label in self.sunk else FALLS)

    def _words(self, label: str, now_s: float, terms: Terms) -> str:
        mean, was = self.labels[label].mean(now_s) or 0.0, terms.baseline_of(label, self.labels[label]) or 1.0
        return f"{label}: {mean:.3f} in the mean of seven days, {was:.3f} before ({100 * (mean / was - 1):+.1f} %)"
