"""The folder that a command writes pictures into (`--out`).

Invariants: no picture replaces another of the same run.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from vedette.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


class Pictures:
    """Writes into one folder, under names of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._taken: Counter[str] = Counter()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"--out {folder}: {error.strerror}; expected a folder, or a name for one") from error

    def write(self, stem: str, jpeg: bytes) -> None:
        """Write `<stem>.jpg`; pictures of the same stem are numbered from 2."""
        self._taken[stem] += 1
        count = self._taken[stem]
        name = f"{stem}{'' if count == 1 else f'-{count}'}.jpg"
        try:
            (self._folder / name).write_bytes(jpeg)
        except OSError as error:
            raise UsageError(f"--out {self._folder / name}: {error.strerror}; expected to be able to write") from error
