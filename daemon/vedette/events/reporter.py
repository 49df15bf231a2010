"""Makes events of tracks: a start, updates, and an end for each thing that comes, stays and goes.

Invariants:
- Each event that started ends exactly once: when its track ends, when it is no longer wanted, or with the run.
- An end is `interrupted` where nobody looked between the last detection and the end.
- Every time stamp is a frame's. One that was made before the clock was set is made anew once it is set.
- Nothing here touches results, counts or tracks. One thread at a time.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from vedette.events.event import Event
from vedette.events.zones import Places
from vedette.messages import payloads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from vedette.config.models import Config
    from vedette.config.scene import MinimumConfig
    from vedette.events.best_picture import BestPicture
    from vedette.events.clips import Clips
    from vedette.events.tracker import Track
    from vedette.messages.event_shapes import EventPayload, EventType
    from vedette.types import DetectionResult, RunIdentity

REMEMBER_EVERY_S = 60.0
"""After a crash, an event ends at most so long before it was really seen last."""
PICTURES_MAX = 20
"""So many things have a picture at a time; each takes up to 1 MB. One that stands still gives way to a new one."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A message about an event, before it has its `seq`.

    `seen_at`: when the thing was seen last. `unsynced_ns`: as in Message. `publish`: False if it is only to be
    remembered, in case the run does not end in order.
    """

    payload: EventPayload
    seen_at: datetime
    unsynced_ns: int | None
    publish: bool = True
    picture: BestPicture | None = None
    """The best picture so far, to be published before the message."""


class EventReporter:
    """Makes drafts of the events of one run, and hands them to `put`."""

    def __init__(self, config: Config, identity: RunIdentity, *, put: Callable[[Draft], None],
                 clock_synced: Callable[[], bool], wants_picture: Callable[[str], bool],
                 clips: Clips | None = None) -> None:
        self._identity = identity
        self._put = put
        self._clock_synced = clock_synced
        self._wants_picture = wants_picture
        self._clips = clips
        self._events: dict[int, Event] = {}
        self._count = 0
        self._remembered_s = 0.0
        self._result: DetectionResult | None = None
        self.apply(config)

    def __repr__(self) -> str:
        return f"<EventReporter {self._count} events, {len(self._events)} things>"

    def apply(self, config: Config) -> None:
        """Use another configuration. Events that it does not want end with the next result."""
        self._config = config
        self.places = Places(config.zones, config.lines)

    @property
    def open(self) -> list[Event]:
        """The events that have started and not ended."""
        return [event for event in self._events.values() if event.id]

    def follow(self, result: DetectionResult, tracks: Sequence[Track], ended: Iterable[Track]) -> None:
        """Take a result, all tracks after it, and the confirmed ones that it ended."""
        self._result = result
        now_s = result.frame.scene_s
        for track in ended:
            self._end(self._events.pop(track.id, None))
        for track in tracks:
            if track.seen_s == now_s and self._config.makes_events(track.label):
                self._follow(track, result)
        known = {track.id for track in tracks}      # one that was never confirmed ends without a word
        for event in [event for event in self._events.values()
                      if event.track.id not in known or not self._config.makes_events(event.track.label)]:
            self._end(self._events.pop(event.track.id), interrupted=True)
        if now_s - self._remembered_s >= REMEMBER_EVERY_S:
            self._remembered_s = now_s
            for event in self.open:
                self._draft(event, "update", publish=False)

    def is_changing(self, track: Track) -> bool:
        """Return whether there is more to tell of it soon: its thing is wanted, and does not stand still."""
        event = self._events.get(track.id)
        return event is not None and (event.changed or not event.stationary)

    def end_all(self) -> None:
        """End every event as interrupted: nobody will look again."""
        for event in self._events.values():
            self._end(event, interrupted=True)
        self._events.clear()

    def _follow(self, track: Track, result: DetectionResult) -> None:
        event = self._events.get(track.id)
        if event is None:
            event = self._events[track.id] = Event(track, self._moment(track.began_s))
        event.follow(self.places)
        event.model = result.model
        if track.confirmed_s is None:
            return
        self._consider(event, result)
        if not event.id and _reaches(event, self._config.events.minimum.get(track.label)):
            self._count += 1
            event.id = f"{self._identity.run}-{self._count}"
            event.episode = next((other.episode for other in self.open if not other.stationary and other is not event),
                                 event.id)
            self._draft(event, "start")
            if self._clips is not None:
                self._clips.event_began(event.id, track.label, int(track.began_s * 1e9))
        elif event.id and event.is_due(track.seen_s):
            self._draft(event, "update")

    def _consider(self, event: Event, result: DetectionResult) -> None:
        """Keep the picture of this frame if it is the best of the event so far."""
        if not self._wants_picture(event.track.label):
            event.picture = None
            return
        if event.picture is None:
            held = [each for each in self._events.values() if each.picture is not None]
            if len(held) >= PICTURES_MAX:
                parked = next((each for each in held if each.stationary), None)
                if parked is None or event.stationary:
                    return
                parked.picture = None
            from vedette.events.best_picture import BestPicture  # imports OpenCV: only where pictures are wanted
            event.picture = BestPicture()
        event.picture.consider(result.frame, event.track.box, event.track.last_score)
        after_s, lasted_s = self._config.events.best_after_s, event.track.seen_s - event.track.began_s
        if after_s is not None and not event.has_shown and event.id and lasted_s >= after_s:
            event.has_shown = event.changed = True

    def _end(self, event: Event | None, *, interrupted: bool = False) -> None:
        if event is not None and event.id:
            event.path.finish(self.places)
            self._draft(event, "end", interrupted=interrupted or event.track.interrupted)
            if self._clips is not None:
                self._clips.event_ended(event.id, int(event.track.seen_s * 1e9))

    def _draft(self, event: Event, kind: EventType, *, interrupted: bool = False, publish: bool = True) -> None:
        track, path = event.track, event.path
        if not event.began_is_right:
            event.began, event.began_is_right = self._moment(track.began_s), self._clock_synced()
            if event.picture and event.began_is_right:
                event.picture.stamp(self._moment(event.picture.captured_ns / 1e9))
        seen_at = self._moment(track.seen_s)
        if publish:
            event.changed, event.told_s = False, track.seen_s
        payload: EventPayload = {
            "schema": "vedette.events/1",
            "device": self._identity.device,
            "run": self._identity.run,
            "seq": 0,
            "type": kind,
            "id": event.id,
            "episode": event.episode,
            "track": track.id,
            "label": track.label,
            "began": payloads.timestamp(event.began),
            "ended": payloads.timestamp(seen_at) if kind == "end" else None,
            "interrupted": interrupted,
            "score": track.score,
            "top_score": round(track.top_score, 3),
            "box": [round(corner, 4) for corner in track.box],
            "zones": path.zones,
            "entered": path.entered,
            "left": list(path.left),
            "loitering": path.loitering,
            "crossed": [{"line": crossing.line, "direction": crossing.direction} for crossing in path.crossed],
            "dwell_s": {zone: round(seconds, 1) for zone, seconds in path.dwell_s(track.seen_s).items()},
            "stationary": event.stationary,
            "moved": round(event.moved, 3),
            "best": None,
            "model": None if event.model is None else payloads.model_ref(event.model),
            "backfilled": False,
        }
        unsynced_ns = None if event.began_is_right else int(track.began_s * 1e9)
        shows = event.picture and publish and (kind == "end" or event.has_shown)
        self._put(Draft(payload, seen_at, unsynced_ns, publish, copy(event.picture) if shows else None))

    def _moment(self, at_s: float) -> datetime:
        """Return the wall clock's time of a moment of the frames' clock, as the newest frame has both."""
        assert self._result is not None  # noqa: S101 - for the type checker: events come from results
        frame = self._result.frame
        return frame.captured_at - timedelta(seconds=frame.captured_ns / 1e9 - at_s)


def _reaches(event: Event, minimum: MinimumConfig | None) -> bool:
    track = event.track
    return minimum is None or (track.score >= minimum.score and event.size >= minimum.size
                               and track.seen_s - track.began_s >= minimum.duration_s)
