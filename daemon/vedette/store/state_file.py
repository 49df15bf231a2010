"""Keeps the store's state in two files: state.json, and a copy for the day when that one cannot be read.

Invariants:
- `keep` returns when state.json is durable; it is the truth, and the copy is written after it. The copy may be behind
  in the counters of a trial, in nothing else.
- Reading never raises and never writes; content that nobody understands is set aside when something new is kept.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from vedette._lib.durable import Files, replace_file
from vedette._lib.whole_file import read_whole
from vedette.errors import StateUnusable
from vedette.store.incoming import unusable
from vedette.store.state import StoreState, salvaged

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

STATE, COPY, BAD = "state.json", "state.copy.json", "state.json.bad"
_BYTES_MAX = 1 << 20


class StateFile:
    """The state in `folder`.

    `trouble` is what was wrong at the last `read` or `keep`, in words; `unreadable`: the disk gave no content, which it
    may do another time; `kept`: what state.json holds, None where that is unknown.
    """

    def __init__(self, folder: Path, *, files: Files = os) -> None:
        self.trouble: str | None = None
        self.unreadable = False
        self.kept: StoreState | None = None
        self._folder = folder
        self._files = files
        self._copied: StoreState | None = None
        self._bad: bytes | None = None

    def __repr__(self) -> str:
        return f"<StateFile {self._folder / STATE}{f' {self.trouble}' if self.trouble else ''}>"

    @property
    def is_lost(self) -> bool:
        """Whether what was kept is no longer there."""
        return self.kept not in (None, StoreState()) and not (self._folder / STATE).exists()

    def read(self) -> StoreState | None:
        """Return the state, as far as it can be understood, the empty one where none was ever kept; else None."""
        self.kept = self._copied = self._bad = self.trouble = None
        self.unreadable = False
        contents = [self._content(name) for name in (STATE, COPY)]
        understood = [self._understood(name, content) for name, content in zip((STATE, COPY), contents, strict=True)]
        if contents == [None, None] and not self.unreadable:
            understood = [StoreState(), StoreState()]
        self.kept, self._copied = understood
        self._bad = contents[0] if self.kept is None else None
        choices = (understood[0], salvaged(contents[0] or b""), understood[1], salvaged(contents[1] or b""))
        return next((state for state in choices if state is not None), None)

    def keep(self, state: StoreState) -> None:
        """Make the state durable. Raises: StateUnusable, StoreFull; then state.json is as it was, or it is this one."""
        if self._bad is not None:
            self._set_aside(self._bad)
        if self.is_lost:
            self.kept = self._copied = None
        if state != self.kept:
            self.kept = None
            self._write(STATE, state)
        self.kept, self._bad, self.trouble = state, None, None
        if self._copied is None or _but_for_counters(state) != _but_for_counters(self._copied):
            try:
                self._write(COPY, state)
                self._copied = state
            except StateUnusable as error:      # what was asked for is done
                self._complain(str(error))

    def _content(self, name: str) -> bytes | None:
        try:
            return read_whole(self._folder / name, _BYTES_MAX)
        except FileNotFoundError:
            return None
        except OSError as error:
            self.unreadable = True
            self._complain(f"{self._folder / name}: cannot be read: {error.strerror}")
            return None

    def _understood(self, name: str, content: bytes | None) -> StoreState | None:
        if content is None:
            return None
        try:
            return StoreState.parse(content)
        except ValueError:
            self._complain(f"{self._folder / name}: not understood")
            return None

    def _write(self, name: str, state: StoreState) -> None:
        try:
            replace_file(self._folder / name, state.serialize(), files=self._files)
        except OSError as error:
            raise unusable(self._folder / name, error) from error

    def _set_aside(self, content: bytes) -> None:
        try:
            replace_file(self._folder / BAD, content, files=self._files)
        except OSError as error:
            log.warning("%s: %s", self._folder / BAD, error.strerror)

    def _complain(self, words: str) -> None:
        log.warning("model store: %s", words)
        self.trouble = words


def _but_for_counters(state: StoreState) -> tuple[StoreState, bool]:
    return state.model_copy(update={"trial": None}), state.trial is None
