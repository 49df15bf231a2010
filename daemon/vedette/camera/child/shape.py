"""Writes a source's picture into a slot: fitted, rotated, masked; and after it the part that the detector requests.

Invariants: a picture is only scaled down, and keeps its aspect. The source writes a picture that already fits straight
into the slot. Masks are painted before the frame is handed over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from vedette.vision.privacy_masks import PrivacyMasks
from vedette.vision.scale import Scaler

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vedette.camera.child.source import Source
    from vedette.camera.settings import CaptureSettings
    from vedette.types import Scaling

_ROTATIONS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


class Shaper:
    """Reads frames of one source after the other into slots."""

    def __init__(self, settings: CaptureSettings) -> None:
        self.size_changes = 0
        self._limit = (settings.width, settings.height)
        self._rotation = _ROTATIONS.get(settings.rotate)
        self._masks = PrivacyMasks(settings.masks)
        self._source_size: tuple[int, int] | None = None       # width, height of the last picture
        self._fitted: NDArray[np.uint8] | None = None
        self._scaler: Scaler | None = None
        self._part = np.empty((0, 0, 3), np.uint8)

    def read(self, source: Source, slot: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the grabbed frame as (height, width, 3) at the start of the flat `slot`. Raises: SourceError."""
        target = self._direct_target(slot)
        picture = source.read(target)
        if picture is not target:
            picture = self._fit_into(picture, slot)
        self._masks.paint(picture)
        return picture

    def scale(self, picture: NDArray[np.uint8], slot: NDArray[np.uint8], requested: Scaling | None) -> Scaling | None:
        """Write the requested part, scaled, in RGB, after the picture. Return the request; None if it cannot be met."""
        height, width = picture.shape[:2]
        if requested is None or requested.right > width or requested.bottom > height:
            return None
        rest = slot[picture.nbytes:]
        if requested.width * requested.height * 3 > rest.nbytes:
            return None
        if self._scaler is None or self._scaler.scaling != requested:
            self._scaler = Scaler(requested)
            self._part = np.empty((requested.height, requested.width, 3), np.uint8)
        self._scaler.scale(picture, self._part)
        cv2.cvtColor(self._part, cv2.COLOR_BGR2RGB, dst=_view(rest, (requested.width, requested.height)))
        return requested

    def _direct_target(self, slot: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
        size = self._source_size
        if size is None or self._rotation is not None or fitted_size(size, self._limit) != size:
            return None
        return _view(slot, size)

    def _fit_into(self, picture: NDArray[np.uint8], slot: NDArray[np.uint8]) -> NDArray[np.uint8]:
        size = (picture.shape[1], picture.shape[0])
        self.size_changes += self._source_size not in (None, size)
        self._source_size = size
        fitted = fitted_size(size, self._limit)
        if self._rotation is None:
            return _scaled(picture, _view(slot, fitted))
        if fitted != size:
            if self._fitted is None or self._fitted.shape[1::-1] != fitted:
                self._fitted = np.empty((fitted[1], fitted[0], 3), np.uint8)
            picture = _scaled(picture, self._fitted)
        turned = fitted if self._rotation == cv2.ROTATE_180 else fitted[::-1]
        target = _view(slot, turned)
        cv2.rotate(picture, self._rotation, dst=target)
        return target


def fitted_size(size: tuple[int, int], limit: tuple[int, int]) -> tuple[int, int]:
    """Return the largest (width, height) of the same aspect within `limit`, but not larger than `size`."""
    share = min(1.0, limit[0] / size[0], limit[1] / size[1])
    return max(1, int(size[0] * share + 1e-6)), max(1, int(size[1] * share + 1e-6))


def _scaled(picture: NDArray[np.uint8], target: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if picture.shape == target.shape:
        target[:] = picture
    else:   # INTER_AREA is smoother but costs several times more on a Pi, and the model's input is smaller anyway
        cv2.resize(picture, (target.shape[1], target.shape[0]), dst=target, interpolation=cv2.INTER_LINEAR_EXACT)
    return target


def _view(slot: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    width, height = size
    return slot[:height * width * 3].reshape(height, width, 3)
