"""Detects while the device's own model cannot: by the cloud, and by motion while the cloud gives no results.

Invariants:
- Motion learns its background from the first frame on, and gives results only while no result of the cloud is due.
- `active_source` names a source only while its results come. A call under way does not count, nor does a background
  that is still being learnt.
- `detect` is for the detect thread, the rest for any: the main thread activates it if the detect thread hangs. It is
  active as a whole or not at all, with the cloud.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from vedette.errors import DetectError

if TYPE_CHECKING:
    from collections.abc import Callable

    from vedette.fallback.cloud_worker import CloudWorker
    from vedette.fallback.motion import MotionDetector
    from vedette.messages.health_shapes import CloudHealth, FallbackHealth
    from vedette.ports import Clock
    from vedette.types import Box, DetectionResult, Frame, ReasonCode, Source

CLOUD_DUE_S = 1.5
"""Motion gives no results until the cloud's result is late by this time."""
HOLD_S = 3.0
"""Motion counts as active for at least this time after a result."""
REASON_OF: dict[Source, ReasonCode] = {"cloud": "fallback_cloud", "motion": "fallback_motion"}


class FallbackChain:
    """A ports.Fallback. `cloud` makes a call every `interval_s`; `motion` makes a detector; None: not configured.

    `frame_s`: seconds between frames.
    """

    def __init__(self, clock: Clock, *, cloud: CloudWorker | None, interval_s: float,
                 motion: Callable[[], MotionDetector] | None, frame_s: float) -> None:
        self._clock = clock
        self._cloud = cloud
        self._interval_s = interval_s
        self._make_motion = motion
        self._hold_s = max(HOLD_S, 3 * frame_s)
        self._motion: MotionDetector | None = None
        self._switching = threading.Lock()
        self._active = False
        self._cloud_due_ns = self._cloud_until_ns = self._motion_until_ns = 0
        self._motion_results = 0

    def __repr__(self) -> str:
        return f"<FallbackChain {'active' if self._active else 'idle'}, source: {self.active_source}>"

    @property
    def active_source(self) -> Source | None:
        """The source whose results come now; None while none come. Any thread."""
        now_ns = self._clock.monotonic_ns()
        if not self._active:
            return None
        if now_ns < self._cloud_until_ns and self._cloud_cause() is None:
            return "cloud"
        return "motion" if now_ns < self._motion_until_ns else None

    def activate(self, on_result: Callable[[DetectionResult], bool]) -> None:
        """Start detecting; as ports.Fallback. Any thread; safe to call twice."""
        with self._switching:
            if not self._active:
                self._cloud_due_ns = self._after(CLOUD_DUE_S)
                self._motion = self._make_motion() if self._make_motion else None
                self._active = True
            if self._cloud is not None:
                self._cloud.activate(on_result)

    def deactivate(self) -> None:
        """Stop detecting. Any thread; safe to call twice."""
        with self._switching:
            self._active = False
            self._motion = None
            self._cloud_due_ns = self._cloud_until_ns = self._motion_until_ns = 0
            if self._cloud is not None:
                self._cloud.deactivate()

    def set_region(self, roi: Box) -> None:
        """Have motion examine this part of the frame (0-1), from the next frame on. Any thread."""
        with self._switching:
            if self._motion is not None:
                self._motion.roi = roi

    def detect(self, frame: Frame) -> DetectionResult | None:
        """Return what moves in a frame that the detector could not use; None if there is nothing to publish."""
        motion = self._motion
        if motion is None:
            return None
        try:
            result = motion.detect(frame)
        except DetectError:     # still learning, or the whole picture changed: health says that no results come
            return None
        return None if self._cloud_is_due() else result

    def on_published(self, result: DetectionResult) -> None:
        """Called after a result of this fallback was published. Any thread."""
        with self._switching:
            self._motion_results += result.source == "motion"
            if not self._active:
                return
            if result.source == "cloud":
                self._cloud_due_ns = self._cloud_until_ns = self._after(self._interval_s + CLOUD_DUE_S)
            else:
                self._motion_until_ns = self._after(self._hold_s)

    def reasons(self) -> dict[ReasonCode, str]:
        """As ports.ReasonSource. Any thread."""
        source, cause = self.active_source, self._cloud_cause()
        reasons: dict[ReasonCode, str] = {}
        if source is not None:
            reasons[REASON_OF[source]] = ""
        if self._active and cause is not None:
            reasons["cloud_failing"] = cause
        return reasons

    def health(self) -> FallbackHealth:
        """Return the section of the health message. Any thread."""
        source = self.active_source
        return {"looking": None if source == "local" else source,
                "motion_results": self._motion_results if self._make_motion else None,
                "cloud": None if self._cloud is None else _cloud_health(self._cloud)}

    def _cloud_is_due(self) -> bool:
        return self._cloud is not None and self._cloud_cause() is None \
            and self._clock.monotonic_ns() < self._cloud_due_ns

    def _cloud_cause(self) -> str | None:
        return None if self._cloud is None else self._cloud.cause

    def _after(self, seconds: float) -> int:
        return self._clock.monotonic_ns() + int(seconds * 1e9)


def _cloud_health(cloud: CloudWorker) -> CloudHealth:
    status = cloud.status()
    return {"breaker": status.breaker, "calls": status.tried, "results": status.results, "late": status.late,
            "failed": status.failed, "sent_mb": round(status.sent_bytes / 1e6, 3), "cause": status.cause,
            "left": {each.name: {"calls": each.calls, "mb": round(each.bytes / 1e6, 3)} for each in status.left}}
