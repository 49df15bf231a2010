"""Publishes how many things are in each zone: a number rises at once, and falls after the zone's `hold_s`.

Invariants: null from the moment no results can come until the next one that is followed; what is published last is
what holds. `show` is for the detect thread, `on_blind` for any.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

from vedette.messages import payloads, topics
from vedette.types import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from vedette.config.scene import Zones
    from vedette.events.event import Event
    from vedette.messages.event_shapes import ZonesPayload
    from vedette.ports import Clock, Publisher
    from vedette.types import DetectionResult

    Counts = dict[str, dict[str, int]]

NEVER: Counts = {"": {}}


class ZoneReporter:
    """What is in the zones of the configuration, as a retained message."""

    def __init__(self, publisher: Publisher, clock: Clock, *, clock_synced: Callable[[], bool]) -> None:
        self._publisher = publisher
        self._clock = clock
        self._clock_synced = clock_synced
        self._lock = threading.Lock()
        self._published: Counts | None = NEVER
        self.waits = False
        """Whether a number is about to fall, although no thing leaves any more."""
        self._times: dict[tuple[str, str], list[float]] = {}
        """For zone and label: when there were at least 1, 2, 3 ... things, the last time of each."""

    def __repr__(self) -> str:
        return f"<ZoneReporter {self._published}>"

    def show(self, zones: Zones, events: Iterable[Event], result: DetectionResult) -> None:
        """Publish what is in the zones after a result, if it has changed."""
        now: Counter[tuple[str, str]] = Counter((zone, event.track.label) for event in events
                                                for zone in event.path.zones)
        at_s = result.frame.scene_s
        for place, number in now.items():
            times = self._times.setdefault(place, [])
            times[:number] = [at_s] * number
        counts: Counts = {zone: {} for zone in zones}
        for (zone, label), times in sorted(self._times.items()):
            while times and (zone not in zones or at_s - times[-1] > zones[zone].hold_s):
                times.pop()
            if times:
                counts[zone][label] = len(times)
        self._times = {place: times for place, times in self._times.items() if times}
        self.waits = any(len(times) > now[place] for place, times in self._times.items())
        with self._lock:
            if counts != self._published:
                self._publish(counts, result.frame.captured_at, result.frame.captured_ns)

    def on_blind(self) -> None:
        """Publish `zones: null`, once, until the next result."""
        with self._lock:
            if self._published is not None:
                self._publish(None, self._clock.utc_now(), self._clock.monotonic_ns())

    def _publish(self, counts: Counts | None, captured_at: datetime, captured_ns: int) -> None:
        # Under the lock (`publish` does not block), so that the messages of two threads leave in the right order.
        self._published = counts
        self._publisher.publish(Message(topics.ZONES, payloads.encode(_payload(counts, captured_at)), retain=True,
                                        unsynced_ns=None if self._clock_synced() else captured_ns))


def _payload(counts: Mapping[str, dict[str, int]] | None, captured_at: datetime) -> ZonesPayload:
    return {
        "schema": "vedette.zones/1",
        "captured_at": payloads.timestamp(captured_at),
        "zones": None if counts is None else dict(counts),
    }
