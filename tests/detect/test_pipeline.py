"""The flow: every frame ends as detected or as a counted drop, and a failure is never "nothing seen"."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fakes import FakeCamera, FakeClock, FakeDetector, StatusCamera, make_frame, make_pipeline
from tests.support.waiting.until import wait_until
from vedette._lib.clock import SystemClock
from vedette._lib.worker import Worker
from vedette.config.models import Config
from vedette.detect.hot_swap import RETRY_MODEL_S
from vedette.detect.pipeline import Pipeline
from vedette.errors import InvokeFailed, ModelDamaged, ModelError
from vedette.types import Box, Detection, DetectionResult, Frame

PERSON = Detection("person", 0, 0.9, Box(0.1, 0.1, 0.2, 0.2))


class Heard:
    """A listener that keeps what it hears, and sees that the pixels are still valid then."""

    def __init__(self) -> None:
        self.results: list[DetectionResult] = []

    def result(self, result: DetectionResult) -> None:
        assert result.frame.pixels.nbytes
        self.results.append(result)


def run(pipeline: Pipeline) -> Worker:
    """Run the detect loop on this thread until the frames end."""
    worker = Worker("detect", pipeline.run)
    pipeline.run(worker)
    return worker


def build(camera: FakeCamera, detector: FakeDetector | None, clock: FakeClock, heard: Heard,
          **options: Any) -> Pipeline:
    return make_pipeline(camera, lambda: detector, clock, heard.result, **options)


def test_listeners_get_every_result_in_order_and_every_frame_is_released() -> None:
    """Results arrive in frame order, and no frame stays in hand."""
    clock, heard = FakeClock(), Heard()
    camera = FakeCamera([make_frame(clock, seq) for seq in range(1, 6)])
    detector = FakeDetector({3: (PERSON,)})
    run(build(camera, detector, clock, heard))
    assert [result.frame.seq for result in heard.results] == [1, 2, 3, 4, 5]
    assert heard.results[2].detections == (PERSON,)
    assert not camera.in_hand
    assert detector.closed


@given(st.lists(st.sampled_from(["good", "fails", "stale"]), max_size=30), st.booleans())
def test_accounts_balance_whatever_happens_to_each_frame(fates: list[str], has_model: bool) -> None:
    """captured == detected + dropped by cause, for any mixture of good, failing and stale frames."""
    clock, heard = FakeClock(), Heard()
    frames = [make_frame(clock, seq, age_ms=2000 if fate == "stale" else 5) for seq, fate in enumerate(fates, 1)]
    detector = FakeDetector({seq: InvokeFailed("no") for seq, fate in enumerate(fates, 1) if fate == "fails"})
    camera = FakeCamera(frames)
    pipeline = build(camera, detector if has_model else None, clock, heard)
    run(pipeline)
    status = pipeline.status()
    assert status.detected + sum(status.dropped.values()) == camera.captured
    assert len(heard.results) == status.detected == (fates.count("good") if has_model else 0)
    if has_model:
        assert status.dropped.get("stale", 0) == fates.count("stale")
        assert status.dropped.get("failed", 0) == fates.count("fails")


def test_a_failing_detector_is_named_and_publishes_nothing() -> None:
    """Three failures in a row are health reason detector_failing, and no result is made of them."""
    clock, heard = FakeClock(), Heard()
    camera = FakeCamera([make_frame(clock, seq) for seq in range(1, 5)])
    pipeline = build(camera, FakeDetector({seq: InvokeFailed("node 7 failed") for seq in range(1, 5)}), clock, heard)
    run(pipeline)
    assert heard.results == []
    assert "node 7 failed" in pipeline.reasons()["detector_failing"]
    assert not pipeline.status().detecting


def test_one_good_frame_ends_the_failing() -> None:
    """The reason ends as soon as detection in a frame succeeds again."""
    clock, heard = FakeClock(), Heard()
    camera = FakeCamera([make_frame(clock, seq) for seq in range(1, 6)])
    pipeline = build(camera, FakeDetector({seq: InvokeFailed("no") for seq in range(1, 5)}), clock, heard)
    run(pipeline)
    assert pipeline.reasons() == {}
    assert pipeline.status().detecting


def test_an_unforeseen_error_ends_the_worker_and_gives_the_frame_back() -> None:
    """A bug in a detector is the worker's failure, never a silent loop on old boxes."""
    clock, heard = FakeClock(), Heard()
    camera = FakeCamera([make_frame(clock)])

    class Broken(FakeDetector):
        def detect(self, frame: object) -> DetectionResult:
            raise ZeroDivisionError

    pipeline = build(camera, Broken(), clock, heard)
    worker = Worker("detect", pipeline.run)
    worker.start()
    assert worker.stop(60)
    assert isinstance(worker.failure, ZeroDivisionError)
    assert not camera.in_hand


