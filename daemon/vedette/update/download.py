"""Downloads one file that signed metadata names, and continues where an earlier attempt was cut off.

Invariants: received bytes stay in `<sha256>.part` until the file is complete, verified and durable; no more is written
than the signed length; a wrong part is deleted, so that no attempt fails because of the one before. A refusal here is
the source's fault: it is no evidence against the file that was signed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from vedette._lib.durable import sync_folder
from vedette.errors import StoreFull, UpdateRefused, UpdateUnreachable
from vedette.net.timed_socket import Deadline
from vedette.store.incoming import write_error
from vedette.update.origin import Opened, Origin

Progress = Callable[[int, int], None]
"""Called with the bytes so far and in all. It may raise to end the download, which can then be resumed."""

_CHUNK_BYTES = 1 << 20


def download(origin: Origin, path: str, into: Path, *, sha256: str, length: int, deadline: Deadline,
             progress: Progress, min_free_bytes: int) -> None:
    """Download `path` of the origin to `into`. Its folder exists, and keeps the part.

    Raises: UpdateUnreachable (the part is kept), UpdateRefused (wrong digest or length), StoreFull, StateUnusable.
    """
    part = into.parent / f"{sha256}.part"
    try:
        if into.is_file() and not part.exists():      # complete, and then the power failed
            into.replace(part)
        with os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640), "r+b") as file:
            attempt = _Attempt(file, part, length, progress, min_free_bytes)
            while attempt.run(origin, path, deadline) != sha256:
                file.truncate(0)
                if attempt.began_at == 0:
                    raise UpdateRefused(f"wrong digest: {path} is not the file that was signed, {sha256[:12]}")
            file.flush()
            os.fsync(file.fileno())
        part.replace(into)
        sync_folder(os, str(into.parent))
    except OSError as error:
        raise write_error(part, error) from error


class _Attempt:
    """One attempt to complete the part. `began_at` is the byte at which the source continues."""

    def __init__(self, file: BinaryIO, part: Path, length: int, progress: Progress, min_free_bytes: int) -> None:
        self._file = file
        self._part = part
        self._length = length
        self._progress = progress
        self._min_free_bytes = min_free_bytes
        self._digest = hashlib.sha256()
        self.began_at = 0

    def run(self, origin: Origin, path: str, deadline: Deadline) -> str:
        """Download the rest; returns the digest of the whole file."""
        have = self.began_at = self._resume()
        if have == self._length:
            return self._digest.hexdigest()
        self._check_room(self._length - have)
        with origin.open(path, start=have, most_bytes=self._length, deadline=deadline) as opened:
            self._align(path, opened)
            got = opened.start
            for chunk in opened.chunks:
                got += len(chunk)
                if got > self._length:
                    raise UpdateRefused(f"too long: {path} has more than the {self._length} bytes that were signed")
                self._digest.update(chunk)
                self._file.write(chunk)
                self._progress(got, self._length)
        if got < self._length:
            raise UpdateUnreachable(f"{path} ended after {got} of {self._length} bytes")
        return self._digest.hexdigest()

    def _resume(self) -> int:
        """Read the part again for its digest; returns its bytes."""
        if self._file.seek(0, os.SEEK_END) > self._length:
            self._file.truncate(0)
        self._file.seek(0)
        self._digest = hashlib.sha256()
        while chunk := self._file.read(_CHUNK_BYTES):
            self._digest.update(chunk)
        return self._file.tell()

    def _align(self, path: str, opened: Opened) -> None:
        """Make the part fit the answer, which may be the whole file again."""
        if opened.length is not None and opened.start + opened.length != self._length:
            raise UpdateRefused(f"wrong length: {path} has {opened.start + opened.length} bytes, expected the "
                                f"{self._length} that were signed; is it another page, for example a login?")
        if opened.start not in (0, self.began_at):
            raise UpdateUnreachable(f"{path}: expected the file from byte {self.began_at}, got it from byte "
                                    f"{opened.start}")
        if opened.start != self.began_at:
            self._file.seek(0)
            self._file.truncate()
            self._check_room(self._length)
            self._digest = hashlib.sha256()
            self.began_at = 0

    def _check_room(self, more: int) -> None:
        free = shutil.disk_usage(self._part.parent).free
        if free < more + self._min_free_bytes:
            raise StoreFull(f"{self._part.parent}: {free >> 20} MiB free; the download needs {(more >> 20) + 1}, and "
                            f"{self._min_free_bytes >> 20} are reserved")
