"""Where one thing is with respect to the zones and lines of the configuration.

Invariants:
- Places are whole millionths of the frame, and all arithmetic on them is exact. So each point has one side.
- A point on the edge of a zone is inside, since boxes that the frame cuts off end at its very edge. A polygon that
  crosses itself has its inside where it winds around a point at all, like a privacy mask.
- A point on a line counts as right of it. Of its ends only `from` belongs to it. So lines that meet end to end count a
  thing once, and a thing that runs along a line crosses it once or not at all.
- A change of side counts once it has lasted INERTIA_S of the frames' time, from its first frame on. The step that led
  to the side where the thing then stayed decides whether it crossed the line or went around its end.
- Memory is bounded by the zones and lines that were configured while the thing was there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from vedette.config.scene import LineConfig, Lines, ZoneConfig, Zones

    Point = tuple[float, float]
    Millionths = tuple[int, int]

INERTIA_S = 0.5
CROSSED_MAX = 20
"""Of a thing that crosses lines more often, only the last crossings are known."""
_MILLION = 1_000_000


class Crossing(NamedTuple):
    """A thing crossed a line: `in` is from left to right, as seen along the line on the screen."""

    line: str
    direction: Literal["in", "out"]


class _Zone:
    """One zone, for points in millionths of the frame."""

    def __init__(self, config: ZoneConfig) -> None:
        self.labels, self.loiter_s = config.labels, config.loiter_s
        corners = [_millionths(point) for point in config.points]
        self._edges = tuple((*a, *b) for a, b in zip(corners, (*corners[1:], corners[0]), strict=True))
        xs, ys = zip(*corners, strict=True)
        self._bounds = min(xs), min(ys), max(xs), max(ys)

    def holds(self, x: int, y: int) -> bool:
        """Return whether the point is inside or on the edge."""
        left, top, right, bottom = self._bounds
        if x < left or x > right or y < top or y > bottom:
            return False
        winding = 0
        for ax, ay, bx, by in self._edges:
            if (ay < y and by < y) or (ay > y and by > y):
                continue
            turn = (bx - ax) * (y - ay) - (by - ay) * (x - ax)
            if turn == 0 and (ax <= x <= bx or bx <= x <= ax):
                return True
            if ay <= y < by and turn > 0:
                winding += 1
            elif by <= y < ay and turn < 0:
                winding -= 1
        return winding != 0


class _Line:
    """One line, for points in millionths of the frame."""

    def __init__(self, config: LineConfig) -> None:
        self.labels = config.labels
        self.ends = _millionths(config.start), _millionths(config.end)

    def has_right(self, point: Millionths) -> bool:
        """Return whether the point is right of the line, or on it, however long the line were."""
        return _turn(self.ends[0], self.ends[1], point) >= 0

    def cut(self, before: Millionths, here: Millionths) -> float | None:
        """Return where a step from one side to the other cuts the line, 0-1 of the step. None: beside its ends."""
        start, end = (_turn(before, here, each) for each in self.ends)
        first, last = (_turn(*self.ends, each) for each in (before, here))
        is_cut = start >= 0 > end if first < last else start <= 0 < end
        return first / (first - last) if is_cut else None


class Places:
    """The zones and lines of the configuration. It never changes; a reload makes another one."""

    def __init__(self, zones: Zones, lines: Lines) -> None:
        self._zones = {name: _Zone(config) for name, config in zones.items()}
        self._lines = {name: _Line(config) for name, config in lines.items()}

    def __repr__(self) -> str:
        return f"<Places {len(self._zones)} zones, {len(self._lines)} lines>"

    def zones_for(self, label: str) -> dict[str, _Zone]:
        """Return the zones in which things with this label count, by name, in the order of the configuration."""
        return {name: zone for name, zone in self._zones.items() if not zone.labels or label in zone.labels}

    def lines_for(self, label: str) -> dict[str, _Line]:
        """Return the lines at which things with this label count, in the same way."""
        return {name: line for name, line in self._lines.items() if not line.labels or label in line.labels}


@dataclass(slots=True)
class _Side:
    """The side of a border that counts: in a zone or not, right of a line or not. `since_s`: from when on."""

    now: bool
    since_s: float = -math.inf
    changed_s: float | None = None
    """First frame on the other side, while that does not count yet."""

    def see(self, side: bool, at_s: float) -> bool:
        """Note on which side the thing is; returns whether it has just come there from the side that counts."""
        if side == self.now:
            self.changed_s = None
        elif self.changed_s is None:
            self.changed_s = at_s
            return True
        return False

    def turn(self) -> None:
        """Let the other side count."""
        if self.changed_s is not None:
            self.now, self.since_s, self.changed_s = not self.now, self.changed_s, None


@dataclass(slots=True)
class _Stay(_Side):
    """Whether the thing is in one zone."""

    loiters: bool = False

    def seconds(self, at_s: float) -> float:
        """Return how long it has been in the zone; a change that does not count yet stops the clock."""
        until_s = at_s if self.changed_s is None else self.changed_s
        return until_s - self.since_s if self.now else 0.0


@dataclass(slots=True)
class _Passage(_Side):
    """On which side of one line the thing is, and where the step that led to the other side cut the line, if at all."""

    cut: float | None = None


class Path:
    """The way of one thing with this label through the places. One thread.

    `left` has each zone once, in the order of the first time; `crossed` has the last CROSSED_MAX crossings.
    """

    def __init__(self, label: str) -> None:
        self.left: list[str] = []
        self.crossed: list[Crossing] = []
        self._label = label
        self._places: Places | None = None
        self._zones: dict[str, tuple[_Zone, _Stay]] = {}
        self._lines: dict[str, tuple[_Line, _Passage]] = {}
        self._foot: Millionths | None = None
        self._at_s = 0.0
        self._past_s: dict[str, float] = {}     # seconds of former visits, for each zone that it entered

    def __repr__(self) -> str:
        return f"<Path of {self._label} in {self.zones}>"

    @property
    def zones(self) -> list[str]:
        """The zones in which it is now, in the order of the configuration."""
        return [name for name, (_, stay) in self._zones.items() if stay.now]

    @property
    def entered(self) -> list[str]:
        """Each zone that it entered, once, in the order of the first time. Where it appears, it enters."""
        return list(self._past_s)

    @property
    def loitering(self) -> list[str]:
        """The zones in which it has been for their `loiter_s` without leaving."""
        return [name for name, (_, stay) in self._zones.items() if stay.loiters]

    def dwell_s(self, at_s: float) -> dict[str, float]:
        """Return the seconds in each zone that it entered, summed over all visits."""
        return {name: past_s + (self._zones[name][1].seconds(at_s) if name in self._zones else 0.0)
                for name, past_s in self._past_s.items()}

    def move(self, places: Places, foot: Point, at_s: float) -> bool:
        """Take where its foot is in the frame that was captured at `at_s`: the middle of its box's lower edge, in 0-1.

        Returns whether it entered, left or crossed something, or began to loiter.
        """
        here = _millionths(foot)
        before = self._foot or here
        self._adopt(places, before)
        self._foot, self._at_s = here, at_s
        for zone, stay in self._zones.values():
            stay.see(zone.holds(*here), at_s)
        for line, passage in self._lines.values():
            if passage.see(line.has_right(here), at_s):
                passage.cut = line.cut(before, here)
        return self._count(at_s - INERTIA_S)

    def finish(self, places: Places) -> None:
        """Count the changes that have not lasted long enough, since the thing has ended."""
        if self._foot is not None:
            self._adopt(places, self._foot)
            self._count(self._at_s)

    def _adopt(self, places: Places, foot: Millionths) -> None:
        """Use other places from now on: what stays the same goes on, what is gone is forgotten."""
        if places is self._places:
            return
        self._places = places
        zones = {name: (zone, self._zones[name][1] if name in self._zones else _Stay(now=False))
                 for name, zone in places.zones_for(self._label).items()}
        for name in self._zones.keys() - zones.keys():
            self._end_visit(name)
        self._zones = zones
        self._lines = {name: (line, self._lines[name][1] if self._knows(name, line) else _Passage(line.has_right(foot)))
                       for name, line in places.lines_for(self._label).items()}

    def _knows(self, name: str, line: _Line) -> bool:
        return name in self._lines and self._lines[name][0].ends == line.ends

    def _count(self, until_s: float) -> bool:
        """Let each change count that began until then, in their order; returns whether there is something to tell."""
        stays = sorted([(stay.changed_s, name) for name, (_, stay) in self._zones.items()
                        if stay.changed_s is not None and stay.changed_s <= until_s], key=itemgetter(0))
        passages = sorted([(passage.changed_s, passage.cut or 0.0, name) for name, (_, passage) in self._lines.items()
                           if passage.changed_s is not None and passage.changed_s <= until_s], key=itemgetter(0, 1))
        for _, name in stays:
            self._enter_or_leave(name)
        crossed = [self._cross(name) for *_, name in passages]
        loiters = [self._loiter(zone, stay) for zone, stay in self._zones.values()]
        return bool(stays) or any(crossed) or any(loiters)

    def _enter_or_leave(self, name: str) -> None:
        stay = self._zones[name][1]
        if stay.now:
            self._end_visit(name)
            if name not in self.left:
                self.left.append(name)
        else:
            self._past_s.setdefault(name, 0.0)
        stay.turn()

    def _cross(self, name: str) -> bool:
        passage = self._lines[name][1]
        passage.turn()
        if passage.cut is None:
            return False
        self.crossed.append(Crossing(name, "in" if passage.now else "out"))
        del self.crossed[:-CROSSED_MAX]
        return True

    def _loiter(self, zone: _Zone, stay: _Stay) -> bool:
        """Note whether the thing loiters in a zone; returns whether it has just begun to."""
        before = stay.loiters
        if stay.changed_s is None:
            stay.loiters = stay.now and zone.loiter_s is not None and self._at_s - stay.since_s >= zone.loiter_s
        return stay.loiters and not before

    def _end_visit(self, name: str) -> None:
        stay = self._zones[name][1]
        if stay.now:
            self._past_s[name] += stay.seconds(self._at_s)


def _millionths(point: Point) -> Millionths:
    return round(point[0] * _MILLION), round(point[1] * _MILLION)


def _turn(start: Millionths, end: Millionths, point: Millionths) -> int:
    """Return twice the area of the three; above 0 if the point is right of the way from start to end, y downwards."""
    return (end[0] - start[0]) * (point[1] - start[1]) - (end[1] - start[1]) * (point[0] - start[0])
