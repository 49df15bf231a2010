"""The flow on one page: take the newest frame, detect in it, publish the result, give the frame back.

Invariants:
- One thread (`detect`) runs `run` and owns the detector; it never waits for the network.
- Listeners get one result at a time, under a lock: results of the detect thread, and results of the cloud through
  `on_fallback_result`, which accepts none once the detector works again.
- Every frame taken is either detected, or dropped by exactly one counted cause.
- A frame that could not be used never becomes an empty result. While no results come, `on_blind` is called.
- The motion gate may close only after a result of the model that came in time, of the region that is configured now.
- Detectors change between two frames (`hot_swap`): each frame goes to the old one or to the new one.
- No adapter is imported: camera, detector and listeners come in through their ports.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from vedette.config.camera_values import region_of
from vedette.detect.detector_health import DetectorHealth
from vedette.detect.hot_swap import HotSwap
from vedette.detect.pace import Pace
from vedette.errors import DetectError, SourceEnded
from vedette.types import DetectionResult

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vedette._lib.worker import Worker
    from vedette.config.models import CameraConfig, Config
    from vedette.errors import ModelError, RuntimeMissing
    from vedette.ports import Camera, Clock, Detector, Fallback
    from vedette.types import DetectorFacts, Frame, ReasonCode

log = logging.getLogger(__name__)

TAKE_TIMEOUT_S = 0.5

Listener = Callable[[DetectionResult], None]
"""Called with every result, one at a time; its pixels are valid until this returns. Must not block.

