"""Writes JPEGs as an MJPEG film in an AVI file, as they come: one video stream of a constant rate, with an index.

The layout is that of the AVI RIFF file reference (Microsoft, 1992): RIFF, the headers, the list `movi` with one chunk
for each picture, and the index `idx1`.

Invariants:
- Each picture has a slot of the constant rate. A slot without a picture has an empty chunk: players then show the
  picture before it for longer. So no time is lost or won, whatever the rate of the pictures was.
- The file is complete only after `close`: the sizes in the headers are written then.
"""

from __future__ import annotations

import contextlib
import os
import struct
from typing import TYPE_CHECKING

from vedette._lib.durable import write_all

if TYPE_CHECKING:
    from pathlib import Path

CHUNK, INDEX_ENTRY = struct.Struct("<4sI"), struct.Struct("<4sIII")
_KEYFRAME = _HAS_INDEX = 0x10
_MOVI = 212     # where the list `movi` begins: behind the headers
_VIDEO = b"00dc"


class AviWriter:
    """One new file at `path`, with this mode whatever the umask. One thread. Raises: OSError, as all its methods."""

    def __init__(self, path: Path, width: int, height: int, per_s: int, *, mode: int = 0o640) -> None:
        self._written = 0
        self._width, self._height, self._per_s = width, height, per_s
        self._index = bytearray()
        self._first = self._next = 0
        self._largest = 0
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
        with contextlib.suppress(PermissionError):      # a disk without modes, such as FAT
            os.fchmod(self._descriptor, mode)
        self._write(self._headers())

    def __repr__(self) -> str:
        return f"<AviWriter {self._width}x{self._height} {self._slots} slots>"

    @property
    def size_bytes(self) -> int:
        """The bytes of the file, with the index that `close` writes."""
        return self._written + (CHUNK.size + len(self._index) if self._descriptor >= 0 else 0)

    @property
    def _slots(self) -> int:
        return len(self._index) // INDEX_ENTRY.size

    def add(self, jpeg: bytes, slot: int) -> None:
        """Add a picture. `slot` counts in steps of the rate from anywhere, and is higher than that of the last one."""
        if not self._index:
            self._first = self._next = slot
        content = bytearray()
        for _ in range(slot - self._next):
            content += self._chunk(b"", len(content))
        content += self._chunk(jpeg, len(content))
        self._largest = max(self._largest, len(jpeg))
        self._next = slot + 1
        self._write(content)

    def close(self) -> None:
        """Write the index and the sizes, make the file durable and close it. Once."""
        try:
            self._write(CHUNK.pack(b"idx1", len(self._index)) + self._index)
            os.pwrite(self._descriptor, self._headers(), 0)
            os.fsync(self._descriptor)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close the file as it is. Safe to call twice."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _write(self, content: bytes | bytearray) -> None:
        write_all(os, self._descriptor, memoryview(content))
        self._written += len(content)

    def _chunk(self, jpeg: bytes, behind: int) -> bytes:
        """Return a chunk that is written so many bytes behind the end of the file, and add it to the index."""
        at = self._written + behind - _MOVI - CHUNK.size
        self._index += INDEX_ENTRY.pack(_VIDEO, _KEYFRAME if jpeg else 0, at, len(jpeg))
        return CHUNK.pack(_VIDEO, len(jpeg)) + jpeg + b"\0" * (len(jpeg) % 2)

    def _headers(self) -> bytes:
        """Return all that stands before the first picture, for what was written until now."""
        slots, shape = self._slots, (self._width, self._height)
        main = struct.pack("<14I", 1_000_000 // self._per_s, self._largest * self._per_s, 0, _HAS_INDEX, slots, 0, 1,
                           self._largest, *shape, 0, 0, 0, 0)
        stream = struct.pack("<4s4sIHHIIIIIIiI4H", b"vids", b"MJPG", 0, 0, 0, 0, 1, self._per_s, 0, slots,
                             self._largest, -1, 0, 0, 0, *shape)
        picture = struct.pack("<IiiHH4sIiiII", 40, *shape, 1, 24, b"MJPG", self._width * self._height * 3, 0, 0, 0, 0)
        lists = _list(b"hdrl", _chunk(b"avih", main) + _list(
            b"strl", _chunk(b"strh", stream) + _chunk(b"strf", picture)))
        end = max(self._written, _MOVI + 12)
        index = CHUNK.size + len(self._index) if end > _MOVI + 12 else 0
        return (CHUNK.pack(b"RIFF", end - CHUNK.size) + b"AVI " + lists
                + CHUNK.pack(b"LIST", end - index - _MOVI - CHUNK.size) + b"movi")


def _chunk(name: bytes, content: bytes) -> bytes:
    return CHUNK.pack(name, len(content)) + content


def _list(name: bytes, content: bytes) -> bytes:
    return _chunk(b"LIST", name + content)
