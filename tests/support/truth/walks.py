"""Random walks through zones and lines, and what has to come of each: offline, over the whole list of frames at once.

The reference shares nothing with `vedette.events.zones`. It sums quadrants around a point, solves with fractions for
where a step cuts a line, and looks at whole runs of frames on one side. All numbers are exact.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import groupby, pairwise
from typing import Any

from vedette.config.scene import LineConfig, Lines, ZoneConfig, Zones
from vedette.events.zones import CROSSED_MAX, INERTIA_S, Path, Places

Point = tuple[float, float]
Whole = tuple[int, int]
LABEL, OTHER, MILLION = "person", "car", 10 ** 6
RATES = (15.0, 10.0, 5.0, 2.0, 1.0, 0.1)


@dataclass(frozen=True)
class Scene:
    """One configuration of zones and lines."""

    zones: Zones
    lines: Lines


@dataclass(frozen=True)
class Walk:
    """A thing's feet with their times, and for each frame the scene that is configured then."""

    feet: list[Point]
    times_s: list[float]
    scenes: list[Scene]


@dataclass
class Told:
    """What comes of a walk. `frames` has for each frame: whether a person is told, the zones, where it loiters.

    The last one is after the end of the thing.
    """

    frames: list[tuple[bool, list[str], list[str]]] = field(default_factory=list)
    entered: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    crossed: list[tuple[str, str]] = field(default_factory=list)
    dwell_s: dict[str, Fraction] = field(default_factory=dict)

    def agrees(self, other: Told) -> bool:
        """Whether both say the same; sums of seconds may differ by what floats round."""
        return ([self.frames, self.entered, self.left, self.crossed, [*self.dwell_s]]
                == [other.frames, other.entered, other.left, other.crossed, [*other.dwell_s]]
                and all(abs(self.dwell_s[name] - other.dwell_s[name]) < 1e-6 for name in self.dwell_s))


def measured(walk: Walk) -> Told:
    """Return what `Path` says of a walk, frame by frame."""
    path, told = Path(LABEL), Told()
    places: dict[int, Places] = {}
    for foot, at_s, scene in zip(walk.feet, walk.times_s, walk.scenes, strict=True):
        now = places.setdefault(id(scene), Places(scene.zones, scene.lines))
        told.frames.append((path.move(now, foot, at_s), path.zones, path.loitering))
    path.finish(now)
    told.frames.append((False, path.zones, path.loitering))
    told.entered, told.left = path.entered, path.left
    told.crossed = [(line, direction) for line, direction in path.crossed]
    told.dwell_s = {name: Fraction(seconds) for name, seconds in path.dwell_s(walk.times_s[-1]).items()}
    return told


