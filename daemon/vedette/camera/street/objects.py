"""The drawings of the things in the street: six kinds with a label, and props that only hide other things.

Invariants: an appearance (a seed) always gives the same thing. Only its pose changes, with the phase of its movement.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi, sin
from typing import TYPE_CHECKING

import cv2
import numpy as np

from vedette.camera.street.sprite import Canvas, Colour

if TYPE_CHECKING:
    from vedette.camera.street.sprite import Sprite

Generator = np.random.Generator
TYRE: Colour = (28, 26, 26)
GLASS: Colour = (96, 82, 66)
PHASES = 8
"""Poses of one step or one turn of a wheel."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of thing: its canvas in metres, its typical size (root of its area), and its drawing function."""

    label: str | None
    width_m: float
    height_m: float
    size_m: float
    draw: Callable[[Canvas, Generator, float], None]


def draw(kind: Kind, appearance: int, phase: int, density: float) -> Sprite:
    """Return the thing with this appearance in this pose (0 to PHASES - 1)."""
    rng = np.random.default_rng(appearance)
    canvas = Canvas(kind.width_m, kind.height_m, density)
    kind.draw(canvas, rng, 2 * pi * phase / PHASES)
    canvas.speckle(rng, 28)
    return canvas.sprite()


def paint(rng: Generator, least: int = 30) -> Colour:
    """Return a random paint colour: some are grey, some are bright."""
    hsv = np.array([[[rng.integers(180), rng.integers(20, 230) * (rng.random() < 0.7), rng.integers(least, 246)]]],
                   np.uint8)
    blue, green, red = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0].tolist()
    return blue, green, red


def tinted(colour: Colour, share: float) -> Colour:
    """Return a darker (below 1) or lighter colour."""
    blue, green, red = (min(255, round(part * share)) for part in colour)
    return blue, green, red


def _skin(rng: Generator) -> Colour:
    return tinted((132, 166, 214), rng.uniform(0.35, 1.1))


def _person(c: Canvas, rng: Generator, turn: float) -> None:
    skin, shirt, trousers, hair = _skin(rng), paint(rng), paint(rng, 20), tinted((40, 60, 90), rng.uniform(0.3, 2))
    build, height, stride = rng.uniform(0.85, 1.25), rng.uniform(0.85, 1.08), rng.uniform(0.15, 0.42)
    pack, coat, hat = rng.random() < 0.25, rng.random() < 0.3, rng.random() < 0.2
    step = stride * sin(turn)
    for side, shadow in ((-1, 0.8), (1, 1.0)):
        foot = (side * step + side * 0.04, 0.06)
        c.line((side * 0.07, 0.85 * height), foot, 0.17 * build, tinted(trousers, shadow))
        c.line(foot, (foot[0] + 0.09, 0.05), 0.09, (30, 30, 34))
    c.line((-0.2 * build, 1.36 * height), (-0.2 * build + 0.9 * step, 0.88 * height), 0.1 * build, tinted(shirt, 0.75))
    hem, flare = (0.5, 0.27) if coat else (0.8, 0.17)
    c.polygon([(-0.22 * build, 1.46 * height), (0.22 * build, 1.46 * height), (flare * build, hem * height),
               (-flare * build, hem * height)], shirt)
    if pack:
        c.disc((-0.2 * build, 1.2 * height), (0.13, 0.24), paint(rng))
    hand = (0.2 * build - 0.9 * step, 0.88 * height)
    c.line((0.2 * build, 1.38 * height), hand, 0.1 * build, tinted(shirt, 0.9))
    c.disc(hand, (0.06, 0.06), skin)
    c.disc((0.0, 1.62 * height), (0.12, 0.15), skin)
    c.disc((-0.03, 1.69 * height), (0.13, 0.1), paint(rng) if hat else hair)


