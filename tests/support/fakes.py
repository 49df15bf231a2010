"""Strict fakes that implement the real ports and raise when they are misused."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from vedette.config.models import CameraConfig
from vedette.detect.pipeline import Listener, Pipeline
from vedette.errors import DetectError, SourceEnded
from vedette.ports import Camera, Clock, Detector, Fallback
from vedette.types import (
    BrokerStatus,
    CameraStatus,
    Detection,
    DetectionResult,
    DetectorFacts,
    Frame,
    Message,
    ModelRef,
    ReasonCode,
    RunIdentity,
    Scaling,
    Timing,
)

EPOCH = datetime(2026, 11, 21, tzinfo=UTC)
IDENTITY = RunIdentity("gate", 7, "this boot")
MODEL = ModelRef("street", "3", "ab" * 32)


class FakeClock:
    """A clock that moves only by a call; a test steps the wall clock by another `epoch`."""

    def __init__(self) -> None:
        self.now_ns = 1_000_000_000
        self.epoch = EPOCH

    def advance(self, seconds: float) -> None:
        self.now_ns += int(seconds * 1e9)

    def monotonic_ns(self) -> int:
        return self.now_ns

    def utc_now(self) -> datetime:
        return self.epoch + timedelta(microseconds=self.now_ns / 1e3)


def make_frame(clock: FakeClock, seq: int = 1, width: int = 8, height: int = 6, age_ms: float = 0.0) -> Frame:
    pixels = memoryview(bytearray(width * height * 3)).cast("B", (height, width, 3))
    at_ns = clock.now_ns - int(age_ms * 1e6)
    return Frame(seq, pixels, at_ns, clock.epoch + timedelta(microseconds=at_ns / 1e3), at_ns)


def make_result(frame: Frame, detections: tuple[Detection, ...] = ()) -> DetectionResult:
    return DetectionResult(frame, detections, MODEL, "local", Timing(1.0, 0.2, 3.0, 0.1), 4.5)


class FakeCamera:
    """Gives the frames it was loaded with; refuses a frame that is taken twice or released unknown."""

    def __init__(self, frames: list[Frame], *, ends: bool = True) -> None:
        self.frames = deque(frames)
        self.in_hand: dict[int, Frame] = {}
        self.taken = 0
        self.captured = len(frames)
        self.closed = False
        self.scaling: Scaling | None = None
        self.gate_is_open = True
        self.open_at: list[bool] = []
        """For each frame that was taken: whether those without motion would have come too."""
        self._ends = ends

    def take(self, timeout_s: float) -> Frame | None:
        assert not self.closed, "take() after close()"
        assert not self.in_hand, "take() while a frame is still held"
        if not self.frames:
            if self._ends:
                raise SourceEnded("the frames of the test are used up")
            return None
        self.open_at.append(self.gate_is_open)
        frame = self.frames.popleft()
        self.in_hand[frame.seq] = frame
        self.taken += 1
        return frame

    def release(self, frame: Frame) -> None:
        self.in_hand.pop(frame.seq, None)

    def scale_to(self, scaling: Scaling | None) -> None:
        self.scaling = scaling

    def open_gate(self, *, wanted: bool) -> None:
        self.gate_is_open = wanted

    def copy_next(self, timeout_s: float) -> Frame | None:
        return self.frames[0] if self.frames else None

    @property
    def dropped(self) -> Mapping[str, int]:
        return {}

    def status(self) -> CameraStatus:
        return CameraStatus("capturing", EPOCH, None, "fake", captured=self.captured, pending=len(self.frames))

    def close(self) -> None:
        self.closed = True


class StatusCamera(FakeCamera):
    """A camera with the status that the test sets."""

    def __init__(self, frames: list[Frame]) -> None:
        super().__init__(frames, ends=True)
        self.now = CameraStatus("capturing", EPOCH, None, "fake", captured=len(frames))
        self.raised: dict[ReasonCode, str] = {}

    def status(self) -> CameraStatus:
        return replace(self.now, pending=len(self.frames))

    def reasons(self) -> dict[ReasonCode, str]:
        return self.raised


class FakeFlow:
    """A flow without detections, with a few drops, that keeps the limits it was given."""

    detected = errors = 0

    def __init__(self) -> None:
        self.limits: list[float | None] = []
        self.still = 0

    def all_dropped(self) -> dict[str, int]:
        return {"replaced": 2, "stale": 0} | ({"still": self.still} if self.still else {})

    def limit(self, per_s: float | None) -> None:
        self.limits.append(per_s)


class FakeDetector:
    """Gives the detections in `sees`; raises those that are errors. Raises when used after close."""

    def __init__(self, sees: dict[int, tuple[Detection, ...] | DetectError] | None = None) -> None:
        self.sees = sees or {}
        self.looked_at: list[int] = []
        self.closed = False

    @property
    def facts(self) -> DetectorFacts:
        return DetectorFacts(MODEL, "litert", "2.3.0", 1.0, 1, "yolov8", 8, 6, ("person",))

    @property
    def scaling(self) -> Scaling | None:
        return Scaling(0, 0, 8, 6, 4, 3) if self.looked_at else None

    def detect(self, frame: Frame) -> DetectionResult:
        assert not self.closed, "detect() after close()"
        assert frame.pixels.nbytes, "detect() with released pixels"
        self.looked_at.append(frame.seq)
        seen = self.sees.get(frame.seq, ())
        if isinstance(seen, DetectError):
            raise seen
        return make_result(frame, seen)

    def close(self) -> None:
        self.closed = True


class FakePublisher:
    """Keeps every message."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def publish(self, message: Message) -> None:
        assert isinstance(message.payload, bytes)
        self.messages.append(message)

    def reasons(self) -> dict[ReasonCode, str]:
        return {}

    def status(self) -> BrokerStatus:
        return BrokerStatus(connected=True, cause=None, published=len(self.messages))


def make_pipeline(camera: Camera, open_detector: Callable[[], Detector | None], clock: Clock, *listeners: Listener,
                  max_frame_age_ms: float = 1000, every_frame: bool = False, fallback: Fallback | None = None,
                  stop_after: int | None = None, read_files: Callable[[], object] | None = None) -> Pipeline:
    """A pipeline with these listeners; a configuration would bound the age."""
    config = CameraConfig.model_construct(max_frame_age_ms=max_frame_age_ms, every_frame=every_frame)
    pipeline = Pipeline(camera, open_detector, clock, config, fallback=fallback, stop_after=stop_after,
                        read_files=read_files)
    for listener in listeners:
        pipeline.subscribe(listener)
    return pipeline


@dataclass
class Frames:
    """Stands for the pipeline: the frames that were detected in, and those that failed."""

    invoked: int = 0
    errors: int = 0

    def status(self) -> Frames:
        return self


class NoComparison:
    """Stands for the comparison of what two configurations let the model detect."""

    def begin(self) -> bool:
        return False

    def compare(self, _: object) -> None:
        """There is nothing to compare."""

    def close(self) -> None:
        """There is no child."""
