"""How the device's own looking goes: failures in a row, frames too old, results that take too long or never come.

Invariants: pure but for the clock, which is handed in; the detect thread writes, any thread reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vedette.ports import Clock

FAILING_AFTER = 3
"""So many frames in a row that could not be looked at count as a failing detector."""
LOGGED_EVERY_S = 60.0
"""A model may fail on every other frame, and in other words each time."""
STALE_AFTER_S = 5.0
"""So long must every frame, or every result, have been too old, or one frame have been looked at."""


class DetectorHealth:
    """`max_frame_age_ms` bounds the age of a frame to be looked at, and of a result that is no sign of slowness."""

    def __init__(self, clock: Clock, max_frame_age_ms: float) -> None:
        self.max_frame_age_ms = max_frame_age_ms
        self._clock = clock
        self._failures_in_a_row = 0
        self._last_failure = self._logged = ""
        self._log_ns = 0
        self._stale_since_ns: int | None = None
        self._slow_since_ns: int | None = None
        self._looking_since_ns: int | None = None

    @property
    def hanging(self) -> bool:
        """Whether the detector does not come back from a frame."""
        since_ns = self._looking_since_ns
        return since_ns is not None and self._clock.monotonic_ns() - since_ns > self._patience_s * 1e9

    @property
    def _patience_s(self) -> float:
        return max(STALE_AFTER_S, 2 * self.max_frame_age_ms / 1000)     # a slow model may be wanted

    @property
    def failing(self) -> bool:
        """Whether frames cannot be looked at."""
        return self._failures_in_a_row >= FAILING_AFTER

    @property
    def slow(self) -> bool:
        """Whether results have been coming too late for long."""
        return self._lasts(self._slow_since_ns)

    def renew(self) -> None:
        """Another detector looks from now on."""
        self._failures_in_a_row, self._slow_since_ns = 0, None
        self._last_failure, self._logged, self._log_ns = "", "", 0

    def is_stale(self, captured_ns: int) -> bool:
        """Judge a frame before it is looked at."""
        now_ns = self._clock.monotonic_ns()
        if now_ns - captured_ns > self.max_frame_age_ms * 1e6:
            self._stale_since_ns = self._stale_since_ns or now_ns
            return True
        self._stale_since_ns = None
        return False

    def begins(self) -> None:
        """Begin with a frame, or to wait for one."""
        self._looking_since_ns = self._clock.monotonic_ns()

    def rests(self) -> None:
        """Begin with something that may take long."""
        self._looking_since_ns = None

    def looked(self, age_ms: float) -> None:
        """Take a result."""
        self._failures_in_a_row, self._last_failure, self._logged = 0, "", ""
        late = age_ms > self.max_frame_age_ms
        self._slow_since_ns = (self._slow_since_ns or self._clock.monotonic_ns()) if late else None

    def failed(self, words: str) -> bool:
        """Take a frame that could not be looked at; returns whether the words are to be logged."""
        self._failures_in_a_row += 1
        self._last_failure, self._slow_since_ns = words, None
        now_ns = self._clock.monotonic_ns()
        if words == self._logged or now_ns < self._log_ns:
            return False
        self._logged, self._log_ns = words, now_ns + int(LOGGED_EVERY_S * 1e9)
        return True

    def reasons(self) -> dict[str, str]:
        """Return health reason codes with their details."""
        reasons = {}
        if self.failing:
            reasons["detector_failing"] = f"{self._failures_in_a_row} frames in a row: {self._last_failure}"
        if self.hanging:
            reasons["detector_failing"] = f"no end of one frame for more than {self._patience_s:.0f} s"
        if self.slow:
            reasons["detector_slow"] = f"every result is older than {self.max_frame_age_ms:.0f} ms"
        if self._lasts(self._stale_since_ns):
            reasons["all_stale"] = f"every frame is older than {self.max_frame_age_ms:.0f} ms"
        return reasons

    def _lasts(self, since_ns: int | None) -> bool:
        return since_ns is not None and self._clock.monotonic_ns() - since_ns > STALE_AFTER_S * 1e9
