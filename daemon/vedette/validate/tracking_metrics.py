"""How well things are followed: HOTA, IDF1, identity switches, and how many events each thing would give.

HOTA is that of Luiten et al. 2021, IDF1 that of Ristani et al. 2016, identity switches those of Bernardin 2008
(CLEAR MOT), all as the program TrackEval computes them. They are over all labels at once, and things of different
labels never match.

Invariants: pure; the assignment is scipy's. scipy comes with the `eval` extra and is imported only here.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vedette.errors import ExtraMissing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vedette.types import Box

    Floats = NDArray[np.float64]
    Positions = NDArray[np.intp]

ALPHAS = np.arange(0.05, 0.99, 0.05)
"""IoUs from which a detection counts as found, for HOTA."""
MATCH_IOU = 0.5
"""The same for IDF1 and switches."""
TOLD_IOU = 0.3
"""IoU from which a person would say that a track's box shows a thing."""
VISIBLE_S = 1.0
"""An event is expected of each thing that is visible for so long."""


class Seen(NamedTuple):
    """A thing of the truth, or a detection of a track, in one frame."""

    id: str
    label: str
    box: Box


@dataclass(frozen=True, slots=True)
class TrackedFrame:
    """One frame: what is there, and which detections have a confirmed track."""

    at_s: float
    truth: Sequence[Seen]
    tracked: Sequence[Seen]


@dataclass(frozen=True, slots=True)
class TrackingFigures:
    """`hota` and `idf1` are 0-1."""

    hota: float
    idf1: float
    switches: int


@dataclass(frozen=True, slots=True)
class EventFigures:
    """What a person is told. `things` counts those that are visible for `VISIBLE_S` or more.

    An event is of a thing if at least half of its boxes show that thing, else it is false. `caught` is the share of
    things with an event, and `events_each` the mean number of their events. `start_delay_s` is the median time from
    when such a thing is first visible until its event starts. Both are None where nothing is caught.
    """

    things: int
    events: int
    events_each: float | None
    false_events: int
    caught: float
    start_delay_s: float | None


class _Frame(NamedTuple):
    """A frame with numbers for the ids; `overlaps` has a row for each thing and a column for each detection."""

    things: Positions
    tracks: Positions
    overlaps: Floats


def tracking_figures(frames: Sequence[TrackedFrame]) -> TrackingFigures:
    """Compare confirmed tracks with the truth. Raises: ExtraMissing without scipy."""
    things: dict[str, int] = {}
    tracks: dict[str, int] = {}
    numbered = [_Frame(_numbers(frame.truth, things), _numbers(frame.tracked, tracks), _overlaps(frame))
                for frame in frames]
    seen, told = np.zeros(len(things)), np.zeros(len(tracks))
    for frame in numbered:
        seen[frame.things] += 1
        told[frame.tracks] += 1
    return TrackingFigures(_hota(numbered, seen, told), _idf1(numbered, seen, told), _switches(numbered))


def event_figures(frames: Sequence[TrackedFrame]) -> EventFigures:
    """Return the figures of the events that the tracks give: one for each track, when it is confirmed."""
    visible: dict[str, list[float]] = defaultdict(list)
    started: dict[str, float] = {}
    shown: dict[str, Counter[str]] = defaultdict(Counter)
    boxes: Counter[str] = Counter()
    for frame in frames:
        for thing in frame.truth:
            visible[thing.id].append(frame.at_s)
        overlaps = _overlaps(frame)
        for column, track in enumerate(frame.tracked):
            started.setdefault(track.id, frame.at_s)
            boxes[track.id] += 1
            if frame.truth and overlaps[:, column].max() >= TOLD_IOU:
                shown[track.id][frame.truth[int(overlaps[:, column].argmax())].id] += 1
    events: dict[str, list[float]] = defaultdict(list)
    for track_id, at_s in started.items():
        for thing_id, number in shown[track_id].most_common(1):
            if 2 * number >= boxes[track_id]:
                events[thing_id].append(at_s)
    period_s = frames[1].at_s - frames[0].at_s if len(frames) > 1 else 0.0
    things = [thing_id for thing_id, times in visible.items() if len(times) * period_s >= VISIBLE_S]
    caught = [thing_id for thing_id in things if thing_id in events]
    return EventFigures(
        len(things), len(started), sum(len(events[each]) for each in caught) / len(caught) if caught else None,
        len(started) - sum(map(len, events.values())), len(caught) / max(1, len(things)),
        median(min(events[each]) - visible[each][0] for each in caught) if caught else None)


