"""The signed configurations on disk: which one is in effect, which one was before, and how they ended.

    configuration.json     in the state folder; the content of both is in it

Invariants:
- It is one file, replaced durably. After a power cut at any moment it holds the old state or the new one.
- `state` changes only after the change is on disk. Going back to the configuration before is the exception: it never
  waits for the disk. `trouble` then gives the reason, and `retry_save` saves the state later.
- A start on trial is counted before the configuration is used. If it cannot be counted, the one before it is used.
- A damaged file means none, so the device's own keys: the source has the configuration, and it is fetched again.
- One thread at a time changes it, in the process that holds the state folder's lock.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Self

from pydantic import JsonValue

from vedette._lib.durable import Files, replace_file
from vedette._lib.whole_file import read_whole
from vedette.config.signed import FILE, Signed
from vedette.errors import StateUnusable
from vedette.store.incoming import write_error
from vedette.store.release import Target
from vedette.store.state import Installed, StoreState, crash_looped

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from vedette.types import ReasonCode, UpdateCode

log = logging.getLogger(__name__)

_BYTES_MAX = 4 << 20
_KEPT = {"format", "active", "previous", "trial", "refused", "latest", "last_outcome"}


class InstalledConfiguration(Installed):
    """A signed configuration with its content, nested as in the file."""

    values: Mapping[str, JsonValue]

    @classmethod
    def of(cls, target: Target, values: Mapping[str, JsonValue]) -> Self:
        """Return a release with its content, as it is kept."""
        release = target.release
        return cls(sha256=target.sha256, size=target.length, name=release.name, version=release.version,
                   release=release.release, trial=release.trial, values=values)

    @property
    def signed(self) -> Signed:
        """The layer of the configuration."""
        return Signed(self.values, self.release or 0, self.version or "")


class ConfigurationsState(StoreState):
    """The state of a model store, for configurations. There is no candidate: it is checked at once."""

    active: InstalledConfiguration | None = None
    previous: InstalledConfiguration | None = None

    def serialize(self) -> bytes:
        """Return the content of configuration.json."""
        return self.model_dump_json(include=_KEPT).encode() + b"\n"

    def withdrawn(self, now: datetime) -> Self:
        """Use none: no release is for this device any more."""
        if self.active is None:
            return self
        return self._with_outcome(self.active, "withdrawn: no release is for this device", now, "withdrawn")._replace(
            active=None, previous=None, trial=None)

    def refused_unused(self, model: Installed, why: str, now: datetime) -> Self:
        """Refuse a configuration that is not in effect. A higher release of the same file is tried again."""
        return self._with_outcome(model, why, now, "invalid")._replace(
            refused=self._with_refused(model, why, now, "invalid", lasting=False))

    def invalid_forgotten(self) -> Self:
        """Remove the refusals of what could not be used: another version of Vedette, or other local keys, may."""
        return self._replace(refused=tuple(one for one in self.refused if one.code != "invalid"))


class ConfigurationStore:
    """The file in the state folder. The constructor reads it, and writes nothing. Any thread reads `state`."""

    def __init__(self, folder: Path, *, files: Files = os) -> None:
        self.state = ConfigurationsState()
        self.trouble: str | None = None
        """Why the latest change was not saved, as a message."""
        self.damage: str | None = None
        """Why the file could not be read, as a message; None again after the next change."""
        self._path = folder / FILE
        self._files = files
        self._saved: ConfigurationsState | None = self.state
        self._read()

    def __repr__(self) -> str:
        active = self.state.active
        return f"<ConfigurationStore {self._path} active {active.sha256[:12] if active else None}>"

    @property
    def signed(self) -> Signed | None:
        """The layer of the configuration that is in effect, if there is one."""
        active = self.state.active
        return active.signed if active else None

    def start(self, boot_id: str, now: datetime) -> None:
        """Count a start on trial durably; a crash loop goes back to the configuration before. Never raises."""
        before = self.state.invalid_forgotten()
        state = before.started(boot_id)
        trial = state.trial
        if trial is not None and crash_looped(trial):
            self._go_back(state.rolled_back(f"{trial.crashes} crashes and {trial.other_ends} other ends in "
                                            f"{trial.starts - 1} starts on trial", now, code="crashed", lasting=False))
            return
        if state == self.state:
            return
        try:
            self.change(state)
        except StateUnusable as error:
            if trial is not None:
                self._go_back(before.rolled_back(f"a start on trial cannot be counted: {error}", now,
                                                 code="not_counted", refuse=False))

    def change(self, state: ConfigurationsState) -> None:
        """Save a new state durably and use it. Raises: StateUnusable, StoreFull; `state` is then the old one."""
        if state != self._saved:
            self._saved = None
            try:
                replace_file(self._path, state.serialize(), files=self._files)
            except OSError as error:
                failure = write_error(self._path, error)
                self.trouble = str(failure)
                raise failure from error
        self.state = self._saved = state
        self.trouble = self.damage = None

    def roll_back(self, why: str, now: datetime, code: UpdateCode) -> None:
        """Go back to the configuration before, or to none, and refuse this release. Works on a full disk too."""
        self._go_back(self.state.rolled_back(why, now, code=code, lasting=False))

    def retry_save(self) -> None:
        """Save the state if the disk refused it before. Raises: StateUnusable, StoreFull."""
        if self.trouble is not None:
            self.change(self.state)

    def problems(self) -> dict[ReasonCode, str]:
        """Return what is wrong with the file, as reasons of health. Any thread."""
        trouble, damage = self.trouble, self.damage
        reasons: dict[ReasonCode, str] = {} if trouble is None else {"store_failed": trouble}
        return reasons if damage is None else {**reasons, "configuration_failed": damage}

    def _go_back(self, state: ConfigurationsState) -> None:
        outcome = state.last_outcome
        log.warning("signed configuration rolled back: %s", outcome.words if outcome else "")
        try:
            self.change(state)
        except StateUnusable as error:
            log.error("%s", error)
            self.state = state

    def _read(self) -> None:
        try:
            self.state = self._saved = ConfigurationsState.parse(read_whole(self._path, _BYTES_MAX))
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            why = f"cannot be read: {error.strerror}" if isinstance(error, OSError) else "is damaged"
            self.damage = f"{self._path} {why}; the device's own keys are used until the source has answered"
            log.error("%s", self.damage)
            self._saved = None
