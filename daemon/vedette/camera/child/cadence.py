"""When frames are due: a fast source gives fewer frames, and a film plays in real time.

Invariants: pure. On average there are never more than `fps` frames per second. A film that is late does not speed up.
"""

from __future__ import annotations

EARLY = 0.3
"""A frame may be early by this share of a period and still be on time, because cameras jitter."""
BEHIND_NS = 1_000_000_000
LONGEST_GAP_NS = 600 * 1_000_000_000
"""A longer gap between two pictures of a film is a damaged time, not a time to wait."""


class Decimation:
    """Chooses which frames of a source make `fps` per second."""

    def __init__(self, fps: float) -> None:
        self._period_ns = 1e9 / fps
        self._due_ns: float | None = None

    def keep(self, captured_ns: int) -> bool:
        """Whether to keep the frame that was captured then."""
        if self._due_ns is None or abs(captured_ns - self._due_ns) > 4 * self._period_ns:
            self._due_ns = float(captured_ns)      # the first frame, or the first after a gap: the rhythm begins here
        if captured_ns < self._due_ns - EARLY * self._period_ns:
            return False
        self._due_ns += self._period_ns
        if self._due_ns < captured_ns:             # the source is slower than `fps`: missing frames are not made up for
            self._due_ns = captured_ns + self._period_ns * (1 - EARLY)
        return True


class Playback:
    """Maps positions in a film to moments of the monotonic clock."""

    def __init__(self) -> None:
        self._begin_ns: int | None = None
        self._last_ns = 0

    def due_ns(self, position_ns: int, now_ns: int) -> int:
        """Return the time to show the frame at this position. It is in the past when we are late."""
        gap_ns, self._last_ns = position_ns - self._last_ns, position_ns
        if self._begin_ns is None or gap_ns > LONGEST_GAP_NS or now_ns - (self._begin_ns + position_ns) > BEHIND_NS:
            self._begin_ns = now_ns - position_ns
        return self._begin_ns + position_ns
