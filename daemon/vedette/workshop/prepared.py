"""Pictures of a folder as the device prepares them for a model: region, masks, scaling, colours, normalization.

Invariants: the product's own `InputWriter` prepares them, so calibration and comparison see what the device sees.
A picture is read when it is asked for, so a folder may be larger than the memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np

from vedette.errors import SourceInvalid
from vedette.tflite.tensors import TensorSpec
from vedette.types import WHOLE
from vedette.vision import images
from vedette.vision.geometry import InputShape
from vedette.vision.normalization import ZERO_TO_ONE
from vedette.vision.prepare import InputWriter
from vedette.vision.privacy_masks import Polygon, PrivacyMasks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vedette.types import Box, Frame
    from vedette.vision.model_spec import ModelSpec


def picture_files(folder: Path) -> list[Path]:
    """Return the image files of a folder and of the folders in it, by name. Raises: SourceInvalid."""
    try:
        known = images.suffixes()
        found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in known)
    except OSError as error:
        raise SourceInvalid(f"{folder}: {error.strerror}; expected a folder of images") from error
    if not found:
        raise SourceInvalid(f"{folder}: no image in it; expected a folder of images")
    return found


class Pictures(Sequence["Frame"]):
    """Image files as frames of the camera, with the privacy masks painted. Raises: SourceInvalid."""

    def __init__(self, paths: Sequence[Path], masks: Sequence[Polygon] = ()) -> None:
        self.paths = paths
        self._masks = PrivacyMasks(masks)

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> Frame: ...

    @overload
    def __getitem__(self, index: slice) -> list[Frame]: ...

    def __getitem__(self, index: int | slice) -> Frame | list[Frame]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        pixels = images.read(self.paths[index])
        self._masks.paint(np.asarray(pixels))
        return images.frame_of(pixels, index % len(self) + 1)


class Prepared:
    """Frames as the float input of a model: arrays of float32 in the shape of its input, (1, …), one after another.

    It can be counted and read many times, as calibration wants it.
    """

    def __init__(self, frames: Sequence[Frame], spec: ModelSpec, roi: Box = WHOLE) -> None:
        self._frames, self._spec, self._roi = frames, spec, roi

    def __len__(self) -> int:
        return len(self._frames)

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        spec, tensor = self._spec, float_input(self._spec.input)
        view = np.empty(tensor.shape, np.float32)
        writer = InputWriter(view, tensor, spec.input, color=spec.color, resize=spec.resize,
                             normalization=spec.normalization or ZERO_TO_ONE)
        for frame in self._frames:
            writer.write(frame, self._roi)
            yield view.copy()


def float_input(shape: InputShape) -> TensorSpec:
    """Return the description of a float input of this shape."""
    sides = (shape.height, shape.width)
    axes = (1, shape.channels, *sides) if shape.planar else (1, *sides, shape.channels)
    return TensorSpec("input", 0, axes, "float32", 0.0, 0)
