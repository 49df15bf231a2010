"""Publishes the health message: when the reasons change, and at an interval.

Invariants:
- Health is published on every change of state, reasons or the governor's step, and every `interval_s`. Changes are
  published at most once a second. A message of the interval delays no change: a stall must be named within 4 s.
- A reason keeps the time at which it began as long as it holds, by the present setting of the clock. A reason that two
  sources raise keeps both details.
- Health reports, and controls nothing. Only the main thread calls this module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vedette.device.wall_clock import Since
from vedette.health.reasons import REASONS, state_of
from vedette.messages import payloads, topics
from vedette.types import Message

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from vedette.config.models import Config
    from vedette.health.report import HealthReport
    from vedette.messages.health_shapes import HealthPayload, ReasonPayload
    from vedette.ports import Clock, Publisher, ReasonSource
    from vedette.types import HealthState, LastEnd, ReasonCode, RunIdentity

MIN_INTERVAL_S = 1.0


class HealthPublisher:
    """`sources` raise the reasons, `report` fills the rest of the message."""

    def __init__(self, publisher: Publisher, config: Config, clock: Clock, identity: RunIdentity, *,
                 sources: Sequence[ReasonSource], report: HealthReport, last_end: LastEnd | None = None) -> None:
        self.state: HealthState = "failed"
        self._publisher = publisher
        self._interval_s = config.health.interval_s
        self._clock = clock
        self._identity = identity
        self._sources = sources
        self._report = report
        self._last_end = last_end
        self._started_ns = clock.monotonic_ns()
        self._since: dict[ReasonCode, Since] = {}
        self._published_marks: frozenset[str] | None = None
        self._published_ns = 0
        self._published_change_ns = 0

    def reload(self, config: Config) -> None:
        """Apply the live keys of a configuration."""
        self._interval_s = config.health.interval_s

    def tick(self, *, final: bool = False) -> None:
        """Publish health if it is due; `final`: publish in any case. Called several times a second."""
        reasons = merged(source.reasons() for source in self._sources)
        self._since = {code: self._since.get(code) or Since(self._clock) for code in reasons}
        self.state = state_of(reasons)
        marks = frozenset({*reasons, f"step {self._report.governor_step}"})
        if final or self._is_due(marks):
            now_ns = self._clock.monotonic_ns()
            if marks != self._published_marks:
                self._published_marks, self._published_change_ns = marks, now_ns
            self._published_ns = now_ns
            self._publisher.publish(Message(topics.HEALTH, payloads.encode(self._payload(reasons)), retain=True))

    def failed_reasons(self) -> tuple[ReasonCode, ...]:
        """Return the reasons for the state `failed`; none in another state. Any thread."""
        codes = tuple(self._since) if self.state == "failed" else ()
        return tuple(code for code in codes if REASONS[code].state == "failed")

    def status_line(self) -> str:
        """Return one line for `systemctl status`."""
        reasons = f" ({', '.join(sorted(self._since))})" if self._since else ""
        return f"{self.state}{reasons}: {self._report.status_line()}"

    def _is_due(self, marks: frozenset[str]) -> bool:
        """Return whether to publish; a change of `marks` is published at once."""
        now_ns = self._clock.monotonic_ns()
        if self._published_marks is None:
            return True
        if marks != self._published_marks:
            return now_ns - self._published_change_ns >= MIN_INTERVAL_S * 1e9
        return now_ns - self._published_ns >= self._interval_s * 1e9

    def _payload(self, reasons: Mapping[ReasonCode, str]) -> HealthPayload:
        end = self._last_end
        return self._report.payload(
            self._identity, at=payloads.timestamp(self._clock.utc_now()),
            uptime_s=round((self._clock.monotonic_ns() - self._started_ns) / 1e9, 1),
            last_end=None if end is None else {"run": end.run, "kind": end.kind, "detail": end.detail},
            state=self.state, reasons=[self._reason(code, detail) for code, detail in sorted(reasons.items())])

    def _reason(self, code: ReasonCode, detail: str) -> ReasonPayload:
        return {"code": code, "since": payloads.timestamp(self._since[code].utc()), "detail": detail or None}


def merged(found: Iterable[Mapping[ReasonCode, str]]) -> dict[ReasonCode, str]:
    """Return the reasons of several sources; a reason that two sources raise gets both details."""
    details: dict[ReasonCode, list[str]] = {}
    for reasons in found:
        for code, detail in reasons.items():
            known = details.setdefault(code, [])
            if detail and detail not in known:
                known.append(detail)
    return {code: "; ".join(known) for code, known in details.items()}
