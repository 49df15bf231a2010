"""Follows things from result to result, so that one visit is one track.

Each track keeps the middle and the size of its box, and how fast they change: a Kalman filter with constant velocity
(Kalman 1960), alike for each of the four numbers. The uncertainties are in shares of the frame. Tracks get the
detections whose box overlaps most with where they are expected, those with a high score first (the two passes of
ByteTrack, Zhang et al. 2022). The numbers below were chosen on streets of the seeds 101 to 114.

Invariants:
- Time comes from the frames alone. How long a track is kept never depends on how many frames come in a second.
- A track has one label from when it is confirmed, and an id that no other track of this tracker has.
- Models change their mind about the label of a thing, or detect it under two at once. Where both labels are wanted,
  that is one track. A label that is not wanted has tracks of its own.
- Any detection without a track begins one. It is confirmed by the number of detections and their median score.
- Memory per track is bounded, however long the thing stays.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from vedette.types import Box, Detection

    Floats = NDArray[np.float64]

_MOVES_S = 3.0
"""A thing is expected to move on for so long unseen, and then to stay."""
TRACKS_MAX = 200
"""A result full of boxes must not slow the next ones down."""
_ROOM = 20
"""So many more things than are followed may come: those that are out of sight the longest end for them."""
HITS, SURE = 4, 0.54
"""A track is confirmed by this many detections with this median of scores, ..."""
_PATIENCE, _LEAST_SURE = 0.01, 0.47
"""... or by more of them: each allows a median that is so much lower, down to the least."""
_FLICKERS_S = 0.5
"""And not before this time since the first of them: at a high rate, one flicker may be many detections."""
_FIRST_PASS = 0.4
"""Detections with this score choose their track before all others."""
_OVERLAP_SURE, _OVERLAP_WEAK = 0.15, 0.5
"""Least overlap with where a track is expected, for those of the first pass and for the others."""
_STAYED = 0.2
"""An overlap with where a thing was seen last counts for so much less: it may have stopped since."""
_OTHER_LABEL = 0.25
"""An overlap with a box of another label counts for so much less."""
_TWIN = 0.8
"""Boxes of two labels in one frame that overlap so much show one thing."""
_TENTATIVE_S = 0.41
"""A track that is not confirmed ends after this time without a detection."""
_LOOKS = 1.5
"""But no track ends before this many times the time between two frames: where nobody looked, nothing was missed."""
_INSIDE = 0.3
"""A track ends when less than this share of the box where it is expected lies in the frame: the thing has left. One
that was detected in the last frame stays, since a thing may stand half behind the edge for long."""
_EDGE = 0.03
"""A box that ends this close to the frame's edge goes on behind it."""
_MEASURED, _WANDERS, _HASTES, _FIRST_SPEED = 0.22, 0.05, 0.05, 1.8
"""Standard deviations: of a measured box; of a place and a speed after a second; and of the speed at first."""
_RESIZES = 0.7
"""Share of its change of size that a track keeps from one result to the next, since sizes are measured badly."""
_BINS = 101


