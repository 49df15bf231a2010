"""The fleet's folder on the operator's machine: held alone, and changed all at once or not at all.

Invariants:
- One command at a time: the kernel frees the lock when its holder dies, however it dies.
- A change is several files. They are written aside; `.change/ready`, a list of them, decides; then they are put in
  place. Whoever opens the folder next finishes a change that is ready and forgets one that is not.
- Putting in place is copying, so doing it again does no harm.
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
"""A web server of another user gives the files away; private keys are not among them."""


class FleetFolder:
    """The folder, held alone. The constructor acquires and finishes what a killed command left; `close` gives it back.

    `new`: make it. Raises: FleetError when there is none, or one already; FleetBusy; StateUnusable.
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
            raise FleetBusy(f"{self.path}: another `vedette fleet` command is at work in it") from error
        except OSError as error:
            self.close()
            raise StateUnusable(f"{error.filename or self.path}: {error.strerror}") from error
        if new and (self.path / SETTINGS).exists():
            self.close()
            raise FleetError(f"{self.path}: a fleet is there already, and devices trust its keys: nothing was changed")

    def __repr__(self) -> str:
        return f"<FleetFolder {self.path} {'held' if self._lock is not None else 'closed'}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let another command have it. Safe to call twice."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def read(self, name: str) -> bytes | None:
        """Return the content of a file, by its path below the folder; None without one. Raises: StateUnusable."""
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StateUnusable(f"{error.filename}: {error.strerror}") from error

    def change(self, contents: Mapping[str, bytes]) -> None:
        """Give these files, by their paths below the folder, these contents: all, in this order, or none of them.

        Raises: StateUnusable; whether the change holds is then decided by the next opening.
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
            raise FleetError(f"{self.path}: no fleet is there; make one with `vedette fleet init {self.path}`")

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
