"""A PNG from the network costs no more than its header promises."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.present import present
from vedette.errors import SourceInvalid
from vedette.vision.bounded_png import CHUNKS_MAX, SIGNATURE, bounded_png

MB = 1 << 20


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def header(width: int = 8, height: int = 8, depth: int = 8, colour: int = 2, interlace: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))


def zeros(size: int) -> bytes:
    """Return `size` zeros, deflated."""
    stream = zlib.compressobj(9)
    return b"".join((*(stream.compress(bytes(MB)) for _ in range(size // MB)), stream.compress(bytes(size % MB)),
                     stream.flush()))


def rows(count: int, each: int) -> bytes:
    return chunk(b"IDAT", zlib.compress(bytes(count * (1 + each))))


def decoded(content: bytes) -> np.ndarray:
    return present(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR))


@pytest.mark.parametrize("size", [200 + 2 * 65536, MB, 64 * MB])
def test_image_data_beyond_the_last_row_is_refused(size: int) -> None:
    """A picture of 8 x 8 pixels has 200 bytes of rows, however small the file is that holds more."""
    with pytest.raises(SourceInvalid, match="expected 200 bytes"):
        bounded_png(SIGNATURE + header() + chunk(b"IDAT", zeros(size)) + chunk(b"IEND", b""))


@pytest.mark.parametrize(("kind", "front"), [(b"zTXt", b"k\0\0"), (b"iTXt", b"k\0\1\0\0\0"), (b"iCCP", b"k\0\0"),
                                             (b"acTL", b""), (b"fdAT", b"\0\0\0\1"), (b"juNk", b"")])
def test_what_does_not_belong_to_the_picture_is_left_out(kind: bytes, front: bytes) -> None:
    """Compressed texts, profiles and animations never reach the decoder; the picture does."""
    bomb = chunk(kind, front + zeros(8 * MB)) * 3
    bounded = bounded_png(SIGNATURE + header() + bomb + rows(8, 24) + bomb + chunk(b"IEND", b""))
    assert len(bounded) < 200
    assert decoded(bounded).shape == (8, 8, 3)


def test_too_many_chunks_are_refused() -> None:
    """Empty ones cost no inflating, but time and memory."""
    with pytest.raises(SourceInvalid, match="chunks"):
        bounded_png(SIGNATURE + header() + chunk(b"IDAT", b"") * CHUNKS_MAX + rows(8, 24))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from((1, 3, 4)), st.sampled_from((np.uint8, np.uint16)))
def test_an_honest_picture_is_decoded_as_before(width: int, height: int, channels: int, depth: type) -> None:
    """Every depth and number of channels gives the same pixels."""
    pixels: np.ndarray = np.random.default_rng(width).integers(0, 255, (height, width, channels)).astype(depth)
    content = present(cv2.imencode(".png", pixels)[1]).tobytes()
    assert np.array_equal(decoded(bounded_png(content)), decoded(content))


@pytest.mark.parametrize(("width", "height", "depth", "colour", "size"), [
    (8, 8, 8, 2, 15 + 8 * 8 * 3), (1, 1, 1, 0, 2), (5, 5, 1, 0, 22)])
def test_an_interlaced_picture_has_the_rows_of_its_passes(width: int, height: int, depth: int, colour: int,
                                                          size: int) -> None:
    """Each pass has its own rows, so more bytes than the plain picture."""
    image = header(width, height, depth, colour, 1) + chunk(b"IDAT", zlib.compress(bytes(size)))
    assert decoded(bounded_png(SIGNATURE + image + chunk(b"IEND", b""))).shape == (height, width, 3)
    with pytest.raises(SourceInvalid, match=f"expected {size} bytes"):
        bounded_png(SIGNATURE + header(width, height, depth, colour, 1) + chunk(b"IDAT", zeros(MB)))


@pytest.mark.parametrize("content", [
    SIGNATURE, SIGNATURE + rows(8, 24), SIGNATURE + header(colour=5) + rows(8, 24), SIGNATURE + header(depth=3),
    SIGNATURE + header()[:20]])
def test_a_damaged_header_is_refused(content: bytes) -> None:
    """Without a header nothing is promised."""
    with pytest.raises(SourceInvalid):
        bounded_png(content)


def test_a_damaged_end_is_left_to_the_decoder() -> None:
    """A stream that is cut off or broken gives no more bytes to anybody."""
    whole = SIGNATURE + header() + rows(8, 24)
    assert bounded_png(whole[:-9]) == whole[:-9]
    broken = SIGNATURE + header() + chunk(b"IDAT", b"\x78\x9c" + b"\xff" * 50)
    assert bounded_png(broken) == broken