def test_no_model_is_failed_and_drops_are_counted() -> None:
    """A camera without a model says no_model; its frames are dropped by that cause."""
    clock, heard = FakeClock(), Heard()
    pipeline = build(FakeCamera([make_frame(clock)]), None, clock, heard)
    run(pipeline)
    assert pipeline.status().dropped == {"no_model": 1}
    assert "no_model" in pipeline.reasons()


def test_a_refused_model_is_named_and_tried_again_after_a_while() -> None:
    """A refusal shows in health with the reason in words; a later try may succeed."""
    clock, heard = FakeClock(), Heard()
    tries: list[int] = []
    detector = FakeDetector()

    def opener() -> FakeDetector:
        tries.append(clock.now_ns)
        if len(tries) == 1:
            raise ModelDamaged("street.tflite: the child that loaded it was killed by SIGSEGV")
        return detector

    class SlowCamera(FakeCamera):
        def take(self, timeout_s: float) -> Frame | None:
            clock.advance(RETRY_MODEL_S / 4)
            return super().take(timeout_s)

    frames = [make_frame(clock, seq, age_ms=-1e6) for seq in range(1, 8)]
    pipeline = make_pipeline(SlowCamera(frames), opener, clock, heard.result, max_frame_age_ms=1e9)
    run(pipeline)
    assert len(tries) == 2
    assert pipeline.status().dropped == {"no_model": 4}
    assert pipeline.refusal is None
    assert len(heard.results) == 3


def test_a_refused_model_is_tried_when_its_file_has_settled() -> None:
    """A changed file is tried once it stays the same for half a second, and not while it is still being copied."""
    clock = FakeClock()
    sizes = iter([1, 1, 1, 2, 3, 3, 3, 3])
    size, tries = [0], []

    def opener() -> FakeDetector:
        tries.append(size[0])
        if size[0] < 3:
            raise ModelDamaged("street.tflite: cut short")
        return FakeDetector()

    class SlowCamera(FakeCamera):
        def take(self, timeout_s: float) -> Frame | None:
            clock.advance(0.6)
            size[0] = next(sizes, 3)
            return super().take(timeout_s)

    frames = [make_frame(clock, seq, age_ms=-1e6) for seq in range(1, 9)]
    pipeline = make_pipeline(SlowCamera(frames), opener, clock, max_frame_age_ms=1e9, read_files=lambda: size[0])
    run(pipeline)
    assert tries == [0, 1, 3]


def test_a_refused_model_is_tried_at_once_when_asked() -> None:
    """A reload asks for it, whatever the file looks like."""
    clock = FakeClock()
    tries = []

    def opener() -> FakeDetector:
        tries.append(clock.now_ns)
        raise ModelDamaged("street.tflite: cut short")

    class AskingCamera(FakeCamera):
        def take(self, timeout_s: float) -> Frame | None:
            pipeline.retry_model()
            return super().take(timeout_s)

    pipeline = make_pipeline(AskingCamera([make_frame(clock), make_frame(clock, 2)]), opener, clock)
    run(pipeline)
    assert len(tries) == 3


def test_a_refusal_is_kept_for_the_exit_code() -> None:
    """Whoever started the daemon by hand can be told why it has no detector."""
    clock = FakeClock()

    def opener() -> FakeDetector:
        raise ModelDamaged("street.tflite: cut short")

    pipeline = make_pipeline(FakeCamera([make_frame(clock)]), opener, clock)
    run(pipeline)
    assert isinstance(pipeline.refusal, ModelError)
    assert "cut short" in pipeline.reasons()["model_refused"]


