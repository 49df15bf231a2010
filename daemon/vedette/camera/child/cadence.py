"""When frames are due: fewer of them from a fast source, and a film in real time.

Invariants: pure; never more than `fps` frames per second on average; a film that falls behind is not hurried.
"""

from __future__ import annotations

EARLY = 0.3
"""A frame this share of a period early still counts as on time: cameras jitter."""
BEHIND_NS = 1_000_000_000


class Decimation:
    """Chooses which frames of a source make `fps` per second."""

    def __init__(self, fps: float) -> None:
        self._period_ns = 1e9 / fps
        self._due_ns: float | None = None

    def keep(self, captured_ns: int) -> bool:
        """Whether the frame captured then is one of ours."""
        if self._due_ns is None or abs(captured_ns - self._due_ns) > 4 * self._period_ns:
            self._due_ns = float(captured_ns)      # the first, or after a gap: begin the rhythm here
        if captured_ns < self._due_ns - EARLY * self._period_ns:
            return False
        self._due_ns += self._period_ns
        if self._due_ns < captured_ns:             # the source is slower than asked: no debt is carried along
            self._due_ns = captured_ns + self._period_ns * (1 - EARLY)
        return True


class Playback:
    """Maps positions in a film to moments of the monotonic clock."""

    def __init__(self) -> None:
        self._begin_ns: int | None = None

    def due_ns(self, position_ns: int, now_ns: int) -> int:
        """Return when the frame at this position is to be shown; in the past when we are late."""
        if self._begin_ns is None or now_ns - (self._begin_ns + position_ns) > BEHIND_NS:
            self._begin_ns = now_ns - position_ns
        return self._begin_ns + position_ns
