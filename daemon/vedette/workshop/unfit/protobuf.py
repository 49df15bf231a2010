"""Reads protocol buffers by the numbers of their fields, without their definitions.

Invariants: any bytes yield fields or `ModelUnreadable`; nothing is copied; the work grows with the bytes only.

Format: https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vedette.errors import ModelUnreadable

if TYPE_CHECKING:
    from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}
_VARINT_BYTES_MAX = 10


class Message:
    """One message. Each method yields the values of one field number, in the order of the file."""

    def __init__(self, content: memoryview) -> None:
        self._numbers: dict[int, list[int]] = {}
        self._parts: dict[int, list[memoryview]] = {}
        for field, value in _fields(content):
            if isinstance(value, int):
                self._numbers.setdefault(field, []).append(value)
            else:
                self._parts.setdefault(field, []).append(value)

    def messages(self, field: int) -> Iterator[Message]:
        """Yield the messages of a field."""
        return map(Message, self._parts.get(field, ()))

    def message(self, field: int) -> Message:
        """Return the last message of a field; an empty one where there is none."""
        return Message(self._parts.get(field, [memoryview(b"")])[-1])

    def texts(self, field: int) -> tuple[str, ...]:
        """Return the strings of a field. Bytes that are not UTF-8 are replaced."""
        return tuple(bytes(part).decode("utf-8", "replace") for part in self._parts.get(field, ()))

    def text(self, field: int) -> str:
        """Return the last string of a field, or an empty one."""
        return next(reversed(self.texts(field)), "")

    def integers(self, field: int) -> tuple[int, ...]:
        """Return the integers of a field, packed or not."""
        packed = (number for part in self._parts.get(field, ()) for number in _varints(part))
        return (*map(_signed, self._numbers.get(field, ())), *map(_signed, packed))

    def integer(self, field: int) -> int:
        """Return the last integer of a field, or 0."""
        return _signed(self._numbers.get(field, [0])[-1])

    def has(self, field: int) -> bool:
        """Whether the field is there."""
        return field in self._numbers or field in self._parts


def _fields(content: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    at = 0
    while at < len(content):
        key, at = _varint(content, at)
        field, kind = key >> 3, key & 7
        if kind == _VARINT:
            number, at = _varint(content, at)
            yield field, number
            continue
        if kind == _BYTES:
            size, at = _varint(content, at)
        elif kind in _FIXED:
            size = _FIXED[kind]
        else:
            raise ModelUnreadable(f"damaged: a field of kind {kind}")
        if not field or at + size > len(content):
            raise ModelUnreadable(f"cut off or damaged: field {field} ends past the end of its message")
        yield field, content[at:at + size]
        at += size


def _varints(content: memoryview) -> Iterator[int]:
    at = 0
    while at < len(content):
        number, at = _varint(content, at)
        yield number


def _varint(content: memoryview, at: int) -> tuple[int, int]:
    number = 0
    for place, byte in enumerate(content[at:at + _VARINT_BYTES_MAX]):
        number |= (byte & 0x7f) << 7 * place
        if byte < 0x80:
            return number, at + place + 1
    raise ModelUnreadable("cut off or damaged: a number without an end")


def _signed(number: int) -> int:
    return number - (1 << 64) if number >= 1 << 63 else number
