"""Reads FlatBuffers whose bytes nobody has checked: damaged, malicious, or no FlatBuffer at all.

Invariants:
- Every offset is checked against the end before it is followed. An invalid one raises `Malformed`, nothing else.
- Work and memory are bounded whatever the offsets say (they may share data or form a loop): every read uses up one
  budget, and no vector of numbers is longer than a model needs.
- Only returned values are copied.

Format: https://flatbuffers.dev/internals/ (little endian; a table points back to its vtable of field offsets).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

READ_BYTES_MAX = 16 << 20
TEXT_BYTES_MAX = 4096
NUMBERS_MAX = 1 << 16   # a layer has at most this many channels
_TABLE_COST = 256       # budget used by one table: visiting it takes about as long as reading this many bytes
_NUMBER_COST = 4        # budget used by one byte of a number: Python's own number is several times as large


class Malformed(ValueError):
    """The bytes are not the FlatBuffer they claim to be."""


class Buffer:
    """The bytes, the budget left for reading them, and the end of the last byte that anything refers to (`reach`)."""

    def __init__(self, content: memoryview, budget: int = READ_BYTES_MAX) -> None:
        self.content = content
        self.reach = 0
        self._budget = budget
        self._left = budget

    def root(self) -> Table:
        """Return the root table."""
        return Table(self, self.follow(0))

    def number(self, code: str, at: int) -> int:
        """Return the integer of `struct` code `code` at byte `at`."""
        size = struct.calcsize("<" + code)
        self.check(at, size)
        return int(struct.unpack_from("<" + code, self.content, at)[0])

    def follow(self, at: int) -> int:
        """Return the byte that the unsigned offset at `at` points to."""
        return at + self.number("I", at)

    def check(self, at: int, size: int) -> None:
        """Raise: Malformed unless `size` bytes from `at` on lie inside."""
        end = at + size
        if at < 0 or end > len(self.content):
            raise Malformed(f"byte {at} points {end - len(self.content)} bytes past the end ({len(self.content)})"
                            if at >= 0 else f"an offset points {-at} bytes before the start")
        self.reach = max(self.reach, end)

    def spend(self, cost: int) -> None:
        """Take `cost` bytes from the budget. Raises: Malformed when it is used up."""
        self._left -= cost
        if self._left < 0:
            raise Malformed(f"more than {self._budget >> 20} MiB of structure; its offsets probably form a loop")


class Table:
    """One table. Its fields are read by slot number, which the schema counts from 0."""

    __slots__ = ("_at", "_buffer", "_vtable", "_vtable_bytes")

    def __init__(self, buffer: Buffer, at: int) -> None:
        buffer.spend(_TABLE_COST)
        self._buffer = buffer
        self._at = at
        self._vtable = at - buffer.number("i", at)
        self._vtable_bytes = buffer.number("H", self._vtable)

    def integer(self, slot: int, code: str) -> int:
        """Return a field of `struct` code `code`; 0, the schemas' default for the fields read here, when absent."""
        at = self._field(slot)
        return 0 if at is None else self._buffer.number(code, at)

    def real(self, slot: int) -> float:
        """Return a 32-bit float field, or 0."""
        value, = struct.unpack("<f", struct.pack("<I", self.integer(slot, "I")))
        return float(value)

    def target(self, slot: int) -> int | None:
        """Return the byte at which a table, vector or string field begins, or None when it is absent."""
        at = self._field(slot)
        return None if at is None else self._buffer.follow(at)

    def targets(self, slot: int) -> tuple[int, ...]:
        """Return the byte at which each table of a vector field begins; empty when it is absent."""
        start, count = self._vector(slot, 4)
        self._buffer.spend(4 * count * _NUMBER_COST)
        return tuple(self._buffer.follow(at) for at in range(start, start + 4 * count, 4))

    def table(self, slot: int) -> Table | None:
        """Return a table field, or None when it is absent."""
        at = self.target(slot)
        return None if at is None else Table(self._buffer, at)

    def tables(self, slot: int) -> Iterator[Table]:
        """Yield the tables of a vector field; none when it is absent."""
        start, count = self._vector(slot, 4)
        for at in range(start, start + 4 * count, 4):
            yield Table(self._buffer, self._buffer.follow(at))

    def numbers(self, slot: int, code: str) -> tuple[int | float, ...]:
        """Return a vector field of numbers of `struct` code `code`; empty when it is absent."""
        size = struct.calcsize("<" + code)
        start, count = self._vector(slot, size)
        if count > NUMBERS_MAX:
            raise Malformed(f"a vector of {count:,} numbers; expected at most {NUMBERS_MAX:,}")
        self._buffer.spend(count * size * _NUMBER_COST)
        return struct.unpack_from(f"<{count}{code}", self._buffer.content, start)

    def integers(self, slot: int, code: str = "i") -> tuple[int, ...]:
        """Return a vector field of integers; empty when it is absent."""
        return tuple(map(int, self.numbers(slot, code)))

    def bytes_view(self, slot: int) -> memoryview:
        """Return a vector field of bytes without a copy, at no cost to the budget; empty when it is absent."""
        start, count = self._vector(slot, 1)
        return self._buffer.content[start:start + count]

    def bytes_copy(self, slot: int) -> bytes:
        """Return a copy of a vector field of bytes; empty when it is absent."""
        view = self.bytes_view(slot)
        self._buffer.spend(len(view))
        return bytes(view)

    def text(self, slot: int) -> str:
        """Return a string field, cut off after `TEXT_BYTES_MAX`; empty when it is absent.

        Bytes that are not UTF-8 are replaced.
        """
        view = self.bytes_view(slot)[:TEXT_BYTES_MAX]
        self._buffer.spend(len(view))
        return bytes(view).decode("utf-8", "replace")

    def _field(self, slot: int) -> int | None:
        entry = 4 + 2 * slot
        if entry + 2 > self._vtable_bytes:
            return None
        offset = self._buffer.number("H", self._vtable + entry)
        return self._at + offset if offset else None

    def _vector(self, slot: int, size: int) -> tuple[int, int]:
        at = self._field(slot)
        if at is None:
            return 0, 0
        start = self._buffer.follow(at)
        count = self._buffer.number("I", start)
        self._buffer.check(start + 4, count * size)
        return start + 4, count
