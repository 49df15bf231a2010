"""Watches a model on trial: its frames and failures, and sometimes what the previous model detects, and how fast.

Invariants: the detect thread only counts a frame; everything else belongs to the update thread. Both models are timed
in the same frames, since a busy moment slows both. A child that cannot run the previous model is no evidence. Frames of
a throttled board are none either, nor are times at a governed rate.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING

from vedette.errors import ModelError, ModelTimedOut, RuntimeMissing
from vedette.store.release import TrialRequirement
from vedette.update.verdicts import TrialTally

if TYPE_CHECKING:
    from collections.abc import Callable

    from vedette.ports import Clock, Flow
    from vedette.store.model_store import ModelStore
    from vedette.store.state import Installed
    from vedette.types import DetectionResult
    from vedette.update.prove import Candidates
    from vedette.update.verdicts import Verdict
    from vedette.validate.candidate import Candidate
    from vedette.validate.frame_tap import FrameTap

log = logging.getLogger(__name__)

COMPARE_S, COMPARE_LATER_S, COMPARED_SOON = 1.0, 5.0, 30
"""The first COMPARED_SOON comparisons come every COMPARE_S, to find a blind model soon; later ones COMPARE_LATER_S."""
RETRY_AFTER_S = 60.0
"""The pause after the previous model's child has failed."""
SAVE_EVERY_S = 30.0
TAKE_WITHIN_S = 0.5
FRAMES_MAX = 10_000


class TrialMonitor:
    """A listener of the pipeline that reaches a verdict on the model on trial.

    `throttled` returns whether the firmware limits the processor, `governed` whether the governor limits the rate.
    """

    def __init__(self, store: ModelStore, tap: FrameTap, clock: Clock, candidates: Candidates, flow: Flow, *,
                 throttled: Callable[[], bool], governed: Callable[[], bool]) -> None:
        self._store = store
        self._tap = tap
        self._clock = clock
        self._candidates = candidates
        self._flow = flow
        self._throttled = throttled
        self._governed = governed
        self._sha256: str | None = None
        self._arrived: deque[bool] = deque(maxlen=FRAMES_MAX)
        self._tally = TrialTally(TrialRequirement(), has_previous=False)
        self._failed_before = 0
        self._stepped_ns = 0
        self._saved_ns = 0
        self._compare_ns = 0
        self._compared = 0
        self._settings = ""
        self._previous: Candidate | None = None
        self._interrupted = False

    def on_result(self, result: DetectionResult) -> None:
        """Count a frame. Detect thread."""
        if result.source != "local":    # a server may run the same model, at times of its own
            return
        if self._sha256 is not None and result.model is not None and result.model.sha256 == self._sha256:
            self._arrived.append(True)

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
        if compare and state.previous is not None and now_ns >= self._compare_ns:
            self._compare(state.previous)
        verdict = self._tally.verdict()
        if verdict.ruling == "undecided" and now_ns - self._saved_ns >= SAVE_EVERY_S * 1e9:
            self._saved_ns = now_ns
            self.save()
        return verdict

    def save(self) -> None:
        """Save the evidence so far. Raises: StateUnusable."""
        if self._sha256 is not None:
            self._count_frames(self._clock.monotonic_ns())
            self._store.change(self._store.state.with_evidence(self._tally.frames, self._tally.seconds))

    def interrupt(self) -> None:
        """End a running comparison because the daemon stops. Any thread."""
        self._interrupted = True        # first: a child that is opened after this line is interrupted too
        previous = self._previous
        if previous is not None:
            previous.interrupt()

    def close(self) -> None:
        """Stop watching. Safe to call twice."""
        self._sha256 = None
        self._stop_comparing()

    def _begin(self, now_ns: int) -> None:
        state = self._store.state
        assert state.trial is not None  # noqa: S101 - for the type checker: step() has checked
        assert state.active is not None  # noqa: S101 - as above
        self.close()
        self._tally = TrialTally(state.active.trial or TrialRequirement(), has_previous=state.previous is not None,
                                 frames=state.trial.frames, seconds=state.trial.seconds)
        self._arrived.clear()
        self._failed_before = self._flow.errors
        self._stepped_ns = self._saved_ns = now_ns
        self._compare_ns = now_ns
        self._compared = 0
        self._sha256 = state.active.sha256

    def _count_frames(self, now_ns: int) -> None:
        throttled, governed, failed = self._throttled(), self._governed(), self._flow.errors
        frames = [self._arrived.popleft() for _ in range(len(self._arrived))]
        for _ in frames:
            self._tally.detected(throttled=throttled)
        for _ in range(failed - self._failed_before):
            self._tally.failed()
        if frames or failed > self._failed_before:
            self._tally.elapsed((now_ns - self._stepped_ns) / 1e9, throttled=throttled, governed=governed)
        self._failed_before, self._stepped_ns = failed, now_ns

    def _compare(self, previous: Installed) -> None:
        if self._settings != self._candidates.settings:
            self._forget_comparisons()
        pause_s = COMPARE_S if self._compared < COMPARED_SOON else COMPARE_LATER_S
        self._compare_ns = self._clock.monotonic_ns() + int(pause_s * 1e9)
        tapped = self._tap.next(TAKE_WITHIN_S)
        if tapped is None or tapped.model is None or tapped.model.sha256 != self._sha256:
            return
        try:
            if self._previous is None:
                self._previous = self._candidates.open(self._store.verified(previous.sha256), previous.sha256)
            if self._interrupted:
                self._previous.interrupt()
            if tapped.roi != self._previous.roi:
                return      # it is from before or after a reload that the child was not started for
            seen = self._previous.compare(tapped)
        except (ModelError, RuntimeMissing) as error:
            if isinstance(error, ModelTimedOut):
                self._candidates.patience(previous.sha256).ran_out()
            if not self._interrupted:
                log.warning("the previous model cannot run for the comparison: %s", error)
            self._stop_comparing()
            self._compare_ns = self._clock.monotonic_ns() + int(RETRY_AFTER_S * 1e9)
            return
        self._candidates.patience(previous.sha256).worked()
        self._compared += 1
        self._tally.compared(seen.detections, tapped.detections, previous_ms=seen.invoke_ms,
                             active_ms=tapped.timing.invoke_ms)

    def _forget_comparisons(self) -> None:
        """After a reload: the active model has the new settings already, the previous model's child has not."""
        self._stop_comparing()
        self._tally.forget_sightings()
        self._settings, self._compared = self._candidates.settings, 0

    def _stop_comparing(self) -> None:
        if self._previous is not None:
            self._previous.close()
            self._previous = None
            self._tap.close()