def test_pause_drops_until_it_expires() -> None:
    """A pause ends by itself, and is counted meanwhile."""
    clock, heard = FakeClock(), Heard()

    class TickingCamera(FakeCamera):
        def take(self, timeout_s: float) -> Frame | None:
            clock.advance(1)
            return super().take(timeout_s)

    frames = [make_frame(clock, seq, age_ms=-1e6) for seq in range(1, 6)]
    pipeline = build(TickingCamera(frames), FakeDetector(), clock, heard)
    pipeline.pause(2.5)
    assert "paused" in pipeline.reasons()
    run(pipeline)
    assert pipeline.status().dropped == {"paused": 2}
    assert [result.frame.seq for result in heard.results] == [3, 4, 5]


def test_frames_that_stay_too_old_are_named() -> None:
    """A backlog that makes every frame stale is a failure in words, not silence."""
    clock, heard = FakeClock(), Heard()

    class LateCamera(FakeCamera):
        def take(self, timeout_s: float) -> Frame | None:
            clock.advance(2)
            return super().take(timeout_s)

    frames = [make_frame(clock, seq, age_ms=5000) for seq in range(1, 6)]
    pipeline = build(LateCamera(frames), FakeDetector(), clock, heard)
    run(pipeline)
    assert "all_stale" in pipeline.reasons()
    assert pipeline.status().dropped == {"stale": 5}


def test_stops_after_so_many_results() -> None:
    """`--frames N` counts results, not frames."""
    clock, heard = FakeClock(), Heard()
    camera = FakeCamera([make_frame(clock, seq) for seq in range(1, 9)])
    pipeline = build(camera, FakeDetector({2: InvokeFailed("no")}), clock, heard, stop_after=3)
    run(pipeline)
    assert [result.frame.seq for result in heard.results] == [1, 3, 4]
    assert pipeline.ended == "3 results"


@pytest.mark.parametrize("has_model", [True, False])
def test_stopping_ends_the_loop(has_model: bool) -> None:
    """The loop ends when asked, whether or not frames come."""
    clock, heard = FakeClock(), Heard()
    pipeline = build(FakeCamera([], ends=False), FakeDetector() if has_model else None, clock, heard)
    worker = Worker("detect", pipeline.run)
    worker.start()
    assert worker.stop(60)
    assert worker.failure is None


