"""The model store on disk: models named by digest, and one state file that is the only truth about them.

    state.json, state.copy.json    the truth, and what is believed when it cannot be read (`state_file`)
    <sha256>.tflite                the models it names
    incoming/                      what is not proven yet
    requests/, answers/            asked of the daemon (`request`)
    metadata/                      the update source's

Invariants:
- A model is complete, verified and durable under its name before the state names it, and deleted only after the state
  has let it go: whatever a power cut leaves, what the state names is there.
- `state` changes only when the change is on disk, but for going back to a proven model, which waits for no disk. Where
  the disk takes no more, the device goes on with what it has, `trouble` says so, and `mend` keeps it once it does.
- A start on trial is counted before the model is loaded; where it cannot be counted, the previous model runs.
- One thread at a time, in one process at a time: that which holds the state folder's lock.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from vedette._lib.durable import Files, make_folder, sync_file, sync_folder
from vedette.errors import ModelDamaged, ModelUnreadable, StateUnusable, StoreFull
from vedette.store.incoming import Received, digest_of, names_in, receive, remove_unheld, unusable
from vedette.store.state import Installed, StoreState, crash_looped
from vedette.store.state_file import StateFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import BinaryIO

log = logging.getLogger(__name__)

MODEL, LOOSE = ".tflite", ".loose"
FOLDERS = ("incoming", "requests", "answers", "metadata")
MIN_FREE_BYTES = 64 << 20


def _utc_now() -> datetime:
    return datetime.now(UTC)


class ModelStore:
    """The store in `folder`. The constructor touches nothing: begin with `recover`, or only to look, with `look`."""

    def __init__(self, folder: Path, *, files: Files = os, min_free_bytes: int = MIN_FREE_BYTES,
                 utc_now: Callable[[], datetime] = _utc_now) -> None:
        self.folder = folder
        self.incoming = folder / "incoming"
        self.fetching: Path | None = None
        """Where a download is written now."""
        self._files = files
        self._min_free_bytes = min_free_bytes
        self._utc_now = utc_now
        self._file = StateFile(folder, files=files)
        self._state = StoreState()
        self._trouble: str | None = None
        self._gone: str | None = None
        self._is_unkept = False

    def __repr__(self) -> str:
        active = self._state.active
        return f"<ModelStore {self.folder} active {active.sha256[:12] if active else None}>"

    @property
    def state(self) -> StoreState:
        """What the store knows. Immutable, so any thread may look."""
        return self._state

    @property
    def trouble(self) -> str | None:
        """What was wrong at `recover`, why the latest change could not be kept, or what has vanished, in words."""
        return self._trouble or self._gone

    def look(self) -> StoreState:
        """Read the state and change nothing on disk. What is wrong with it stands in `trouble`."""
        self._state = self._file.read() or StoreState()
        self._trouble = self._file.trouble
        return self._state

    def recover(self) -> StoreState:
        """Make the best of what is on disk; the active model it names is complete and verified. Never raises."""
        self._trouble = None
        try:
            self._make_folders()
        except StateUnusable as error:
            self._complain(str(error))
        found = self._file.read()
        self._complain(self._file.trouble)
        self._state, lasting = self._usable(self._rebuilt() if found is None else found)
        if lasting and not self._file.unreadable:
            self._try_to_keep(self._state)
            self.clean_up()
        return self._state

    def start(self, boot_id: str, now: datetime) -> tuple[Installed | None, str | None]:
        """Return the model to load now and, where something was done about it, the reason. Never raises.

        A start on trial is counted durably before; a crash loop goes back. After `recover`.
        """
        state, words = self._state.begun(boot_id), None
        if state.active and state.trial and crash_looped(state.trial):
            words = (f"{state.trial.crashes} crashes and {state.trial.other_ends} other ends in "
                     f"{state.trial.starts - 1} starts on trial")
            state, _ = self._usable(state.rolled_back(words, now))
        if self._try_to_keep(state):
            return state.active, words
        if words is None and self._state.trial and self._state.previous:
            words = f"a start on trial cannot be counted: {self.trouble}"
            state, _ = self._usable(self._state.rolled_back(words, now, refuse=False))
        self._state = state
        return state.active, words

    def change(self, state: StoreState) -> None:
        """Make a new state the truth, durably. Raises: StateUnusable, StoreFull; then `state` is the old one."""
        try:
            self._file.keep(state)
        except StateUnusable as error:
            self._trouble, self._is_unkept = str(error), True
            raise
        self._state = state
        self._trouble = self._file.trouble
        self._is_unkept = self._trouble is not None

    def go_back(self, state: StoreState) -> None:
        """As `change`, for a state whose active model came before: where the disk takes no more, in memory.

        Raises: ModelDamaged, ModelUnreadable (that one is no longer there either), StateUnusable (there is none).
        """
        try:
            self.change(state)
        except StateUnusable:
            if state.active is None:
                raise
            self.verified(state.active.sha256)
            self._state = state

    def mend(self) -> None:
        """Keep what the disk would not take, or has lost. Raises: StateUnusable, StoreFull."""
        active = self._state.active
        gone = active is not None and not self.path_of(active.sha256).exists()
        self._gone = f"{self.folder}: the active model is no longer there: it runs to the next start" if gone else None
        if self._is_unkept or self._file.is_lost or not self.incoming.is_dir():
            self._make_folders()
            self.change(self._state)

    def path_of(self, sha256: str) -> Path:
        """Return where a model of the store is."""
        return self.folder / f"{sha256}{MODEL}"

    def verified(self, sha256: str) -> Path:
        """Return where a model is, its digest checked just now. Raises: ModelDamaged, ModelUnreadable."""
        path = self.path_of(sha256)
        try:
            digest = digest_of(path)
        except FileNotFoundError as error:
            raise ModelDamaged(f"{path}: no longer there") from error
        except OSError as error:
            raise ModelUnreadable(f"{path}: {error.strerror}") from error
        if digest != sha256:
            raise ModelDamaged(f"{path}: damaged: its SHA-256 is {digest}")
        return path

    def receive(self, source: Path | BinaryIO, sha256: str | None, *, limit_bytes: int) -> Received:
        """Copy a file into `incoming`, where it stays until it is adopted or closed. Needs no lock.

        Raises: ModelUnreadable (none there, no file, longer than `limit_bytes`), ModelDamaged (another digest),
        StoreFull, StateUnusable.
        """
        self._make_folders()
        return receive(source, self.incoming, sha256, suffix=LOOSE, limit_bytes=limit_bytes,
                       room_for=self.check_room, files=self._files)

    def adopt(self, temporary: Path, sha256: str) -> None:
        """Move a complete file of `incoming` into the store, durably. The state does not name it yet.

        Raises: ModelDamaged (not that digest; the file is removed), ModelUnreadable, StoreFull, StateUnusable.
        """
        try:
            digest = digest_of(temporary)
        except OSError as error:
            raise ModelUnreadable(f"{temporary}: {error.strerror}") from error
        if digest != sha256:
            self._remove(temporary)
            raise ModelDamaged(f"{temporary.name}: expected SHA-256 {sha256}, it is {digest}")
        try:
            sync_file(self._files, str(temporary))
            self._files.replace(str(temporary), str(self.path_of(sha256)))
            sync_folder(self._files, str(self.folder))
        except OSError as error:
            raise unusable(self.path_of(sha256), error) from error

    def place_of(self, temporary: Path, sha256: str) -> Path:
        """Return where a file of `incoming` is: it may have been adopted by a daemon that then died."""
        return temporary if temporary.exists() else self.path_of(sha256)

    def stage(self, source: Path | BinaryIO, sha256: str | None, *, limit_bytes: int) -> tuple[str, int]:
        """Copy a file into the store; returns its SHA-256 and size. Raises: as `receive` and `adopt`."""
        with self.receive(source, sha256, limit_bytes=limit_bytes) as received:
            self.adopt(received.path, received.sha256)
            return received.sha256, received.size

    def check_room(self, size: int) -> None:
        """Raise StoreFull unless so many bytes fit and the reserve is left."""
        try:
            free = shutil.disk_usage(self.folder).free
        except OSError as error:
            raise unusable(self.folder, error) from error
        if free < size + self._min_free_bytes:
            raise StoreFull(f"{self.folder}: {free >> 20} MiB free; expected {size + self._min_free_bytes >> 20}, "
                            f"of which {self._min_free_bytes >> 20} are kept in reserve")

    def clean_up(self) -> None:
        """Delete what nothing points to, here or on disk. Of downloads the latest stays: it goes on from there."""
        if self._file.kept != self._state:
            return
        named = {self.path_of(model.sha256) for model in self._state.named}
        for path in names_in(self.folder):
            if path.suffix == MODEL and path not in named:
                remove_unheld(path, files=self._files)      # one adopted for somebody who still waits is held
            elif path.suffix == ".tmp":
                self._remove(path)
        waiting = names_in(self.incoming)
        for path in waiting:
            if path.suffix == LOOSE:
                remove_unheld(path, files=self._files)
        for path in [path for path in waiting if path.suffix != LOOSE and path != self.fetching][:-1]:
            self._remove(path)

    def _make_folders(self) -> None:
        try:
            for folder in (self.folder, *(self.folder / name for name in FOLDERS)):
                make_folder(self._files, str(folder))
        except OSError as error:
            raise unusable(self.folder, error) from error

    def _rebuilt(self) -> StoreState:
        """Nothing says any more what the files are: the newest whole one runs, on trial where another is before it."""
        models: list[Installed] = []
        for path in names_in(self.folder):
            if path.suffix == MODEL:
                with contextlib.suppress(ModelDamaged, ModelUnreadable, OSError, ValueError):
                    self.verified(path.stem)
                    models.append(Installed(sha256=path.stem, name=path.stem[:12], size=path.stat().st_size))
        state = StoreState()
        for model in models[-2:]:
            state = state.activated(model, self._utc_now(), on_trial=state.active is not None)
        return state

    def _usable(self, state: StoreState) -> tuple[StoreState, bool]:
        """Return the state with a verified active model, or none; and whether that is for good.

        A file that is there and cannot be read now may be readable at the next start.
        """
        lasting = True
        while state.active is not None:
            try:
                self.verified(state.active.sha256)
                break
            except (ModelDamaged, ModelUnreadable) as error:
                lasting = lasting and isinstance(error, ModelDamaged)
                self._complain(str(error))
                state = state.rolled_back(str(error), self._utc_now(), refuse=False)
        for part in ("previous", "candidate"):
            model = getattr(state, part)
            if model is not None and not self.path_of(model.sha256).is_file():
                state = state.model_copy(update={part: None})
        return state, lasting

    def _try_to_keep(self, state: StoreState) -> bool:
        """Change the state, or complain; returns whether it is on disk. What was wrong before stays in `trouble`."""
        before = self._trouble
        try:
            self.change(state)
        except StateUnusable as error:
            self._complain(str(error))
            return False
        self._trouble = self._trouble or before
        return True

    def _remove(self, path: Path) -> None:
        try:
            self._files.unlink(str(path))
        except OSError as error:
            log.warning("%s: cannot be removed: %s", path, error.strerror)

    def _complain(self, words: str | None) -> None:
        if words:
            log.warning("model store: %s", words)
            self._trouble = words
