"""The flow on one page: take the newest frame, look at it, tell what was seen, give the frame back.

Invariants:
- One thread (`detect`) runs `run` and owns the detector; it never waits for the network.
- Every frame taken ends as exactly one of: detected, or dropped by a counted cause.
- A frame that could not be looked at never becomes an empty result.
- Detectors change between two frames: each frame is looked at by the old one or the new one, and the old one is
  closed after its last use, by the thread that offered the new one.
- No adapter is imported: camera, detector and listeners come in through their ports.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vedette.errors import DetectError, ModelError, RuntimeMissing, SourceEnded
from vedette.types import DetectionResult

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vedette._lib.worker import Worker
    from vedette.ports import Camera, Clock, Detector
    from vedette.types import DetectorFacts, Frame, Scaling

log = logging.getLogger(__name__)

TAKE_TIMEOUT_S = 0.5
OPEN_WITHIN_S = 90.0
"""Proving a new model in its child may take this long on a slow board."""
RETRY_MODEL_S = 60.0
FAILING_AFTER = 3
"""So many frames in a row that could not be looked at count as a failing detector."""
STALE_AFTER_S = 5.0


Listener = Callable[[DetectionResult], None]
"""Hears every result, in order, on the detect thread; its pixels are valid until this returns. Must not block."""


@dataclass(frozen=True, slots=True)
class _Offer:
    detector: Detector | None


@dataclass(frozen=True, slots=True)
class PipelineStatus:
    """The detect side as seen from outside. Counts are totals of this run."""

    detected: int
    dropped: Mapping[str, int]
    in_hand: int
    facts: DetectorFacts | None
    reasons: Mapping[str, str]            # health reason code -> detail in words
    looking: bool                         # results come, or would if there were frames


class Pipeline:
    """Camera to listeners through one detector. `open_detector` returns None where no model is to run."""

    def __init__(self, camera: Camera, open_detector: Callable[[], Detector | None], listeners: tuple[Listener, ...],
                 clock: Clock, *, max_frame_age_ms: float, stop_after: int | None = None) -> None:
        self.max_frame_age_ms = max_frame_age_ms
        self.ended: str | None = None
        self._camera = camera
        self._open_detector = open_detector
        self._listeners = listeners
        self._clock = clock
        self._stop_after = stop_after
        self._detector: Detector | None = None
        self._handover = threading.Condition()
        self._offered: _Offer | None = None
        self._retired: Detector | None = None
        self._asked = False
        self._retry_ns = 0
        self._refusal: ModelError | RuntimeMissing | None = None
        self._detected = 0
        self._dropped: Counter[str] = Counter()
        self._in_hand = 0
        self._failures_in_a_row = 0
        self._last_failure = ""
        self._stale_since_ns: int | None = None
        self._paused_until_ns = 0
        self._scaling: Scaling | None = None

    def __repr__(self) -> str:
        return f"<Pipeline detected={self._detected} dropped={dict(self._dropped)} detector={self._detector!r}>"

    @property
    def dropped(self) -> Mapping[str, int]:
        """Frames taken and not looked at, by cause: stale, failed, paused, no_model. Any thread."""
        return dict(self._dropped)

    @property
    def refusal(self) -> ModelError | RuntimeMissing | None:
        """Why there is no detector although a model was named."""
        return self._refusal

    def run(self, worker: Worker) -> None:
        """Look at frames until told to stop, the source ends, or enough results were made. Detect thread only."""
        try:
            while not worker.stopping.is_set():
                self._take_offer()
                self._ensure_detector(worker)
                worker.beat()
                frame = self._take()
                if frame is not None:
                    self._handle(frame)
                if self.ended:
                    return
        finally:
            if self._detector is not None:
                self._detector.close()

    def offer(self, detector: Detector | None, timeout_s: float) -> bool:
        """Have the next frame looked at by this detector (None: by what `open_detector` gives), and close the old one.

        Waits until the detect thread has it; returns False when that took too long: then the new one is closed and
        the old one stays. Any other thread than `detect`, one at a time.
        """
        offer = _Offer(detector)
        with self._handover:
            self._offered = offer
            taken = self._handover.wait_for(lambda: self._offered is not offer, timeout_s)
            unused = self._retired if taken else detector
            self._offered = self._retired = None
        if unused is not None:
            unused.close()
        return taken

    def pause(self, seconds: float) -> None:
        """Drop frames for so long, counted as `paused`. Any thread."""
        self._paused_until_ns = self._clock.monotonic_ns() + int(seconds * 1e9)

    def resume(self) -> None:
        """End a pause. Any thread; safe to call when not paused."""
        self._paused_until_ns = 0

    def status(self) -> PipelineStatus:
        """What the detect thread is doing. Any thread."""
        detector = self._detector
        reasons = self._reasons()
        return PipelineStatus(self._detected, self.dropped, self._in_hand,
                              detector.facts if detector else None, reasons,
                              looking=detector is not None and not reasons)

    def _take_offer(self) -> None:
        if self._offered is None:
            return
        with self._handover:
            if self._offered is not None:
                self._retired, self._detector, self._offered = self._detector, self._offered.detector, None
                self._refusal, self._retry_ns = None, 0
                self._failures_in_a_row, self._last_failure = 0, ""
                self._handover.notify_all()

    def _ensure_detector(self, worker: Worker) -> None:
        if self._detector is not None or self._clock.monotonic_ns() < self._retry_ns:
            return
        worker.beat(OPEN_WITHIN_S)
        try:
            self._detector = self._open_detector()
            self._asked, self._refusal = True, None
        except (ModelError, RuntimeMissing) as refusal:
            if str(refusal) != str(self._refusal):
                log.error("%s", refusal)
            self._refusal = refusal
            self._retry_ns = self._clock.monotonic_ns() + int(RETRY_MODEL_S * 1e9)

    def _take(self) -> Frame | None:
        try:
            return self._camera.take(TAKE_TIMEOUT_S)
        except SourceEnded as end:
            self.ended = str(end)
            return None

    def _handle(self, frame: Frame) -> None:
        self._in_hand = 1
        try:
            refused = self._refuse(frame)
            if refused:
                self._dropped[refused] += 1
            else:
                self._detect(frame)
        finally:
            self._in_hand = 0
            self._camera.release(frame)

    def _refuse(self, frame: Frame) -> str | None:
        now_ns = self._clock.monotonic_ns()
        if now_ns < self._paused_until_ns:
            return "paused"
        if self._detector is None:
            return "no_model"
        if now_ns - frame.captured_ns > self.max_frame_age_ms * 1e6:
            self._stale_since_ns = self._stale_since_ns or now_ns
            return "stale"
        self._stale_since_ns = None
        return None

    def _detect(self, frame: Frame) -> None:
        assert self._detector is not None  # noqa: S101 - for the type checker: _refuse() saw it
        try:
            result = self._detector.detect(frame)
        except DetectError as failure:
            self._dropped["failed"] += 1
            self._failures_in_a_row += 1
            if str(failure) != self._last_failure:
                log.warning("frame %d: %s", frame.seq, failure)
            self._last_failure = str(failure)
            return
        self._failures_in_a_row = 0
        self._last_failure = ""
        self._detected += 1
        self._wish_for(self._detector.scaling)
        for listener in self._listeners:
            listener(result)
        if self._detected == self._stop_after:
            self.ended = f"{self._detected} results"

    def _wish_for(self, scaling: Scaling | None) -> None:
        if scaling != self._scaling:
            self._scaling = scaling
            self._camera.scale_to(scaling)

    def _reasons(self) -> dict[str, str]:
        now_ns = self._clock.monotonic_ns()
        reasons = {}
        if self._refusal is not None:
            reasons["model_refused"] = str(self._refusal)
        elif self._detector is None and self._asked:
            reasons["no_model"] = "detector.model names none, and none is installed"
        if self._failures_in_a_row >= FAILING_AFTER:
            reasons["detector_failing"] = f"{self._failures_in_a_row} frames in a row: {self._last_failure}"
        stale_since_ns = self._stale_since_ns
        if stale_since_ns is not None and now_ns - stale_since_ns > STALE_AFTER_S * 1e9:
            reasons["all_stale"] = f"every frame is older than {self.max_frame_age_ms:.0f} ms"
        if now_ns < self._paused_until_ns:
            reasons["paused"] = f"for {(self._paused_until_ns - now_ns) / 1e9:.0f} s more"
        return reasons
