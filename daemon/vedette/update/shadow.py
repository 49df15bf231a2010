"""Compares a candidate with the active model on one live frame a second, unseen by subscribers, until a verdict.

Invariants: the running detector is not touched, except that the tap copies a frame; while the rate is governed or a
comparison takes long, frames are rare, so the deadline waits. Update thread only, but for `interrupt`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vedette.messages import payloads, topics
from vedette.types import Message, ModelRef
from vedette.update.verdicts import ShadowTally

if TYPE_CHECKING:
    from collections.abc import Callable

    from vedette.ports import Clock, Publisher
    from vedette.store.release import ShadowRequirement
    from vedette.store.state import Installed
    from vedette.types import RunIdentity
    from vedette.update.verdicts import Verdict
    from vedette.validate.candidate import Candidate, Comparison
    from vedette.validate.frame_tap import FrameTap, TappedFrame

    OnComparison = Callable[[Installed, TappedFrame, Comparison], None]
    """Publishes what a candidate detected."""

COMPARE_EVERY_S = 1.0
TAKE_WITHIN_S = 0.5


class ShadowPublisher:
    """Publishes what a candidate and the active model detected in the same frame. Any thread."""

    def __init__(self, publisher: Publisher, identity: RunIdentity, clock_synced: Callable[[], bool]) -> None:
        self._publisher = publisher
        self._identity = identity
        self._clock_synced = clock_synced

    def __call__(self, model: Installed, tapped: TappedFrame, comparison: Comparison) -> None:
        """Publish one comparison."""
        payload = payloads.shadow(
            tapped, device=self._identity.device, run=self._identity.run, clock_synced=self._clock_synced(),
            model=ModelRef(model.name, model.version, model.sha256, model.variant), invoke_ms=comparison.invoke_ms,
            detections=comparison.detections, active_invoke_ms=tapped.timing.invoke_ms,
            active_detections=tapped.detections)
        self._publisher.publish(Message(topics.SHADOW, payloads.encode(payload), qos=0))


class Shadow:
    """One candidate in shadow. It owns the candidate's child from now on, and closes it."""

    def __init__(self, model: Installed, required: ShadowRequirement, candidate: Candidate, tap: FrameTap, clock: Clock,
                 on_comparison: OnComparison, *, governed: Callable[[], bool]) -> None:
        self.model = model
        self._required = required
        self._candidate = candidate
        self._tap = tap
        self._clock = clock
        self._on_comparison = on_comparison
        self._governed = governed
        self._tally = ShadowTally(required)
        self._began_ns = clock.monotonic_ns()
        self._compare_ns = self._stepped_ns = self._began_ns
        self._held_ns = 0

    def __repr__(self) -> str:
        return f"<Shadow {self.model.name} {self._tally!r}>"

    @property
    def progress(self) -> float:
        """The gathered share of the evidence, 0 to 1."""
        return min(1.0, self._tally.figures.frames / self._required.frames, self._minutes / self._required.minutes)

    def step(self) -> Verdict:
        """Compare on a frame if one is due; returns the verdict. Raises: ModelError (the child died, hung or lied)."""
        now_ns = self._clock.monotonic_ns()
        if self._governed():
            self._held_ns += now_ns - self._stepped_ns
        self._stepped_ns = now_ns
        if now_ns >= self._compare_ns:
            self._compare_ns = now_ns + int(COMPARE_EVERY_S * 1e9)
            tapped = self._tap.next(TAKE_WITHIN_S)
            if tapped is not None and tapped.roi == self._candidate.roi:    # else from before or after a reload
                self._compare(tapped)
                self._hold_while_slow()
        return self._tally.verdict(self._minutes, held_minutes=self._held_ns / 60e9)

    def interrupt(self) -> None:
        """End a running comparison, and every later one, with ModelUnproven. Any thread."""
        self._candidate.interrupt()

    def close(self) -> None:
        """End the child. Safe to call twice."""
        self._candidate.close()
        self._tap.close()

    @property
    def _minutes(self) -> float:
        return (self._clock.monotonic_ns() - self._began_ns) / 60e9

    def _hold_while_slow(self) -> None:
        """Let the deadline wait for a comparison that took longer than their interval."""
        now_ns = self._clock.monotonic_ns()
        if now_ns > self._compare_ns and not self._governed():
            self._held_ns += now_ns - self._compare_ns

    def _compare(self, tapped: TappedFrame) -> None:
        comparison = self._candidate.compare(tapped)
        self._tally.add(tapped.detections, comparison.detections, tapped.timing.invoke_ms,
                        comparison.invoke_ms)
        if self._required.publish:
            self._on_comparison(self.model, tapped, comparison)