Results of source `local` and `motion` come on the detect thread, those of the `cloud` on the cloud's thread.
"""


@dataclass(frozen=True, slots=True)
class PipelineStatus:
    """What the detect thread is doing. Counts are totals of this run."""

    detected: int                         # frames with a result of the model or of motion
    invoked: int                          # frames the model gave a result for
    errors: int                           # frames the model failed on
    dropped: Mapping[str, int]
    in_hand: int
    facts: DetectorFacts | None
    detecting: bool                       # results come, or would come if there were frames


class Pipeline:
    """From camera to listeners through one detector. `open_detector` returns None if no model is to run.

    With `every_frame` the camera waits for the detector. A limited rate then makes it wait too, so no frame is
    `governed`. `stop_after`: end after this many results. `read_files`: what identifies the model's files, so that
    a refused model is tried again when they change. `open_within_s`: how long the next `open_detector` may take.
    """

    def __init__(self, camera: Camera, open_detector: Callable[[], Detector | None], clock: Clock,
                 config: CameraConfig, *, fallback: Fallback | None = None, stop_after: int | None = None,
                 read_files: Callable[[], object] | None = None,
                 open_within_s: Callable[[], float] = lambda: 120.0) -> None:
        self.ended: str | None = None
        self._camera = camera
        self._hot_swap = HotSwap(open_detector, clock, read_files, within_s=open_within_s)
        self._clock = clock
        self._every_frame = config.every_frame
        self._fallback = fallback
        self._stop_after = stop_after
        self._listeners: list[Listener] = []
        self.on_blind: list[Callable[[], None]] = []      # called while no results can come
        self._health = DetectorHealth(clock, config.max_frame_age_ms)
        self._pace = Pace()
        self._publishing = threading.Lock()
        self._published = self._detected = self._invoked = self.errors = 0
        self._last_seq = 0
        self._dropped: Counter[str] = Counter()
        self._in_hand = 0
        self._paused_until_ns = 0.0
        self._interruptions = 0
        self._must_look, self._roi = True, region_of(config.roi)
        self.wants_all: list[Callable[[], bool]] = []     # whether frames without motion are wanted too
        self.follow: Callable[[DetectionResult], DetectionResult] = lambda result: result
        """Adds tracks to a result of the detector, on the detect thread. Set it before `run`."""

    def __repr__(self) -> str:
        return f"<Pipeline detected={self._detected} dropped={dict(self._dropped)} {self._hot_swap!r}>"

    @property
    def detected(self) -> int:
        """Frames of this run with a result of the model or of motion."""
        return self._detected

    @property
    def dropped(self) -> Mapping[str, int]:
        """Frames taken and dropped, by cause: stale, governed, failed, slow, paused, no_model."""
        return dict(self._dropped)

    def all_dropped(self) -> dict[str, int]:
        """Return the totals of this run by cause, the camera's too; `replaced` and `stale` are always there."""
        return {"replaced": 0, "stale": 0, **self._camera.dropped, **self._dropped}     # no cause is in both

    @property
    def is_opening(self) -> bool:
        """Whether the first detector is neither opened nor refused yet. Any thread."""
        return self._hot_swap.detector is None and not self._hot_swap.is_empty

    @property
    def refusal(self) -> ModelError | RuntimeMissing | None:
        """Why there is no detector although a model was named."""
        return self._hot_swap.refusal

    def subscribe(self, listener: Listener) -> None:
        """Call `listener` with every result. Before `run`."""
        self._listeners.append(listener)

    def run(self, worker: Worker) -> None:
        """Detect until `worker.stopping`, the end of the source, or `stop_after` results. Detect thread only."""
        try:
            while not worker.stopping.is_set():
                if self._hot_swap.take_offer():
                    self._health.reset()
                self._health.stop_timer()
                self._hot_swap.open_if_due(worker, failing=self._health.failing, failures=self.errors)
                self._switch_fallback()
                worker.beat()
                self._health.start_timer()
                self._camera.open_gate(wanted=self._must_look or any(wanted() for wanted in self.wants_all))
                frame = self._take(worker)
                if frame is not None:
                    self._handle(frame)
                if self.ended:
                    return
        finally:
            self._health.stop_timer()
            self._hot_swap.close()

    def offer(self, detector: Detector | None, timeout_s: float) -> bool:
        """As HotSwap.offer."""
        return self._hot_swap.offer(detector, timeout_s)

    def on_fallback_result(self, result: DetectionResult) -> bool:
        """Publish a result of the cloud; returns False if the device's own model detects again.

        Any thread. The pixels of the result are a copy.
        """
        with self._publishing:
            wanted = self._needs_fallback() and result.frame.seq > self._last_seq
            if wanted:
                self._publish(result)
        return wanted

    def limit(self, per_s: float | None) -> None:
        """Detect in at most this many frames a second on average; the others count as `governed`. Any thread.

        The camera then scales no frames ahead, because most of them would not be used.
        """
        self._pace.per_s = per_s

    def retry_model(self) -> None:
        """Try a refused model again at once. Any thread."""
        self._hot_swap.retry()

    def reload(self, config: Config) -> None:
        """Apply the live keys of a configuration. Any thread."""
        self._health.max_frame_age_ms, self._roi = config.camera.max_frame_age_ms, region_of(config.camera.roi)

    def check_hang(self) -> None:
        """Activate the fallback if the detector hangs in a frame. Main thread, several times a second."""
        if self._health.hanging:
            self._switch_fallback()

    def report_blindness(self) -> None:
        """Call `on_blind` while no results can come, and after each interruption, however short. Main thread."""
        camera = self._camera.status()
        interrupted = camera.interruptions != self._interruptions
        self._interruptions = camera.interruptions
        if camera.state != "capturing" or interrupted or not self.status().detecting:
            for on_blind in self.on_blind:
                on_blind()
            self._must_look = True

    def pause(self, seconds: float) -> None:
        """Drop frames for `seconds`, which may be `inf`, counted as `paused`. Any thread."""
        self._paused_until_ns = self._clock.monotonic_ns() + seconds * 1e9
        if self._fallback is not None:
            self._fallback.deactivate()

    def resume(self) -> None:
        """End a pause. Any thread; safe to call when not paused."""
        self._paused_until_ns = 0

    def status(self) -> PipelineStatus:
        """Return what the detect thread is doing. Any thread."""
        detector = self._hot_swap.detector
        works = detector is not None and not self._own_reasons().keys() - {"detector_slow"}
        return PipelineStatus(self._detected, self._invoked, self.errors, self.dropped, self._in_hand,
                              detector.facts if detector else None, works or self._fallback_detects())

    def reasons(self) -> dict[ReasonCode, str]:
        """As ports.ReasonSource. Any thread."""
        reasons = self._own_reasons()
        detector = self._hot_swap.detector
        if detector is not None and detector.facts.xnnpack_share == 0:
            reasons["runtime_fallback"] = "; ".join(detector.facts.warnings)
        if self._fallback is not None and not self._is_paused():
            reasons |= self._fallback.reasons()
        return reasons

    def _own_reasons(self) -> dict[ReasonCode, str]:
        reasons = self._hot_swap.reasons() | self._health.reasons()
        if self._is_paused():
            left_s = (self._paused_until_ns - self._clock.monotonic_ns()) / 1e9
            reasons["paused"] = f"for {left_s:.0f} s more" if left_s < inf else "until it is switched on"
        return reasons

    def _fallback_detects(self) -> bool:
        return self._fallback is not None and not self._is_paused() and self._fallback.active_source is not None

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
            dropped = self._refuse(frame) or self._use(frame)
            if dropped:
                self._dropped[dropped] += 1
                self._must_look = True
        finally:
            self._in_hand = 0
            self._camera.release(frame)

    def _refuse(self, frame: Frame) -> str | None:
        """Return the cause by which a frame is dropped before detection, or None."""
        if self._is_paused():
            return "paused"
        if self._hot_swap.detector is None and self._fallback is None:
            return "no_model"
        if self._health.is_stale(frame.captured_ns):
            return "stale"
        return None if self._pace.admits(self._clock.monotonic_ns()) else "governed"

    def _use(self, frame: Frame) -> str | None:
        """Detect with the detector, else with the fallback, and publish; returns the cause of a drop, or None."""
        detected = self._detect(frame)
        result = self._detect_by_fallback(frame) if isinstance(detected, str) else detected
        if result is None:
            return str(detected)
        with self._publishing:
            self._detected += 1
            self._last_seq = frame.seq if result.source == "local" else self._last_seq
            came = result.source == "local" and result.age_ms <= self._health.max_frame_age_ms
            self._must_look = not came or result.roi != self._roi
            self._publish(result)
        return None

    def _detect(self, frame: Frame) -> DetectionResult | str:
        """Return the detector's result, or the cause why there is nothing to publish."""
        detector = self._hot_swap.detector
        if detector is None:
            return "no_model"
        self._health.start_timer()
        try:
            result = detector.detect(frame)
        except DetectError as failure:
            self.errors += 1
            if self._health.on_failure(str(failure)):
                log.warning("frame %d: %s", frame.seq, failure)
            return "failed"
        self._invoked += 1
        self._camera.scale_to(detector.scaling if self._pace.per_s is None else None)
        hung = self._health.hanging
        self._health.on_result(result.age_ms)
        beaten = (hung or self._health.slow) and self._fallback is not None and self._fallback.active_source == "cloud"
        return "slow" if beaten else self.follow(result)

    def _publish(self, result: DetectionResult) -> None:
        """Call the listeners. Under the lock, so that they get one result at a time, and none that is too late."""
        for listener in self._listeners:
            listener(result)
        if self._fallback is not None and result.source != "local":
            self._fallback.on_published(result)
        self._published += 1
        if self._published == self._stop_after:
            self.ended = f"{self._published} results"

    def _detect_by_fallback(self, frame: Frame) -> DetectionResult | None:
        return self._fallback.detect(frame) if self._fallback is not None else None

    def _switch_fallback(self) -> None:
        if self._fallback is not None and self._needs_fallback():
            self._fallback.activate(self.on_fallback_result)
        elif self._fallback is not None:
            self._fallback.deactivate()

    def _needs_fallback(self) -> bool:
        """Whether the detector gives no results although it should."""
        health = self._health
        return (self._hot_swap.is_empty or health.failing or health.slow or health.hanging) and not self._is_paused()

    def _is_paused(self) -> bool:
        return self._clock.monotonic_ns() < self._paused_until_ns
