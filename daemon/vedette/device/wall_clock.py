"""Tells when the wall clock jumped while the daemon runs, and since when a thing holds by the clock as it is now.

Invariants: pure but for the injected clock; nothing is measured with the wall clock, which is only compared with the
monotonic one; a clock that a time server sets for the first time does not jump, it is put right.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vedette.ports import Clock

STEP_S = 10.0
"""What a time server does to a clock that it keeps is less."""
SET_WITHIN_S = 2.0
"""A clock that was never set gets so long to be told as set by a time server: the board is asked every second or so."""
NAMED_FOR_S = 600.0
"""Then the new time is taken for the right one."""
_UNITS = (("years", 365.25 * 86_400), ("days", 86_400.0), ("hours", 3600.0), ("minutes", 60.0), ("seconds", 1.0))


class WallClock:
    """Compares how far both clocks are apart with how far they were. One thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset = self._measured()
        self._synced: bool | None = None
        self._seen_ns: int | None = None

    def __repr__(self) -> str:
        return f"<WallClock {self._measured() - self._offset}>"

    def reasons(self, synced: bool | None) -> dict[str, str]:
        """Return the health reason with its detail; `synced`: whether a time server set the clock, as far as known."""
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
        return {"clock_stepped": _words(step)}

    def _accept(self, step: timedelta) -> None:
        self._offset += step
        self._seen_ns = None

    def _measured(self) -> timedelta:
        return self._clock.utc_now() - _EPOCH - timedelta(microseconds=self._clock.monotonic_ns() / 1e3)


class Since:
    """A moment in the past. A step of the clock moves it along, so that it stays as long ago; slewing does not."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began_ns = clock.monotonic_ns()
        self._told = clock.utc_now()

    def utc(self) -> datetime:
        """Return it by the clock as it is now. Any thread."""
        ago = timedelta(microseconds=(self._clock.monotonic_ns() - self._began_ns) / 1e3)
        began = self._clock.utc_now() - ago
        if abs(began - self._told) > timedelta(seconds=1):
            self._told = began
        return self._told


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _words(step: timedelta) -> str:
    seconds = abs(step.total_seconds())
    unit, length = next((unit, length) for unit, length in _UNITS if seconds >= 2 * length or length == 1.0)
    return f"{seconds / length:.0f} {unit} {'forward' if step > timedelta() else 'back'}"
