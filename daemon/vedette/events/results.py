"""Gives the detections of the device's own model their tracks, before the result is published.

Invariants: only results of source `local` are followed; no detection is added, removed or moved; a time in which no
results could come ends no track.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vedette.config.models import Config
    from vedette.events.tracker import Tracker
    from vedette.ports import Clock
    from vedette.types import DetectionResult


class ResultTracker:
    """Follows things through the results of one run, as `events` in the configuration says."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self._clock = clock
        self._events = config.events
        self._blind = threading.Event()

    def __repr__(self) -> str:
        return f"<ResultTracker {self._tracker!r}>"

    @cached_property
    def _tracker(self) -> Tracker:
        from vedette.events.tracker import Tracker  # imports numpy: later than the start
        return Tracker(self._events.keep_s)

    def reload(self, config: Config) -> None:
        """Apply the live keys of a configuration, from the next result on. Any thread."""
        self._events = config.events

    def on_blind(self) -> None:
        """Note that no results could come since the last one. Any thread."""
        self._blind.set()

    def follow(self, result: DetectionResult) -> DetectionResult:
        """Return the result with a track for each detection whose thing is confirmed. Detect thread only."""
        if not self._events.enabled:
            return result
        begun_ns = self._clock.monotonic_ns()
        self._tracker.keep_s = self._events.keep_s
        looked_away = self._blind.is_set()
        if looked_away:     # else one that is set just now would be lost
            self._blind.clear()
        tracks = self._tracker.update(result.detections, result.frame.captured_ns / 1e9, looked_away=looked_away)
        detections = tuple(
            detection if track is None or track.confirmed_s is None else replace(detection, track=track.id)
            for detection, track in zip(result.detections, tracks, strict=True))
        track_ms = (self._clock.monotonic_ns() - begun_ns) / 1e6
        return replace(result, detections=detections, timing=replace(result.timing, track_ms=track_ms),
                       age_ms=result.age_ms + track_ms)
