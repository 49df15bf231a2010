"""Writes a FlatBuffer from nested values, and may put it in front of one whose parts it refers to.

Invariants: the same values give the same bytes. Every offset points forward, as readers demand. Numbers begin at a
multiple of four bytes, vectors of bytes and what is kept at a multiple of 16. The bytes of what is kept are not
changed.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

IDENTIFIER_BYTES = 4
_ALIGNED_BYTES = 16


@dataclass(frozen=True, slots=True)
class Scalar:
    """A number of `struct` code `code`: of one byte or of four."""

    code: str
    value: float


@dataclass(frozen=True, slots=True)
class Numbers:
    """A vector of numbers of a `struct` code of four bytes."""

    code: str
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Kept:
    """A part of the FlatBuffer that is kept, by the byte at which it begins there."""

    at: int


Value = Scalar | Numbers | Kept | str | bytes | tuple["Value", ...] | Mapping[int, "Value"]
"""A field: a number, a vector of numbers, a kept part, a string, bytes, a vector of tables, or a table by slots."""


def write(root: Mapping[int, Value], identifier: bytes, kept: bytes = b"") -> bytes:
    """Return the FlatBuffer whose root table has these slots, and behind it the one that is kept, if there is any."""
    front = _Front(bytearray(4 + IDENTIFIER_BYTES))
    front.content[4:] = identifier
    front.refer(0, root)
    return front.before(kept)


@dataclass(slots=True)
class _Front:
    """What is written so far, and the places that refer to a byte of what is kept."""

    content: bytearray
    _open: list[tuple[int, int]] = field(default_factory=list)

    def before(self, kept: bytes) -> bytes:
        """Return everything, with the offsets into what is kept."""
        self._align(_ALIGNED_BYTES)
        for at, target in self._open:
            struct.pack_into("<I", self.content, at, len(self.content) + target - at)
        return bytes(self.content) + kept

    def refer(self, at: int, value: Value) -> None:
        """Write what a field holds, and the offset to it at byte `at`."""
        if isinstance(value, Kept):
            self._open.append((at, value.at))
        else:
            target = self._write(value)
            struct.pack_into("<I", self.content, at, target - at)

    def _write(self, value: Value) -> int:
        match value:
            case str():
                return self._vector(value.encode(), end=b"\0")
            case bytes():
                return self._vector(value, aligned=_ALIGNED_BYTES)
            case Numbers(code, values):
                return self._vector(struct.pack(f"<{len(values)}{code}", *values), count=len(values))
            case tuple():
                start = self._vector(bytes(4 * len(value)), count=len(value))
                for at, each in enumerate(value):
                    self.refer(start + 4 + 4 * at, each)
                return start
            case Mapping():
                return self._table(value)
            case _:
                raise TypeError(f"{value!r} is no vector, string or table")

    def _vector(self, content: bytes, *, count: int | None = None, aligned: int = 4, end: bytes = b"") -> int:
        self._align(aligned, ahead=4)
        start = len(self.content)
        self.content += struct.pack("<I", len(content) if count is None else count) + content + end
        return start

    def _table(self, fields: Mapping[int, Value]) -> int:
        """Write the offsets of the fields, the table, and then what its fields refer to."""
        places, layout = [0] * (max(fields, default=-1) + 1), "<i"
        codes = {slot: value.code if isinstance(value, Scalar) else "I" for slot, value in fields.items()}
        # The fields of four bytes come first: so none of them needs padding.
        for size in (4, 1):
            for slot in sorted(slot for slot, code in codes.items() if struct.calcsize(f"<{code}") == size):
                places[slot] = struct.calcsize(layout)
                layout += codes[slot]
        head = struct.pack(f"<{2 + len(places)}H", 4 + 2 * len(places), struct.calcsize(layout), *places)
        self._align(4, ahead=len(head))
        self.content += head
        start = len(self.content)
        self.content += struct.pack("<i", len(head)) + bytes(struct.calcsize(layout) - 4)
        for slot, value in fields.items():
            at = start + places[slot]
            if isinstance(value, Scalar):
                struct.pack_into(f"<{value.code}", self.content, at, value.value)
            else:
                self.refer(at, value)
        return start

    def _align(self, size: int, ahead: int = 0) -> None:
        """Pad, so that what comes after the next `ahead` bytes begins at a multiple of `size`."""
        self.content += bytes(-(len(self.content) + ahead) % size)

