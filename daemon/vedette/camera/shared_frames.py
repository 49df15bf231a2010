"""Shared memory that is split into a few slots of equal size and handed to one other process.

Invariants:
- The memory is an anonymous memfd: it has no name that could leak or need an unlink. Its size is sealed, so the
  other side cannot shrink it while we read it (that would be a SIGBUS).
- A slot has no lock and no counter. Messages, not this memory, say which side may write a slot.
- A view keeps the mapping alive. It stays valid after `close()` and after the other process died.
"""

from __future__ import annotations

import fcntl
import mmap
import os


class SharedFrames:
    """`count` slots of `size_bytes` each, in one memfd."""

    def __init__(self, count: int, size_bytes: int, fd: int | None = None) -> None:
        self.count = count
        self.size_bytes = size_bytes
        self.fd = _sealed_memfd(count * size_bytes) if fd is None else fd
        self._memory = mmap.mmap(self.fd, count * size_bytes)

    def __repr__(self) -> str:
        return f"<SharedFrames {self.count} x {self.size_bytes} bytes{' closed' if self.fd < 0 else ''}>"

    def view(self, slot: int, shape: tuple[int, ...] | None = None, offset: int = 0) -> memoryview:
        """Return the bytes of a slot. With `shape`, return an array of bytes of that shape, from `offset` on.

        Raises: ValueError when there is no such slot, or when the shape does not fit into it.
        """
        if not 0 <= slot < self.count:
            raise ValueError(f"there is no slot {slot}, expected 0 to {self.count - 1}")
        start = slot * self.size_bytes
        if shape is None:
            return memoryview(self._memory)[start:start + self.size_bytes]
        length = 1
        for side in shape:
            if side <= 0:
                raise ValueError(f"shape {shape} has a side below 1")
            length *= side
        if length > self.size_bytes - offset:
            raise ValueError(f"shape {shape} needs {length} bytes, there are {self.size_bytes - offset} in the slot")
        start += offset
        return memoryview(self._memory)[start:start + length].cast("B", shape)

    def close(self) -> None:
        """Close the descriptor. The mapping ends with its last view. Safe to call twice."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _sealed_memfd(size_bytes: int) -> int:
    fd = os.memfd_create("vedette-frames", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size_bytes)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return fd
