"""The folder that a command writes JPEG files into (`--out`).

Invariants: no file replaces another one of the same run.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from vedette.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


class ImageFolder:
    """Writes JPEG files into one folder and chooses names that are free. Raises: UsageError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._used: Counter[str] = Counter()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"--out {folder}: {error.strerror}; expected a folder, or a name for a new one") from error

    def write(self, stem: str, jpeg: bytes) -> None:
        """Write `<stem>.jpg`; the second file of the same stem is `<stem>-2.jpg`, and so on."""
        self._used[stem] += 1
        count = self._used[stem]
        path = self._folder / f"{stem}{'' if count == 1 else f'-{count}'}.jpg"
        try:
            path.write_bytes(jpeg)
        except OSError as error:
            raise UsageError(f"--out {path}: cannot be written: {error.strerror}") from error
