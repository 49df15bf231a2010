"""A folder of images that is played as a film, sorted by name as people count: 2 before 10.

Invariants: an image that cannot be read is logged, counted and skipped. A folder without any readable image is refused.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vedette.errors import SourceEnded, SourceInvalid
from vedette.vision import images

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vedette.camera.settings import CaptureSettings

log = logging.getLogger(__name__)

_DIGITS = re.compile(r"([0-9]+)")


class Folder:
    """The images of one folder, without its subfolders."""

    live = False
    reusable = True

    def __init__(self, settings: CaptureSettings) -> None:
        self._folder = Path(settings.source.removeprefix("file://"))
        suffixes = images.suffixes()
        self._paths = sorted((path for path in self._folder.iterdir() if path.suffix.lower() in suffixes), key=_place)
        if not self._paths:
            raise SourceInvalid(f"{self._folder}: no image in it, expected one of {', '.join(sorted(suffixes))}")
        self.fps: float | None = settings.fps
        self.unreadable = 0
        self._next = 0
        self._shown = 0
        self._image: NDArray[np.uint8] | None = None

    def __repr__(self) -> str:
        return f"<Folder {self._folder} {self._next}/{len(self._paths)}>"

    def grab(self) -> int:
        """Go to the next readable image; see Source."""
        while self._next < len(self._paths):
            path = self._paths[self._next]
            self._next += 1
            try:
                self._image = np.asarray(images.read(path))
            except SourceInvalid as refusal:
                self.unreadable += 1
                log.warning("image skipped: %s", refusal)
                continue
            self._shown += 1
            return int((self._shown - 1) * 1e9 / (self.fps or 1.0))
        if not self._shown:
            raise SourceInvalid(f"{self._folder}: none of its {len(self._paths)} images can be read")
        skipped = f", {self.unreadable} unreadable" if self.unreadable else ""
        raise SourceEnded(f"{self._folder}: played to its end, {self._shown} images{skipped}")

    def read(self, into: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        """Return the image; see Source."""
        assert self._image is not None  # noqa: S101 - for the type checker: grab() came first
        if into is None or into.shape != self._image.shape:
            return self._image
        into[:] = self._image
        return into

    def close(self) -> None:
        """Drop the image."""
        self._image = None


def _place(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Return what a name is sorted by: as people count, 2 before 10. Names that count alike are sorted by letters."""
    parts = _DIGITS.split(path.name)      # every second one is a number
    return [(int(part), "") if at % 2 else (0, part) for at, part in enumerate(parts)], path.name
