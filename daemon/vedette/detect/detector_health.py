"""Tracks whether the detector works: failures in a row, frames that are too old, results that are late or missing.

Invariants: pure but for the clock, which is handed in; the detect thread writes, any thread reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vedette.ports import Clock
    from vedette.types import ReasonCode

FAILING_AFTER = 3
"""After this many frames in a row without a result, the detector counts as failing."""
LOGGED_EVERY_S = 60.0
"""A model may fail on every other frame, with another message each time: they are logged at most this often."""
STALE_AFTER_S = 5.0
"""The time for which every frame or every result must be too old, or for which one detection must take."""


class DetectorHealth:
    """`max_frame_age_ms`: an older frame is stale, an older result is slow."""

    def __init__(self, clock: Clock, max_frame_age_ms: float) -> None:
        self.max_frame_age_ms = max_frame_age_ms
        self._clock = clock
        self._failures_in_a_row = 0
        self._last_failure = self._logged = ""
        self._log_ns = 0
        self._stale_since_ns: int | None = None
        self._slow_since_ns: int | None = None
        self._detecting_since_ns: int | None = None

    @property
    def hanging(self) -> bool:
        """Whether the detector hangs in a frame."""
        since_ns = self._detecting_since_ns
        return since_ns is not None and self._clock.monotonic_ns() - since_ns > self._patience_s * 1e9

    @property
    def _patience_s(self) -> float:
        return max(STALE_AFTER_S, 2 * self.max_frame_age_ms / 1000)     # a slow model may be wanted

    @property
    def failing(self) -> bool:
        """Whether the detector fails on every frame."""
        return self._failures_in_a_row >= FAILING_AFTER

    @property
    def slow(self) -> bool:
        """Whether every result has been too late for `STALE_AFTER_S`."""
        return self._lasts(self._slow_since_ns)

    def reset(self) -> None:
        """Forget the failures: another detector is in use from now on."""
        self._failures_in_a_row, self._slow_since_ns = 0, None
        self._last_failure, self._logged, self._log_ns = "", "", 0

    def is_stale(self, captured_ns: int) -> bool:
        """Return whether a frame is too old to detect in; also records since when that is so."""
        now_ns = self._clock.monotonic_ns()
        if now_ns - captured_ns > self.max_frame_age_ms * 1e6:
            self._stale_since_ns = self._stale_since_ns or now_ns
            return True
        self._stale_since_ns = None
        return False

    def start_timer(self) -> None:
        """Start the timer, when a detection or the wait for a frame begins."""
        self._detecting_since_ns = self._clock.monotonic_ns()

    def stop_timer(self) -> None:
        """Stop the timer, before something else that may take long."""
        self._detecting_since_ns = None

    def on_result(self, age_ms: float) -> None:
        """Record the age of a result."""
        self._failures_in_a_row, self._last_failure, self._logged = 0, "", ""
        late = age_ms > self.max_frame_age_ms
        self._slow_since_ns = (self._slow_since_ns or self._clock.monotonic_ns()) if late else None

    def on_failure(self, message: str) -> bool:
        """Record a failure of the detector; returns whether its message is to be logged."""
        self._failures_in_a_row += 1
        self._last_failure, self._slow_since_ns = message, None
        now_ns = self._clock.monotonic_ns()
        if message == self._logged or now_ns < self._log_ns:
            return False
        self._logged, self._log_ns = message, now_ns + int(LOGGED_EVERY_S * 1e9)
        return True

    def reasons(self) -> dict[ReasonCode, str]:
        """As ports.ReasonSource. Any thread."""
        reasons: dict[ReasonCode, str] = {}
        if self.failing:
            reasons["detector_failing"] = f"{self._failures_in_a_row} frames in a row: {self._last_failure}"
        if self.hanging:
            reasons["detector_failing"] = f"one frame has taken more than {self._patience_s:.0f} s"
        if self.slow:
            reasons["detector_slow"] = f"every result is older than {self.max_frame_age_ms:.0f} ms"
        if self._lasts(self._stale_since_ns):
            reasons["all_stale"] = f"every frame is older than {self.max_frame_age_ms:.0f} ms"
        return reasons

    def _lasts(self, since_ns: int | None) -> bool:
        return since_ns is not None and self._clock.monotonic_ns() - since_ns > STALE_AFTER_S * 1e9
