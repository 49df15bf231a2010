"""A source with one picture, for the parts of the capture child."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Still:
    """Gives the same picture for ever."""

    live = True
    reusable = True
    fps: float | None = None

    def __init__(self, picture: NDArray[np.uint8]) -> None:
        self._picture = picture

    def grab(self) -> int:
        """Return the time of the frame."""
        return 0

    def close(self) -> None:
        """Nothing is open."""

    def read(self, _into: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        """Return the picture itself."""
        return self._picture
