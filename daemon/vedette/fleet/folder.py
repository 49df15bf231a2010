"""The fleet's folder on the operator's machine: locked by one command, and changed as a whole or not at all.

Invariants:
- One command at a time: the kernel frees the lock when its holder dies, however it dies.
- A change is several files. They are first written in `.change`; the list `.change/ready` decides that the change
  holds; then they are copied into place. The next command that opens the folder finishes a change that is ready and
  discards one that is not.
- Copying the files again does no harm.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Self

from vedette._lib.durable import Files, replace_file, sync_folder
from vedette.errors import FleetBusy, FleetError, StateUnusable

if TYPE_CHECKING:
    from collections.abc import Mapping

SETTINGS = "fleet.json"
READABLE = 0o644
"""A web server of another user must be able to read the files; private keys are not among them."""


class FleetFolder:
    """The locked folder. The constructor locks it and finishes the change of a killed command; `close` frees the lock.

    `new`: create it. Raises: FleetError if there is no fleet, or with `new` if there is one; FleetBusy; StateUnusable.
    """

    def __init__(self, path: Path, *, new: bool = False, files: Files = os) -> None:
        self.path = path.absolute()
        self._files = files
        self._change = self.path / ".change"
        self._lock: int | None = None
        try:
            self._prepare(new)
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._finish()
        except BlockingIOError as error:
            self.close()
            raise FleetBusy(f"{self.path}: another `vedette fleet` command uses it; try again later") from error
        except OSError as error:
            self.close()
            raise StateUnusable(f"{error.filename or self.path}: {error.strerror}") from error
        if new and (self.path / SETTINGS).exists():
            self.close()
            raise FleetError(f"{self.path}: expected a new folder; a fleet exists there, and devices trust its keys. "
                             "Nothing was changed")

    def __repr__(self) -> str:
        return f"<FleetFolder {self.path} {'held' if self._lock is not None else 'closed'}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the lock for another command. Safe to call twice."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def read(self, name: str) -> bytes | None:
        """Return the content of a file, by its path below the folder; None if it is missing. Raises: StateUnusable."""
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StateUnusable(f"{error.filename}: {error.strerror}") from error

    def change(self, contents: Mapping[str, bytes]) -> None:
        """Write these contents to these files, by their paths below the folder: all, in this order, or none.

        Raises: StateUnusable; the next command that opens the folder then finishes the change or discards it.
        """
        try:
            shutil.rmtree(self._change, ignore_errors=True)
            for name, content in contents.items():
                self._put(self._change / name, content)
            self._put(self._change / "ready", json.dumps(list(contents)).encode())
            sync_folder(self._files, str(self.path))
            self._finish()
        except OSError as error:
            raise StateUnusable(f"{error.filename or self.path}: {error.strerror}") from error

    def _prepare(self, new: bool) -> None:
        if new:
            self.path.mkdir(mode=0o750, parents=True, exist_ok=True)
        elif not any((self.path / name).exists() for name in (SETTINGS, ".change/ready")):
            raise FleetError(f"{self.path}: expected a fleet there; create one with `vedette fleet init {self.path}`")

    def _finish(self) -> None:
        ready = self._change / "ready"
        if ready.exists():
            for name in json.loads(ready.read_bytes()):
                self._put(self.path / name, (self._change / name).read_bytes())
            self._files.unlink(str(ready))
            sync_folder(self._files, str(self._change))
        shutil.rmtree(self._change, ignore_errors=True)

    def _put(self, path: Path, content: bytes) -> None:
        missing = [parent for parent in (path.parent, *path.parent.parents) if not parent.exists()]
        path.parent.mkdir(parents=True, exist_ok=True)
        for made in missing:
            sync_folder(self._files, str(made.parent))
        replace_file(path, content, READABLE, files=self._files)
