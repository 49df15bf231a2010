"""One candidate beside the active model, unseen: a live frame a second, until there is a verdict.

Invariants: nothing of it touches the running detector but the tap's copy of a frame; while the rate is governed, and
frames are rare, the deadline waits. Update thread only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vedette.update.verdicts import ShadowTally

if TYPE_CHECKING:
    from collections.abc import Callable

    from vedette.ports import Clock
    from vedette.update.release import ShadowRequirement
    from vedette.update.state import Installed
    from vedette.update.verdicts import Verdict
    from vedette.vision.candidate import Candidate, Look
    from vedette.vision.tap import FrameTap, Tapped

    Show = Callable[[Installed, Tapped, Look], None]
    """Publishes what a candidate saw."""

LOOK_EVERY_S = 1.0
TAKE_WITHIN_S = 0.5


class Shadow:
    """One candidate beside the active model. Takes over the child and closes it."""

    def __init__(self, model: Installed, required: ShadowRequirement, candidate: Candidate, tap: FrameTap, clock: Clock,
                 show: Show, *, governed: Callable[[], bool]) -> None:
        self.model = model
        self._required = required
        self._candidate = candidate
        self._tap = tap
        self._clock = clock
        self._show = show
        self._governed = governed
        self._tally = ShadowTally(required)
        self._began_ns = clock.monotonic_ns()
        self._look_ns = self._stepped_ns = self._began_ns
        self._held_ns = 0

    def __repr__(self) -> str:
        return f"<Shadow {self.model.name} {self._tally!r}>"

    @property
    def progress(self) -> float:
        """How much of the evidence is there, 0 to 1."""
        return min(1.0, self._tally.figures.frames / self._required.frames, self._minutes / self._required.minutes)

    def step(self) -> Verdict:
        """Show it a frame, if one is due, and judge. Raises: ModelError (it died, hung or lied)."""
        now_ns = self._clock.monotonic_ns()
        if self._governed():
            self._held_ns += now_ns - self._stepped_ns
        self._stepped_ns = now_ns
        if now_ns >= self._look_ns:
            self._look_ns = now_ns + int(LOOK_EVERY_S * 1e9)
            tapped = self._tap.next(TAKE_WITHIN_S)
            if tapped is not None:
                self._look(tapped)
        return self._tally.verdict(self._minutes, held_minutes=self._held_ns / 60e9)

    def close(self) -> None:
        """End the child. Safe to call twice."""
        self._candidate.close()
        self._tap.close()

    @property
    def _minutes(self) -> float:
        return (self._clock.monotonic_ns() - self._began_ns) / 60e9

    def _look(self, tapped: Tapped) -> None:
        look = self._candidate.look(tapped)
        self._tally.add(tapped.detections, look.detections, tapped.timing.invoke_ms, look.invoke_ms)
        if self._required.publish:
            self._show(self.model, tapped, look)
