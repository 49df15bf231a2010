"""Runs a model on a drawn picture, and asks every decoder that fits by its shapes what speaks against it.

Invariants: the picture is the same everywhere. It has edges, colours, light and texture, like a view of a camera, but
nothing that a detector knows. What is found belongs to the file alone, and not to any configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vedette.errors import DetectError, ModelError
from vedette.tflite.file import ModelFile
from vedette.tflite.tensors import TensorSpec
from vedette.vision.decoders import DECODERS
from vedette.vision.geometry import InputShape
from vedette.vision.in_graph import expected_input
from vedette.vision.normalization import BYTES

Array = NDArray[Any]
DOUBT_CHARS_MAX = 300
_SHAPES = 12


def find_doubts(model: ModelFile, spec: TensorSpec, view: Array, invoke: Callable[[], None],
                outputs: Sequence[Array]) -> dict[str, str]:
    """Return, for each decoder that fits by its shapes but not by its values, the reason why it does not.

    `model` has the outputs as allocated. `spec` and `view` are of its input. Raises: InvokeFailed.
    """
    shape = InputShape.of(spec.shape)
    if len(model.inputs) != 1 or shape is None:
        return {}
    shown = expected_input(model)
    _fill(view, shape, most=255.0 if shown and shown[0] == BYTES else 1.0)
    invoke()
    found = {}
    for name, build in DECODERS.items():
        try:
            doubt = build(model, shape).doubt(outputs)
        except (ModelError, DetectError):       # it does not fit at all, or each frame will say so
            continue
        if doubt:
            found[name] = doubt[:DOUBT_CHARS_MAX]
    return found


def draw(width: int, height: int) -> Array:
    """Return the picture: (height, width, 3), uint8."""
    random = np.random.default_rng(2)
    picture = _stretch(random.integers(40, 216, (5, 7, 3)), width, height)
    for _ in range(_SHAPES):
        x, y = int(random.integers(0, width)), int(random.integers(0, height))
        wide, high = int(random.integers(2, width // 4 + 3)), int(random.integers(2, height // 4 + 3))
        colour = [int(value) for value in random.integers(0, 256, 3)]
        if random.random() < 0.5:
            picture[y:y + high + 1, x:x + wide + 1] = colour
        else:
            _fill_ellipse(picture, x, y, wide, high, colour)
    grain = random.integers(-12, 13, picture.shape)
    return (picture + grain).clip(0, 255).astype(np.uint8)


def _stretch(coarse: Array, width: int, height: int) -> Array:
    """Return the values between those of a coarse picture: (height, width, 3)."""
    rows, columns = np.linspace(0, coarse.shape[0] - 1, height), np.linspace(0, coarse.shape[1] - 1, width)
    top, left = rows.astype(int).clip(0, coarse.shape[0] - 2), columns.astype(int).clip(0, coarse.shape[1] - 2)
    down, right = (rows - top)[:, None, None], (columns - left)[:, None]
    wide = coarse[:, left] * (1 - right) + coarse[:, left + 1] * right
    stretched: Array = wide[top] * (1 - down) + wide[top + 1] * down
    return stretched


def _fill_ellipse(picture: Array, x: int, y: int, wide: int, high: int, colour: Sequence[int]) -> None:
    top, left = max(0, y - high), max(0, x - wide)
    part = picture[top:y + high + 1, left:x + wide + 1]
    rows, columns = np.ogrid[top:top + part.shape[0], left:left + part.shape[1]]
    part[((columns - x) / wide) ** 2 + ((rows - y) / high) ** 2 <= 1] = colour


def _fill(view: Array, shape: InputShape, most: float) -> None:
    """Write the picture to an input tensor: integers take the bytes, floats 0 to `most`."""
    picture = draw(shape.width, shape.height)[..., :shape.channels]
    pixels = picture.transpose(2, 0, 1) if shape.planar else picture
    if view.dtype.kind == "f":
        view[0] = pixels * (most / 255)
    else:
        view[0] = pixels.astype(np.int16) - (128 if view.dtype.kind == "i" else 0)
