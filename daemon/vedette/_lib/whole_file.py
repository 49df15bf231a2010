"""Reads a whole file whose name comes from a user, so that it may name anything.

Invariants: only a regular file of at most `most_bytes` is opened; a pipe would block and a device would never end.
"""

from __future__ import annotations

import errno
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def read_whole(path: Path, most_bytes: int) -> bytes:
    """Return the content. Raises: OSError, whose `strerror` says what is there instead of such a file."""
    check_regular(path, most_bytes)
    return path.read_bytes()


def check_regular(path: Path, most_bytes: int | None = None) -> None:
    """Raise OSError, whose `strerror` says what is there instead of a regular file of at most so many bytes."""
    try:
        status = path.stat()
    except ValueError as error:
        raise OSError(errno.EINVAL, "the name contains a NUL character", str(path)) from error
    if stat.S_ISDIR(status.st_mode):
        raise OSError(errno.EISDIR, "a folder", str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "no regular file", str(path))
    if most_bytes is not None and status.st_size > most_bytes:
        raise OSError(errno.EFBIG, f"{status.st_size >> 20} MiB, more than {most_bytes >> 20}", str(path))
