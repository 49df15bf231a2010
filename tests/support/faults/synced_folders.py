"""Which folders a process opens to sync the names in them: of that, nothing else can be seen without a power cut."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class _Opened:
    """The audit hook. Python cannot remove a hook, so there is one, which records for whoever listens."""

    def __init__(self) -> None:
        self.listeners: list[list[str]] = []
        self.is_hooked = False

    def on_audit(self, event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and self.listeners and isinstance(arguments[2], int) and arguments[2] & os.O_DIRECTORY:
            for found in self.listeners:
                found.append(str(arguments[0]))


_OPENED = _Opened()


@contextmanager
def synced_folders() -> Iterator[list[str]]:
    """Collect the folders that are opened as such during the block."""
    if not _OPENED.is_hooked:
        sys.addaudithook(_OPENED.on_audit)
        _OPENED.is_hooked = True
    found: list[str] = []
    _OPENED.listeners.append(found)
    try:
        yield found
    finally:
        _OPENED.listeners.remove(found)
