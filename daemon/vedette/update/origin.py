"""Where updates come from: a web server, or a folder that is read like one.

Invariants: both give files by their paths in the repository, bounded, within a deadline; an error of network or disk is
UpdateUnreachable (UpdateMissing for an absent file); too many bytes are UpdateRefused.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import quote

from vedette.errors import (
    HttpError,
    HttpHungUp,
    HttpStatus,
    HttpTooLong,
    HttpTooSlow,
    UpdateBusy,
    UpdateMissing,
    UpdateRefused,
    UpdateUnreachable,
)
from vedette.net.bearer import authorization
from vedette.net.http_client import IDLE_S, HttpClient, HttpResponse
from vedette.net.timed_socket import CHUNK_BYTES, Deadline

_MISSING = (403, 404, 410)      # an object store that may not be listed answers 403
_BUSY = (429, 503, 504)
_RANGE_UNKNOWN = 416


@dataclass(frozen=True, slots=True)
class Opened:
    """A file from byte `start` on; `length` is the number of bytes that follow, None if unknown."""

    start: int
    length: int | None
    chunks: Iterator[bytes]


class Origin(Protocol):
    """Gives the files of a repository."""

    has_buckets: bool
    """Whether a release's buckets apply. They do not on media that somebody carried to this device."""

    def open(self, path: str, *, most_bytes: int, deadline: Deadline, start: int = 0) -> AbstractContextManager[Opened]:
        """Open a file from `start` on if possible, else from 0. Raises: UpdateError, also while it is read."""


def origin_of(source: str, *, ca_file: Path | None = None, token_file: Path | None = None,
              idle_s: float = IDLE_S) -> Origin:
    """Return the origin that `update.source` names: a URL or a folder. `idle_s` as in `HttpClient`."""
    if "://" in source:
        return WebOrigin(source, HttpClient(ca_file=ca_file, idle_s=idle_s), token_file)
    return FolderOrigin(Path(source))


class WebOrigin:
    """Static files below a URL. The token in `token_file`, if there is one, is read again for each request."""

    has_buckets = True

    def __init__(self, url: str, client: HttpClient, token_file: Path | None = None) -> None:
        self._url = url.rstrip("/")
        self._client = client
        self._token_file = token_file

    @contextmanager
    def open(self, path: str, *, most_bytes: int, deadline: Deadline, start: int = 0) -> Iterator[Opened]:
        """Implements `Origin`."""
        headers = self._authorization()

        def ask(begin: int) -> AbstractContextManager[HttpResponse]:
            return self._client.request(f"{self._url}/{quote(path)}", deadline=deadline, most_bytes=most_bytes,
                                        headers=headers | ({"Range": f"bytes={begin}-"} if begin else {}))

        with _as_update(), ExitStack() as connection:
            try:
                answer = connection.enter_context(ask(start))
            except HttpStatus as failure:
                if failure.status != _RANGE_UNKNOWN or not start:
                    raise
                answer = connection.enter_context(ask(0))
            yield Opened(_start_of(answer), answer.length, answer.chunks())

    def _authorization(self) -> dict[str, str]:
        try:
            return authorization(self._token_file)
        except ValueError as error:
            raise UpdateUnreachable(str(error)) from error


class FolderOrigin:
    """The same files in a folder, on this disk or on media."""

    has_buckets = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def open(self, path: str, *, most_bytes: int, deadline: Deadline, start: int = 0) -> Iterator[Opened]:
        """Implements `Origin`."""
        file_path = self._folder / path
        with _opened(file_path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > most_bytes:
                raise UpdateRefused(f"too long: {file_path}: {size} bytes, expected {most_bytes} at most")
            begin = start if start < size else 0
            file.seek(begin)
            yield Opened(begin, size - begin, _chunks(file_path, file, size - begin, deadline))


def _start_of(answer: HttpResponse) -> int:
    found = re.match(r"bytes (\d{1,15})-", answer.header("Content-Range")) if answer.status == 206 else None
    return int(found[1]) if found else 0


def _opened(file_path: Path) -> BinaryIO:
    with _as_update_from(file_path):
        # O_NONBLOCK: a pipe would wait for its other end.
        descriptor = os.open(file_path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return os.fdopen(descriptor, "rb")
        os.close(descriptor)
        raise UpdateUnreachable(f"{file_path}: not a regular file")


def _chunks(file_path: Path, file: BinaryIO, length: int, deadline: Deadline) -> Iterator[bytes]:
    """Read `length` bytes, and no more of a file that grows."""
    with _as_update_from(file_path):
        while chunk := file.read(min(CHUNK_BYTES, length)):
            deadline.left()
            length -= len(chunk)
            yield chunk


@contextmanager
def _as_update_from(file_path: Path) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as failure:
        raise UpdateMissing(f"{file_path}: {failure.strerror}") from failure
    except OSError as failure:
        raise UpdateUnreachable(f"{file_path}: {failure.strerror or failure}") from failure


@contextmanager
def _as_update() -> Iterator[None]:
    try:
        yield
    except HttpTooLong as failure:
        raise UpdateRefused(f"too long: {failure}") from failure
    except HttpStatus as failure:
        raise _kind_of(failure.status)(str(failure), failure.retry_after_s) from failure
    except (HttpTooSlow, HttpHungUp) as failure:
        raise UpdateBusy(str(failure)) from failure
    except HttpError as failure:
        raise UpdateUnreachable(str(failure)) from failure


def _kind_of(status: int) -> type[UpdateUnreachable]:
    if status in _BUSY:
        return UpdateBusy
    return UpdateMissing if status in _MISSING else UpdateUnreachable
