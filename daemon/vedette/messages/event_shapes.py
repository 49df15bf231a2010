"""The messages about what happens: events, and what is in the zones.

Invariants: those of the package.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict  # pydantic reads typing's own only from Python 3.12

from vedette.messages.shapes import BoxArray, Count, ModelRefPayload, Timestamp, Unit

EventType = Literal["start", "update", "end"]
Seconds = Annotated[float, Field(ge=0)]


class CrossingPayload(TypedDict):
    """A thing crossed a line."""

    line: str
    direction: Literal["in", "out"]
    """`in`: from left to right, seen along the line from its first point to its second."""


class BestPayload(TypedDict):
    """The best picture of an event, as it was published."""

    captured_at: Timestamp
    bytes: Count
    """Size of the JPEG."""


class EventPayload(TypedDict):
    """What happens to one thing: it comes, something about it changes, it goes. All times are those of frames."""

    schema: Literal["vedette.events/1"]
    device: str
    run: Count
    """Number of the daemon's run. Find repeats by (device, run, seq)."""
    seq: Count
    """Number of the message in this run, from 1. Updates may be lost, so numbers may be missing."""
    type: EventType
    """`start` and `end` come exactly once for each event, less repeats. An `update` says that zones, lines, loitering
    or `stationary` changed, or that there is a picture."""
    id: str
    """The same in all messages of one event, and never used again, also after a restart."""
    episode: str
    """The same for events of one scene: those that began while another thing of it was there and moved."""
    track: Count
    """Number of its track: the same as in the `detections` of this run that show it."""
    label: str
    began: Timestamp
    """When the thing was detected first."""
    ended: Timestamp | None
    """When it was detected last. Null while it is there."""
    interrupted: bool
    """Whether the end is only an assumption: the device did not look, or restarted, and did not see the thing again."""
    score: Unit
    """The median of all its scores."""
    top_score: Unit
    box: BoxArray
    """Where it was detected last, as in `detections`."""
    zones: list[str]
    """The zones in which it is now."""
    entered: list[str]
    """Zones that it entered, each once, in the order of the first time."""
    left: list[str]
    """Zones that it left, in the same way."""
    loitering: list[str]
    """Zones of `zones` in which it has been for the zone's `loiter_s`."""
    crossed: list[CrossingPayload]
    """The last lines that it crossed, in order."""
    dwell_s: dict[str, Seconds]
    """Seconds for which it was in each zone."""
    stationary: bool
    """Whether it has stood still for 10 seconds."""
    moved: Annotated[float, Field(ge=0)]
    """Longest distance of its middle from where it was first, in shares of the frame."""
    best: BestPayload | None
    """Null without a picture."""
    model: ModelRefPayload | None
    """The model that saw it last."""
    backfilled: bool
    """Whether the message waited on disk while the broker was away, so that it may come after newer ones."""


class ZonesPayload(TypedDict):
    """What is in each zone. Published on change."""

    schema: Literal["vedette.zones/1"]
    captured_at: Timestamp
    zones: dict[str, dict[str, Count]] | None
    """For each zone the number of things with an event, by label. A number falls only after the zone's `hold_s`. Null
    while the device does not look."""
