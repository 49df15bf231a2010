"""Measures the results of this run: time of each stage, age, rate, and the scores of each label.

Invariants: fixed memory (the last `WINDOW` results, at most `METERED_LABELS` labels); a new model's times and scores
are not mixed with the old one's; recording costs microseconds and never waits for long; readings have the types of the
health message, so that nothing is converted twice. Any thread.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vedette.messages.health_shapes import Percentiles, ScoreHealth, StagePercentiles
    from vedette.ports import Clock
    from vedette.types import DetectionResult, ModelRef

WINDOW = 512
RATE_WINDOW_S = 10.0
BINS = 10
METERED_LABELS = 256
PUBLISHED_LABELS = 32
OTHER = "other"


@dataclass(frozen=True, slots=True)
class MeterReadings:
    """The meters at one moment. Percentiles are over the last `WINDOW` results, scores over all of this model."""

    count: int
    per_s: float
    age_ms: Percentiles | None
    timing_ms: StagePercentiles
    scores: Mapping[str, ScoreHealth]


class FrameMeters:
    """Records every detection result of the run. `clock` is the one that stamps the frames."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._count = 0
        self._ready_ns: deque[int] = deque(maxlen=WINDOW)
        self._begin(None)

    def _begin(self, model: ModelRef | None) -> None:
        self._model = model
        self._age_ms = _window()
        self._wait_ms = _window()
        self._prepare_ms = _window()
        self._invoke_ms = _window()
        self._decode_ms = _window()
        self._track_ms = _window()
        self._scores: dict[str, ScoreMeter] = {}

    def on_result(self, result: DetectionResult) -> None:
        """Record one result. A fallback's result is counted, but its times and scores are not the model's."""
        timing = result.timing
        with self._lock:
            self._count += 1
            self._ready_ns.append(result.frame.captured_ns + int(result.age_ms * 1e6))
            if result.source != "local":
                return
            if result.model != self._model:
                self._begin(result.model)
            self._age_ms.append(result.age_ms)
            self._wait_ms.append(timing.wait_ms)
            self._prepare_ms.append(timing.prepare_ms)
            self._invoke_ms.append(timing.invoke_ms)
            self._decode_ms.append(timing.decode_ms)
            self._track_ms.append(timing.track_ms)
            for detection in result.detections:
                if detection.score is not None:
                    self._score_meter(detection.label).add(detection.score)

    def read(self) -> MeterReadings:
        """Return the readings."""
        with self._lock:
            count, ready_ns = self._count, tuple(self._ready_ns)
            stages = [tuple(stage) for stage in (self._age_ms, self._wait_ms, self._prepare_ms, self._invoke_ms,
                                                 self._decode_ms, self._track_ms)]
            scores = {label: meter.copy() for label, meter in self._scores.items()}
        age, wait, prepare, invoke, decode, track = (percentiles(stage) for stage in stages)
        return MeterReadings(count, rate_per_s(ready_ns, self._clock.monotonic_ns()), age,
                             {"wait": wait, "prepare": prepare, "invoke": invoke, "decode": decode, "track": track},
                             _published_scores(scores))

    def _score_meter(self, label: str) -> ScoreMeter:
        meter = self._scores.get(label)
        if meter is None:
            key = label if len(self._scores) < METERED_LABELS else OTHER
            meter = self._scores.setdefault(key, ScoreMeter())
        return meter


class ScoreMeter:
    """Distribution of the scores of one label."""

    __slots__ = ("count", "histogram", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.histogram = [0] * BINS

    def add(self, score: float) -> None:
        """Count one score, 0-1."""
        self.count += 1
        self.total += score
        self.histogram[min(int(score * BINS), BINS - 1)] += 1

    def merge(self, other: ScoreMeter) -> None:
        """Add what another meter counted."""
        self.count += other.count
        self.total += other.total
        self.histogram = [a + b for a, b in zip(self.histogram, other.histogram, strict=True)]

    def copy(self) -> ScoreMeter:
        """Return a separate meter with the same counts."""
        copied = ScoreMeter()
        copied.merge(self)
        return copied

    def read(self) -> ScoreHealth:
        """Return the distribution."""
        return {"count": self.count, "mean": round(self.total / self.count, 3), "histogram": list(self.histogram)}


def percentiles(values: Collection[float]) -> Percentiles | None:
    """Return p50, p95 and p99 by nearest rank, two decimals; None without values."""
    if not values:
        return None
    ordered = sorted(values)

    def rank(percent: int) -> float:
        return round(ordered[-(-percent * len(ordered) // 100) - 1], 2)
    return {"p50": rank(50), "p95": rank(95), "p99": rank(99)}


def rate_per_s(times_ns: Iterable[int], now_ns: int) -> float:
    """Return events per second over the last `RATE_WINDOW_S`; the rate falls while there are no events."""
    recent = [moment for moment in times_ns if now_ns - moment < RATE_WINDOW_S * 1e9]
    span_ns = now_ns - recent[0] if recent else 0
    return round((len(recent) - 1) / span_ns * 1e9, 2) if span_ns > 0 else 0.0


def _window() -> deque[float]:
    return deque(maxlen=WINDOW)


def _published_scores(scores: Mapping[str, ScoreMeter]) -> dict[str, ScoreHealth]:
    """Return the most frequent labels by name, and the rest together as `other`."""
    ordered = sorted(scores, key=lambda label: (label == OTHER, -scores[label].count, label))
    other = ScoreMeter()
    for label in ordered[PUBLISHED_LABELS:]:
        other.merge(scores[label])
    named = {label: scores[label].read() for label in ordered[:PUBLISHED_LABELS]}
    return {**named, OTHER: other.read()} if other.count else named
