"""Copies a model file that a user names into the store's folder `incoming`, with a size limit, and computes its digest.

Invariants: the process that brought a waiting file holds a lock on it, and the kernel frees the lock when that process
ends; at most `limit_bytes` are written; a failure leaves nothing behind.
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
    """A verified file that waits in `incoming`. `close` removes it unless it was adopted; safe to call twice."""

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
        """Remove the file and free its lock."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        try:
            # An adopted file was renamed. No other file has its old name: the names here are random.
            with contextlib.suppress(OSError):
                self._files.unlink(str(self.path))
        finally:
            self._files.close(descriptor)


def receive(source: Path | BinaryIO, folder: Path, sha256: str | None, *, suffix: str, limit_bytes: int,
            room_for: Callable[[int], None], files: Files = os) -> Received:
    """Copy a file into `folder`. `room_for(size)` raises if that many bytes do not fit.

    An open file is read from its present position: the process that opened it may run as another user by now.
    Raises: ModelUnreadable, ModelDamaged (another digest than `sha256`), StoreFull, StateUnusable.
    """
    if not isinstance(source, os.PathLike):
        room_for(_size_of(source, limit_bytes))
        return _copy_in(source, folder / f"{secrets.token_hex(8)}{suffix}", sha256, limit_bytes, files)
    with _opened(source) as file:
        return receive(file, folder, sha256, suffix=suffix, limit_bytes=limit_bytes, room_for=room_for, files=files)


def _copy_in(source: BinaryIO, path: Path, sha256: str | None, limit_bytes: int, files: Files) -> Received:
    try:
        with contextlib.ExitStack() as undo:
            descriptor = create_locked(path, files=files)
            received = undo.enter_context(Received(path, "", 0, descriptor, files))
            received.sha256, received.size = _copy(source, descriptor, limit_bytes, files)
            files.fsync(descriptor)
            if sha256 not in (None, received.sha256):
                raise ModelDamaged(f"{source.name}: expected SHA-256 {sha256}, found {received.sha256}")
            undo.pop_all()
            return received
    except OSError as error:
        raise write_error(path, error) from error


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file. Raises: OSError."""
    with _open(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def create_locked(path: Path, *, files: Files = os) -> int:
    """Create a file and lock it; returns the descriptor, which keeps the lock while it is open. Raises: OSError."""
    while True:
        descriptor = files.open(str(path), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        fcntl.flock(descriptor, fcntl.LOCK_EX)      # `remove_unlocked` may have locked and removed it just before
        if os.fstat(descriptor).st_nlink:
            return descriptor
        files.close(descriptor)


def remove_unlocked(path: Path, *, files: Files = os) -> bool:
    """Remove a file that no living process has locked; returns whether it was unlocked. Never raises."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with contextlib.suppress(OSError):
            files.unlink(str(path))     # locked here: `create_locked` waits for the lock, then sees the file gone
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def write_error(path: Path, error: OSError) -> StateUnusable:
    """Return the store's error for a failed write at `path`: StoreFull where space is missing, else StateUnusable."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return StoreFull(f"{path}: {error.strerror}")
    return StateUnusable(f"{path}: cannot be written: {error.strerror}")


def _opened(path: Path) -> BinaryIO:
    try:
        return _open(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "the name contains a NUL character"
        raise ModelUnreadable(f"{path}: {reason}; expected a .tflite file") from error


def _open(path: Path) -> BufferedReader:
    """Open the file. If it is a pipe, do not wait for its other end."""
    return open(path, "rb", opener=_open_nonblocking)


def _open_nonblocking(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_NONBLOCK)


def _size_of(file: BinaryIO, limit_bytes: int) -> int:
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        raise ModelUnreadable(f"{file.name}: not a regular file; expected a .tflite file")
    if status.st_size > limit_bytes:
        raise ModelUnreadable(f"{file.name}: {status.st_size >> 20} MiB; expected at most {limit_bytes >> 20} MiB")
    if status.st_size == 0:
        raise ModelUnreadable(f"{file.name}: empty; expected a .tflite file")
    return status.st_size


def _copy(source: BinaryIO, descriptor: int, limit_bytes: int, files: Files) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    while chunk := _read_chunk(source):
        size += len(chunk)
        if size > limit_bytes:
            raise ModelUnreadable(f"{source.name}: the file grows while it is read; "
                                  f"expected at most {limit_bytes >> 20} MiB")
        digest.update(chunk)
        write_all(files, descriptor, chunk)
    return digest.hexdigest(), size


def _read_chunk(source: BinaryIO) -> bytes:
    try:
        return source.read(_CHUNK_BYTES)
    except OSError as error:
        raise ModelUnreadable(f"{source.name}: {error.strerror}") from error


def paths_by_age(folder: Path) -> list[Path]:
    """Return the entries of the folder, the latest last; an empty list if it cannot be listed."""
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
