"""Notices that the files of a refused model have changed.

Invariants: a file that is still being copied does not count: it must stay the same for `SETTLED_S`. One thread uses it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from vedette.ports import Clock

SETTLED_S = 0.5


class FileWatch:
    """`read_files` returns what identifies the files now: a changed file gives another value. None: nothing changes."""

    def __init__(self, read_files: Callable[[], object] | None, clock: Clock) -> None:
        self._read_files = read_files
        self._clock = clock
        self._refused: object = None
        self._seen: object = None
        self._next_ns = 0

    def remember(self) -> None:
        """Take the files as they are: they are about to be used."""
        self._refused = self._read_files() if self._read_files is not None else None

    def changed(self) -> bool:
        """Whether the files differ from the remembered ones, and have settled."""
        now_ns = self._clock.monotonic_ns()
        if self._read_files is None or now_ns < self._next_ns:
            return False
        self._next_ns = now_ns + int(SETTLED_S * 1e9)
        before, self._seen = self._seen, self._read_files()
        return self._seen != self._refused and self._seen == before
