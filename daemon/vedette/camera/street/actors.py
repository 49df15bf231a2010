"""The actors in the street: those of the demo, where everything moves, and those of stills, where nothing does.

Invariants: the frame number alone decides who is where. An actor's appearance never changes while it is visible.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from vedette.camera.street import objects

if TYPE_CHECKING:
    from vedette.camera.street.backdrop import Ground
    from vedette.camera.street.objects import Kind

_EXPOSURE_S = 1 / 80
_APPEARANCES = 2**31
LEAST_PX = 6.0
"""Least size of a thing that can be recognized: the root of its box's area in the model's input."""
LARGEST_PX = 100.0


@dataclass(frozen=True, slots=True)
class Actor:
    """One thing in one frame. `x` is its middle and `row` the ground under it, both in pixels.

    `id` is the same in every frame of one passage or one stay, and no other thing of that street has it. Props
    share one, since the truth has none of them.
    """

    id: str
    kind: Kind
    appearance: int
    phase: int
    x: float
    row: float
    scale: float
    mirrored: bool
    blur_px: int = 0
    approaches: bool = False
    """Whether it comes nearer or goes away, so that its scale changes with every frame."""


@dataclass(frozen=True, slots=True)
class _Track:
    """A track on which things of these kinds pass, one after the other. Rows are in shares of the ground."""

    kinds: tuple[Kind, ...]
    rows: tuple[float, float]
    crossing_s: float
    stride_m: float
    """Metres of one step, or of one turn of a wheel."""
    wanders: bool = False


@dataclass(frozen=True, slots=True)
class _Spot:
    """A place where something stands for a while."""

    kinds: tuple[Kind, ...]
    rows: tuple[float, float]
    stay_s: float


_PERSON, _RIDER, _BICYCLE, _CAR, _DOG = (objects.PERSON, objects.RIDER, objects.BICYCLE, objects.CAR, objects.DOG)
_TRACKS = (
    _Track((_CAR,), (0.24, 0.3), 5.0, 2.0), _Track((_CAR,), (0.46, 0.54), 6.0, 2.0),
    _Track((_BICYCLE,), (0.34, 0.42), 7.0, 2.1), _Track((_BICYCLE,), (0.56, 0.6), 9.0, 2.1),
    _Track((_PERSON,), (0.03, 0.12), 14.0, 1.5), _Track((_PERSON,), (0.04, 0.13), 17.0, 1.5),
    _Track((_PERSON,), (0.66, 0.8), 13.0, 1.5), _Track((_PERSON,), (0.75, 0.95), 16.0, 1.5),
    _Track((_PERSON,), (0.06, 0.85), 18.0, 1.5, wanders=True), _Track((_DOG,), (0.68, 0.95), 11.0, 0.8),
    _Track((_DOG, _PERSON), (0.05, 0.8), 15.0, 0.9, wanders=True))
_SPOTS = (
    _Spot((objects.PARCEL,), (0.66, 0.95), 21.0), _Spot((objects.PARCEL,), (0.64, 0.8), 27.0),
    _Spot((objects.PARCEL, objects.CONE), (0.06, 0.13), 24.0), _Spot((objects.CONE,), (0.3, 0.6), 18.0),
    _Spot((objects.CONE,), (0.62, 0.92), 23.0), _Spot((objects.CONE,), (0.17, 0.4), 26.0),
    _Spot((_BICYCLE,), (0.64, 0.75), 33.0), _Spot((_CAR,), (0.18, 0.2), 41.0), _Spot((_DOG,), (0.65, 0.9), 19.0))
_QUIET_TRACKS = (_TRACKS[1], _TRACKS[3], _TRACKS[8], _TRACKS[9])
_QUIET_S = 1200.0
_FURNITURE = 4


def demo_actors(seed: int, ground: Ground, seconds: float, *, quiet: bool = False) -> list[Actor]:
    """Return the actors in the demo's street at this time. In a quiet one, minutes pass without any."""
    tracks, spots, pause_s = (_QUIET_TRACKS, (), _QUIET_S) if quiet else (_TRACKS, _SPOTS, 0.0)
    actors = [actor for number, track in enumerate(tracks)
              for actor in _passing(track, (seed, 1, number), ground, seconds, pause_s)]
    for number, spot in enumerate(spots):
        actors += _standing(spot, (seed, 2, number), ground, seconds)
    rng = np.random.default_rng((seed, 3))
    return actors + [_prop(rng, ground, ground.between(rng.choice((0.02, 0.14, 0.66)))) for _ in range(_FURNITURE)]