@dataclass(slots=True)
class Track:
    """One thing, as far as it is known. Its times are seconds of the frames' clock: `CLOCK_MONOTONIC`."""

    id: int
    label: str
    """That of most of its detections until it was confirmed."""
    box: Box
    """The box of its last detection."""
    began_s: float
    seen_s: float
    """The times of its first and of its last detection."""
    confirmed_s: float | None = None
    """When it was confirmed, by its detections."""
    interrupted: bool = False
    """Whether there was a time since its last detection in which nobody looked."""
    hits: int = 0
    top_score: float = 0.0
    last_score: float = 0.0
    unseen_s: float = 0.0
    """How long it was looked for since its last detection."""
    _labels: Counter[str] = field(default_factory=Counter)
    _histogram: NDArray[np.uint32] = field(default_factory=lambda: np.zeros(_BINS, np.uint32))

    @property
    def score(self) -> float:
        """The median of its scores, to a hundredth."""
        return float(np.searchsorted(np.cumsum(self._histogram), (self.hits + 1) // 2)) / (_BINS - 1)

    def hit(self, detection: Detection, at_s: float) -> None:
        """Note a detection of it."""
        score, box = detection.score or 0.0, detection.box
        self.hits += 1
        self.box, self.seen_s, self.interrupted = box, at_s, False
        self.unseen_s = 0.0
        self.last_score, self.top_score = score, max(self.top_score, score)
        self._histogram[round(score * (_BINS - 1))] += 1
        if self.confirmed_s is not None:
            return
        self._labels[detection.label] += 1
        self.label = self._labels.most_common(1)[0][0]
        sure = max(SURE - _PATIENCE * (self.hits - HITS), _LEAST_SURE)
        if self.hits >= HITS and self.score >= sure and at_s - self.began_s >= _FLICKERS_S:
            self.confirmed_s = at_s


class Tracker:
    """Gives each detection the track of its thing. A confirmed track is kept for `keep_s` without a detection."""

    def __init__(self, keep_s: float) -> None:
        self.keep_s = keep_s
        self.labels = frozenset[str]()
        """Those that are wanted; empty: all."""
        self.roi: Box | None = None
        """The part of the frame that is looked at; None: nobody has looked yet."""
        self.tracks: list[Track] = []
        self.ended: list[Track] = []
        """Those that the last update ended, after they were confirmed."""
        self._ids = count(1)
        self._places = np.empty((0, 4))       # of each track: middle x and y, width, height
        self._speeds = np.empty((0, 4))       # and how much they change in a second
        self._spreads = np.empty((0, 3))      # variance of place, covariance of place and speed, variance of speed
        self._now_s = 0.0

    def __repr__(self) -> str:
        return f"<Tracker {len(self.tracks)} tracks>"

    def update(self, detections: Sequence[Detection], at_s: float, *,
               looked_away: bool = False) -> list[Track | None]:
        """Take the detections of the frame that was captured at `at_s`, and return the track of each.

        None: there are more things than it follows, or another detection shows the same thing under another label.
        `looked_away`: since the last frame, things could have been there unseen. Then that time counts for nothing.
        """
        if looked_away:
            for track in self.tracks:
                track.interrupted = True
        self._predict(0.0 if looked_away else max(0.0, at_s - self._now_s))
        self._now_s = at_s
        boxes = np.array([detection.box for detection in detections]).reshape(-1, 4)
        matched = self._match(detections, boxes)
        self._correct(list(matched), boxes[list(matched.values())])
        tracks = {column: self.tracks[row] for row, column in matched.items()}
        for column, track in tracks.items():
            track.hit(detections[column], at_s)
        for column, detection in enumerate(detections):
            if column not in tracks and len(self.tracks) < TRACKS_MAX and not self._is_known(
                    column, detections, boxes, tracks):
                tracks[column] = self._begin(detection, boxes[column], at_s)
        return [tracks.get(column) for column in range(len(detections))]

    def forget(self) -> None:
        """End all tracks at once. What is detected next is new."""
        self.tracks, self.ended = [], []
        self._places, self._speeds, self._spreads = np.empty((0, 4)), np.empty((0, 4)), np.empty((0, 3))

    def set_region(self, roi: Box) -> bool:
        """Follow things in this part of the frame (0-1) from now on; returns whether it is another part than before.

        Where it is, the tracks of the things that lie outside of it are dropped: nobody looks for them any more.
        """
        before, self.roi = self.roi, roi
        if before in (None, roi):
            return False
        boxes = np.array([track.box for track in self.tracks]).reshape(-1, 4)
        inside = _areas(boxes.clip([*roi[:2], *roi[:2]], [*roi[2:], *roi[2:]])) >= _INSIDE * _areas(boxes)
        self._keep(np.flatnonzero(inside).tolist())
        return True

    def _keep(self, kept: list[int]) -> None:
        """Drop all tracks but those at these places."""
        self.tracks = [self.tracks[index] for index in kept]
        self._places, self._speeds, self._spreads = self._places[kept], self._speeds[kept], self._spreads[kept]

    def _predict(self, step: float) -> None:
        """Move the tracks to where they are expected `step` seconds later, and end those that are gone."""
        self.ended = []
        if not self.tracks:
            return
        moves = (_MOVES_S - np.array([[track.unseen_s] for track in self.tracks])).clip(0, step)
        self._places += self._speeds * moves * (1, 1, _RESIZES, _RESIZES)
        self._speeds[:, 2:] *= _RESIZES
        for track in self.tracks:
            track.unseen_s += step
        place, both, speed = self._spreads.T
        place += 2 * step * both + step * step * speed + _WANDERS ** 2 * step
        both += step * speed
        speed += _HASTES ** 2 * step
        expected = _corners(self._places)
        inside = _areas(expected.clip(0, 1)) >= _INSIDE * _areas(expected)
        kept = [index for index, track in enumerate(self.tracks) if (inside[index] or track.unseen_s <= step) and
                track.unseen_s <= max(_TENTATIVE_S if track.confirmed_s is None else self.keep_s, _LOOKS * step)]
        surplus = len(kept) - (TRACKS_MAX - _ROOM)
        if surplus > 0:
            unseen = sorted((-self.tracks[index].unseen_s, index) for index in kept)
            kept = sorted({*kept} - {index for seconds, index in unseen[:surplus] if -seconds > step})
        if len(kept) < len(self.tracks):
            left = {self.tracks[index].id for index in kept}
            self.ended = [track for track in self.tracks if track.confirmed_s is not None and track.id not in left]
            self._keep(kept)

    def _match(self, detections: Sequence[Detection], boxes: Floats) -> dict[int, int]:
        """Return track -> detection, both as positions: the largest overlap first, in two passes by score."""
        chosen: dict[int, int] = {}
        if not self.tracks or not detections:
            return chosen
        expected, seen_last = np.vsplit(_overlaps(np.vstack([
            _corners(self._places).clip(0, 1), np.array([track.box for track in self.tracks])]), boxes), 2)
        overlaps = np.maximum(expected, _STAYED * seen_last)
        taken: set[int] = set()
        labels, others = [track.label for track in self.tracks], [detection.label for detection in detections]
        if len({*labels, *others}) > 1:
            overlaps *= self._likeness(labels, others)
        first = np.array([(detection.score or 0.0) >= _FIRST_PASS for detection in detections])
        for good in ((overlaps >= _OVERLAP_SURE) & first, (overlaps >= _OVERLAP_WEAK) & ~first):
            rows, columns = np.nonzero(good)
            for at in np.argsort(-overlaps[rows, columns], kind="stable").tolist():
                row, column = int(rows[at]), int(columns[at])
                if row not in chosen and column not in taken:
                    chosen[row] = column
                    taken.add(column)
        return chosen

    def _correct(self, rows: list[int], boxes: Floats) -> None:
        """Move tracks towards the boxes that were measured."""
        variance, both, speed = self._spreads[rows].T
        gain, speed_gain = variance / (variance + _MEASURED ** 2), both / (variance + _MEASURED ** 2)
        off = _measured(boxes, self._places[rows]) - self._places[rows]
        self._places[rows] += gain[:, None] * off
        self._speeds[rows] += speed_gain[:, None] * off
        self._spreads[rows] = np.stack([(1 - gain) * variance, (1 - gain) * both, speed - speed_gain * both], 1)

    def _likeness(self, labels: Sequence[str], others: Sequence[str]) -> Floats:
        """Return how much an overlap counts, for each of some labels with each of the others."""
        unlike = np.array([[_OTHER_LABEL]])
        if self.labels:
            wanted = [np.array([label in self.labels for label in each]) for each in (labels, others)]
            unlike = unlike * np.outer(*wanted)
        return np.where(np.array(labels)[:, None] == np.array(others), 1.0, unlike)

    def _is_known(self, column: int, detections: Sequence[Detection], boxes: Floats, known: Iterable[int]) -> bool:
        """Return whether one of the known detections shows the same thing under another label."""
        label = detections[column].label
        if self.labels and label not in self.labels:
            return False
        overlaps = _overlaps(boxes[column, None], boxes)[0]
        return any(overlaps[other] >= _TWIN and detections[other].label != label
                   and (not self.labels or detections[other].label in self.labels) for other in known)

    def _begin(self, detection: Detection, box: Floats, at_s: float) -> Track:
        track = Track(next(self._ids), detection.label, detection.box, at_s, at_s)
        track.hit(detection, at_s)
        self.tracks.append(track)
        self._places = np.vstack([self._places, _middles_and_sizes(box[None])])
        self._speeds = np.vstack([self._speeds, np.zeros(4)])
        self._spreads = np.vstack([self._spreads, (_MEASURED ** 2, 0.0, _FIRST_SPEED ** 2)])
        return track


def _middles_and_sizes(boxes: Floats) -> Floats:
    return np.hstack([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]])


def _measured(boxes: Floats, places: Floats) -> Floats:
    """Return middles and sizes of boxes. What the frame's edge cuts off is added from what is known of the size."""
    measured = _middles_and_sizes(boxes)
    before, behind = boxes[:, :2] < _EDGE, boxes[:, 2:] > 1 - _EDGE
    cut = before != behind
    if cut.any():
        sizes = np.where(cut, np.maximum(measured[:, 2:], places[:, 2:]), measured[:, 2:])
        middles = np.where(behind, boxes[:, :2] + sizes / 2, boxes[:, 2:] - sizes / 2)
        measured = np.hstack([np.where(cut, middles, measured[:, :2]), sizes])
    return measured


def _corners(places: Floats) -> Floats:
    return np.hstack([places[:, :2] - places[:, 2:] / 2, places[:, :2] + places[:, 2:] / 2])


def _areas(boxes: Floats) -> Floats:
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))


def _overlaps(some: Floats, others: Floats) -> Floats:
    """Return the intersection over union of each of some boxes with each of the others."""
    low = np.maximum(some[:, None, :2], others[None, :, :2])
    shared = (np.minimum(some[:, None, 2:], others[None, :, 2:]) - low).clip(0).prod(2)
    return np.asarray(shared / np.maximum(_areas(some)[:, None] + _areas(others)[None] - shared, 1e-12))
