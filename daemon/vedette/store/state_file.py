"""Saves the store's state in two files: state.json, and a copy that is used when state.json cannot be read.

Invariants:
- `save` returns when state.json is durable. state.json is the truth; the copy is written after it. Only the counters of
  a trial may be older in the copy.
- Reading never raises and never writes. Content that cannot be parsed is set aside at the next `save`.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from vedette._lib.durable import Files, replace_file
from vedette._lib.whole_file import read_whole
from vedette.errors import StateUnusable
from vedette.store.incoming import write_error
from vedette.store.state import StoreState, parse_damaged

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

STATE, COPY, BAD = "state.json", "state.copy.json", "state.json.bad"
_BYTES_MAX = 1 << 20


class StateFile:
    """The state in `folder`.

    `trouble` is a message: what was wrong at the last `read` or `save`. `unreadable`: the disk returned a read error; a
    later attempt may succeed. `saved`: what state.json holds, None where that is unknown.
    """

    def __init__(self, folder: Path, *, files: Files = os) -> None:
        self.trouble: str | None = None
        self.unreadable = False
        self.saved: StoreState | None = None
        self._folder = folder
        self._files = files
        self._saved_copy: StoreState | None = None
        self._bad_content: bytes | None = None

    def __repr__(self) -> str:
        return f"<StateFile {self._folder / STATE}{f' {self.trouble}' if self.trouble else ''}>"

    @property
    def is_lost(self) -> bool:
        """Whether a state was saved and state.json no longer exists."""
        return self.saved not in (None, StoreState()) and not (self._folder / STATE).exists()

    def read(self) -> StoreState | None:
        """Return the state, as far as it can be parsed; the empty state if none was ever saved; else None."""
        self.saved = self._saved_copy = self._bad_content = self.trouble = None
        self.unreadable = False
        contents = [self._read_content(name) for name in (STATE, COPY)]
        parsed = [self._parse(name, content) for name, content in zip((STATE, COPY), contents, strict=True)]
        if contents == [None, None] and not self.unreadable:
            parsed = [StoreState(), StoreState()]
        self.saved, self._saved_copy = parsed
        self._bad_content = contents[0] if self.saved is None else None
        choices = (parsed[0], parse_damaged(contents[0] or b""), parsed[1], parse_damaged(contents[1] or b""))
        return next((state for state in choices if state is not None), None)

    def save(self, state: StoreState) -> None:
        """Make the state durable. Raises: StateUnusable, StoreFull; state.json then holds the old state or this one."""
        if self._bad_content is not None:
            self._save_bad(self._bad_content)
        if self.is_lost:
            self.saved = self._saved_copy = None
        if state != self.saved:
            self.saved = None
            self._write(STATE, state)
        self.saved, self._bad_content, self.trouble = state, None, None
        if self._saved_copy is None or _without_counters(state) != _without_counters(self._saved_copy):
            try:
                self._write(COPY, state)
                self._saved_copy = state
            except StateUnusable as error:      # state.json is written, so `save` has succeeded
                self._report(str(error))

    def _read_content(self, name: str) -> bytes | None:
        try:
            return read_whole(self._folder / name, _BYTES_MAX)
        except FileNotFoundError:
            return None
        except OSError as error:
            self.unreadable = True
            self._report(f"{self._folder / name}: cannot be read: {error.strerror}")
            return None

    def _parse(self, name: str, content: bytes | None) -> StoreState | None:
        if content is None:
            return None
        try:
            return StoreState.parse(content)
        except ValueError:
            self._report(f"{self._folder / name}: cannot be parsed; expected a state of the model store")
            return None

    def _write(self, name: str, state: StoreState) -> None:
        try:
            replace_file(self._folder / name, state.serialize(), files=self._files)
        except OSError as error:
            raise write_error(self._folder / name, error) from error

    def _save_bad(self, content: bytes) -> None:
        try:
            replace_file(self._folder / BAD, content, files=self._files)
        except OSError as error:
            log.warning("%s: %s", self._folder / BAD, error.strerror)

    def _report(self, message: str) -> None:
        log.warning("model store: %s", message)
        self.trouble = message


def _without_counters(state: StoreState) -> tuple[StoreState, bool]:
    return state.model_copy(update={"trial": None}), state.trial is None
