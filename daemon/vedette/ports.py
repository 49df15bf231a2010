"""The Protocols between the flow and the adapters. The pipeline knows these and no adapter.

Invariants: every wait has a timeout; `close()` is safe to call twice; a method says which thread calls it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol

from vedette.types import (
    BrokerStatus,
    CameraStatus,
    DetectionResult,
    DetectorFacts,
    Frame,
    Message,
    ReasonCode,
    Scaling,
    Source,
)


class Clock(Protocol):
    """Time, injected so that tests own it."""

    def monotonic_ns(self) -> int:
        """CLOCK_MONOTONIC in nanoseconds."""

    def utc_now(self) -> datetime:
        """Wall clock with tzinfo UTC."""


class ReasonSource(Protocol):
    """A part that knows when something is not as it should be."""

    def reasons(self) -> Mapping[ReasonCode, str]:
        """Return the reasons that hold now, each with its detail as a message or an empty string.

        Main thread; never blocks for long.
        """


class Camera(Protocol):
    """Gives frames, newest first or every one, and counts what it drops."""

    @property
    def dropped(self) -> Mapping[str, int]:
        """Frames dropped before the detector, by cause. Any thread; cheap enough for every result."""

    def take(self, timeout_s: float) -> Frame | None:
        """Return the next frame for the detector, or None after `timeout_s`. Detect thread only.

        Raises: SourceEnded after the last frame of a source that ends; SourceInvalid or SourceMissing when a
        source that cannot come back (a file, a folder) is missing or no video.
        """

    def release(self, frame: Frame) -> None:
        """Give the frame's pixels back; they must not be touched afterwards. Safe to call twice."""

    def scale_to(self, scaling: Scaling | None) -> None:
        """Request this part, scaled, with later frames: only a hint. Any thread, never blocks."""

    def open_gate(self, *, wanted: bool) -> None:
        """Give the detector frames in which nothing moves too, while this is wanted. Any thread, never blocks."""

    def copy_next(self, timeout_s: float) -> Frame | None:
        """Return a copy of the next frame; the detector still gets that frame. Any thread."""

    def status(self) -> CameraStatus:
        """Return what the camera is doing. Any thread, never blocks for long."""

    def close(self) -> None:
        """Stop capturing. Frames that nobody took yet still count as pending."""


class Pictures(Protocol):
    """A camera whose own process encodes frames."""

    on_picture: Callable[[int, bytes], None] | None
    """Gets the seq of a frame and its JPEG; the JPEG is empty if there is none. Any thread."""

    def order_picture(self, frame: Frame, width: int, height: int, quality: int) -> bool:
        """Have this frame encoded when it is released, scaled down to at most `width` x `height`.

        Returns False if the camera has the frame no more, so that there will be no picture of it. An order replaces
        the one before. Any thread, never blocks.
        """


class Detector(Protocol):
    """Frame in, detection result out. Owned by one thread at a time."""

    @property
    def facts(self) -> DetectorFacts:
        """The model that runs, and how it runs."""

    @property
    def scaling(self) -> Scaling | None:
        """The part of a frame that the camera shall scale for the detector; None: no part, or not known."""

    def detect(self, frame: Frame) -> DetectionResult:
        """Detect in one frame. Raises: DetectError if that failed; this is not an empty result."""

    def close(self) -> None:
        """Free the interpreter."""


class Flow(Protocol):
    """The way of the frames, as other parts see it. Any thread."""

    @property
    def detected(self) -> int:
        """Frames of this run with a result of the model or of motion."""

    @property
    def errors(self) -> int:
        """Frames of this run that the model failed on."""

    def all_dropped(self) -> Mapping[str, int]:
        """Return the frames dropped in this run, by cause, the camera's too."""

    def limit(self, per_s: float | None) -> None:
        """Detect in no more frames a second than this, on average; None: in all of them."""


class Fallback(Protocol):
    """Detects while the detector cannot. `detect` is for the detect thread, the rest for any."""

    @property
    def active_source(self) -> Source | None:
        """The source whose results come now; None while none come. Any thread."""

    def activate(self, on_result: Callable[[DetectionResult], bool]) -> None:
        """Start detecting. Any thread; safe to call twice.

        Results from a thread of its own go to `on_result`, which returns False for one that comes too late.
        """

    def deactivate(self) -> None:
        """Stop detecting: no result of a call under way is published. Any thread; safe to call twice."""

    def detect(self, frame: Frame) -> DetectionResult | None:
        """Detect in a frame that the detector could not use; None if there is nothing to publish."""

    def on_published(self, result: DetectionResult) -> None:
        """Called after a result of this fallback was published. Any thread."""

    def reasons(self) -> Mapping[ReasonCode, str]:
        """As ReasonSource. Any thread."""


class Publisher(Protocol):
    """Takes messages for subscribers. Any thread."""

    def publish(self, message: Message) -> None:
        """Accept the message. Never blocks, and never raises for an absent broker: lost messages are counted."""

    def status(self) -> BrokerStatus:
        """Return the status of the connection."""