class Reference:
    """What has to come of one walk. `extended`: lines have no ends, as if one had forgotten them.

    The end of the thing is one more frame, with the foot of the last one: then every change has lasted long enough.
    """

    def __init__(self, walk: Walk, *, inertia_s: float = INERTIA_S, extended: bool = False) -> None:
        self._inertia_s, self._extended = Fraction(inertia_s), extended
        self._feet = [whole(foot) for foot in (*walk.feet, walk.feet[-1])]
        self._times = [Fraction(at_s) for at_s in (*walk.times_s, walk.times_s[-1])]
        self._scenes = [*walk.scenes, walk.scenes[-1]]
        self._loiters: list[dict[str, bool]] = [{} for _ in self._feet]     # by zone that it is in
        self._changes: list[list[tuple[Any, ...]]] = [[] for _ in self._feet]
        self._crossings: list[list[tuple[Any, ...]]] = [[] for _ in self._feet]
        self._dwell: dict[str, Fraction] = {}

    def told(self) -> Told:
        for name, first, after in stretches([scene.zones for scene in self._scenes], _nothing):
            self._visit(name, first, after)
        for name, first, after in stretches([scene.lines for scene in self._scenes], _ends):
            self._pass(name, first, after)
        told = Told()
        for frame, scene in enumerate(self._scenes):
            now, before = self._loiters[frame], self._loiters[frame - 1] if frame else {}
            begins = any(now[name] and not before.get(name) for name in now)
            changes, crossings = sorted(self._changes[frame]), sorted(self._crossings[frame])
            told.frames.append((frame < len(self._feet) - 1 and bool(changes or crossings or begins),
                                [name for name in scene.zones if name in now],
                                [name for name in scene.zones if now.get(name)]))
            for *_, name, side in changes:
                names = told.entered if side else told.left
                names += [name] if name not in names else []
            told.crossed += [(name, "in" if side else "out") for *_, name, side in crossings]
        told.crossed = told.crossed[-CROSSED_MAX:]
        told.dwell_s = {name: self._dwell[name] for name in told.entered}
        return told

    def _visit(self, name: str, first: int, after: int) -> None:
        """Look at one zone while it is configured: the frames from `first` to before `after`."""
        configs = {frame: self._scenes[frame].zones[name] for frame in range(first, after)}
        inside = {frame: holds(config.points, self._feet[frame]) for frame, config in configs.items()}
        counted = list(self._settled(inside, before=False))
        last_run = max((frame for frame in inside if inside[frame] != inside.get(frame - 1)), default=first)
        gone = after - 1 if inside[after - 1] else last_run
        for (began, counts, side), (ends, leaves, _) in pairwise([*counted, (gone, after, False)]):
            self._changes[counts].append((began, list(self._scenes[counts].zones).index(name), name, side))
            if side:
                self._dwell[name] = self._dwell.get(name, Fraction(0)) + self._times[ends] - self._times[began]
                for frame in range(counts, leaves):
                    latest = max(each for each in range(counts, frame + 1) if inside[each])
                    limit = configs[latest].loiter_s
                    stayed = self._times[latest] - self._times[began]
                    self._loiters[frame][name] = limit is not None and stayed >= Fraction(limit)

    def _pass(self, name: str, first: int, after: int) -> None:
        """Look at one line while it is configured in one place."""
        ends = _ends(self._scenes[first].lines[name])
        feet = {frame: self._feet[max(frame, 0)] for frame in range(first - 1, after)}
        right = {frame: right_of(ends, foot) for frame, foot in feet.items()}
        before = right.pop(first - 1)
        for began, counts, side in self._settled(right, before=before):
            along_line, along_step = cut_of(ends, feet[began - 1], feet[began])
            if self._extended or 0 <= along_line < 1:
                order = list(self._scenes[counts].lines).index(name)
                self._crossings[counts].append((began, along_step, order, name, side))

    def _settled(self, sides: Mapping[int, bool], *, before: bool) -> Iterator[tuple[int, int, bool]]:
        """Yield each change of side that counts: the frame where it began, the one where it counts, and the side."""
        end = len(self._feet) - 1
        for side, run in groupby(sides, key=sides.__getitem__):
            began, *others = run
            counts = next((frame for frame in (began, *others) if frame == end
                           or self._times[frame] - self._times[began] >= self._inertia_s), None)
            if counts is not None and side != before:
                yield began, counts, side
                before = side


def stretches(configs: Sequence[Mapping[str, Any]], kind: Callable[[Any], object]) -> Iterator[tuple[str, int, int]]:
    """Yield each name with the frames, from one to before another, in which it counts for the label and is of one kind.
    """
    for name in dict.fromkeys(name for config in configs for name in config):
        kinds = [kind(config[name]) if name in config and (not config[name].labels or LABEL in config[name].labels)
                 else None for config in configs]
        for what, run in groupby(range(len(configs)), key=kinds.__getitem__):
            if what is not None:
                first, *others = run
                yield name, first, [first, *others][-1] + 1


def _nothing(_: ZoneConfig) -> str:
    return "a zone"


def _ends(line: LineConfig) -> tuple[Whole, Whole]:
    return whole(line.start), whole(line.end)


def whole(point: Point) -> Whole:
    """Return a point in millionths of the frame."""
    return round(point[0] * MILLION), round(point[1] * MILLION)


