"""Copies a model file that somebody named into the store's waiting room, bounded, with its digest.

Invariants: what waits is held by a lock of the process that brought it, so that the kernel says when nobody wants it
any more; at most `limit_bytes` are written; a failure leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import logging
import os
import secrets
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from vedette._lib.durable import Files, write_all
from vedette.errors import ModelDamaged, ModelUnreadable, StateUnusable, StoreFull

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import BufferedReader
    from pathlib import Path
    from typing import BinaryIO

log = logging.getLogger(__name__)

_CHUNK_BYTES = 1 << 20


@dataclass(slots=True)
class Received:
    """A file that waits, verified. `close` removes it unless it was adopted; safe to call twice."""

    path: Path
    sha256: str
    size: int
    _descriptor: int | None
    _files: Files

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let it go."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        try:
            # Adopted, it may have been renamed, and its old name given to nobody: names here are random.
            with contextlib.suppress(OSError):
                self._files.unlink(str(self.path))
        finally:
            self._files.close(descriptor)


def receive(source: Path | BinaryIO, folder: Path, sha256: str | None, *, suffix: str, limit_bytes: int,
            room_for: Callable[[int], None], files: Files = os) -> Received:
    """Copy a file into `folder`. `room_for` raises when so many bytes would be too many.

    An open file is read from where it stands: whoever opened it may since have become another user.
    Raises: ModelUnreadable, ModelDamaged (not the digest asked for), StoreFull, StateUnusable.
    """
    if not isinstance(source, os.PathLike):
        room_for(_size_of(source, limit_bytes))
        return _received(source, folder / f"{secrets.token_hex(8)}{suffix}", sha256, limit_bytes, files)
    with _opened(source) as file:
        return receive(file, folder, sha256, suffix=suffix, limit_bytes=limit_bytes, room_for=room_for, files=files)


def _received(source: BinaryIO, path: Path, sha256: str | None, limit_bytes: int, files: Files) -> Received:
    try:
        with contextlib.ExitStack() as undo:
            descriptor = create_held(path, files=files)
            received = undo.enter_context(Received(path, "", 0, descriptor, files))
            received.sha256, received.size = _copy(source, descriptor, limit_bytes, files)
            files.fsync(descriptor)
            if sha256 not in (None, received.sha256):
                raise ModelDamaged(f"{source.name}: expected SHA-256 {sha256}, it is {received.sha256}")
            undo.pop_all()
            return received
    except OSError as error:
        raise unusable(path, error) from error


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file. Raises: OSError."""
    with _open(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def create_held(path: Path, *, files: Files = os) -> int:
    """Create a file and hold it for as long as the descriptor that is returned is open. Raises: OSError."""
    while True:
        descriptor = files.open(str(path), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        fcntl.flock(descriptor, fcntl.LOCK_EX)      # whoever tidies up holds it for a moment, and may remove it
        if os.fstat(descriptor).st_nlink:
            return descriptor
        files.close(descriptor)


def remove_unheld(path: Path, *, files: Files = os) -> bool:
    """Remove a file that no living process holds; returns whether nobody did. Never raises."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with contextlib.suppress(OSError):
            files.unlink(str(path))     # held by us: whoever has just created it waits, and then sees it gone
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def unusable(path: Path, error: OSError) -> StateUnusable:
    """Return what a failure to write there is called here."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return StoreFull(f"{path}: {error.strerror}")
    return StateUnusable(f"{path}: cannot be kept: {error.strerror}")


def _opened(path: Path) -> BinaryIO:
    try:
        return _open(path)
    except (OSError, ValueError) as error:
        words = error.strerror if isinstance(error, OSError) else "a name with a NUL in it"
        raise ModelUnreadable(f"{path}: {words}; expected a .tflite file") from error


def _open(path: Path) -> BufferedReader:
    """Open it without waiting for the other end, should it be a pipe."""
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))


def _size_of(file: BinaryIO, limit_bytes: int) -> int:
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        raise ModelUnreadable(f"{file.name}: no regular file; expected a .tflite file")
    if status.st_size > limit_bytes:
        raise ModelUnreadable(f"{file.name}: {status.st_size >> 20} MiB; expected at most {limit_bytes >> 20}")
    if status.st_size == 0:
        raise ModelUnreadable(f"{file.name}: empty; expected a .tflite file")
    return status.st_size


def _copy(source: BinaryIO, descriptor: int, limit_bytes: int, files: Files) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    while chunk := _next_of(source):
        size += len(chunk)
        if size > limit_bytes:
            raise ModelUnreadable(f"{source.name}: grows while it is read; expected at most {limit_bytes >> 20} MiB")
        digest.update(chunk)
        write_all(files, descriptor, chunk)
    return digest.hexdigest(), size


def _next_of(source: BinaryIO) -> bytes:
    try:
        return source.read(_CHUNK_BYTES)
    except OSError as error:
        raise ModelUnreadable(f"{source.name}: {error.strerror}") from error


def names_in(folder: Path) -> list[Path]:
    """Return what is in the folder, latest last; nothing where it cannot be listed."""
    try:
        return sorted(folder.iterdir(), key=_modified_ns)
    except OSError as error:
        log.warning("%s: cannot be listed: %s", folder, error.strerror)
        return []


def _modified_ns(path: Path) -> int:
    try:
        return path.lstat().st_mtime_ns
    except OSError:
        return 0
