"""The flow on one page: take the newest frame, look at it, tell what was seen, give the frame back.

Invariants:
- One thread (`detect`) runs `run` and owns the detector; it never waits for the network.
- Listeners hear one result at a time, under a lock: those of the detect thread, and the cloud's through `tell`, which
  takes none once the detector works again.
- Every frame taken ends as exactly one of: detected, or dropped by a counted cause.
- A frame that could not be looked at never becomes an empty result.
- Detectors change between two frames (`seat`): each frame is looked at by the old one or the new one.
- No adapter is imported: camera, detector and listeners come in through their ports.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vedette.detect.detector_health import DetectorHealth
from vedette.detect.hot_swap import HotSwap
from vedette.device.governor import Pace
from vedette.errors import DetectError, SourceEnded
from vedette.types import DetectionResult

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vedette._lib.worker import Worker
    from vedette.errors import ModelError, RuntimeMissing
    from vedette.ports import Camera, Clock, Detector, Fallback
    from vedette.types import DetectorFacts, Frame, Scaling

log = logging.getLogger(__name__)

TAKE_TIMEOUT_S = 0.5


Listener = Callable[[DetectionResult], None]
"""Hears every result, one at a time; its pixels are valid until this returns. Must not block.

Those of source `local` and `motion` come on the detect thread, those of the `cloud` on its own.
"""


@dataclass(frozen=True, slots=True)
class PipelineStatus:
    """The detect side as seen from outside. Counts are totals of this run."""

    detected: int                         # frames looked at by the model or for motion
    invoked: int                          # those the model looked at
    errors: int                           # those it could not look at
    dropped: Mapping[str, int]
    in_hand: int
    facts: DetectorFacts | None
    reasons: Mapping[str, str]            # health reason code -> detail in words
    looking: bool                         # results come, or would if there were frames


class Pipeline:
    """Camera to listeners through one detector. `open_detector` returns None where no model is to run.

    `every_frame`: the camera waits for the detector, so a limited rate lets it wait, and nothing is `governed`.
    """

    def __init__(self, camera: Camera, open_detector: Callable[[], Detector | None], listeners: tuple[Listener, ...],
                 clock: Clock, *, max_frame_age_ms: float, stop_after: int | None = None,
                 fallback: Fallback | None = None, every_frame: bool = False) -> None:
        self.ended: str | None = None
        self._camera = camera
        self._hot_swap = HotSwap(open_detector, clock)
        self._listeners = listeners
        self._clock = clock
        self._stop_after = stop_after
        self._fallback = fallback
        self._every_frame = every_frame
        self._health = DetectorHealth(clock, max_frame_age_ms)
        self._pace = Pace()
        self._telling = threading.Lock()
        self._told = self._detected = self._invoked = self.errors = 0
        self._last_seq = 0
        self._dropped: Counter[str] = Counter()
        self._in_hand = 0
        self._paused_until_ns = 0
        self._scaling: Scaling | None = None

    def __repr__(self) -> str:
        return f"<Pipeline detected={self._detected} dropped={dict(self._dropped)} {self._hot_swap!r}>"

    @property
    def dropped(self) -> Mapping[str, int]:
        """Frames taken and not looked at, by cause: stale, governed, failed, slow, paused, no_model."""
        return dict(self._dropped)

    @property
    def max_frame_age_ms(self) -> float:
        """An older frame is not looked at."""
        return self._health.max_frame_age_ms

    @max_frame_age_ms.setter
    def max_frame_age_ms(self, age_ms: float) -> None:
        self._health.max_frame_age_ms = age_ms

    @property
    def refusal(self) -> ModelError | RuntimeMissing | None:
        """Why there is no detector although a model was named."""
        return self._hot_swap.refusal

    def run(self, worker: Worker) -> None:
        """Look at frames until told to stop, the source ends, or enough results were made. Detect thread only."""
        try:
            while not worker.stopping.is_set():
                if self._hot_swap.take_offer():
                    self._health.renew()
                self._health.rests()
                self._hot_swap.fill(worker, failing=self._health.failing, failures=self.errors)
                self._call_for_help()
                worker.beat()
                self._health.begins()
                frame = self._take(worker)
                if frame is not None:
                    self._handle(frame)
                if self.ended:
                    return
        finally:
            self._health.rests()
            self._hot_swap.close()

    def offer(self, detector: Detector | None, timeout_s: float) -> bool:
        """Have the next frame looked at by this detector (None: by what `open_detector` gives), and close the old one.

        Waits until the detect thread has it; returns False when that took too long: then the new one is closed and
        the old one stays. Any other thread than `detect`, one at a time.
        """
        return self._hot_swap.offer(detector, timeout_s)

    def tell(self, result: DetectionResult) -> bool:
        """Have the listeners hear a result of the cloud; returns False where the device looks itself by now.

        Any thread; its pixels are memory of its own.
        """
        with self._telling:
            wanted = self._needs_help() and result.frame.seq > self._last_seq
            if wanted:
                self._announce(result)
        return wanted

    def limit(self, per_s: float | None) -> None:
        """Look at no more frames a second than this, on average; the others count as `governed`. Any thread.

        The camera then spares itself scaling frames that nobody looks at.
        """
        self._pace.per_s = per_s

    def watch(self) -> None:
        """Call for help where the detector does not come back from a frame. Any other thread, again and again."""
        if self._health.hanging:
            self._call_for_help()

    def pause(self, seconds: float) -> None:
        """Drop frames for so long, counted as `paused`. Any thread."""
        self._paused_until_ns = self._clock.monotonic_ns() + int(seconds * 1e9)
        if self._fallback is not None:
            self._fallback.deactivate()

    def resume(self) -> None:
        """End a pause. Any thread; safe to call when not paused."""
        self._paused_until_ns = 0

    def status(self) -> PipelineStatus:
        """What the detect thread is doing. Any thread."""
        detector = self._hot_swap.detector
        reasons = self._reasons()
        helped = {} if self._fallback is None or self._is_paused() else self._fallback.reasons()
        helped_by = None if not helped or self._fallback is None else self._fallback.looking
        looking = detector is not None and not reasons.keys() - {"detector_slow"}
        return PipelineStatus(self._detected, self._invoked, self.errors, self.dropped, self._in_hand,
                              detector.facts if detector else None, reasons | dict(helped),
                              looking=looking or helped_by is not None)

    def _take(self, worker: Worker) -> Frame | None:
        left_s = self._pace.left_s(self._clock.monotonic_ns()) if self._every_frame else 0.0
        if left_s > 0:
            worker.stopping.wait(min(left_s, TAKE_TIMEOUT_S))
            return None
        try:
            return self._camera.take(TAKE_TIMEOUT_S)
        except SourceEnded as end:
            self.ended = str(end)
            return None

    def _handle(self, frame: Frame) -> None:
        self._in_hand = 1
        try:
            dropped = self._refuse(frame) or self._look(frame)
            if dropped:
                self._dropped[dropped] += 1
        finally:
            self._in_hand = 0
            self._camera.release(frame)

    def _refuse(self, frame: Frame) -> str | None:
        if self._is_paused():
            return "paused"
        if self._hot_swap.detector is None and self._fallback is None:
            return "no_model"
        if self._health.is_stale(frame.captured_ns):
            return "stale"
        return None if self._pace.admits(self._clock.monotonic_ns()) else "governed"

    def _look(self, frame: Frame) -> str | None:
        """Look at a frame with the detector, else with what stands in; returns why nothing was told, or None."""
        seen = self._detect(frame)
        result = self._ask_for_help(frame) if isinstance(seen, str) else seen
        if result is None:
            return str(seen)
        with self._telling:
            self._detected += 1
            self._last_seq = frame.seq if result.source == "local" else self._last_seq
            self._announce(result)
        return None

    def _detect(self, frame: Frame) -> DetectionResult | str:
        """Return what the detector saw, or by what cause there is nothing to tell."""
        detector = self._hot_swap.detector
        if detector is None:
            return "no_model"
        self._health.begins()
        try:
            result = detector.detect(frame)
        except DetectError as failure:
            self.errors += 1
            if self._health.failed(str(failure)):
                log.warning("frame %d: %s", frame.seq, failure)
            return "failed"
        self._invoked += 1
        self._wish_for(detector.scaling if self._pace.per_s is None else None)
        hung = self._health.hanging
        self._health.looked(result.age_ms)
        beaten = (hung or self._health.slow) and self._fallback is not None and self._fallback.looking == "cloud"
        return "slow" if beaten else result

    def _announce(self, result: DetectionResult) -> None:
        """Tell the listeners. Under the lock, so that they hear one result at a time, and none that comes too late."""
        for listener in self._listeners:
            listener(result)
        if self._fallback is not None and result.source != "local":
            self._fallback.told(result)
        self._told += 1
        if self._told == self._stop_after:
            self.ended = f"{self._told} results"

    def _ask_for_help(self, frame: Frame) -> DetectionResult | None:
        return self._fallback.look(frame) if self._fallback is not None else None

    def _call_for_help(self) -> None:
        if self._fallback is None:
            return
        if self._needs_help():
            self._fallback.activate()
        else:
            self._fallback.deactivate()

    def _needs_help(self) -> bool:
        """Whether the device cannot look itself although it should."""
        condition = self._health
        return (self._hot_swap.is_empty or condition.failing or condition.slow or condition.hanging) \
            and not self._is_paused()

    def _is_paused(self) -> bool:
        return self._clock.monotonic_ns() < self._paused_until_ns

    def _wish_for(self, scaling: Scaling | None) -> None:
        if scaling != self._scaling:
            self._scaling = scaling
            self._camera.scale_to(scaling)

    def _reasons(self) -> dict[str, str]:
        reasons = self._hot_swap.reasons() | self._health.reasons()
        if self._is_paused():
            left_s = (self._paused_until_ns - self._clock.monotonic_ns()) / 1e9
            reasons["paused"] = f"for {left_s:.0f} s more"
        return reasons
