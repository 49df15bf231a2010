"""Limits how many frames a second reach the detector.

Invariants: pure, the time is handed in; frames are admitted at an even pace; after a gap, no two are admitted at once.
"""

from __future__ import annotations


class Pace:
    """Admits `per_s` frames a second on average (None: all). One thread asks; any thread may set `per_s`."""

    def __init__(self) -> None:
        self.per_s: float | None = None
        self._due_ns = 0

    def left_s(self, now_ns: int) -> float:
        """Return the seconds until the next frame is due."""
        return 0.0 if self.per_s is None else max(0.0, (self._due_ns - now_ns) / 1e9)

    def admits(self, now_ns: int) -> bool:
        """Return whether a frame is due now; if so, that frame counts as admitted."""
        per_s = self.per_s
        if per_s is None:
            return True
        if now_ns < self._due_ns:
            return False
        interval_ns = int(1e9 / per_s)
        in_time = now_ns - self._due_ns < interval_ns
        self._due_ns = (self._due_ns if in_time else now_ns) + interval_ns
        return True
