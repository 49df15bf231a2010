"""What is an event: the sections `events`, `zones` and `lines`, and the gate of the camera.

Invariants: those of `section`; every polygon has an inside, and every line a length.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from vedette.config.camera_values import Polygon, Unit
from vedette.config.section import Section, live, restart

Point = tuple[Unit, Unit]
Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]
Label = Annotated[str, Field(min_length=1)]


def _folder(value: Path | None) -> Path | None:
    if value is not None and not value.is_absolute():
        raise ValueError("expected the absolute path of a folder")
    return value


def _pictures(value: object) -> object:
    """Return the value with its own types: `on` and `off` may have been quoted, and JSON makes a list of a tuple."""
    if isinstance(value, list | tuple) and all(isinstance(label, str) and label for label in value):
        return tuple(value)
    switched = {"on": True, "off": False}.get(value, value) if isinstance(value, str) else value
    if not isinstance(switched, bool):
        raise ValueError("expected off, on or a list of labels")  # noqa: TRY004 - pydantic's own
    return switched


def _apart(value: LineConfig) -> LineConfig:
    if value.start == value.end:
        raise ValueError("expected two points that differ")
    return value


class MinimumConfig(Section):
    """What a thing of one label must reach before it is an event."""

    score: Unit = live(0, "Least median of its scores.")
    size: Unit = live(0, "Least share of the frame that its box covers at any time.")
    duration_s: float = live(0, "Seconds that pass at least from its first detection to its newest.", ge=0, le=3600)


class ClipsConfig(Section):
    """Short films of events. Nothing is recorded without a folder."""

    folder: Annotated[Path | None, AfterValidator(_folder)] = live(
        None, "Folder for the films: an absolute path. null: recording is off, and nothing is kept.")
    mb: float = live(200, "Megabytes that the films may take. The oldest are deleted first.", gt=0)
    days: float = live(7, "Days after which a film is deleted.", gt=0)


class EventsConfig(Section):
    """Things that come, stay and go: each visit is one event."""

    enabled: bool = live(True, "true: each detection of the device's own model gets the number of its track. The "
                               "number stays the same while the thing is in view. Events are published.")
    labels: tuple[Label, ...] = live((), "Labels that make events. Empty: those of detector.allow, or all labels.")
    keep_s: float = live(3, "Seconds for which a thing that is not detected any more counts as the same thing when it "
                            "is detected again.", ge=0, le=3600)
    minimum: dict[Label, MinimumConfig] = live(
        {}, "What a thing must reach before it is an event, by label: {person: {score: 0.6, size: 0.01, "
            "duration_s: 2}}. Score is the median, size the share of the frame.")
    pictures: Annotated[bool | tuple[Label, ...], BeforeValidator(_pictures)] = live(
        False, "off: no pictures of events. on: the best picture of each event is published, retained, on "
               "best/<label>. A list of labels: only for these.")
    best_after_s: float | None = live(
        None, "Seconds after the start of an event at which its best picture so far is published. null: only at its "
              "end.", gt=0)
    clips: ClipsConfig = live(ClipsConfig(), "Short films of events: {folder: /srv/clips, mb: 200, days: 7}.")


class ZoneConfig(Section):
    """A part of the picture with a name."""

    points: Polygon = live(..., "Polygon of [x, y] in 0-1 of the frame.")
    labels: tuple[Label, ...] = live((), "Labels that count in this zone. Empty: all that make events.")
    loiter_s: float | None = live(None, "Seconds in the zone after which a thing loiters. null: never.", gt=0)
    hold_s: float = live(5, "Seconds for which the zone stays occupied after a thing has left it.", ge=0)


class LineConfig(Section):
    """A line in the picture with a name."""

    start: Point = live(..., "One end: [x, y] in 0-1 of the frame.", alias="from")
    end: Point = live(..., "The other end.", alias="to")
    labels: tuple[Label, ...] = live((), "Labels that count at this line. Empty: all that make events.")


Zones = dict[Name, ZoneConfig]
Lines = dict[Name, Annotated[LineConfig, AfterValidator(_apart)]]


class GateConfig(Section):
    """The motion gate: no detection while the picture stands still."""

    enabled: bool = restart(False, "true: frames without motion are not given to the detector. They are counted as "
                                   "still.")
    every_s: float = restart(10, "Seconds after which the detector gets a frame in any case.", gt=0, le=3600)
