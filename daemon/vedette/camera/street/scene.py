"""A drawn street that knows what is in it: seed and frame number decide each frame and its truth.

Invariants:
- `render(n)` depends on the seed, n, the size and the rate alone, never on what was rendered before.
- The truth has each thing that can be seen: at least `LEAST_VISIBLE` of it, and `LEAST_PX` in the box model's input.
  Its box surrounds the visible pixels.
- The truth is for evaluation only. No detector gets it.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

import cv2
import numpy as np

from vedette.camera.street.actors import LEAST_PX, any_actors, demo_actors
from vedette.camera.street.backdrop import any_street, demo_street
from vedette.camera.street.light import any_light, expose, light_at, noise_tile
from vedette.camera.street.objects import LABELS, draw
from vedette.camera.street.sprite import darken_ellipse, paste
from vedette.types import Box

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from vedette.camera.street.actors import Actor
    from vedette.camera.street.backdrop import Street
    from vedette.camera.street.light import Light
    from vedette.camera.street.objects import Kind
    from vedette.camera.street.sprite import Sprite

    Pixels = NDArray[np.uint8]
    _Thing = tuple[Kind, int]

LEAST_VISIBLE = 0.4
DAY_S = 180.0
"""A day of the demo's light takes so many seconds."""
FIRST_HOUR = 8.0
HELD_OUT_SEED = 20261121
"""Hard scenes of this seed, and demo scenes of it and the nine after it, are for evaluation: never train on them."""
_THING_BYTES = 500_000
"""A thing that is large in the frame is drawn again for each pose: its poses would take several megabytes."""
_SHADOW_DEPTH = 0.14


@dataclass(frozen=True, slots=True)
class TruthBox:
    """One visible thing in a frame. `visible` is the share of it that is neither hidden nor outside the frame.

    `id` is the same in all frames of a moving street that show this thing.
    """

    id: str
    label: str
    class_id: int
    box: Box
    visible: float


