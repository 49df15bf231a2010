"""Keeps a small record durable with one written page each time: a file of two slots, written in turn.

Invariants: the newest whole record survives a power cut at any moment, since only the other slot is written; nothing
but that page changes on the disk (no name, no size), unlike with `durable.replace_file`. One thread at a time.
"""

from __future__ import annotations

import os
import struct
import zlib
from operator import itemgetter
from typing import TYPE_CHECKING

from vedette._lib.durable import sync_folder

if TYPE_CHECKING:
    from pathlib import Path

SLOT = 4096
_HEAD = struct.Struct(">IQH")      # checksum of the rest; number of the record; length of its content
_CHECKED_FROM = 4
LONGEST = SLOT - _HEAD.size


class DoubleBufferedFile:
    """The record in the file at `path`, which need not exist."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._number: int | None = None

    def __repr__(self) -> str:
        return f"<DoubleBufferedFile {self._path} record {self._number}>"

    def read(self) -> bytes | None:
        """Return the newest whole record, or None if there is none. Raises: OSError."""
        try:
            with self._path.open("rb") as file:
                slots = file.read(2 * SLOT)
        except FileNotFoundError:
            slots = b""
        self._number, content = max((_parse(slots[:SLOT]), _parse(slots[SLOT:])), key=itemgetter(0))
        return content

    def write(self, content: bytes) -> None:
        """Write a new record durably. Raises: OSError; ValueError for more than LONGEST bytes."""
        if len(content) > LONGEST:
            raise ValueError(f"{self._path}: a record of {len(content)} bytes; expected at most {LONGEST}")
        if self._number is None:
            self.read()
        number = (self._number or 0) + 1
        checked = _HEAD.pack(0, number, len(content))[_CHECKED_FROM:] + content
        is_new = not self._path.exists()
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            slot = (zlib.crc32(checked).to_bytes(4, "big") + checked).ljust(SLOT, b"\0")
            if os.pwrite(descriptor, slot, number % 2 * SLOT) != SLOT:
                raise OSError(f"{self._path}: only a part of the record was written")
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        if is_new:
            sync_folder(os, str(self._path.parent))
        self._number = number


def _parse(slot: bytes) -> tuple[int, bytes | None]:
    """Return number and content of a slot; (0, None) if it was never written, or only in part."""
    if len(slot) < _HEAD.size:
        return 0, None
    checksum, number, length = _HEAD.unpack_from(slot)
    checked = slot[_CHECKED_FROM:_HEAD.size + length]
    return (number, slot[_HEAD.size:_HEAD.size + length]) if zlib.crc32(checked) == checksum and number else (0, None)
