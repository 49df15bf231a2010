"""Reads the size of a JPEG or PNG picture from the head of its file, before anything decodes the picture.

Invariants: pure; reads no pixel. A file that is not clearly JPEG or PNG is refused, so that a decoder cannot find
another size in it later.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from vedette.errors import SourceInvalid

SCANS_MAX = 64
"""A progressive JPEG has about ten. Each costs a pass over the whole picture, and a hostile file has thousands."""
_PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SCAN = 0xDA


@dataclass(frozen=True, slots=True)
class PictureSize:
    """Pixels as stored, before a rotation by EXIF."""

    width: int
    height: int


def picture_size(content: bytes) -> PictureSize:
    """Return the size of a JPEG or PNG. Raises: SourceInvalid."""
    if content.startswith(_PNG) and len(content) >= len(_PNG) + 8:
        width, height = struct.unpack_from(">II", content, len(_PNG))
    elif content.startswith(b"\xff\xd8"):
        width, height = _jpeg(content)
    else:
        raise SourceInvalid("neither JPEG nor PNG; expected one of them")
    if not (width and height):
        raise SourceInvalid(f"a picture of {width} x {height} pixels; expected at least one")
    return PictureSize(width, height)


def _jpeg(content: bytes) -> tuple[int, int]:
    """Return width and height. Reads the segments up to the first scan."""
    if content.count(b"\xff\xda") > SCANS_MAX:      # inside a scan 0 or a restart marker always follows 0xFF
        raise SourceInvalid(f"a JPEG with too many scans; expected at most {SCANS_MAX}")
    size: tuple[int, int] | None = None
    at = 2
    while at + 4 <= len(content) and content[at] == 0xFF:
        marker, length = content[at + 1], int.from_bytes(content[at + 2:at + 4], "big")
        if marker == 0xFF:      # a fill byte
            at += 1
            continue
        if marker == _SCAN and size:
            return size
        if marker in _FRAMES and at + 9 <= len(content):
            height, width = struct.unpack_from(">HH", content, at + 5)
            size = (width, height)
        at += 2 + length
    raise SourceInvalid("a JPEG that is damaged before its first scan; expected a frame header and a scan")