def holds(polygon: Sequence[Point], foot: Whole) -> bool:
    """Whether a polygon winds around a point, or has it on an edge: the sum of quadrants from corner to corner."""
    seen = [(x - foot[0], y - foot[1]) for x, y in map(whole, polygon)]
    quarters = 0.0
    for (ax, ay), (bx, by) in zip(seen, seen[1:] + seen[:1], strict=True):
        area = ax * by - ay * bx
        if area == 0 and ax * bx + ay * by <= 0:
            return True
        quarters += (0, 1, math.copysign(2, area), -1)[(_quadrant(bx, by) - _quadrant(ax, ay)) % 4]
    return quarters != 0


def _quadrant(x: int, y: int) -> int:
    if x > 0 and y >= 0:
        return 0
    if x <= 0 and y > 0:
        return 1
    return 2 if x < 0 else 3


def right_of(ends: tuple[Whole, Whole], foot: Whole) -> bool:
    """Whether a point is right of a line, or on it, seen from `from` to `to` on the screen."""
    (ax, ay), (bx, by) = ends
    towards_right = (ay - by, bx - ax)      # y points down
    return sum(side * way for side, way in zip(towards_right, (foot[0] - ax, foot[1] - ay), strict=True)) >= 0


def cut_of(ends: tuple[Whole, Whole], before: Whole, here: Whole) -> tuple[Fraction, Fraction]:
    """Return where a step meets the endless line: 0-1 along the line, and 0-1 along the step, by Cramer's rule."""
    (ax, ay), (bx, by) = ends
    lx, ly, sx, sy = bx - ax, by - ay, here[0] - before[0], here[1] - before[1]
    px, py = before[0] - ax, before[1] - ay
    det = sx * ly - lx * sy
    return Fraction(sx * py - sy * px, det), Fraction(lx * py - ly * px, det)


def on_borders(walk: Walk) -> int:
    """Return how many feet lie exactly on an edge of a zone or on a line, ends and corners included."""
    return sum(any(_between(foot, *ends) for ends in _borders(scene))
               for foot, scene in zip(map(whole, walk.feet), walk.scenes, strict=True))


def _borders(scene: Scene) -> Iterator[tuple[Whole, Whole]]:
    for zone in scene.zones.values():
        corners = [whole(point) for point in zone.points]
        yield from pairwise([*corners, corners[0]])
    yield from map(_ends, scene.lines.values())


def _between(foot: Whole, start: Whole, end: Whole) -> bool:
    ax, ay, bx, by = start[0] - foot[0], start[1] - foot[1], end[0] - foot[0], end[1] - foot[1]
    return ax * by == ay * bx and ax * bx + ay * by <= 0


