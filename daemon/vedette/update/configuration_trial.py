"""Watches a signed configuration on trial: frames and failures, health, and what the one before it lets be detected.

Invariants: evidence begins when the configuration runs; a health that failed before, or that the camera makes fail, is
no evidence; frames of a throttled board are none either. Update thread only, but for `interrupt`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from vedette.store.release import TrialRequirement
from vedette.update.trial import SAVE_EVERY_S
from vedette.update.verdicts import TrialTally, Verdict

if TYPE_CHECKING:
    from vedette.detect.pipeline import Pipeline
    from vedette.ports import Clock
    from vedette.store.configurations import ConfigurationStore
    from vedette.types import ReasonCode
    from vedette.update.old_configuration import OldConfiguration

UNHEALTHY_S = 20.0
"""Health that is failed for so long is the fault of the configuration."""
NOT_ITS_FAULT: Collection[ReasonCode] = ("camera_offline", "camera_stalled", "camera_frozen", "no_model")


class ConfigurationTrial:
    """`throttled` returns whether the firmware limits the processor, `governed` whether the rate is limited."""

    def __init__(self, store: ConfigurationStore, clock: Clock, pipeline: Pipeline, old: OldConfiguration, *,
                 throttled: Callable[[], bool], governed: Callable[[], bool]) -> None:
        self.failed_reasons: Callable[[], Collection[ReasonCode]] = tuple
        """Returns the codes that make health `failed` now. Set it before the first step."""
        self._store = store
        self._clock = clock
        self._pipeline = pipeline
        self._old = old
        self._throttled = throttled
        self._governed = governed
        self._sha256: str | None = None
        self._tally = TrialTally(TrialRequirement(), has_previous=False)
        self._failed_before: Collection[ReasonCode] = ()
        self._unhealthy_ns: int | None = None
        self._invoked = self._errors = 0
        self._stepped_ns = self._saved_ns = 0

    def step(self, *, compare: bool) -> Verdict | None:
        """Count what has happened since the last step; returns the verdict, None if nothing is on trial.

        `compare`: whether the tap is free. Raises: StateUnusable (the evidence cannot be saved; nothing else is lost).
        """
        state = self._store.state
        if state.trial is None or state.active is None:
            self.close()
            return None
        now_ns = self._clock.monotonic_ns()
        if self._sha256 != state.active.sha256:
            self._begin(now_ns)
        self._count_frames(now_ns)
        if compare:
            self._old.compare(self._tally)
        verdict = self._unhealthy(now_ns) or self._tally.verdict()
        if verdict.ruling == "undecided" and now_ns - self._saved_ns >= SAVE_EVERY_S * 1e9:
            self._saved_ns = now_ns
            self.save()
        return verdict

    def save(self) -> None:
        """Save the evidence so far, unless enough was saved before. Raises: StateUnusable."""
        state = self._store.state
        if self._sha256 is None or state.trial is None or state.active is None:
            return
        required = state.active.trial or TrialRequirement()
        if state.trial.frames < required.frames or state.trial.seconds < required.minutes * 60:
            self._store.change(state.with_evidence(self._tally.frames, self._tally.seconds))

    def interrupt(self) -> None:
        """End a running comparison because the daemon stops. Any thread."""
        self._old.interrupt()

    def close(self) -> None:
        """Stop watching. Safe to call twice."""
        self._sha256 = None
        self._old.close()

    def _begin(self, now_ns: int) -> None:
        state, status = self._store.state, self._pipeline.status()
        assert state.trial is not None  # noqa: S101 - for the type checker: step() has checked
        assert state.active is not None  # noqa: S101 - as above
        self._tally = TrialTally(state.active.trial or TrialRequirement(), has_previous=self._old.begin(),
                                 frames=state.trial.frames, seconds=state.trial.seconds, what="configuration")
        self._failed_before = () if state.trial.starts > 1 else tuple(self.failed_reasons())
        self._unhealthy_ns = None
        self._invoked, self._errors = status.invoked, status.errors
        self._stepped_ns = self._saved_ns = now_ns
        self._sha256 = state.active.sha256

    def _count_frames(self, now_ns: int) -> None:
        throttled, governed, status = self._throttled(), self._governed(), self._pipeline.status()
        frames, errors = status.invoked - self._invoked, status.errors - self._errors
        for _ in range(frames):
            self._tally.detected(throttled=throttled)
        for _ in range(0 if "detector_failing" in self._failed_before else errors):
            self._tally.failed()
        if frames or errors:
            self._tally.elapsed((now_ns - self._stepped_ns) / 1e9, throttled=throttled, governed=governed)
        self._invoked, self._errors, self._stepped_ns = status.invoked, status.errors, now_ns

    def _unhealthy(self, now_ns: int) -> Verdict | None:
        """Return the verdict on a health that has been failed for long; None as long as it is not."""
        codes = sorted(set(self.failed_reasons()) - {*self._failed_before, *NOT_ITS_FAULT})
        if not codes:
            self._unhealthy_ns = None
            return None
        if self._unhealthy_ns is None:
            self._unhealthy_ns = now_ns
        if now_ns - self._unhealthy_ns < UNHEALTHY_S * 1e9:
            return None
        return Verdict("bad", f"on trial health failed for {UNHEALTHY_S:g} s: {', '.join(codes)}", lasting=False,
                       code="unhealthy")
