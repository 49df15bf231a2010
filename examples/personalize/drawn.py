"""Draws pictures of an owner's things: the same six things, each time in another street, light, pose and size.

Invariants: the number of a picture alone decides it; no model was trained on them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vedette.camera.street import objects
from vedette.camera.street.actors import Actor
from vedette.camera.street.backdrop import any_street
from vedette.camera.street.light import any_light
from vedette.camera.street.scene import Scene

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vedette.camera.street.backdrop import Street
    from vedette.camera.street.light import Light

SEED = 20261130
THINGS = {"post van": (objects.CAR, 11), "black van": (objects.CAR, 12), "our car": (objects.CAR, 17),
          "our dog": (objects.DOG, 21), "brown dog": (objects.DOG, 22), "our bin": (objects.PROPS[2], 31)}
"""Each label with its kind and its appearance, which never changes."""
_SIDE = 384
_MARGIN = 1.3       # of the thing's size


class Portraits(Scene):
    """A street in which one thing stands, another street for each number."""

    def __init__(self, label: str) -> None:
        super().__init__(SEED + list(THINGS).index(label), _SIDE, _SIDE, 30.0)
        self._thing = THINGS[label]

    def draw(self, number: int) -> NDArray[np.uint8]:
        """Return picture `number`, (side, side, 3) BGR: a square around the thing."""
        picture = np.empty((_SIDE, _SIDE, 3), np.uint8)
        self.render(number, picture)
        ys, xs = np.nonzero(self._ids)
        side = int(min(_SIDE, _MARGIN * max(np.ptp(ys), np.ptp(xs)) + 4))
        top, left = (int(np.clip((axis.min() + axis.max() - side) // 2, 0, _SIDE - side)) for axis in (ys, xs))
        return np.ascontiguousarray(picture[top:top + side, left:left + side])

    def _contents(self, _: int, rng: np.random.Generator) -> tuple[Street, list[Actor], Light]:
        street = any_street(rng, _SIDE, _SIDE)
        kind, appearance = self._thing
        scale = float(rng.uniform(0.25, 0.6)) * _SIDE / kind.width_m
        actor = Actor("thing", kind, appearance, int(rng.integers(objects.PHASES)), rng.uniform(0.35, 0.65) * _SIDE,
                      rng.uniform(0.6, 0.95) * _SIDE, scale, bool(rng.random() < 0.5), round(abs(rng.normal(0, 1))))
        return street, [actor], any_light(rng)
