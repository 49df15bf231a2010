"""An HTTP address: a stream, or a snapshot address that gives one picture for each request.

Invariants: an address counts as a snapshot address while each answer ends after exactly one picture. It is then asked
`fps` times a second at most. Any other end of an answer is the end of a stream.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from vedette._lib.clock import pause
from vedette.camera.child.opencv import READ_MARGIN_S
from vedette.camera.child.stream import Stream, StreamEnded

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from vedette.camera.settings import CaptureSettings


class HttpSource:
    """The pictures of an HTTP address."""

    live = True
    reusable = True

    def __init__(self, settings: CaptureSettings, sleep: Callable[[float], None] = pause) -> None:
        self._settings = settings
        self._sleep = sleep
        self._asked = time.monotonic()
        self._stream = Stream(settings, settings.open_limit_s)
        self.fps = self._stream.fps

    def __repr__(self) -> str:
        return f"<HttpSource {self._stream}>"

    def grab(self) -> int:
        """Wait for the next frame; see Source."""
        try:
            return self._stream.grab()
        except StreamEnded:
            if self._stream.frames != 1:
                raise
        self._stream.close()
        wait_s = max(0.0, self._asked + 1 / self._settings.fps - time.monotonic())
        self._sleep(wait_s)
        self._asked = time.monotonic()
        self._stream = Stream(self._settings, self._settings.silence_s - READ_MARGIN_S - wait_s)
        return self._stream.grab()

    def read(self, into: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        """Return the grabbed frame; see Source."""
        return self._stream.read(into)

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()
