"""Makes a PNG from the network safe to decode: it costs no more than its header promises.

Invariants:
- What is decoded later has only the chunks of the picture itself. Texts, profiles and animations can be compressed
  a thousandfold, and libpng inflates each of them (measured: 6 MB of texts take 86 s for a picture of 8 x 8 pixels).
- The image data is inflated here first, at most as far as width, height, depth and colour type promise. Data that
  goes further is refused: libpng would inflate all of it after the last row.
- Memory stays bounded by the file and one piece, and the number of chunks is limited.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from vedette.errors import SourceInvalid

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KEPT = frozenset((b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT", b"IEND"))
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS = frozenset((1, 2, 4, 8, 16))
_INTERLACED = ((0, 8, 0, 8), (4, 8, 0, 8), (0, 4, 4, 8), (2, 4, 0, 4), (0, 2, 2, 4), (1, 2, 0, 2), (0, 1, 1, 2))
"""First column, step, first row, step of each pass."""
CHUNKS_MAX = 65_536
_PIECE_BYTES = 1 << 20
_SPARE_BYTES = 1 << 16
"""Some encoders write a little more than the rows need."""


def bounded_png(content: bytes) -> bytes:
    """Return the PNG with the picture alone. Raises: SourceInvalid if it holds more than its header promises."""
    chunks = [(kind, data) for kind, data in _chunks(content) if kind in _KEPT]
    if not chunks or chunks[0][0] != b"IHDR" or len(chunks[0][1]) < 25:
        raise SourceInvalid("a PNG that does not begin with its header")
    promised = _promised_bytes(bytes(chunks[0][1][8:21]))
    inflated = 0
    for size in _inflated((data[8:-4] for kind, data in chunks if kind == b"IDAT"), promised + _SPARE_BYTES):
        inflated += size
        if inflated > promised + _SPARE_BYTES:
            raise SourceInvalid(f"a PNG whose data goes on after its last row; expected {promised} bytes, uncompressed")
    return b"".join((SIGNATURE, *(data for _, data in chunks)))


def _chunks(content: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Yield each chunk: its kind, and all its bytes. The last one may be cut off. Raises: SourceInvalid."""
    view, at, count = memoryview(content), len(SIGNATURE), 0
    while at + 8 <= len(content):
        count += 1
        if count > CHUNKS_MAX:
            raise SourceInvalid(f"a PNG of more than {CHUNKS_MAX} chunks")
        length, kind = struct.unpack_from(">I4s", content, at)
        end = min(at + 12 + length, len(content))
        yield kind, view[at:end]
        at = end


def _promised_bytes(header: bytes) -> int:
    """Return the size of the rows of a header, each with its filter byte. Raises: SourceInvalid."""
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", header)
    if colour not in _CHANNELS or depth not in _DEPTHS:
        raise SourceInvalid(f"a PNG of colour type {colour} with depth {depth}, which does not exist")
    bits = depth * _CHANNELS[colour]
    passes = _INTERLACED if interlace else ((0, 1, 0, 1),)
    sizes = (((width - left + across - 1) // across, (height - top + down - 1) // down)
             for left, across, top, down in passes)
    return sum(rows * (1 + (columns * bits + 7) // 8) for columns, rows in sizes if columns > 0 and rows > 0)


def _inflated(parts: Iterator[memoryview], most: int) -> Iterator[int]:
    """Yield how many bytes each piece gives, and stop where the stream ends or is damaged."""
    stream = zlib.decompressobj()
    for part in parts:
        rest: bytes | memoryview = part
        while rest and not stream.eof:
            try:
                piece = stream.decompress(rest, min(_PIECE_BYTES, most + 1))
            except zlib.error:      # the decoder gets no further either
                return
            yield len(piece)
            rest = stream.unconsumed_tail