class Draw:
    """Draws one walk: what has happened in it is all made by its number."""

    def __init__(self, number: int) -> None:
        self._random = random.Random(number)
        self._grid = self._random.choice((None, 8, 20))
        self._corners: list[Point] = []     # corners of zones and ends of lines, and what lies between them

    def walk(self) -> Walk:
        """Return the walk."""
        scenes = [self._scene()]
        while self._random.random() < 0.25:
            scenes.append(self._reloaded(scenes[-1]))
        frames = self._random.randint(1, 60)
        changes = sorted(self._random.randint(1, frames) for _ in scenes[1:])
        return Walk(self._feet(frames), self._times(frames),
                    [scenes[sum(change <= frame for change in changes)] for frame in range(frames)])

    def _times(self, frames: int) -> list[float]:
        """Rates as they are: even, or changing from frame to frame."""
        now_s, rate = self._random.uniform(1000, 100_000), self._random.choice((*RATES, None))
        times = []
        for _ in range(frames):
            times.append(now_s)
            now_s += 1 / (rate or self._random.choice(RATES))
        return times

    def _feet(self, frames: int) -> list[Point]:
        size = self._random.choice((0.01, 0.05, 0.2))
        feet = [self._point()]
        while len(feet) < frames:
            kind = self._random.choice(("on", "on", "on", "stay", "corner", "corner", "back", "anywhere", "along"))
            x, y = feet[-1]
            if kind == "on":
                feet.append(self._snap(x + self._random.uniform(-size, size), y + self._random.uniform(-size, size)))
            elif kind == "stay":
                feet += [feet[-1]] * self._random.randint(1, 6)
            elif kind == "corner":
                feet.append(self._random.choice(self._corners))
            elif kind == "back":
                feet.append(feet[-2] if len(feet) > 1 else feet[-1])
            elif kind == "along":
                (ax, ay), (bx, by) = self._random.sample(self._corners, 2)
                feet += [self._snap(ax + (bx - ax) * step / 4, ay + (by - ay) * step / 4) for step in range(-1, 6)]
            else:
                feet.append(self._point())
        return feet[:frames]

    def _snap(self, x: float, y: float) -> Point:
        x, y = min(max(x, 0.0), 1.0), min(max(y, 0.0), 1.0)
        return (round(x * self._grid) / self._grid, round(y * self._grid) / self._grid) if self._grid else (x, y)

    def _point(self) -> Point:
        return self._snap(self._random.random(), self._random.random())

    def _scene(self) -> Scene:
        zones = {name: self._zone() for name in "abc"[:self._random.randint(0, 3)]}
        return Scene(zones, {name: self._line() for name in "klm"[:self._random.randint(0 if zones else 1, 3)]})

    def _reloaded(self, scene: Scene) -> Scene:
        """Return the scene with some names in another order, less some, plus some, and some made anew."""
        return Scene({name: scene.zones[name] if self._stays(name, scene.zones) else self._zone()
                      for name in self._some("abc")},
                     {name: scene.lines[name] if self._stays(name, scene.lines) else self._line()
                      for name in self._some("klm")})

    def _stays(self, name: str, configs: Mapping[str, object]) -> bool:
        return name in configs and self._random.random() < 0.6

    def _some(self, names: str) -> list[str]:
        return self._random.sample(names, self._random.randint(0, len(names)))

    def _labels(self) -> tuple[str, ...]:
        return self._random.choice(((), (), (), (LABEL,), (OTHER, LABEL), (OTHER,)))

    def _zone(self) -> ZoneConfig:
        """Return a zone: convex, a star, a box at the frame's edge, beside an earlier corner, or any polygon."""
        while True:
            kind = self._random.choice(("convex", "star", "box", "any", "beside"))
            count = self._random.randint(3, 7)
            if kind in ("convex", "star"):
                x, y, size = self._random.random(), self._random.random(), self._random.uniform(0.1, 0.5)
                angles = sorted(self._random.uniform(0, math.tau) for _ in range(2 * count))
                sizes = [size * (0.4 if kind == "star" and index % 2 else 1.0) for index in range(len(angles))]
                points = [self._snap(x + size * math.cos(angle), y + size * math.sin(angle))
                          for angle, size in zip(angles, sizes, strict=True)]
            elif kind == "any":
                points = [self._point() for _ in range(count)]
            else:
                at = self._random.choice(((0.0, 0.0), (1.0, 1.0), (0.0, 1.0)) if kind == "box" else
                                         self._corners or [self._point()])
                to = self._point()
                points = [at, (to[0], at[1]), to, (at[0], to[1])][::self._random.choice((1, -1))]
            try:
                zone = ZoneConfig(points=tuple(points), labels=self._labels(),
                                  loiter_s=self._random.choice((None, 0.25, 1.0, 3.0, 20.0)))
            except ValueError:
                continue    # all points on a line
            self._remember(*points)
            return zone

    def _line(self) -> LineConfig:
        """Return a line: between any points, or from and to corners that are there already."""
        while True:
            start, end = (self._random.choice(self._corners) if self._corners and self._random.random() < 0.5
                          else self._point() for _ in range(2))
            if start != end:
                self._remember(start, end)
                return LineConfig.model_validate({"from": start, "to": end, "labels": self._labels()})

    def _remember(self, *points: Point) -> None:
        self._corners += points
        self._corners += [self._snap((ax + bx) / 2, (ay + by) / 2) for (ax, ay), (bx, by) in pairwise(points)]
