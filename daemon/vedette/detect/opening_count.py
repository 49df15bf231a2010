"""Counts each opening of the model that is to run, so that one that kills the daemon is not opened at every start.

Invariants: an opening is on disk before it begins, if the disk can be written; it counts as a death only if the run
was killed or hung, so an orderly end or a power cut is none; an opening that succeeds forgets the deaths. Since the
model may be innocent, a refused one is tried again, but seldom. Detect thread only, but for `forget`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from typing import TYPE_CHECKING, NamedTuple

from vedette._lib.double_buffered_file import DoubleBufferedFile
from vedette.errors import ModelDamaged

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

log = logging.getLogger(__name__)

RECORD = "opening.mark"
DEATHS_MAX = 3
RETRY_AFTER_S = 3600.0


class Opening(NamedTuple):
    """What is on disk: the files of the model, how often the daemon died while it opened them, and if it does now."""

    files: str = ""
    deaths: int = 0
    is_open: bool = False


class OpeningCount:
    """The count in `folder`. `died`: the last run was killed or hung, and nothing else is known as the cause."""

    def __init__(self, folder: Path, *, died: bool, retry_after_s: float = RETRY_AFTER_S) -> None:
        self._record = DoubleBufferedFile(folder / RECORD)
        self._died = died
        self._retry_after_s = retry_after_s
        self._refused_until_s = 0.0
        self._saved = self._read()

    def __repr__(self) -> str:
        return f"<OpeningCount {self._saved}>"

    def forget(self) -> None:
        """Try a refused model again. Any thread."""
        self._saved = Opening()

    @contextlib.contextmanager
    def counted(self, path: Path, files: object) -> Iterator[None]:
        """Count the opening of a model within; `files` are what it is opened from. Raises: ModelDamaged (refused)."""
        saved, died = self._saved, self._died and self._saved.is_open
        self._died = False
        deaths = saved.deaths + died if saved.files == repr(files) else 0
        if deaths >= DEATHS_MAX:
            self._refused_until_s = self._refused_until_s or time.monotonic() + self._retry_after_s
            if time.monotonic() < self._refused_until_s:
                self._save(Opening(repr(files), deaths))
                raise ModelDamaged(f"{path}: the daemon died {deaths} times while it opened this model; expected none. "
                                   "It is refused for an hour, until the file changes, or until a reload (SIGHUP)")
        self._save(Opening(repr(files), deaths, is_open=True))
        try:
            yield
            deaths = 0
        finally:
            self._save(Opening(repr(files), deaths))

    def _read(self) -> Opening:
        try:
            content = self._record.read()
            files, deaths, is_open = json.loads(content) if content else Opening()
            return Opening(str(files), int(deaths), bool(is_open))
        except (OSError, ValueError, TypeError) as error:
            log.warning("%s cannot be read, so no deaths are known: %s", self._record, error)
            return Opening()

    def _save(self, opening: Opening) -> None:
        if opening == self._saved:
            return
        self._saved = opening
        try:
            self._record.write(json.dumps(opening).encode())
        except OSError as error:
            log.warning("the opening of the model is not recorded: %s", error)
