"""The fallback: when it is called, what it publishes, what it never publishes, and what health reports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import cast

import pytest

from tests.support.fakes import FakeCamera, FakeClock, FakeDetector, make_frame, make_pipeline
from vedette._lib.worker import Worker
from vedette.config.models import Config
from vedette.detect.detector_health import FAILING_AFTER, STALE_AFTER_S, DetectorHealth
from vedette.detect.hot_swap import RETRY_MODEL_S, WORN_AFTER
from vedette.errors import DetectError, InvokeFailed
from vedette.fallback.breaker import Allowance, Spent, left
from vedette.fallback.build import Fallbacks
from vedette.fallback.chain import CLOUD_DUE_S, HOLD_S, REASON_OF, FallbackChain
from vedette.fallback.cloud_worker import CloudWorker
from vedette.fallback.motion import MotionDetector
from vedette.health.reasons import state_of
from vedette.types import WHOLE, Box, Detection, DetectionResult, Frame, ReasonCode, Source, Timing

MOVING = Detection("motion", None, None, Box(0.1, 0.1, 0.2, 0.2))


def seen_by(source: Source, frame: Frame) -> DetectionResult:
    return DetectionResult(frame, (MOVING,), None, source, Timing(0, 0, 0, 0), 5.0)


class Help:
    """A strict ports.Fallback that detects motion in every frame, or nothing; raises when it is called unexpectedly."""

    def __init__(self, *, detects: bool = True, source: Source | None = "motion") -> None:
        self.active = False
        self.source = source
        self.published: list[int] = []
        self._detects = detects

    @property
    def active_source(self) -> Source | None:
        return self.source if self.active else None

    def activate(self, on_result: Callable[[DetectionResult], bool]) -> None:
        self.active = True

    def deactivate(self) -> None:
        self.active = False

    def detect(self, frame: Frame) -> DetectionResult | None:
        return seen_by("motion", frame) if self._detects and self.active else None

    def on_published(self, result: DetectionResult) -> None:
        assert result.source != "local"
        self.published.append(result.frame.seq)

    def reasons(self) -> dict[ReasonCode, str]:
        return {REASON_OF[self.source]: ""} if self.active and self.source else {}


class WatchedCamera(FakeCamera):
    """Before each new frame, calls `before` with the number of frames taken so far."""

    def __init__(self, clock: FakeClock, frames: int, before: Callable[[int], object] = lambda taken: None) -> None:
        super().__init__([make_frame(clock, seq) for seq in range(1, frames + 1)])
        self.before = before
        self._clock = clock

    def take(self, timeout_s: float) -> Frame | None:
        self.before(self.taken)
        frame = super().take(timeout_s)
        return make_frame(self._clock, frame.seq) if frame else None


class Rig:
    """A pipeline over strict fakes, with help."""

    def __init__(self, frames: int, detector: FakeDetector | None, fallback: Help, *, max_age_ms: float = 1000) -> None:
        self.clock = FakeClock()
        self.camera = WatchedCamera(self.clock, frames)
        self.received: list[DetectionResult] = []
        self.help = fallback
        self.pipeline = make_pipeline(self.camera, lambda: detector, self.clock, self.received.append,
                                 max_frame_age_ms=max_age_ms, fallback=fallback)

    def run(self) -> None:
        self.pipeline.run(Worker("detect", self.pipeline.run))

    def results(self) -> list[tuple[int, str]]:
        return [(result.frame.seq, result.source) for result in self.received]


def failing(*seqs: int) -> FakeDetector:
    return FakeDetector({seq: InvokeFailed("node 7 failed") for seq in seqs})


def test_the_fallback_starts_after_a_few_failures_and_stops_with_the_first_result() -> None:
    """Frames that fail before it are dropped as failed, motion uses later ones; the first good frame ends it."""
    rig = Rig(8, failing(2, 3, 4, 5, 6), Help())
    rig.run()
    assert rig.results() == [(1, "local"), (5, "motion"), (6, "motion"), (7, "local"), (8, "local")]
    assert not rig.help.active
    status = rig.pipeline.status()
    assert (status.detected, status.invoked, status.errors, dict(status.dropped)) == (5, 3, 5, {"failed": 3})
    assert FAILING_AFTER == 3


@pytest.mark.parametrize("detects", [True, False])
def test_without_a_model_motion_uses_each_frame_or_it_is_counted(detects: bool) -> None:
    """A frame that cannot be used is a drop, never an empty result."""
    rig = Rig(5, None, Help(detects=detects, source="motion" if detects else None))
    rig.run()
    status = rig.pipeline.status()
    assert status.detected == len(rig.received) == (5 if detects else 0)
    assert status.detected + sum(status.dropped.values()) == rig.camera.captured
    assert status.detecting is detects
    assert state_of(rig.pipeline.reasons()) == ("degraded" if detects else "failed")


def test_cloud_results_are_taken_only_while_the_model_fails() -> None:
    """A result that comes when the model works again, or about an earlier frame, is refused."""
    rig = Rig(8, failing(1, 2, 3, 4, 5), Help(detects=False))
    tried: list[bool] = []

    def try_to_publish(taken: int) -> None:
        if taken in (1, 4, 7):
            tried.append(rig.pipeline.on_fallback_result(seen_by("cloud", make_frame(rig.clock, taken))))
    rig.camera.before = try_to_publish
    rig.run()
    assert tried == [False, True, False]
    assert rig.results() == [(4, "cloud"), (6, "local"), (7, "local"), (8, "local")]
    assert rig.help.published == [4]
    assert rig.pipeline.status().detected == 3, "the cloud's are copies"


def test_a_cloud_result_about_an_earlier_frame_is_refused() -> None:
    """Also while the model fails: subscribers have a newer result of the model already."""
    rig = Rig(8, failing(4, 5, 6, 7, 8), Help(detects=False))
    tried: list[bool] = []

    def try_to_publish(taken: int) -> None:
        if taken == 7:
            tried.extend(rig.pipeline.on_fallback_result(seen_by("cloud", make_frame(rig.clock, seq)))
                         for seq in (2, 3, 4))
    rig.camera.before = try_to_publish
    rig.run()
    assert tried == [False, False, True]


def test_listeners_get_one_result_at_a_time() -> None:
    """Results of both threads are handed over under one lock."""
    rig = Rig(6, failing(2, 3, 4, 5, 6), Help(detects=False))
    was_locked: dict[str, bool] = {}
    rig.pipeline.subscribe(lambda result: was_locked.update({result.source: rig.pipeline._publishing.locked()}))

    def publish(taken: int) -> None:
        if taken == 5:
            rig.pipeline.on_fallback_result(seen_by("cloud", make_frame(rig.clock, taken)))
    rig.camera.before = publish
    rig.run()
    assert was_locked == {"local": True, "cloud": True}


def test_a_pause_stops_the_fallback_at_once() -> None:
    """During a pause nothing detects: the pause deactivates the cloud, and refuses its results."""
    rig = Rig(4, None, Help())
    rig.run()
    before = rig.help.active
    rig.pipeline.pause(60)
    assert (before, rig.help.active) == (True, False)
    assert not rig.pipeline.on_fallback_result(seen_by("cloud", make_frame(rig.clock, 9)))
    assert not rig.pipeline.status().detecting


def test_a_slow_model_is_reported_and_the_cloud_preferred() -> None:
    """Results later than the limit are published until the cloud is active; then they are counted as slow."""
    fallback = Help(detects=False, source=None)
    rig = Rig(12, FakeDetector(), fallback, max_age_ms=4)     # make_result() is 4.5 ms old

    def a_second_later(taken: int) -> None:
        rig.clock.advance(1)
        fallback.source = "cloud" if taken >= 9 else None
    rig.camera.before = a_second_later
    rig.run()
    assert [result.frame.seq for result in rig.received] == list(range(1, 10))
    assert dict(rig.pipeline.status().dropped) == {"slow": 3}
    assert "detector_slow" in rig.pipeline.reasons()
    assert fallback.active


def test_a_detector_that_keeps_failing_is_reopened() -> None:
    """After a minute of failures the model is loaded again; the old detector is closed, and results come."""
    clock = FakeClock()
    received: list[DetectionResult] = []
    broken, fresh = failing(*range(1, 10)), FakeDetector()
    to_open = [broken, fresh]
    camera = WatchedCamera(clock, 7, lambda _: clock.advance(RETRY_MODEL_S / 2))
    pipeline = make_pipeline(camera, lambda: to_open.pop(0), clock, received.append)
    pipeline.run(Worker("detect", pipeline.run))
    assert broken.looked_at == [1, 2, 3, 4, 5]
    assert broken.closed
    assert [result.frame.seq for result in received] == [6, 7]


def test_a_detector_that_fails_now_and_then_is_reopened() -> None:
    """Each failed invoke of LiteRT makes its error message longer and the next invoke slower, without end."""
    clock = FakeClock()
    received: list[DetectionResult] = []
    opened: list[FakeDetector] = []

    def opens() -> FakeDetector:
        opened.append(failing(*range(1, 6 * WORN_AFTER, 2)))
        return opened[-1]

    camera = WatchedCamera(clock, 5 * WORN_AFTER, lambda _: clock.advance(0.01))
    pipeline = make_pipeline(camera, opens, clock, received.append)
    pipeline.run(Worker("detect", pipeline.run))
    assert [len(detector.looked_at) for detector in opened] == pytest.approx([2 * WORN_AFTER] * 2 + [WORN_AFTER], abs=1)
    assert all(detector.closed for detector in opened)
    assert len(received) == 5 * WORN_AFTER / 2


def test_failures_are_logged_once_a_minute_at_most() -> None:
    """A model that fails on every other frame does not fill the log; the same message is logged once, then another."""
    clock = FakeClock()
    health = DetectorHealth(clock, 1000)

    def logged(seconds: int, *messages: str, detects: bool) -> list[str]:
        news = []
        for _ in range(10 * seconds):
            clock.advance(0.1)
            news += [each for each in messages if health.on_failure(each)]
            if detects:
                health.on_result(5.0)
        return news

    assert logged(150, "node 7", detects=True) == ["node 7"] * 3
    assert logged(150, "node 7", detects=False) == ["node 7"]
    assert logged(150, "row 1", "row 2", detects=False) == ["row 1", "row 2", "row 1"]
    health.reset()
    assert logged(1, "row 1", detects=False) == ["row 1"]


def refuse(_: DetectionResult) -> bool:
    """No result of the cloud is expected."""
    raise AssertionError


class Motion(MotionDetector):
    """Detects from the third frame on; before that it learns."""

    def __init__(self) -> None:
        super().__init__()
        self.frames = 0

    def detect(self, frame: Frame) -> DetectionResult:
        self.frames += 1
        if self.frames < 3:
            raise DetectError("still learning")
        return seen_by("motion", frame)


def test_motion_is_active_only_while_its_results_come() -> None:
    """While it learns it is not active, nor after a time without results."""
    clock = FakeClock()
    chain = FallbackChain(clock, cloud=None, interval_s=5, motion=Motion, frame_s=0.1)
    assert chain.detect(make_frame(clock)) is None, "it is not active"
    chain.activate(refuse)
    assert [chain.detect(make_frame(clock, seq)) for seq in (1, 2)] == [None, None]
    assert (chain.active_source, chain.reasons()) == (None, {})
    result = chain.detect(make_frame(clock, 3))
    assert result is not None
    chain.on_published(result)
    chain.activate(refuse)        # the second call changes nothing: it does not learn anew
    assert chain.reasons() == {"fallback_motion": ""}
    assert chain.health() == {"looking": "motion", "cloud": None, "motion_results": 1}
    clock.advance(HOLD_S + 0.1)
    assert chain.active_source is None
    chain.on_published(result)
    chain.deactivate()
    assert chain.active_source is None
    assert chain.detect(make_frame(clock, 4)) is None


class Interleaved(FallbackChain):
    """Between the first and the second step of its deactivation another thread activates it."""

    other: Thread | None = None

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name == "_active" and value is False and self.other is not None and not self.other.is_alive():
            self.other.start()
            self.other.join(0.2)        # it must wait until the deactivation has ended


def test_motion_examines_the_region_of_the_last_reload(tmp_path: Path) -> None:
    """Motion that is at work goes over to it, and so does motion that starts later."""
    clock, region = FakeClock(), Box(0.5, 0, 1, 1)
    fallbacks = Fallbacks(Config.model_validate({"fallback": {"motion": True}}), tmp_path, FakeCamera([]), clock,
                          boot_id="boot", on_end=print)

    def regions(frames: int) -> set[Box]:
        seen = set()
        for _ in range(frames):
            clock.advance(0.1)
            result = fallbacks.chain.detect(make_frame(clock, width=64, height=36))
            seen |= {result.roi} if result else set()
        return seen
    fallbacks.chain.activate(lambda _: True)
    assert regions(20) == {WHOLE}
    fallbacks.reload(Config.model_validate({"fallback": {"motion": True}, "camera": {"roi": region}}))
    assert regions(20) == {region}
    fallbacks.chain.deactivate()
    fallbacks.chain.activate(lambda _: True)
    assert regions(20) == {region}


def test_two_threads_may_switch_it_at_once() -> None:
    """The main thread activates it while the detect thread deactivates it: it is on as a whole, or off as a whole."""
    clock = FakeClock()
    chain = Interleaved(clock, cloud=None, interval_s=5, motion=Motion, frame_s=0.1)
    chain.activate(refuse)
    chain.other = other = Thread(target=chain.activate, args=(refuse,))
    chain.deactivate()
    other.join(60)
    for _ in range(3):
        result = chain.detect(make_frame(clock))
    assert result is not None, "active without motion"


class Cloud:
    """A cloud worker that works, as the chain uses it for each frame."""

    cause: str | None = None

    def activate(self, on_result: Callable[[DetectionResult], bool]) -> None:
        """Begin."""

    def deactivate(self) -> None:
        """End."""


def test_a_frame_costs_no_status_of_the_cloud() -> None:
    """Its budget and its breaker are asked for health alone; a frame needs the cause of its last failure."""
    clock, cloud = FakeClock(), Cloud()
    chain = FallbackChain(clock, cloud=cast(CloudWorker, cloud), interval_s=5, motion=Motion, frame_s=0.1)
    chain.activate(refuse)
    results = [chain.detect(make_frame(clock)) for _ in range(4)]
    assert results == [None] * 4, "a result of the cloud is due"
    cloud.cause = "no route"
    assert chain.detect(make_frame(clock)) is not None
    assert chain.reasons() == {"cloud_failing": "no route"}
    cloud.cause = None
    chain.on_published(seen_by("cloud", make_frame(clock)))
    assert chain.active_source == "cloud"


def test_the_cloud_is_active_until_its_next_result_is_late() -> None:
    """A result keeps it active for one interval, and for CLOUD_DUE_S more."""
    clock = FakeClock()
    chain = FallbackChain(clock, cloud=cast(CloudWorker, Cloud()), interval_s=5, motion=None, frame_s=0.1)
    chain.activate(refuse)
    chain.on_published(seen_by("cloud", make_frame(clock)))
    clock.advance(5 + CLOUD_DUE_S - 0.01)
    assert chain.active_source == "cloud"
    clock.advance(0.02)
    assert chain.active_source is None


def test_a_result_that_comes_too_late_does_not_count_for_the_next_time() -> None:
    """It was published while the fallback was deactivated."""
    clock, cloud = FakeClock(), Cloud()
    chain = FallbackChain(clock, cloud=cast(CloudWorker, cloud), interval_s=5, motion=None, frame_s=0.1)
    chain.activate(refuse)
    chain.deactivate()
    chain.on_published(seen_by("cloud", make_frame(clock)))
    chain.activate(refuse)
    assert chain.active_source is None


def test_stale_and_slow_are_different_reasons() -> None:
    """A frame too old is stale, a result too old is slow, each only after it has lasted."""
    clock = FakeClock()
    health = DetectorHealth(clock, 100)
    for _ in range(2):
        assert health.is_stale(clock.now_ns - 200_000_000)
        health.on_result(200)
        assert health.reasons() == {}
        clock.advance(STALE_AFTER_S)
    clock.advance(0.1)
    assert health.reasons().keys() == {"all_stale", "detector_slow"}
    health.on_result(50)
    assert not health.is_stale(clock.now_ns)
    assert health.reasons() == {}


def test_the_rest_of_a_budget() -> None:
    """An amount that was spent in a window is unavailable until its end."""
    hour = Allowance("hour", 3600, 10, 1000)
    assert left((Spent(0, calls=4, bytes=1200),), (hour,), 3599) == (Allowance("hour", 3600, 6, 0),)
    assert left((Spent(0, calls=4, bytes=1200),), (hour,), 3600) == (hour,)


def test_a_fallback_makes_only_reasons_of_the_model_degraded() -> None:
    """A camera without frames stays failed."""
    assert state_of({"no_model"}) == "failed"
    assert state_of({"no_model", "cloud_failing"}) == "failed"
    assert state_of({"no_model", "fallback_cloud"}) == "degraded"
    assert state_of({"no_model", "fallback_motion", "camera_offline"}) == "failed"
