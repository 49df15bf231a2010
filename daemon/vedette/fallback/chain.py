"""Who looks while the device's own model cannot: the cloud, and motion where that gives nothing.

Invariants:
- Motion learns its background from the first frame on, and tells only while no result of the cloud is due.
- It is said to look only while results come: an answer under way, or a background being learnt, is not looking.
- `look` is for the detect thread, the rest for any: the main thread calls for help where the detect thread hangs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vedette.errors import DetectError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vedette.fallback.cloud_worker import CloudWorker
    from vedette.fallback.motion import MotionDetector
    from vedette.messages.health_shapes import CloudHealth, FallbackHealth
    from vedette.ports import Clock
    from vedette.types import DetectionResult, Frame, Source

CLOUD_DUE_S = 1.5
"""So long after its turn the cloud's result is waited for, before motion tells."""
HOLD_S = 3.0
"""So long after a result motion is said to look, at least."""
REASON_OF = {"cloud": "fallback_cloud", "motion": "fallback_motion"}


class FallbackChain:
    """A ports.Fallback. `cloud` calls every `interval_s`; `motion` makes a detector; None: not configured.

    `frame_s` is the time between frames.
    """

    def __init__(self, clock: Clock, *, cloud: CloudWorker | None, interval_s: float,
                 motion: Callable[[], MotionDetector] | None, frame_s: float) -> None:
        self._clock = clock
        self._cloud = cloud
        self._interval_s = interval_s
        self._make_motion = motion
        self._hold_s = max(HOLD_S, 3 * frame_s)
        self._motion: MotionDetector | None = None
        self._standing = False
        self._cloud_due_ns = self._cloud_until_ns = self._motion_until_ns = 0
        self._motion_results = 0

    def __repr__(self) -> str:
        return f"<FallbackChain {'standing in' if self._standing else 'idle'}, looking: {self.looking}>"

    @property
    def looking(self) -> Source | None:
        """Whose results come now. Any thread."""
        now_ns = self._clock.monotonic_ns()
        if not self._standing:
            return None
        if now_ns < self._cloud_until_ns and self._cloud_cause() is None:
            return "cloud"
        return "motion" if now_ns < self._motion_until_ns else None

    def activate(self) -> None:
        """Begin to look. Any thread; safe to call twice."""
        if not self._standing:
            self._cloud_due_ns = self._after(CLOUD_DUE_S)
            self._motion = self._make_motion() if self._make_motion else None
            self._standing = True
        if self._cloud is not None:
            self._cloud.activate()

    def deactivate(self) -> None:
        """Look no more. Any thread; safe to call twice."""
        self._standing = False
        self._motion = None
        self._cloud_due_ns = self._cloud_until_ns = self._motion_until_ns = 0
        if self._cloud is not None:
            self._cloud.deactivate()

    def look(self, frame: Frame) -> DetectionResult | None:
        """Return what moves in a frame that the detector could not look at; None where that is not to be told."""
        motion = self._motion
        if motion is None:
            return None
        try:
            result = motion.detect(frame)
        except DetectError:     # still learning, or all of it changed: health says that nobody looks
            return None
        return None if self._cloud_is_due() else result

    def told(self, result: DetectionResult) -> None:
        """Hear that a result of a fallback was told. Any thread."""
        if result.source == "cloud":
            self._cloud_due_ns = self._cloud_until_ns = self._after(self._interval_s + CLOUD_DUE_S)
        else:
            self._motion_results += 1
            self._motion_until_ns = self._after(self._hold_s)

    def reasons(self) -> Mapping[str, str]:
        """Return health reason codes with their details. Any thread."""
        looking, cause = self.looking, self._cloud_cause()
        reasons = {}
        if looking is not None:
            reasons[REASON_OF[looking]] = ""
        if self._standing and cause is not None:
            reasons["cloud_failing"] = cause
        return reasons

    def health(self) -> FallbackHealth:
        """Return the figures. Any thread."""
        looking = self.looking
        return {"looking": None if looking == "local" else looking,
                "motion_results": self._motion_results if self._make_motion else None,
                "cloud": None if self._cloud is None else _cloud_health(self._cloud)}

    def _cloud_is_due(self) -> bool:
        return self._cloud is not None and self._cloud_cause() is None \
            and self._clock.monotonic_ns() < self._cloud_due_ns

    def _cloud_cause(self) -> str | None:
        return None if self._cloud is None else self._cloud.status().cause

    def _after(self, seconds: float) -> int:
        return self._clock.monotonic_ns() + int(seconds * 1e9)


def _cloud_health(cloud: CloudWorker) -> CloudHealth:
    status = cloud.status()
    return {"breaker": status.breaker, "calls": status.tried, "results": status.results, "late": status.late,
            "failed": status.failed, "sent_mb": round(status.sent_bytes / 1e6, 3), "cause": status.cause,
            "left": {each.name: {"calls": each.calls, "mb": round(each.bytes / 1e6, 3)} for each in status.left}}
