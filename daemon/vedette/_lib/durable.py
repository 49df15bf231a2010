"""Replaces a file so that a power cut at any moment leaves the old content or the new, never a mixture.

Invariants:
- When `replace_file` returns, the new content survives a power cut: file and folder have both been synced.
- Nothing at `path` changes before the rename; a failure removes the temporary file and raises.
- Only a regular file is replaced. A user may name `/dev/stdout`, and root would replace the device.
- Concurrent writers of one path never write into each other's temporary file; the last rename wins. A power
  cut may leave one `.<name>.<thread>.tmp` behind, which nothing reads.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING, Protocol

from vedette._lib.whole_file import check_regular

if TYPE_CHECKING:
    from pathlib import Path


class Files(Protocol):
    """The file operations used here. The `os` module implements them; a test's disk that loses writes does too."""

    def open(self, path: str, flags: int, mode: int = ..., /) -> int:
        """Open a file or a folder; returns its descriptor."""

    def write(self, descriptor: int, content: bytes | memoryview, /) -> int:
        """Write at the end; returns how many bytes were written."""

    def fsync(self, descriptor: int, /) -> None:
        """Make the written bytes durable."""

    def close(self, descriptor: int, /) -> None:
        """Close the descriptor."""

    def replace(self, source: str, target: str, /) -> None:
        """Rename, replacing the target."""

    def unlink(self, path: str, /) -> None:
        """Remove a name."""

    def mkdir(self, path: str, mode: int = ..., /) -> None:
        """Make a folder."""


def replace_file(path: Path, data: bytes, mode: int = 0o640, *, like: os.stat_result | None = None,
                 files: Files = os) -> None:
    """Give the file at `path` the content `data`, durably.

    The new file has `mode` (less the umask), whatever the old one had; or owner, group and mode of `like`.
    Raises: OSError naming `path`.
    """
    if path.exists():
        check_regular(path)
    temporary = str(path.with_name(f".{path.name}.{threading.get_native_id()}.tmp"))
    try:
        _write_synced(files, temporary, data, mode, like)
        files.replace(temporary, str(path))
        sync_folder(files, str(path.parent))
    except OSError as error:
        with contextlib.suppress(OSError):
            files.unlink(temporary)
        raise OSError(error.errno, error.strerror, str(path)) from error


def _write_synced(files: Files, path: str, data: bytes, mode: int, like: os.stat_result | None) -> None:
    descriptor = files.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600 if like else mode)
    try:
        if like is not None:
            os.fchown(descriptor, like.st_uid, like.st_gid)
            os.fchmod(descriptor, like.st_mode & 0o7777)
        write_all(files, descriptor, data)
        files.fsync(descriptor)
    finally:
        files.close(descriptor)


def write_all(files: Files, descriptor: int, data: bytes | memoryview) -> None:
    """Write all of `data`, in as many writes as needed. Raises: OSError."""
    written = 0
    while written < len(data):
        written += files.write(descriptor, data[written:])


def make_folder(files: Files, folder: str, mode: int = 0o750) -> None:
    """Make a folder in an existing one, durably, unless it exists. Raises: OSError."""
    if not os.path.isdir(folder):  # noqa: PTH112 - `Files` takes names, not paths
        files.mkdir(folder, mode)
        sync_folder(files, os.path.dirname(folder))  # noqa: PTH120 - as above


def sync_folder(files: Files, folder: str) -> None:
    """Make the names in a folder durable. Raises: OSError."""
    sync_file(files, folder, os.O_DIRECTORY)


def sync_file(files: Files, path: str, flags: int = 0) -> None:
    """Make the content of a file durable, no matter which process wrote it. Raises: OSError."""
    descriptor = files.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    try:
        files.fsync(descriptor)
    finally:
        files.close(descriptor)