def any_actors(rng: np.random.Generator, ground: Ground) -> list[Actor]:
    """Return a crowd of random number and random sizes. Others and props may hide an actor."""
    actors = []
    for number in range(rng.integers(1, 12)):
        kind = (_PERSON, _BICYCLE, _CAR, _DOG, objects.PARCEL, objects.CONE)[rng.integers(6)]
        actors += _still(rng, _id(number), kind, ground)
    return actors + [_prop(rng, ground, rng.uniform(ground.back, ground.height)) for _ in range(rng.integers(0, 5))]


def _passing(track: _Track, key: tuple[int, ...], ground: Ground, seconds: float, pause_s: float) -> list[Actor]:
    period_s = track.crossing_s * 1.25 + pause_s
    # On a quiet street each track has its own part of the pause, so that its things do not come all at once.
    shift_s = key[-1] / len(_QUIET_TRACKS) * pause_s
    within_s = pause_s / len(_QUIET_TRACKS) if pause_s else period_s
    turn, into_s = divmod(seconds + shift_s + np.random.default_rng(key).uniform(0, within_s), period_s)
    rng = np.random.default_rng((*key, int(turn)))
    kind = track.kinds[rng.integers(len(track.kinds))]
    appearance, mirrored = int(rng.integers(_APPEARANCES)), rng.random() < 0.5
    share = into_s / (track.crossing_s * rng.uniform(0.7, 1.0))
    begin, end = rng.uniform(*track.rows, 2)
    if share > 1:
        return []
    row = ground.between(begin + (end - begin) * share if track.wanders else begin)
    scale = ground.scale(row)
    margin = kind.width_m / 2 * scale
    way = (ground.width + 2 * margin) * share
    x = ground.width + margin - way if mirrored else way - margin
    phase = int(way / scale / track.stride_m * objects.PHASES) % objects.PHASES
    speed = (ground.width + 2 * margin) * share / max(into_s, 1e-6)     # pixels a second
    actor = Actor(_id(*key[1:], int(turn)), kind, appearance, phase, x, row, scale, mirrored,
                  round(speed * _EXPOSURE_S), track.wanders)
    return _with_rider(actor) if kind is _BICYCLE else [actor]


def _with_rider(bicycle: Actor) -> list[Actor]:
    return [bicycle, replace(bicycle, id=f"{bicycle.id}-rider", kind=_RIDER, appearance=bicycle.appearance + 1,
                             row=bicycle.row + 0.01)]


def _standing(spot: _Spot, key: tuple[int, ...], ground: Ground, seconds: float) -> list[Actor]:
    turn = int((seconds + np.random.default_rng(key).uniform(0, spot.stay_s)) // spot.stay_s)
    rng = np.random.default_rng((*key, turn))
    if rng.random() < 0.3:
        return []
    row = ground.between(rng.uniform(*spot.rows))
    kind = spot.kinds[rng.integers(len(spot.kinds))]
    return [Actor(_id(*key[1:], turn), kind, int(rng.integers(_APPEARANCES)), 0, rng.uniform(0.05, 0.95) * ground.width,
                  row, ground.scale(row), bool(rng.random() < 0.5))]


def _still(rng: np.random.Generator, ident: str, kind: Kind, ground: Ground) -> list[Actor]:
    least, most = np.log(LEAST_PX), np.log(LARGEST_PX)
    for _ in range(8):
        scale = float(np.exp(rng.uniform(least, most))) * ground.unit / kind.size_m
        if ground.back < ground.row(scale) < ground.height * 1.15:
            break
    else:
        scale = ground.scale(rng.uniform(ground.back + 1, ground.height))
    actor = Actor(ident, kind, int(rng.integers(_APPEARANCES)), int(rng.integers(objects.PHASES)),
                  rng.uniform(-0.03, 1.03) * ground.width, ground.row(scale), scale * rng.uniform(0.85, 1.15),
                  bool(rng.random() < 0.5), round(abs(rng.normal(0, 0.8)) * ground.unit))
    return _with_rider(actor) if kind is _BICYCLE and rng.random() < 0.5 else [actor]


def _prop(rng: np.random.Generator, ground: Ground, row: float) -> Actor:
    return Actor("prop", objects.PROPS[rng.integers(len(objects.PROPS))], int(rng.integers(_APPEARANCES)), 0,
                 rng.uniform(0, 1) * ground.width, row, ground.scale(row), bool(rng.random() < 0.5))


def _id(*numbers: int) -> str:
    return "-".join(map(str, numbers))
