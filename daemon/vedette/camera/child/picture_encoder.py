"""Encodes the frame in a slot as JPEG for those who view it, because this process has OpenCV and the daemon has not.

Invariants: a slot is only read. The slot behind the last belongs to the picture; the owner reads it before it orders
another one. The frame has its masks, so the picture has them.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from vedette.camera.settings import SLOTS
from vedette.camera.wire import PictureReady
from vedette.vision.jpeg import encode_within

if TYPE_CHECKING:
    from vedette.camera.shared_frames import SharedFrames
    from vedette.camera.wire import PictureOrder

log = logging.getLogger(__name__)


class PictureEncoder:
    """Carries out one order after the other."""

    def __init__(self, frames: SharedFrames) -> None:
        self._frames = frames

    def encode(self, order: PictureOrder) -> PictureReady:
        """Put the picture into its slot. Return its size: 0 if there is none."""
        pixels = self._frames.view(order.slot, (order.height, order.width, 3))
        try:
            picture = encode_within(pixels, order.most_width, order.most_height, order.quality)
            self._frames.view(SLOTS, (len(picture),))[:] = picture
        except ValueError as error:     # larger than a slot, for example
            log.debug("no picture of frame %d: %s", order.seq, error)
            return PictureReady(order.seq, 0)
        return PictureReady(order.seq, len(picture))