def _rider(c: Canvas, rng: Generator, turn: float) -> None:
    skin, shirt, trousers = _skin(rng), paint(rng), paint(rng, 20)
    for begin, shadow in ((0.0, 0.75), (pi, 1.0)):
        pedal = (0.02 + 0.16 * sin(turn + begin), 0.3 + 0.16 * cos(turn + begin))
        knee = (0.2, 0.68 + 0.08 * cos(turn + begin))
        c.line((-0.2, 0.98), knee, 0.16, tinted(trousers, shadow))
        c.line(knee, pedal, 0.13, tinted(trousers, shadow))
    c.line((-0.2, 1.0), (0.12, 1.42), 0.3, shirt)
    c.line((0.14, 1.4), (0.46, 1.08), 0.1, tinted(shirt, 0.85))
    c.disc((0.25, 1.64), (0.12, 0.14), skin)
    c.disc((0.22, 1.71), (0.14, 0.09), paint(rng))


def _bicycle(c: Canvas, rng: Generator, turn: float) -> None:
    frame, tube, radius = paint(rng, 60), rng.uniform(0.05, 0.08), rng.uniform(0.31, 0.37)
    back, front, pedals, saddle, head = (-0.52, radius), (0.54, radius), (-0.02, 0.3), (-0.2, 0.88), (0.42, 0.9)
    for hub in (back, front):
        for spoke in range(3):
            x, y = radius * cos(turn / 2 + spoke * pi / 3), radius * sin(turn / 2 + spoke * pi / 3)
            c.line((hub[0] - x, hub[1] - y), (hub[0] + x, hub[1] + y), 0.012, (150, 150, 150))
        c.ring(hub, radius - 0.03, 0.065, TYRE)
    for begin, end in ((back, pedals), (back, (-0.15, 0.72)), (pedals, saddle), (pedals, (0.4, 0.72)),
                       ((-0.15, 0.74), (0.4, 0.76)), (head, front)):
        c.line(begin, end, tube, frame)
    c.line((-0.32, 0.92), (-0.1, 0.92), 0.07, TYRE)
    c.line(head, (0.5, 1.0), 0.05, (60, 60, 60))
    c.line((0.36, 1.02), (0.54, 1.0), 0.05, TYRE)
    if rng.random() < 0.3:
        c.polygon([(-0.75, 0.95), (-0.4, 0.95), (-0.45, 0.7), (-0.7, 0.7)], tinted((90, 130, 160), rng.uniform(0.5, 1)))


def _car(c: Canvas, rng: Generator, turn: float) -> None:
    colour, van = paint(rng, 40), rng.random() < 0.3
    half, roof = rng.uniform(1.9, 2.2), rng.uniform(1.8, 2.05) if van else rng.uniform(1.35, 1.55)
    belt, bonnet = rng.uniform(0.85, 0.98) + 0.15 * van, rng.uniform(0.5, 0.95)
    screen, tail = half - bonnet, -half + (0.12 if van else rng.uniform(0.15, 0.7))
    c.polygon([(-half, 0.3), (half, 0.3), (half, 0.72), (half - 0.12, belt - 0.1), (screen, belt), (tail, belt),
               (-half, belt - 0.08)], colour)
    slope = rng.uniform(0.35, 0.65)
    c.polygon([(screen, belt), (screen - slope, roof), (tail + (0.05 if van else 0.35), roof), (tail, belt)], colour)
    c.polygon([(screen - 0.12, belt + 0.02), (screen - slope - 0.05, roof - 0.1), (0.1, roof - 0.1),
               (0.1, belt + 0.02)], GLASS)
    if not van or rng.random() < 0.4:
        c.polygon([(0.02, belt + 0.02), (0.02, roof - 0.1), (tail + 0.42, roof - 0.1), (tail + 0.14, belt + 0.02)],
                  GLASS)
    c.line((-half, 0.34), (half, 0.34), 0.12, tinted(colour, 0.45))
    c.line((0.06, 0.4), (0.06, belt), 0.025, tinted(colour, 0.6))
    c.disc((half - 0.08, 0.66), (0.1, 0.09), (210, 240, 250))
    c.disc((-half + 0.06, 0.72), (0.08, 0.12), (40, 40, 200))
    for hub in (-half * 0.63, half * 0.64):
        c.disc((hub, 0.33), (0.39, 0.38), tinted(colour, 0.3))
        c.disc((hub, 0.32), (0.32, 0.32), TYRE)
        c.disc((hub, 0.32), (0.18, 0.18), (165, 165, 165))
        c.line((hub - 0.17 * cos(turn), 0.32 - 0.17 * sin(turn)), (hub + 0.17 * cos(turn), 0.32 + 0.17 * sin(turn)),
               0.05, (90, 90, 90))


