"""The figures of the demo: the newest result and health, and rate, delays and hits of the last minute.

Invariants: the truth is compared only with finished results. When several results come at once, only the newest is
compared, so that a slow board compares fewer frames and does not fall behind. Only one minute is kept.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from vedette._lib.clock import SystemClock
from vedette.health.meters import percentiles, rate_per_s
from vedette.messages import topics
from vedette.types import Box, Detection
from vedette.validate.agreement import Agreement, match

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vedette.camera.street.truth import SyntheticTruth
    from vedette.messages.health_shapes import HealthPayload, Percentiles
    from vedette.messages.shapes import DetectionsPayload
    from vedette.mqtt.command_filter import Incoming
    from vedette.ports import Clock

WINDOW_NS = 60 * 10**9


@dataclass(frozen=True, slots=True)
class Arrival:
    """The arrival of a result, and its delays: capture to result, capture to arrival, and the interpreter alone."""

    at_ns: int
    age_ms: float
    latency_ms: float
    invoke_ms: float


@dataclass(frozen=True, slots=True)
class Hits:
    """Things found, things missed, and wrong detections, in one frame or many."""

    frames: int = 0
    found: int = 0
    missed: int = 0
    wrong: int = 0

    @property
    def recall(self) -> float | None:
        """The share of the things that were found. None when there are no things."""
        return self.found / (self.found + self.missed) if self.found + self.missed else None

    @property
    def precision(self) -> float | None:
        """The share of the detections that are right. None when there are no detections."""
        return self.found / (self.found + self.wrong) if self.found + self.wrong else None


@dataclass(frozen=True, slots=True)
class Reading:
    """All figures at one time. `hits` and `agreement` (one: the truth) are None where no truth is known."""

    result: DetectionsPayload | None
    health: HealthPayload | None
    detections: tuple[Detection, ...]
    first_after_s: float | None
    per_s: float
    age_ms: Percentiles | None
    latency_ms: Percentiles | None
    invoke_ms: Percentiles | None
    hits: Hits | None
    agreement: Agreement | None


class Figures:
    """Takes a device's messages. For one thread."""

    def __init__(self, truth: SyntheticTruth | None, *, began_ns: int, clock: Clock | None = None) -> None:
        self._truth = truth
        self._began_ns = began_ns
        self._clock = clock or SystemClock()
        self._result: DetectionsPayload | None = None
        self._health: HealthPayload | None = None
        self._first_ns: int | None = None
        self._arrivals: deque[Arrival] = deque()
        self._compared: deque[tuple[int, Hits]] = deque()
        self._agreement: Agreement | None = None

    def take(self, messages: Iterable[Incoming]) -> None:
        """Take the messages, and compare the newest result with the truth."""
        newest = None
        for message in messages:
            topic = message.topic.rpartition("/")[2]
            if topic == topics.HEALTH:
                self._health = json.loads(message.payload)
            elif topic == topics.DETECTIONS:
                newest = json.loads(message.payload)
                self._arrived(newest)
        if newest is not None:
            self._result = newest
            self._compare(newest)

    def read(self) -> Reading:
        """Return the present figures."""
        now_ns = self._clock.monotonic_ns()
        while self._arrivals and now_ns - self._arrivals[0].at_ns > WINDOW_NS:
            self._arrivals.popleft()
        while self._compared and now_ns - self._compared[0][0] > WINDOW_NS:
            self._compared.popleft()
        arrivals = self._arrivals
        return Reading(
            self._result, self._health, _detections(self._result) if self._result else (),
            None if self._first_ns is None else (self._first_ns - self._began_ns) / 1e9,
            rate_per_s([each.at_ns for each in arrivals], now_ns),
            percentiles([each.age_ms for each in arrivals]), percentiles([each.latency_ms for each in arrivals]),
            percentiles([each.invoke_ms for each in arrivals]),
            _sum(hits for _, hits in self._compared) if self._truth else None, self._agreement)

    def _arrived(self, result: DetectionsPayload) -> None:
        now_ns = self._clock.monotonic_ns()
        self._first_ns = self._first_ns or now_ns
        self._arrivals.append(Arrival(now_ns, result["age_ms"], (now_ns - self._captured_ns(result)) / 1e6,
                                      result["timing_ms"]["invoke"]))

    def _compare(self, result: DetectionsPayload) -> None:
        if self._truth is None:
            return
        things = [Detection(thing.label, thing.class_id, None, thing.box)
                  for thing in self._truth.captured(self._captured_ns(result))]
        self._agreement = match(things, _detections(result))
        self._compared.append((self._clock.monotonic_ns(), Hits(
            1, len(self._agreement.pairs), len(self._agreement.only_one), len(self._agreement.only_other))))

    def _captured_ns(self, result: DetectionsPayload) -> int:
        """Return the capture time on this machine's monotonic clock, which the daemon also uses."""
        captured_at = datetime.fromisoformat(result["frame"]["captured_at"])
        ago = self._clock.utc_now() - captured_at
        return self._clock.monotonic_ns() - round(ago.total_seconds() * 1e9)


def _detections(result: DetectionsPayload) -> tuple[Detection, ...]:
    return tuple(Detection(each["label"], each["class_id"], each["score"], Box(*each["box"]))
                 for each in result["detections"])


def _sum(parts: Iterable[Hits]) -> Hits:
    all_parts = tuple(parts)
    return Hits(len(all_parts), sum(each.found for each in all_parts), sum(each.missed for each in all_parts),
                sum(each.wrong for each in all_parts))
