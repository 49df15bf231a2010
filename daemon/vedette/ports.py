"""The Protocols between the flow and the adapters. The pipeline knows these and no adapter.

Invariants: every wait has a timeout; `close()` is safe to call twice; a method says which thread calls it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from vedette.types import BrokerStatus, CameraStatus, DetectionResult, DetectorFacts, Frame, Message, Scaling, Source


class Clock(Protocol):
    """Time, injected so that tests own it."""

    def monotonic_ns(self) -> int:
        """CLOCK_MONOTONIC in nanoseconds."""

    def utc_now(self) -> datetime:
        """Wall clock with tzinfo UTC."""


class Camera(Protocol):
    """Gives frames, newest first or every one, and counts what it drops."""

    def take(self, timeout_s: float) -> Frame | None:
        """Return the next frame for the detector, or None after `timeout_s`. Detect thread only.

        Raises: SourceEnded after the last frame of a source that ends; SourceInvalid or SourceMissing when a
        source that cannot come back (a file, a folder) is missing or no video.
        """

    def release(self, frame: Frame) -> None:
        """Give the frame's pixels back; they must not be touched afterwards. Safe to call twice."""

    def scale_to(self, scaling: Scaling | None) -> None:
        """Have later frames carry this part scaled as well, where the camera can: a hint. Any thread, never blocks."""

    def copy_next(self, timeout_s: float) -> Frame | None:
        """Return a copy of the next frame to arrive, in memory of its own. Any thread; takes none away."""

    def status(self) -> CameraStatus:
        """What the camera is doing. Any thread, never blocks for long."""

    def close(self) -> None:
        """Stop capturing. Frames not yet taken stay counted as pending."""


class Detector(Protocol):
    """Frame in, detection result out. Owned by one thread at a time."""

    @property
    def facts(self) -> DetectorFacts:
        """What runs and how."""

    @property
    def scaling(self) -> Scaling | None:
        """What a frame may bring along scaled, to spare the detector that work; None: nothing, or not known yet."""

    def detect(self, frame: Frame) -> DetectionResult:
        """Look at one frame. Raises: DetectError when it could not be looked at."""

    def close(self) -> None:
        """Free the interpreter."""


class Fallback(Protocol):
    """Who looks while the detector cannot. `look` is for the detect thread, the rest for any."""

    @property
    def looking(self) -> Source | None:
        """Whose results come now. Any thread."""

    def activate(self) -> None:
        """Begin to look, and have other results told. Any thread; safe to call twice."""

    def deactivate(self) -> None:
        """Look no more: nothing that was begun is told. Any thread; safe to call twice."""

    def look(self, frame: Frame) -> DetectionResult | None:
        """Look at a frame that the detector could not look at; None where there is nothing to tell."""

    def told(self, result: DetectionResult) -> None:
        """Hear that a result of its own was told. Any thread."""

    def reasons(self) -> Mapping[str, str]:
        """Health reason code -> detail in words. Any thread."""


class Publisher(Protocol):
    """Takes messages for subscribers. Any thread."""

    def publish(self, message: Message) -> None:
        """Accept the message; never blocks and never raises for an absent broker: what is lost is counted."""

    def status(self) -> BrokerStatus:
        """What the connection is doing."""
