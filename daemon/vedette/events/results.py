"""Gives the detections of the device's own model their tracks, before the result is published, and makes the events.

Invariants: only results of source `local` are followed, and none of a frozen picture; no detection is added, removed or
moved; a time in which no such results could come ends no track.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vedette.config.models import Config
    from vedette.events.reporter import EventReporter
    from vedette.events.tracker import Track, Tracker
    from vedette.events.zone_reporter import ZoneReporter
    from vedette.ports import Camera, Clock
    from vedette.types import DetectionResult

DOUBTFUL_HITS, DOUBTFUL_S = 11, 1.0
"""A track that so many detections over so long could not confirm is one of which the model is never sure."""


class ResultTracker:
    """Follows things through the results of one run, as `events` in the configuration says."""

    def __init__(self, config: Config, clock: Clock, camera: Camera) -> None:
        self.events: EventReporter | None = None
        self.zones: ZoneReporter | None = None
        """Who reports what the tracks show; set before the first result."""
        self._clock = clock
        self._camera = camera
        self._config = self._applied = config
        self._tracker: Tracker | None = None
        self._blind = threading.Event()
        self._follows = False

    def __repr__(self) -> str:
        return f"<ResultTracker {self._tracker!r}>"

    def reload(self, config: Config) -> None:
        """Apply the live keys of a configuration, from the next result on. Any thread."""
        self._config = config

    def on_blind(self) -> None:
        """Note that no results could come since the last one. Any thread."""
        self._blind.set()
        if self.zones is not None:
            self.zones.on_blind()

    def follows(self) -> bool:
        """Whether the next frames are needed even if nothing moves in them. Any thread."""
        return self._follows

    def on_result(self, result: DetectionResult) -> None:
        """Take any result that is published. Those of a fallback are not followed: meanwhile nobody looks."""
        if result.source != "local":
            self.on_blind()

    def follow(self, result: DetectionResult) -> DetectionResult:
        """Return the result with a track for each detection whose thing is confirmed. Detect thread only."""
        config = self._config
        self._follows = False
        if not config.events.enabled:
            self.close()
            return result
        if self._camera.status().state == "frozen":
            self.on_blind()
            return result
        begun_ns = self._clock.monotonic_ns()
        if self._tracker is None:
            from vedette.events.tracker import Tracker  # imports numpy: later than the start
            self._tracker = Tracker(config.events.keep_s)
        blind = self._blind.is_set()
        if blind:     # else one that is set just now would be lost
            self._blind.clear()
        self._tracker.keep_s = config.events.keep_s
        self._tracker.labels = frozenset(config.event_labels)
        blind = self._tracker.set_region(result.roi) or blind
        tracks = self._tracker.update(result.detections, result.frame.scene_s,
                                      looked_away=blind or result.frame.after_still)
        detections = tuple(
            detection if track is None or track.confirmed_s is None else replace(detection, track=track.id)
            for detection, track in zip(result.detections, tracks, strict=True))
        if self.events is not None:
            self._report(self.events, self._tracker, config, result)
        self._follows = self._needs_more(self._tracker.tracks, result.frame.scene_s)
        track_ms = (self._clock.monotonic_ns() - begun_ns) / 1e6
        return replace(result, detections=detections, timing=replace(result.timing, track_ms=track_ms),
                       age_ms=result.age_ms + track_ms)

    def close(self) -> None:
        """End all events: nobody follows the things any more. Detect thread, or after its end."""
        if self._tracker is not None and self._tracker.tracks:
            self._tracker.forget()
            if self.events is not None:
                self.events.end_all()
        self.on_blind()

    def _report(self, events: EventReporter, tracker: Tracker, config: Config, result: DetectionResult) -> None:
        if config is not self._applied:
            self._applied = config
            events.apply(config)
        events.follow(result, tracker.tracks, tracker.ended)
        if self.zones is not None:
            self.zones.show(config.zones, events.open, result)

    def _needs_more(self, tracks: Sequence[Track], now_s: float) -> bool:
        """Return whether a thing comes, moves or has vanished, or a zone is about to be empty."""
        if self.zones is not None and self.zones.waits:
            return True
        return any(track.hits < DOUBTFUL_HITS or now_s - track.began_s < DOUBTFUL_S if track.confirmed_s is None
                   else track.seen_s != now_s or self.events is None or self.events.is_changing(track)
                   for track in tracks)