def _dog(c: Canvas, rng: Generator, turn: float) -> None:
    coat = tinted((60, 105, 150), rng.uniform(0.3, 1.6)) if rng.random() < 0.75 else (225, 230, 232)
    tall, stout = rng.uniform(0.75, 1.1), rng.uniform(0.8, 1.2)
    for hip, begin, shadow in ((-0.28, 0.0, 0.75), (0.25, pi, 0.75), (-0.3, pi, 1.0), (0.27, 0.0, 1.0)):
        c.line((hip, 0.4 * tall), (hip + 0.14 * sin(turn + begin), 0.04), 0.08, tinted(coat, shadow))
    c.disc((-0.02, 0.46 * tall), (0.38, 0.14 * stout), coat)
    c.line((-0.36, 0.5 * tall), (-0.55, 0.66 * tall + 0.05 * sin(turn)), 0.06, coat)
    c.line((0.3, 0.52 * tall), (0.42, 0.72 * tall), 0.15, coat)
    c.disc((0.46, 0.76 * tall), (0.13, 0.1), coat)
    c.line((0.5, 0.73 * tall), (0.64, 0.72 * tall), 0.08, tinted(coat, 0.8))
    c.disc((0.38, 0.82 * tall), (0.05, 0.09), tinted(coat, 0.55))
    c.disc((0.67, 0.73 * tall), (0.03, 0.03), (20, 20, 20))
    if rng.random() < 0.5:
        c.line((0.33, 0.62 * tall), (0.44, 0.58 * tall), 0.05, paint(rng, 120))


def _parcel(c: Canvas, rng: Generator, _: float) -> None:
    card = tinted((96, 142, 186), rng.uniform(0.7, 1.25))
    half, tall, deep, lift = rng.uniform(0.24, 0.4), rng.uniform(0.3, 0.62), rng.uniform(0.1, 0.25), 0.1
    c.polygon([(-half, 0.0), (half, 0.0), (half, tall), (-half, tall)], card)
    c.polygon([(-half, tall), (half, tall), (half + deep, tall + lift), (-half + deep, tall + lift)],
              tinted(card, 1.22))
    c.polygon([(half, 0.0), (half + deep, lift), (half + deep, tall + lift), (half, tall)], tinted(card, 0.68))
    tape = tinted((120, 175, 205), rng.uniform(0.6, 1.2))
    c.line((0.0, 0.0), (0.0, tall), 0.07, tape)
    c.line((0.0, tall), (deep, tall + lift), 0.07, tape)
    if rng.random() < 0.7:
        x, y = rng.uniform(-half, 0) * 0.8, tall * rng.uniform(0.35, 0.6)
        c.polygon([(x, y), (x + 0.2, y), (x + 0.2, y + 0.14), (x, y + 0.14)], (238, 240, 240))


def _cone(c: Canvas, rng: Generator, _: float) -> None:
    orange = tinted((30, 95, 240), rng.uniform(0.75, 1.0))
    base, tall = rng.uniform(0.24, 0.32), rng.uniform(0.65, 0.9)
    c.polygon([(-base, 0.0), (base, 0.0), (base * 0.9, 0.09), (-base * 0.9, 0.09)], tinted(orange, 0.55))
    c.polygon([(-base * 0.68, 0.08), (base * 0.68, 0.08), (0.045, tall), (-0.045, tall)], orange)
    bands = ((0.3, 0.5), (0.65, 0.8)) if rng.random() < 0.6 else ((0.42, 0.68),)
    for low, high in bands:
        left, right = base * 0.68 * (1 - low), base * 0.68 * (1 - high)
        c.polygon([(-left, tall * low), (left, tall * low), (right, tall * high), (-right, tall * high)],
                  (235, 238, 240))


