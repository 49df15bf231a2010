"""Detects that the wall clock jumped while the daemon runs, and corrects moments of the past after a jump.

Invariants: pure but for the injected clock; no duration is measured with the wall clock, which is only compared with
the monotonic one; the first setting by a time server is not a jump.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vedette.ports import Clock
    from vedette.types import ReasonCode

STEP_S = 10.0
"""A time server that keeps a clock correct changes it by less."""
SET_WITHIN_S = 2.0
"""A clock that was never set may jump this long before the board reports that a time server set it."""
NAMED_FOR_S = 600.0
"""After this many seconds the new time counts as correct."""
SETTLED_S = 600.0
"""After a step by more than STEP_S, nothing is too old for so long."""
_UNITS = (("years", 365.25 * 86_400), ("days", 86_400.0), ("hours", 3600.0), ("minutes", 60.0), ("seconds", 1.0))


class WallClock:
    """A ports.ReasonSource: compares the difference of both clocks with the earlier difference. Main thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._reasons: dict[ReasonCode, str] = {}
        self._offset = self._measured()
        self._synced: bool | None = None
        self._seen_ns: int | None = None

    def __repr__(self) -> str:
        return f"<WallClock {self._measured() - self._offset}>"

    def reasons(self) -> dict[ReasonCode, str]:
        """As ports.ReasonSource: what the last `tick` found."""
        return self._reasons

    def tick(self, *, synced: bool | None) -> None:
        """Compare the clocks. `synced`: whether a time server set the clock, None where nobody knows."""
        self._reasons = self._compare(synced)

    def _compare(self, synced: bool | None) -> dict[ReasonCode, str]:
        was_set = bool(synced) and self._synced is False
        self._synced = synced
        step = self._measured() - self._offset
        if was_set or abs(step) < timedelta(seconds=STEP_S):
            self._accept(step)
            return {}
        now_ns = self._clock.monotonic_ns()
        self._seen_ns = self._seen_ns if self._seen_ns is not None else now_ns
        seen_s = (now_ns - self._seen_ns) / 1e9
        if seen_s > NAMED_FOR_S:
            self._accept(step)
            return {}
        if synced is False and seen_s < SET_WITHIN_S:
            return {}
        return {"clock_stepped": _described(step)}

    def _accept(self, step: timedelta) -> None:
        self._offset += step
        self._seen_ns = None

    def _measured(self) -> timedelta:
        return self._clock.utc_now() - _EPOCH - timedelta(microseconds=self._clock.monotonic_ns() / 1e3)


class Since:
    """A moment in the past. A step of the clock does not change how long ago it is; slewing does not move it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began_ns = clock.monotonic_ns()
        self._reported = clock.utc_now()

    def utc(self) -> datetime:
        """Return the moment by the present setting of the clock. Any thread."""
        ago = timedelta(microseconds=(self._clock.monotonic_ns() - self._began_ns) / 1e3)
        began = self._clock.utc_now() - ago
        if abs(began - self._reported) > timedelta(seconds=1):
            self._reported = began
        return self._reported


class SettledClock:
    """The wall clock for the age of files, where it has not stepped lately. One thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset_s: float | None = None
        self._stepped_s = 0.0

    def now(self) -> datetime | None:
        """Return the wall clock; None where it was set less than SETTLED_S ago, because it may be wrong."""
        now, now_s = self._clock.utc_now(), self._clock.monotonic_ns() / 1e9
        offset_s = now.timestamp() - now_s
        if self._offset_s is None or abs(offset_s - self._offset_s) > STEP_S:
            self._offset_s, self._stepped_s = offset_s, now_s
        return now if now_s - self._stepped_s >= SETTLED_S else None


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _described(step: timedelta) -> str:
    seconds = abs(step.total_seconds())
    unit, length = next((unit, length) for unit, length in _UNITS if seconds >= 2 * length or length == 1.0)
    return f"{seconds / length:.0f} {unit} {'forward' if step > timedelta() else 'back'}"
