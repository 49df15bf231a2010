"""Writes protocol buffers by hand, field by field."""

from __future__ import annotations


def text(field: int, content: str) -> bytes:
    """Return a field of text; nothing where it is empty."""
    return part(field, content.encode()) if content else b""


def part(field: int, content: bytes) -> bytes:
    """Return a field of bytes, such as a message."""
    return key(field, 2) + varint(len(content)) + content


def number(field: int, value: int) -> bytes:
    """Return a field of one integer."""
    return key(field, 0) + varint(value % (1 << 64))


def key(field: int, kind: int) -> bytes:
    """Return what stands before a field of this kind."""
    return varint(field << 3 | kind)


def varint(value: int) -> bytes:
    """Return an integer in groups of seven bits, the lowest first."""
    head = bytearray()
    while value > 0x7f:
        head.append(value & 0x7f | 0x80)
        value >>= 7
    return bytes((*head, value))