class EndlessCamera(FakeCamera):
    """Gives a new frame whenever one is asked for."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__([], ends=False)
        self._clock = clock

    def take(self, timeout_s: float) -> Frame | None:
        self.captured += 1
        self.frames.append(make_frame(self._clock, self.captured))
        return super().take(timeout_s)


@pytest.mark.slow
def test_detectors_change_between_two_frames_and_the_old_one_is_closed_after_its_last_use() -> None:
    """In two hundred swaps under load exactly one detector gets each frame, and none after its close."""
    clock, heard = FakeClock(), Heard()
    detectors = [FakeDetector() for _ in range(201)]
    camera = EndlessCamera(clock)
    pipeline = build(camera, detectors[0], clock, heard)
    worker = Worker("detect", pipeline.run)
    worker.start()
    for old, new in itertools.pairwise(detectors):
        assert pipeline.offer(new, 10)
        assert old.closed
        assert not new.closed
    assert worker.stop(60)
    assert worker.failure is None
    looked_at = [seq for detector in detectors for seq in detector.looked_at]
    assert looked_at == list(range(1, camera.captured + 1))
    assert [result.frame.seq for result in heard.results] == looked_at
    assert detectors[-1].closed


def test_an_offer_that_nobody_takes_is_closed_and_changes_nothing() -> None:
    """A detect thread that hangs gets no detector later, when nobody waits for it any more."""
    clock, heard = FakeClock(), Heard()
    kept, offered = FakeDetector(), FakeDetector()
    pipeline = build(FakeCamera([make_frame(clock)]), kept, clock, heard)
    assert not pipeline.offer(offered, 0)
    assert offered.closed
    run(pipeline)
    assert (kept.looked_at, offered.looked_at) == ([1], [])


def test_a_new_detector_starts_without_the_failures_of_the_old_one() -> None:
    """Failures in a row and a refusal belong to the detector they came from."""
    clock, heard = FakeClock(), Heard()
    camera = EndlessCamera(clock)

    class Failing(FakeDetector):
        def detect(self, frame: Frame) -> DetectionResult:
            raise InvokeFailed("node 7 failed")

    pipeline = build(camera, Failing(), clock, heard)
    worker = Worker("detect", pipeline.run)
    worker.start()
    assert wait_until(lambda: "detector_failing" in pipeline.reasons())
    assert pipeline.offer(FakeDetector(), 10)
    assert wait_until(lambda: heard.results and pipeline.status().detecting)
    assert worker.stop(60)


def test_taking_the_detector_away_asks_again_what_is_to_run() -> None:
    """An offer of none leaves it to `open_detector`, which may say that nothing runs: then `no_model` holds."""
    clock, heard = FakeClock(), Heard()
    to_open: list[FakeDetector | None] = [FakeDetector(), None]
    pipeline = make_pipeline(EndlessCamera(clock), lambda: to_open.pop(0) if len(to_open) > 1 else to_open[0], clock,
                             heard.result)
    worker = Worker("detect", pipeline.run)
    worker.start()
    assert wait_until(lambda: heard.results)
    assert pipeline.offer(None, 10)
    assert wait_until(lambda: "no_model" in pipeline.reasons())
    assert worker.stop(60)
    assert pipeline.status().dropped["no_model"] > 0


class LiveCamera(FakeCamera):
    """Frames of a live camera: the clock has moved on to the moment of each when it is given."""

    def __init__(self, clock: FakeClock, frames: int, fps: float) -> None:
        super().__init__([])
        self._clock, self._fps, self._left = clock, fps, frames
        self.captured = frames

    def take(self, timeout_s: float) -> Frame | None:
        if self._left:
            self._left -= 1
            self._clock.advance(1 / self._fps)
            self.frames.append(make_frame(self._clock, self.captured - self._left))
        return super().take(timeout_s)


@given(st.lists(st.none() | st.floats(0.5, 40), min_size=1, max_size=5), st.sampled_from([1.0, 5.0, 15.0, 60.0]))
def test_a_governed_rate_is_kept_and_accounted_for(limits: list[float | None], fps: float) -> None:
    """In each ten seconds as many frames are detected in as allowed, each the newest; the others count as governed."""
    clock = FakeClock()
    for per_s in limits:
        heard, frames = Heard(), int(10 * fps)
        pipeline = build(LiveCamera(clock, frames, fps), FakeDetector(), clock, heard)
        pipeline.limit(per_s)
        run(pipeline)
        status = pipeline.status()
        wanted = frames if per_s is None else min(frames, 10 * per_s)
        assert wanted * 0.9 - 2 <= status.detected <= wanted + 2
        assert status.detected + status.dropped.get("governed", 0) == frames == status.detected + sum(
            status.dropped.values())
        assert pipeline.reasons() == {}
        assert status.detecting


def test_a_governed_rate_is_no_slow_detector() -> None:
    """A minute at half a frame a second: neither slow, nor stale, nor failing; nobody is called for help."""
    clock, heard = FakeClock(), Heard()
    pipeline = build(LiveCamera(clock, 900, 15), FakeDetector(), clock, heard)
    pipeline.limit(0.5)
    run(pipeline)
    assert pipeline.reasons() == {}
    assert 29 <= len(heard.results) <= 31


def test_a_stale_frame_does_not_count_against_the_rate() -> None:
    """A stale frame does not count against the rate: the next fresh frame is detected in."""
    clock, heard = FakeClock(), Heard()
    pipeline = build(FakeCamera([make_frame(clock, 1, age_ms=2000), make_frame(clock, 2), make_frame(clock, 3)]),
                     FakeDetector(), clock, heard)
    pipeline.limit(1.0)
    run(pipeline)
    assert [result.frame.seq for result in heard.results] == [2]
    assert pipeline.status().dropped == {"stale": 1, "governed": 1}


def test_a_governed_camera_scales_nothing() -> None:
    """Most of its frames are not looked at: the detector scales those that are; later the camera does it again."""
    clock, heard = FakeClock(), Heard()
    camera = LiveCamera(clock, 45, 15)
    wishes = []
    pipeline = make_pipeline(camera, FakeDetector, clock, heard.result, lambda result: wishes.append(camera.scaling),
                             lambda result: limit_at(result.frame.seq))

    def limit_at(seq: int) -> None:
        if seq == 15:
            pipeline.limit(5.0)
        elif seq >= 30:
            pipeline.limit(None)
    run(pipeline)
    assert wishes[14] is not None
    assert wishes[15:18] == [None] * 3
    assert camera.scaling is not None


def test_where_every_frame_counts_the_camera_waits() -> None:
    """Nothing is dropped: the frames are taken at the governed rate, and stopping is not held up by it."""
    camera = FakeCamera([make_frame(FakeClock(), seq) for seq in range(1, 4)], ends=False)
    clock, heard = SystemClock(), Heard()
    pipeline = make_pipeline(camera, FakeDetector, clock, heard.result, max_frame_age_ms=1e15, every_frame=True)
    pipeline.limit(5.0)
    worker = Worker("detect", pipeline.run)
    began_s = clock.monotonic_ns() / 1e9
    worker.start()
    assert wait_until(lambda: len(heard.results) == 3, 60)
    assert clock.monotonic_ns() / 1e9 - began_s >= 0.39
    assert pipeline.status().dropped == {}
    pipeline.limit(0.001)
    assert worker.stop(60)


def test_the_gate_closes_after_a_result_in_time() -> None:
    """Until then, and after a frame without a result of the model, frames without motion are wanted too."""
    clock = FakeClock()
    ages_ms = {2: 2000.0, 5: 990.0}
    camera = FakeCamera([make_frame(clock, seq, age_ms=ages_ms.get(seq, 5)) for seq in range(1, 8)])
    pipeline = build(camera, FakeDetector({4: InvokeFailed("no")}), clock, Heard(), max_frame_age_ms=1000)
    pipeline.follow = lambda result: replace(result, age_ms=result.age_ms + ages_ms.get(result.frame.seq, 0) + 10)
    run(pipeline)
    assert pipeline.status().dropped == {"stale": 1, "failed": 1}
    assert camera.open_at == [True, False, True, False, True, True, False]
    assert not camera.gate_is_open


def test_the_gate_is_open_until_a_result_shows_the_new_region() -> None:
    """A frame that was under way when the region was changed is none, although it came in time."""
    clock, right = FakeClock(), Box(0.5, 0, 1, 1)
    camera = FakeCamera([make_frame(clock, seq) for seq in range(1, 7)])
    pipeline = build(camera, FakeDetector(), clock, Heard())
    pipeline.follow = lambda result: replace(result, roi=right if result.frame.seq >= 5 else result.roi)
    pipeline.subscribe(lambda result: pipeline.reload(
        Config.model_validate({"camera": {"roi": right}})) if result.frame.seq == 2 else None)
    run(pipeline)
    assert camera.open_at == [True, False, False, True, True, False]


def test_the_gate_is_open_while_anybody_wants_all_frames() -> None:
    """A track, a model in shadow or on trial, and a result that is due want them."""
    clock, wanted = FakeClock(), [False, True, True, False, False]
    camera = FakeCamera([make_frame(clock, seq) for seq in range(1, 5)])
    pipeline = build(camera, FakeDetector(), clock, Heard())
    pipeline.wants_all += [lambda: False, lambda: wanted[camera.taken]]
    run(pipeline)
    assert camera.open_at == [True, True, True, False]


def test_the_gate_is_open_after_a_time_without_results() -> None:
    """The counts are null until the next result, so that one is wanted."""
    clock = FakeClock()
    camera = StatusCamera([make_frame(clock, seq) for seq in range(1, 5)])
    pipeline = build(camera, FakeDetector(), clock, Heard())
    lost = replace(camera.now, interruptions=1)

    def blind(result: DetectionResult) -> None:
        if result.frame.seq == 3:
            camera.now = lost
        pipeline.report_blindness()
    pipeline.on_blind.append(lambda: None)
    pipeline.subscribe(blind)
    run(pipeline)
    assert camera.open_at == [True, False, False, True]
