"""One event: a thing that was confirmed, and all that a person may be told of it.

Invariants: pure; times are seconds of the frames' clock; the memory of an event is bounded, however long it lasts.
"""

from __future__ import annotations

from datetime import datetime
from math import hypot
from typing import TYPE_CHECKING

from vedette.events.zones import Path

if TYPE_CHECKING:
    from vedette.events.best_picture import BestPicture
    from vedette.events.tracker import Track
    from vedette.events.zones import Places
    from vedette.types import Box, ModelRef

STILL_S = 10.0
"""A thing that stays in its place for so long is stationary."""
_STAYS, _LEAVES = 0.25, 0.5
"""Its place: so far from where it stopped its middle may be, in shares of its box; and beyond the other it has left."""
UPDATE_EVERY_S = 1.0
"""Changes within so long come in one update."""


class Event:
    """What is known of one thing. It has an `id` once it is published."""

    def __init__(self, track: Track, began: datetime) -> None:
        self.track = track
        self.began = began
        self.began_is_right = False
        """Whether the clock was set when `began` was stamped."""
        self.id = self.episode = ""
        self.path = Path(track.label)
        self.stationary = False
        self.moved = 0.0
        self.size = 0.0
        """The largest share of the frame that its box has covered."""
        self.model: ModelRef | None = None
        """The model that saw it last."""
        self.picture: BestPicture | None = None
        self.has_shown = False
        """Whether its picture was to be published before its end."""
        self.changed = False
        """Whether something happened that no message has told yet."""
        self.told_s = track.began_s
        """When the last message was made."""
        self._first = self._place = track.box
        self._since_s = track.began_s

    def __repr__(self) -> str:
        return f"<Event {self.id or 'not published'} {self.track.label} hits={self.track.hits}>"

    def follow(self, places: Places) -> None:
        """Take the newest detection of the thing."""
        box, at_s = self.track.box, self.track.seen_s
        self.moved = max(self.moved, hypot(*_shift(self._first, box)))
        self.size = max(self.size, (box.xmax - box.xmin) * (box.ymax - box.ymin))
        self.changed |= self.path.move(places, ((box.xmin + box.xmax) / 2, box.ymax), at_s)
        across, down = _shift(self._place, box)
        place = self._place
        away = max(abs(across) / max(place.xmax - place.xmin, 1e-6), abs(down) / max(place.ymax - place.ymin, 1e-6))
        if away > (_LEAVES if self.stationary else _STAYS):
            self._place, self._since_s = box, at_s
        stationary = at_s - self._since_s >= STILL_S
        self.changed |= stationary != self.stationary
        self.stationary = stationary

    def is_due(self, now_s: float) -> bool:
        """Return whether an update should be made."""
        return self.changed and now_s - self.told_s >= UPDATE_EVERY_S


def _shift(before: Box, now: Box) -> tuple[float, float]:
    """Return how far the middle went, across and down, in shares of the frame."""
    return (now.xmin + now.xmax - before.xmin - before.xmax) / 2, (now.ymin + now.ymax - before.ymin - before.ymax) / 2