def _numbers(seen: Sequence[Seen], known: dict[str, int]) -> Positions:
    return np.array([known.setdefault(each.id, len(known)) for each in seen], np.intp)


def _overlaps(frame: TrackedFrame) -> Floats:
    """Return the IoU of each thing with each detection; 0 where the labels differ."""
    some = np.array([seen.box for seen in frame.truth], np.float64).reshape(-1, 1, 4)
    others = np.array([seen.box for seen in frame.tracked], np.float64).reshape(1, -1, 4)
    low, high = np.maximum(some[..., :2], others[..., :2]), np.minimum(some[..., 2:], others[..., 2:])
    shared = (high - low).clip(0).prod(2)
    union = (some[..., 2:] - some[..., :2]).prod(2) + (others[..., 2:] - others[..., :2]).prod(2) - shared
    same = np.array([[each.label == other.label for other in frame.tracked] for each in frame.truth], bool)
    return np.asarray(np.where(same.reshape(shared.shape), shared / np.maximum(union, 1e-12), 0.0))


def _hota(frames: Sequence[_Frame], seen: Floats, told: Floats) -> float:
    """Return the mean over `ALPHAS` of the geometric mean of detection and association accuracy."""
    shared = np.zeros((len(seen), len(told)))
    for things, tracks, overlaps in frames:
        rest = overlaps.sum(0)[None] + overlaps.sum(1)[:, None] - overlaps
        shared[np.ix_(things, tracks)] += np.where(rest > 1e-9, overlaps / np.maximum(rest, 1e-9), 0)
    alignment = shared / np.maximum(seen[:, None] + told[None] - shared, 1e-9)
    found = np.zeros(len(ALPHAS))
    together: dict[tuple[int, int], Floats] = defaultdict(lambda: np.zeros(len(ALPHAS)))
    for things, tracks, overlaps in frames:
        for row, column in zip(*_assign(alignment[np.ix_(things, tracks)] * overlaps), strict=True):
            good = overlaps[row, column] >= ALPHAS - np.finfo(float).eps
            found += good
            together[int(things[row]), int(tracks[column])] += good
    detection = found / np.maximum(1, seen.sum() + told.sum() - found)
    association = sum((both * both / np.maximum(1, seen[thing] + told[track] - both)
                       for (thing, track), both in together.items()), np.zeros(len(ALPHAS))) / np.maximum(1, found)
    return float(np.sqrt(detection * association).mean())


def _idf1(frames: Sequence[_Frame], seen: Floats, told: Floats) -> float:
    """Return the share of boxes whose identity is right, if each thing has one track at most, chosen for the best."""
    together = np.zeros((len(seen), len(told)))
    for things, tracks, overlaps in frames:
        together[np.ix_(things, tracks)] += overlaps >= MATCH_IOU
    rows, columns = _assign(together)
    return float(2 * together[rows, columns].sum() / max(1, seen.sum() + told.sum()))


def _switches(frames: Sequence[_Frame]) -> int:
    """Count how often a thing goes on under another track than before."""
    switches = 0
    of: dict[int, int] = {}
    for things, tracks, overlaps in frames:
        same = np.array([[of.get(thing) == track for track in tracks.tolist()] for thing in things.tolist()])
        worth = np.where(overlaps >= MATCH_IOU, overlaps + 1000.0 * same.reshape(overlaps.shape), 0.0)
        rows, columns = _assign(worth)
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            if worth[row, column] > 0:
                thing, track = int(things[row]), int(tracks[column])
                switches += of.get(thing, track) != track
                of[thing] = track
    return switches


def _assign(worth: Floats) -> tuple[Positions, Positions]:
    """Return rows and columns of the pairs that are worth most together."""
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise ExtraMissing(f"scipy cannot be imported ({error}); install it with: pip install 'vedette[eval]'"
                           ) from error
    rows, columns = linear_sum_assignment(worth, maximize=True)
    return rows, columns