class Scene:
    """A street over time. With `hard`, each frame number has another street, another crowd and another light.

    With `quiet`, nobody comes by for minutes. With `hour`, its light lasts; otherwise a day takes `DAY_S`.
    """

    def __init__(self, seed: int, width: int, height: int, fps: float, *, hard: bool = False,
                 quiet: bool = False, hour: float | None = None) -> None:
        self._seed, self._fps, self._hard, self._quiet, self._hour = seed, fps, hard, quiet, hour
        self._size = (width, height)
        self._ids = np.zeros((height, width), np.uint8)
        self._noise = noise_tile(width, height)
        self._sprites = _Sprites()
        rng = np.random.default_rng((seed, 0))
        self._street = demo_street(rng, width, height)
        self._lamps = tuple((float(x), float(rng.uniform(0.3, 0.9))) for x in rng.uniform(0, 1, 3))

    def __repr__(self) -> str:
        return f"<Scene {self._seed} {self._size[0]}x{self._size[1]}{' hard' if self._hard else ''}>"

    def render(self, frame_number: int, out: Pixels) -> tuple[TruthBox, ...]:
        """Draw a frame into `out`, (height, width, 3) BGR, and return what can be seen in it, nearest last."""
        rng = np.random.default_rng((self._seed, 4, frame_number))
        street, actors, light = self._contents(frame_number, rng)
        out[:] = street.pixels
        truth = self._draw_actors(out, street, actors, light)
        expose(out, light, self._noise, rng, street.ground.unit)
        return truth

    def _contents(self, frame_number: int, rng: np.random.Generator) -> tuple[Street, list[Actor], Light]:
        if self._hard:
            street = any_street(rng, *self._size)
            return street, any_actors(rng, street.ground), any_light(rng)
        seconds = frame_number / self._fps
        hour = (FIRST_HOUR + seconds / DAY_S * 24) % 24 if self._hour is None else self._hour
        light = light_at(hour, self._lamps)
        return self._street, demo_actors(self._seed, self._street.ground, seconds, quiet=self._quiet), light

    def _draw_actors(self, out: Pixels, street: Street, actors: Sequence[Actor], light: Light) -> tuple[TruthBox, ...]:
        """Draw the actors into the street, farthest first, and return the truth."""
        self._ids.fill(0)
        ordered = sorted(actors, key=attrgetter("row"))
        self._sprites.next_frame()
        sizes = [self._draw_actor(out, actor, number, light) for number, actor in enumerate(ordered, 1)]
        seen = (self._truth_of(actor, number, size, street.ground.unit)
                for number, (actor, size) in enumerate(zip(ordered, sizes, strict=True), 1))
        return tuple(truth for truth in seen if truth is not None)

    def _draw_actor(self, out: Pixels, actor: Actor, number: int, light: Light) -> int:
        """Draw one actor over the frame. Return the number of its pixels, hidden ones included."""
        reach = actor.kind.width_m * actor.scale * 0.45
        darken_ellipse(out, (actor.x, actor.row), (reach, reach * _SHADOW_DEPTH + 1), light.shadow_strength)
        sprite = self._sprites.of(actor)
        columns, rows = sprite.size
        left, top = round(actor.x - columns / 2) + sprite.left, round(actor.row - rows) + sprite.top
        return paste(out, self._ids, sprite, left, top, number)

    def _truth_of(self, actor: Actor, number: int, size: int, unit: float) -> TruthBox | None:
        """Return what can be seen of an actor after all are drawn. Return None if it is too little, or for a prop."""
        if actor.kind.label is None or not size:
            return None
        width, height = self._size
        reach = (actor.kind.width_m / 2 * actor.scale) + 2
        left, right = max(0, int(actor.x - reach)), min(width, int(actor.x + reach) + 1)
        top, bottom = max(0, int(actor.row - actor.kind.height_m * actor.scale) - 2), min(height, int(actor.row) + 3)
        if left >= right or top >= bottom:
            return None
        mask = (self._ids[top:bottom, left:right] == number).view(np.uint8)
        visible = cv2.countNonZero(mask) / size
        x, y, wide, tall = cv2.boundingRect(mask)
        if visible < LEAST_VISIBLE or (wide * tall) ** 0.5 < LEAST_PX * unit:
            return None
        box = Box((left + x) / width, (top + y) / height, (left + x + wide) / width, (top + y + tall) / height)
        return TruthBox(actor.id, actor.kind.label, LABELS.index(actor.kind.label), box, min(1.0, visible))


class _Sprites:
    """The sprites of one frame, for the next one: drawing is slow, and most things are in both."""

    def __init__(self) -> None:
        self._last: dict[_Thing, dict[object, Sprite]] = {}
        self._now: dict[_Thing, dict[object, Sprite]] = {}

    def of(self, actor: Actor) -> Sprite:
        """Return the sprite of an actor as it is shown."""
        thing = actor.kind, actor.appearance
        poses = self._now.setdefault(thing, self._last.get(thing, {}))
        if actor.approaches:    # shown at each scale only once, so the drawing is kept
            return _shown(_kept(poses, (actor.phase, _density(actor.scale)), lambda: _drawn(actor)), actor)
        pose = actor.phase, actor.scale, actor.mirrored, actor.blur_px
        return _kept(poses, pose, lambda: _shown(_drawn(actor), actor))

    def next_frame(self) -> None:
        """Forget the sprites of things that were in no frame since the last call."""
        self._last, self._now = self._now, {}


def _kept(poses: dict[object, Sprite], pose: object, make: Callable[[], Sprite]) -> Sprite:
    if pose not in poses:
        if sum(sprite.colours.nbytes for sprite in poses.values()) > _THING_BYTES:
            poses.clear()
        poses[pose] = make()
    return poses[pose]


def _drawn(actor: Actor) -> Sprite:
    return draw(actor.kind, actor.appearance, actor.phase, _density(actor.scale))


def _shown(drawing: Sprite, actor: Actor) -> Sprite:
    return drawing.at_scale(actor.scale, mirrored=actor.mirrored, blur_px=actor.blur_px)


def _density(scale: float) -> float:
    """Return the scale to draw at: the next power of two, so that similar scales share a drawing."""
    return float(2 ** max(4, int(np.ceil(np.log2(scale * 1.2)))))
