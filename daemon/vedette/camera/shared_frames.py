"""Shared memory split into a few places of equal size, handed to one other process.

Invariants:
- The memory is an anonymous memfd: nothing to name, leak or unlink. Its size is sealed, so the other side
  cannot shrink it under our feet (a SIGBUS).
- A place has no lock and no counter: who may write it travels in messages, elsewhere.
- A view keeps the mapping alive: it stays valid after `close()`, and after the other process died.
"""

from __future__ import annotations

import fcntl
import mmap
import os


class SharedFrames:
    """`count` places of `size_bytes` each, in one memfd."""

    def __init__(self, count: int, size_bytes: int, fd: int | None = None) -> None:
        self.count = count
        self.size_bytes = size_bytes
        self.fd = _sealed_memfd(count * size_bytes) if fd is None else fd
        self._memory = mmap.mmap(self.fd, count * size_bytes)

    def __repr__(self) -> str:
        return f"<Places {self.count} x {self.size_bytes} bytes{' closed' if self.fd < 0 else ''}>"

    def view(self, place: int, shape: tuple[int, ...] | None = None, offset: int = 0) -> memoryview:
        """Return the bytes of a place, as `shape` of bytes from `offset` if one is given.

        Raises: ValueError when there is no such place or the shape does not fit it.
        """
        if not 0 <= place < self.count:
            raise ValueError(f"place {place} of {self.count}")
        start = place * self.size_bytes
        if shape is None:
            return memoryview(self._memory)[start:start + self.size_bytes]
        length = 1
        for side in shape:
            if side <= 0:
                raise ValueError(f"shape {shape} has a side that is not positive")
            length *= side
        if length > self.size_bytes - offset:
            raise ValueError(f"shape {shape} needs {length} bytes, a place has {self.size_bytes - offset}")
        start += offset
        return memoryview(self._memory)[start:start + length].cast("B", shape)

    def close(self) -> None:
        """Close the descriptor; the mapping goes with its last view. Safe to call twice."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _sealed_memfd(size_bytes: int) -> int:
    fd = os.memfd_create("vedette-places", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size_bytes)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return fd
