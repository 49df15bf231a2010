"""Compares what a configuration on trial lets the model detect with what the one before it did, in a child process.

Invariants: both run the same model on the same frames. A detection of the old one counts only where the new one wants
such a thing: its label is admitted, and its middle is in the part of the frame that the model gets. A child that cannot
run the model is no evidence. Update thread only, but for `interrupt`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from vedette.config.camera_values import region_of
from vedette.config.reload import live_part
from vedette.errors import ConfigError, ModelError, ModelTimedOut, RuntimeMissing
from vedette.update.prove import Candidates
from vedette.update.trial import COMPARE_LATER_S, COMPARE_S, COMPARED_SOON, RETRY_AFTER_S, TAKE_WITHIN_S
from vedette.vision.geometry import iou

if TYPE_CHECKING:
    from collections.abc import Callable

    from vedette.config.models import Config, DetectorConfig
    from vedette.config.reload import Reloader
    from vedette.detect.open_model import DetectorOpener
    from vedette.detect.pipeline import Pipeline
    from vedette.ports import Clock
    from vedette.types import Detection
    from vedette.update.verdicts import TrialTally
    from vedette.validate.candidate import Candidate
    from vedette.validate.frame_tap import FrameTap, TappedFrame

log = logging.getLogger(__name__)


class OldConfiguration:
    """`before` returns the configuration that the one on trial replaced. It may raise ConfigError."""

    def __init__(self, tap: FrameTap, clock: Clock, opener: DetectorOpener, pipeline: Pipeline, reloader: Reloader,
                 before: Callable[[], Config], candidates_of: Callable[[Config], Candidates] = Candidates) -> None:
        self._tap = tap
        self._clock = clock
        self._opener = opener
        self._pipeline = pipeline
        self._reloader = reloader
        self._before = before
        self._candidates_of = candidates_of
        self._new = reloader.config
        self._candidates: Candidates | None = None
        self._child: Candidate | None = None
        self._sha256 = ""
        self._known: tuple[str, ...] = ()
        """The labels of the model, when the comparison began."""
        self._compare_ns = 0
        self._compared = 0
        self._interrupted = False

    def begin(self) -> bool:
        """Begin to compare; returns whether the two can differ in what they let the model detect."""
        self._new = new = self._reloader.config
        self.close()
        self._compared = self._compare_ns = 0
        try:
            old = live_part(new, self._before())
        except ConfigError as error:
            log.warning("the configuration before cannot be compared: %s", error)
            return False
        self._known = self._labels
        if not _can_differ(old, new, self._known):
            return False
        self._candidates = self._candidates_of(old)
        return True

    def compare(self, tally: TrialTally) -> None:
        """Compare on one frame, if one is due."""
        if self._clock.monotonic_ns() < self._compare_ns:
            return
        if self._reloader.config is not self._new:      # reloaded, or something is tried
            tally.forget_sightings()
            tally.has_previous = self.begin()
        elif not self._known and self._labels:
            tally.has_previous = self.begin()           # the model was not open before
        if self._candidates is None:
            return
        pause_s = COMPARE_S if self._compared < COMPARED_SOON else COMPARE_LATER_S
        self._compare_ns = self._clock.monotonic_ns() + int(pause_s * 1e9)
        if self._reloader.tried:
            return
        tapped = self._tap.next(TAKE_WITHIN_S)
        if tapped is None or tapped.model is None or self._reloader.config is not self._new \
                or tapped.roi != region_of(self._new.camera.roi):       # from before a reload
            return
        seen = self._seen(self._candidates, tapped, tapped.model.sha256)
        if seen is not None:
            self._compared += 1
            wanted = [each for each in seen if _wants(self._new, each)]
            tally.compared(wanted, tapped.detections, previous_ms=0.0, active_ms=0.0)

    def interrupt(self) -> None:
        """End a running comparison because the daemon stops. Any thread."""
        self._interrupted = True        # first: a child that is opened after this line is interrupted too
        child = self._child
        if child is not None:
            child.interrupt()

    def close(self) -> None:
        """Stop comparing. Safe to call twice."""
        self._candidates = None
        self._end_child()

    def _seen(self, candidates: Candidates, tapped: TappedFrame, sha256: str) -> tuple[Detection, ...] | None:
        """Return what the model detects with the old configuration; None if it cannot be run."""
        if self._sha256 != sha256:
            self._end_child()
        try:
            if self._child is None:
                choice = self._opener.choose()
                if choice is None:
                    return None
                self._child, self._sha256 = candidates.open(choice.path, sha256), sha256
            if self._interrupted:
                self._child.interrupt()
            seen = self._child.compare(tapped).detections
        except (ModelError, RuntimeMissing) as error:
            if isinstance(error, ModelTimedOut):
                candidates.patience(sha256).ran_out()
            if not self._interrupted:
                log.warning("the model cannot run with the configuration before, for a comparison: %s", error)
            self._end_child()
            self._compare_ns = self._clock.monotonic_ns() + int(RETRY_AFTER_S * 1e9)
            return None
        candidates.patience(sha256).worked()
        return seen

    def _end_child(self) -> None:
        if self._child is not None:
            self._child.close()
            self._child, self._sha256 = None, ""
            self._tap.close()

    @property
    def _labels(self) -> tuple[str, ...]:
        facts = self._pipeline.status().facts
        return facts.labels if facts else ()


def _can_differ(old: Config, new: Config, labels: tuple[str, ...]) -> bool:
    """Whether both could detect a thing, and only one does. Without `labels`, any label may come."""
    if Candidates(old).settings == Candidates(new).settings or not iou(
            region_of(old.camera.roi), region_of(new.camera.roi)):
        return False
    return not labels or any(_admits(old.detector, each) and _admits(new.detector, each) for each in labels)


def _admits(detector: DetectorConfig, label: str) -> bool:
    from vedette.vision.limits import PLACEHOLDERS  # late: it takes memory
    return label not in PLACEHOLDERS and label not in detector.deny and (not detector.allow or label in detector.allow)


def _wants(config: Config, seen: Detection) -> bool:
    box, roi = seen.box, region_of(config.camera.roi)
    is_inside = (roi.xmin <= (box.xmin + box.xmax) / 2 <= roi.xmax
                 and roi.ymin <= (box.ymin + box.ymax) / 2 <= roi.ymax)
    return is_inside and _admits(config.detector, seen.label)
