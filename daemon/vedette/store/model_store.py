"""The model store on disk: models named by digest, and one state file that is the only truth about them.

    state.json, state.copy.json    the truth, and the copy that is used when state.json cannot be read (`state_file`)
    <sha256>.tflite                the models that the state names
    incoming/                      files that are not proven yet
    requests/, answers/            requests to the daemon and its responses (`inbox`)
    metadata/                      the update source's

Invariants:
- A model is complete, verified and durable under its name before the state names it. It is deleted only after the state
  no longer names it. So after a power cut at any moment, every model that the state names is there.
- `state` changes only after the change is on disk. A rollback to a proven model is the exception: it never waits for
  the disk. If the disk accepts no write, the device goes on with what it has, `trouble` gives the reason, and
  `retry_save` saves the state later.
- A start on trial is counted before the model is loaded. If it cannot be counted, the previous model runs.
- Only one thread at a time uses the store, in one process at a time: the one that holds the state folder's lock.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from vedette._lib.durable import Files, make_folder, sync_file, sync_folder
from vedette.errors import ModelDamaged, ModelUnreadable, StateUnusable, StoreFull
from vedette.store.incoming import Received, digest_of, paths_by_age, receive, remove_unlocked, write_error
from vedette.store.state import CRASHES_MAX, LISTED, Installed, StoreState, crash_looped
from vedette.store.state_file import StateFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import BinaryIO

    from vedette.types import ReasonCode

log = logging.getLogger(__name__)

MODEL, LOOSE = ".tflite", ".loose"
FOLDERS = ("incoming", "requests", "answers", "metadata")
MIN_FREE_BYTES = 64 << 20


def _utc_now() -> datetime:
    return datetime.now(UTC)


class ModelStore:
    """The store in `folder`. The constructor touches no file. Call `recover` first, or `read` to change nothing."""

    def __init__(self, folder: Path, *, files: Files = os, min_free_bytes: int = MIN_FREE_BYTES,
                 utc_now: Callable[[], datetime] = _utc_now) -> None:
        self.folder = folder
        self.incoming = folder / "incoming"
        self.fetching: Path | None = None
        """The file to which a download is written now."""
        self._files = files
        self._min_free_bytes = min_free_bytes
        self._utc_now = utc_now
        self._file = StateFile(folder, files=files)
        self._state = StoreState()
        self._trouble: str | None = None
        self._missing: str | None = None
        self._is_unsaved = False

    def __repr__(self) -> str:
        active = self._state.active
        return f"<ModelStore {self.folder} active {active.sha256[:12] if active else None}>"

    @property
    def state(self) -> StoreState:
        """The present state. It is immutable, so any thread may read it."""
        return self._state

    @property
    def trouble(self) -> str | None:
        """A message: what was wrong at `recover`, why the latest change was not saved, or which model is missing."""
        return self._trouble or self._missing

    def listed(self) -> dict[str, Any]:
        """Return what `vedette model list` shows, as JSON values. Any thread."""
        return {**self._state.model_dump(mode="json", include=LISTED), "trouble": self.trouble}

    def read(self) -> StoreState:
        """Read the state and change nothing on disk. `trouble` says what is wrong with it."""
        self._state = self._file.read() or StoreState()
        self._trouble = self._file.trouble
        return self._state

    def recover(self) -> StoreState:
        """Load the state and repair it; afterwards its active model is complete and verified. Never raises."""
        self._trouble = None
        try:
            self._make_folders()
        except StateUnusable as error:
            self._report(str(error))
        found = self._file.read()
        self._report(self._file.trouble)
        self._state, lasting = self._with_usable_active(self._rebuild() if found is None else found)
        if lasting and not self._file.unreadable:
            self._try_to_save(self._state)
            self.clean_up()
        return self._state

    def reasons(self) -> dict[ReasonCode, str]:
        """As ports.ReasonSource. Any thread."""
        trouble = self.trouble
        return {} if trouble is None else {"store_failed": trouble}

    def start(self, boot_id: str, now: datetime, *, hung: bool = False) -> tuple[Installed | None, str | None]:
        """Return the model to load now and, if the store rolled back, the reason. Never raises.

        `hung`: the last run hung, so the model may only be slow, and a higher release of the same file is tried again.

        A start on trial is first counted durably; a crash loop rolls back. Call it after `recover`.
        """
        state, reason = self._state.started(boot_id), None
        if state.active and state.trial and crash_looped(state.trial):
            reason = (f"{state.trial.crashes} crashes and {state.trial.other_ends} other ends in "
                      f"{state.trial.starts - 1} starts on trial")
            state, _ = self._with_usable_active(state.rolled_back(
                reason, now, code="crashed", lasting=state.trial.crashes >= CRASHES_MAX and not hung))
        if self._try_to_save(state):
            return state.active, reason
        if reason is None and self._state.trial and self._state.previous:
            reason = f"a start on trial cannot be counted: {self.trouble}"
            state, _ = self._with_usable_active(self._state.rolled_back(
                reason, now, code="not_counted", refuse=False))
        self._state = state
        return state.active, reason

    def change(self, state: StoreState) -> None:
        """Save a new state durably and use it. Raises: StateUnusable, StoreFull; `state` is then the old one."""
        try:
            self._file.save(state)
        except StateUnusable as error:
            self._trouble, self._is_unsaved = str(error), True
            raise
        self._state = state
        self._trouble = self._file.trouble
        self._is_unsaved = self._trouble is not None

    def roll_back(self, state: StoreState) -> None:
        """Change to a state whose active model is the previous one. If the disk accepts no write, change it in memory.

        Raises: ModelDamaged, ModelUnreadable (the previous model is missing too), StateUnusable (there is none).
        """
        try:
            self.change(state)
        except StateUnusable:
            if state.active is None:
                raise
            self.verified(state.active.sha256)
            self._state = state

    def retry_save(self) -> None:
        """Save the state if the disk refused it before or has lost it. Raises: StateUnusable, StoreFull."""
        active = self._state.active
        missing = active is not None and not self.path_of(active.sha256).exists()
        self._missing = (f"{self.folder}: the active model's file is missing; the model runs until the next start"
                         if missing else None)
        if self._is_unsaved or self._file.is_lost or not self.incoming.is_dir():
            self._make_folders()
            self.change(self._state)

    def path_of(self, sha256: str) -> Path:
        """Return the path of a model in the store."""
        return self.folder / f"{sha256}{MODEL}"

    def verified(self, sha256: str) -> Path:
        """Check a model's digest now and return its path. Raises: ModelDamaged, ModelUnreadable."""
        path = self.path_of(sha256)
        try:
            digest = digest_of(path)
        except FileNotFoundError as error:
            raise ModelDamaged(f"{path}: the file is missing") from error
        except OSError as error:
            raise ModelUnreadable(f"{path}: {error.strerror}") from error
        if digest != sha256:
            raise ModelDamaged(f"{path}: damaged: expected SHA-256 {sha256}, found {digest}")
        return path

    def receive(self, source: Path | BinaryIO, sha256: str | None, *, limit_bytes: int) -> Received:
        """Copy a file into `incoming`, where it stays until it is adopted or closed. Needs no lock of the state folder.

        Raises: ModelUnreadable (missing, not a regular file, longer than `limit_bytes`), ModelDamaged (another digest),
        StoreFull, StateUnusable.
        """
        self._make_folders()
        return receive(source, self.incoming, sha256, suffix=LOOSE, limit_bytes=limit_bytes,
                       room_for=self.check_room, files=self._files)

    def adopt(self, temporary: Path, sha256: str) -> None:
        """Move a complete file of `incoming` into the store, durably. The state does not name it yet.

        Raises: ModelDamaged (another digest; the file is removed), ModelUnreadable, StoreFull, StateUnusable.
        """
        try:
            digest = digest_of(temporary)
        except OSError as error:
            raise ModelUnreadable(f"{temporary}: {error.strerror}") from error
        if digest != sha256:
            self._remove(temporary)
            raise ModelDamaged(f"{temporary.name}: expected SHA-256 {sha256}, found {digest}")
        try:
            sync_file(self._files, str(temporary))
            self._files.replace(str(temporary), str(self.path_of(sha256)))
            sync_folder(self._files, str(self.folder))
        except OSError as error:
            raise write_error(self.path_of(sha256), error) from error

    def locate(self, temporary: Path, sha256: str) -> Path:
        """Return the present path of a file of `incoming`: a daemon may have adopted it and then died."""
        return temporary if temporary.exists() else self.path_of(sha256)

    def stage(self, source: Path | BinaryIO, sha256: str | None, *, limit_bytes: int) -> tuple[str, int]:
        """Copy a file into the store; returns its SHA-256 and size. Raises: the errors of `receive` and `adopt`."""
        with self.receive(source, sha256, limit_bytes=limit_bytes) as received:
            self.adopt(received.path, received.sha256)
            return received.sha256, received.size

    def check_room(self, size: int) -> None:
        """Raise StoreFull unless `size` bytes fit and leave the reserve free."""
        try:
            free = shutil.disk_usage(self.folder).free
        except OSError as error:
            raise write_error(self.folder, error) from error
        if free < size + self._min_free_bytes:
            raise StoreFull(f"{self.folder}: {free >> 20} MiB free; expected {size + self._min_free_bytes >> 20} MiB, "
                            f"of which {self._min_free_bytes >> 20} MiB stay in reserve")

    def clean_up(self) -> None:
        """Delete the files that the state does not name. The latest download stays, so that it can be resumed.

        Nothing is deleted while the state on disk differs from the one in memory.
        """
        if self._file.saved != self._state:
            return
        named = {self.path_of(model.sha256) for model in self._state.named}
        for path in paths_by_age(self.folder):
            if path.suffix == MODEL and path not in named:
                remove_unlocked(path, files=self._files)      # an adopted file is locked while its command waits
            elif path.suffix == ".tmp":
                self._remove(path)
        waiting = paths_by_age(self.incoming)
        for path in waiting:
            if path.suffix == LOOSE:
                remove_unlocked(path, files=self._files)
        for path in [path for path in waiting if path.suffix != LOOSE and path != self.fetching][:-1]:
            self._remove(path)

    def _make_folders(self) -> None:
        try:
            for folder in (self.folder, *(self.folder / name for name in FOLDERS)):
                make_folder(self._files, str(folder))
        except OSError as error:
            raise write_error(self.folder, error) from error

    def _rebuild(self) -> StoreState:
        """Build a state from the model files: the newest whole one is active, on trial if there is an older one."""
        models: list[Installed] = []
        for path in paths_by_age(self.folder):
            if path.suffix == MODEL:
                with contextlib.suppress(ModelDamaged, ModelUnreadable, OSError, ValueError):
                    self.verified(path.stem)
                    models.append(Installed(sha256=path.stem, name=path.stem[:12], size=path.stat().st_size))
        state = StoreState()
        for model in models[-2:]:
            state = state.activated(model, self._utc_now(), on_trial=state.active is not None)
        return state

    def _with_usable_active(self, state: StoreState) -> tuple[StoreState, bool]:
        """Return the state with a verified active model, or with none, and whether that result is final.

        It is not final if a file exists but cannot be read now: the next start may be able to read it.
        """
        lasting = True
        while state.active is not None:
            try:
                self.verified(state.active.sha256)
                break
            except (ModelDamaged, ModelUnreadable) as error:
                lasting = lasting and isinstance(error, ModelDamaged)
                self._report(str(error))
                state = state.rolled_back(str(error), self._utc_now(), code="lost", refuse=False)
        for part in ("previous", "candidate"):
            model = getattr(state, part)
            if model is not None and not self.path_of(model.sha256).is_file():
                state = state.model_copy(update={part: None})
        return state, lasting

    def _try_to_save(self, state: StoreState) -> bool:
        """Change the state or report why not; returns whether it is on disk. An earlier message stays in `trouble`."""
        before = self._trouble
        try:
            self.change(state)
        except StateUnusable as error:
            self._report(str(error))
            return False
        self._trouble = self._trouble or before
        return True

    def _remove(self, path: Path) -> None:
        try:
            self._files.unlink(str(path))
        except OSError as error:
            log.warning("%s: cannot be removed: %s", path, error.strerror)

    def _report(self, message: str | None) -> None:
        if message:
            log.warning("model store: %s", message)
            self._trouble = message