def _tree(c: Canvas, rng: Generator, _: float) -> None:
    bark = tinted((50, 70, 90), rng.uniform(0.6, 1.3))
    leaves = tinted((50, 120, 70), rng.uniform(0.5, 1.2))
    c.line((0.0, 0.0), (rng.uniform(-0.15, 0.15), 2.6), rng.uniform(0.18, 0.4), bark)
    for _leaf in range(14):
        c.disc((rng.normal(0, 0.5), rng.uniform(2.0, 3.9)), (rng.uniform(0.3, 0.6), rng.uniform(0.25, 0.5)),
               tinted(leaves, rng.uniform(0.7, 1.3)))


def _post(c: Canvas, rng: Generator, _: float) -> None:
    metal = paint(rng)
    c.line((0.0, 0.0), (0.0, rng.uniform(2.4, 4.0)), rng.uniform(0.08, 0.2), metal)
    if rng.random() < 0.5:
        c.disc((0.0, 2.6), (0.3, 0.3), paint(rng, 120))
        c.disc((0.0, 2.6), (0.2, 0.2), paint(rng, 120))


def _bin(c: Canvas, rng: Generator, _: float) -> None:
    colour, half, tall = paint(rng, 40), rng.uniform(0.22, 0.35), rng.uniform(0.8, 1.2)
    c.polygon([(-half, 0.0), (half, 0.0), (half * 1.2, tall), (-half * 1.2, tall)], colour)
    c.line((-half * 1.25, tall), (half * 1.25, tall), 0.1, tinted(colour, 0.6))
    c.line((-half * 0.4, 0.1), (-half * 0.45, tall * 0.9), 0.04, tinted(colour, 0.75))


def _bush(c: Canvas, rng: Generator, _: float) -> None:
    leaves = tinted((55, 115, 65), rng.uniform(0.5, 1.2))
    for _leaf in range(16):
        c.disc((rng.normal(0, 0.4), rng.uniform(0.1, 0.75)), (rng.uniform(0.12, 0.3), rng.uniform(0.1, 0.25)),
               tinted(leaves, rng.uniform(0.7, 1.35)))


def _bench(c: Canvas, rng: Generator, _: float) -> None:
    wood = tinted((60, 100, 145), rng.uniform(0.5, 1.3))
    for x in (-0.65, 0.65):
        c.line((x, 0.0), (x, 0.85), 0.07, (50, 50, 50))
    for y in (0.45, 0.62, 0.78):
        c.line((-0.8, y), (0.8, y), 0.1, wood)


PERSON = Kind("person", 1.3, 2.05, 0.95, _person)
RIDER = Kind("person", 1.3, 2.05, 0.95, _rider)
BICYCLE = Kind("bicycle", 2.0, 1.15, 1.35, _bicycle)
CAR = Kind("car", 4.7, 2.15, 2.5, _car)
DOG = Kind("dog", 1.5, 1.05, 0.85, _dog)
PARCEL = Kind("parcel", 1.4, 0.85, 0.65, _parcel)
CONE = Kind("cone", 0.8, 1.0, 0.58, _cone)

LABELS = ("person", "bicycle", "car", "dog", "parcel", "cone")
"""By class id."""
PROPS = (Kind(None, 3.4, 4.5, 2.5, _tree), Kind(None, 0.8, 4.2, 1.2, _post), Kind(None, 1.0, 1.4, 0.8, _bin),
         Kind(None, 2.4, 1.1, 1.2, _bush), Kind(None, 1.9, 1.0, 1.2, _bench))
