"""The thread `cloud`: while it is active, it sends the newest frame to the cloud, one after another.

Invariants:
- There are never two calls in flight. The breaker and the budget decide when the next one starts. Nobody waits for
  this thread.
- A frame is taken when its call starts, so it is the newest. An answer after `deactivate`, or about a frame that is too
  old by then, or about a region that is not looked at any more, is counted and dropped.
- Each call ends as exactly one of: result, late, failed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vedette.config.camera_values import region_of
from vedette.errors import CloudBudgetSpent, CloudError, HttpError, HttpStatus, RegionChanged
from vedette.fallback.breaker import Allowance, Breaker, BreakerState

if TYPE_CHECKING:
    from vedette._lib.worker import Worker
    from vedette.config.models import Config
    from vedette.fallback.cloud_client import CloudClient
    from vedette.ports import Clock
    from vedette.types import DetectionResult, Frame

log = logging.getLogger(__name__)

POLL_S = 0.5
SPENT_S = 60.0
"""The time until the next try after the budget was spent."""
CALL_LIMIT_S = 45.0
"""The longest deadline that can be configured, and a slow disk."""


@dataclass(frozen=True, slots=True)
class CloudStatus:
    """What the thread is doing. Counts are totals of this run: tried == results + late + failed, at rest."""

    active: bool = False
    breaker: BreakerState = "closed"
    tried: int = 0                     # includes calls that sent nothing; a spent budget does not count
    results: int = 0
    late: int = 0
    failed: int = 0
    sent_bytes: int = 0
    left: tuple[Allowance, ...] = ()   # what is left of the budget
    cause: str | None = None           # why the last try gave no result, as a message


class CloudWorker:
    """`take(timeout_s)` returns a copy of the newest frame."""

    def __init__(self, client: CloudClient, breaker: Breaker, take: Callable[[float], Frame | None], clock: Clock,
                 config: Config) -> None:
        self._client = client
        self._breaker = breaker
        self._take = take
        self._on_result: Callable[[DetectionResult], bool] | None = None
        self._clock = clock
        self._max_age_ms = _max_age_ms(config)
        self._changed = threading.Condition()
        self._turn = 0                 # even: not active
        self._not_before_s = 0.0
        self._status = CloudStatus()

    def __repr__(self) -> str:
        return f"<CloudWorker {self.status()}>"

    def activate(self, on_result: Callable[[DetectionResult], bool]) -> None:
        """Start the calls, at once; as ports.Fallback. Any thread; safe to call twice."""
        self._on_result = on_result
        self._switch(on=True)

    def deactivate(self) -> None:
        """Start no more calls, and drop the answer of a call under way. Any thread; safe to call twice."""
        self._switch(on=False)

    def reload(self, config: Config) -> None:
        """Apply the live keys of a configuration. Any thread."""
        self._client.reload(config.detector, region_of(config.camera.roi))
        self._max_age_ms = _max_age_ms(config)

    @property
    def cause(self) -> str | None:
        """Why the last try gave no result, as in `status`; cheap enough for every frame. Any thread."""
        return self._status.cause

    def status(self) -> CloudStatus:
        """Return what it is doing. Any thread, never blocks."""
        return replace(self._status, active=self._turn % 2 == 1, breaker=self._breaker.state(self._now_s()),
                       sent_bytes=self._client.sent_bytes, left=self._client.left())

    def run(self, worker: Worker) -> None:
        """Make calls while active, until `worker.stopping`. Cloud thread only."""
        while not worker.stopping.is_set():
            worker.beat()
            turn = self._turn
            wait_s = max(self._breaker.wait_s(self._now_s()), self._not_before_s - self._now_s())
            if turn % 2 == 0 or wait_s > 0:
                self._wait(turn, min(wait_s, POLL_S) if turn % 2 else POLL_S)
            elif (frame := self._take(POLL_S)) is not None:
                worker.beat(CALL_LIMIT_S)
                self._call(frame, turn)

    def _switch(self, *, on: bool) -> None:
        with self._changed:
            if on != (self._turn % 2 == 1):
                self._turn += 1
                self._changed.notify_all()

    def _wait(self, turn: int, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._turn != turn, seconds)

    def _now_s(self) -> float:
        return self._clock.monotonic_ns() / 1e9

    def _call(self, frame: Frame, turn: int) -> None:
        if self._turn != turn:
            return
        probe = self._breaker.state(self._now_s()) != "closed"
        try:
            result = self._client.detect(frame, probe=probe)
        except CloudBudgetSpent as spent:
            self._not_before_s = self._now_s() + SPENT_S
            self._record_cause(str(spent))
        except RegionChanged:       # says nothing about the server; the next frame is sent at once
            self._count(tried=1, late=1)
        except (HttpError, CloudError) as failure:
            self._breaker.failed(self._now_s(), failure.retry_after_s if isinstance(failure, HttpStatus) else None)
            self._count(tried=1, failed=1)
            self._record_cause(str(failure))
        else:
            self._breaker.succeeded(self._now_s())
            self._deliver(result, turn)

    def _deliver(self, result: DetectionResult, turn: int) -> None:
        self._status = replace(self._status, cause=None)
        on_result = self._on_result
        late = self._turn != turn or result.age_ms > self._max_age_ms or result.roi != self._client.roi or \
            on_result is None or not on_result(result)
        self._count(tried=1, late=int(late), results=int(not late))

    def _record_cause(self, cause: str) -> None:
        if cause != self._status.cause:
            log.warning("cloud: %s", cause)
        self._status = replace(self._status, cause=cause)

    def _count(self, *, tried: int = 0, results: int = 0, late: int = 0, failed: int = 0) -> None:
        status = self._status
        self._status = replace(status, tried=status.tried + tried, results=status.results + results,
                               late=status.late + late, failed=status.failed + failed)


def _max_age_ms(config: Config) -> float:
    """Return the greatest age of a result: the greatest age of a frame, plus the deadline of a call."""
    return config.camera.max_frame_age_ms + config.cloud.deadline_s * 1000
