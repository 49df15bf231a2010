"""The clock of a film that waits for the detector: when its frames would be captured if it played at its own rate.

Invariants: it never goes back. It goes on through a loop, through another child, and through a damaged time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vedette.camera.wire import FrameReady

STEP_NS = 600 * 1_000_000_000
"""A longer step from frame to frame is a damaged time."""


class FilmClock:
    """Takes one frame after the other."""

    def __init__(self) -> None:
        self._film_ns = self._scene_ns = 0

    def time_of(self, message: FrameReady) -> int | None:
        """Return what `Frame.film_ns` says."""
        if message.film_ns is not None:
            step_ns, self._film_ns = min(max(message.film_ns - self._film_ns, 0), STEP_NS), message.film_ns
            self._scene_ns = self._scene_ns + step_ns if self._scene_ns else message.captured_ns
        return self._scene_ns or None
