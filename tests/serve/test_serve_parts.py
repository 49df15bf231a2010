"""The pure parts of the server: tokens, sizes of images, and fields of forms."""

from __future__ import annotations

import struct
from ipaddress import ip_network
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vedette.errors import SourceInvalid
from vedette.serve.form import form_field
from vedette.serve.tokens import Tokens
from vedette.vision.picture_size import PictureSize, picture_size

SIDES = st.integers(1, 300)
FLAGS = {"plain": [], "progressive": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1], "restarts": [cv2.IMWRITE_JPEG_RST_INTERVAL, 1],
         "coarse": [cv2.IMWRITE_JPEG_QUALITY, 3]}


@given(SIDES, SIDES, st.sampled_from([".png", *FLAGS]))
def test_the_size_is_what_the_decoder_finds(width: int, height: int, kind: str) -> None:
    """This holds for every kind of JPEG that OpenCV writes, and for PNG."""
    content = cv2.imencode(kind if kind == ".png" else ".jpg", np.zeros((height, width, 3), np.uint8),
                           FLAGS.get(kind, []))[1].tobytes()
    assert picture_size(content) == PictureSize(width, height)


def with_segment(content: bytes, marker: int, body: bytes) -> bytes:
    return content[:2] + bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body + content[2:]


def test_a_thumbnail_is_not_the_image() -> None:
    """A JPEG inside an EXIF segment does not count. Fill bytes do not count either."""
    small, large = (cv2.imencode(".jpg", np.zeros((side, side, 3), np.uint8))[1].tobytes() for side in (8, 200))
    assert picture_size(with_segment(large, 0xE1, b"Exif\0\0" + small)) == PictureSize(200, 200)
    assert picture_size(large[:2] + b"\xff\xff" + large[2:]) == PictureSize(200, 200)


@given(st.binary(max_size=200), st.integers(0, 700), st.sampled_from([".png", ".jpg"]))
def test_damage_is_refused_or_gives_a_size(junk: bytes, at: int, kind: str) -> None:
    """It never raises another error, and it always ends."""
    content = bytearray(cv2.imencode(kind, np.zeros((20, 30, 3), np.uint8))[1].tobytes())
    content[at:at + len(junk)] = junk
    try:
        size = picture_size(bytes(content))
    except SourceInvalid:
        return
    assert min(size.width, size.height) > 0


def form(boundary: str, fields: list[tuple[str, bytes]]) -> bytes:
    parts = (f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="x"\r\n\r\n'.encode()
             + content + b"\r\n" for name, content in fields)
    return b"".join(parts) + f"--{boundary}--\r\n".encode()


@given(st.lists(st.tuples(st.sampled_from(["a", "imag", "images", "filename"]), st.binary(max_size=300)), max_size=4),
       st.binary(max_size=2000), st.data())
def test_a_field_is_read_as_it_was_written(others: list[tuple[str, bytes]], content: bytes,
                                           data: st.DataObject) -> None:
    """Every byte is the same, at any position among other fields, with line breaks and dashes."""
    fields = [*others]
    fields.insert(data.draw(st.integers(0, len(others))), ("image", content))
    assert form_field('multipart/form-data; charset=x; boundary="bOunDary77"', form("bOunDary77", fields),
                      "image") == content


@pytest.mark.parametrize("head", ['form-data; name=image; filename="x"', "form-data; name=image",
                                  'form-data; filename="name=picture"; name="image"'])
def test_the_forms_of_a_field_name(head: str) -> None:
    """The name has quotes or none, and is first or last."""
    body = f"preamble\r\n--b\r\nX: y\r\ncontent-disposition: {head}\r\n\r\nhello\r\n--b--".encode()
    assert form_field("multipart/form-data; boundary=b", body, "image") == b"hello"


@given(st.binary(max_size=300), st.text(max_size=60))
def test_anything_else_is_a_value_error(body: bytes, content_type: str) -> None:
    """It always ends."""
    for kind in (content_type, "multipart/form-data; boundary=b"):
        with pytest.raises(ValueError, match="expected"):
            form_field(kind, body.replace(b"image", b""), "image")


@pytest.mark.parametrize("authorization", [
    "Bearer s3cret-on", "Bearer s3cret-one-", "Bearer 3cret-one", "Bearer s", "Bearer ", "Bearer", "", "s3cret-one",
    "Basic s3cret-one", "Bearer s3cret-one s3cret-two", "Bearer S3CRET-ONE"])
def test_only_a_whole_token_is_accepted(tmp_path: Path, authorization: str) -> None:
    """A part of a known token is not accepted, nor one with something added, nor another scheme."""
    (tmp_path / "tokens").write_text("s3cret-one\ns3cret-two\n")
    tokens = Tokens(tmp_path / "tokens")
    assert not tokens.allow(authorization)
    assert tokens.allow("Bearer s3cret-one")
    assert tokens.allow("bearer s3cret-two")


def test_without_a_readable_file_no_token_is_accepted(tmp_path: Path) -> None:
    """Also the empty one, where the file is empty or gone."""
    assert not Tokens(tmp_path / "gone").allow("Bearer ")
    (tmp_path / "tokens").write_text("\n")
    assert not Tokens(tmp_path / "tokens").allow("Bearer ")


@pytest.mark.parametrize(("network", "address", "is_in"), [
    ("192.168.1.0/24", "192.168.1.7", True), ("192.168.1.0/24", "192.168.2.7", False),
    ("192.168.1.0/24", "::ffff:192.168.1.7", True), ("192.168.1.0/24", "::ffff:192.168.2.7", False),
    ("192.168.1.0/24", "::192.168.1.7", False), ("192.168.1.7", "192.168.1.7", True),
    ("192.168.1.7", "192.168.1.8", False), ("fe80::/10", "fe80::1%eth0", True), ("fd00::/8", "fe80::1", False),
    ("fd00::/8", "192.168.1.7", False)])
def test_networks_that_are_allowed(network: str, address: str, is_in: bool) -> None:
    """IPv4 in IPv6 is IPv4, as a socket for both reports it. No token is known without a file."""
    tokens = Tokens(None, [ip_network("10.0.0.0/8"), ip_network(network)])
    assert tokens.allow_address(address) == is_in
    assert not tokens.allow("Bearer ")
    assert not tokens.allow_token("")


def test_only_without_file_and_networks_everybody_is_allowed(tmp_path: Path) -> None:
    """The command serves like that on loopback alone."""
    assert Tokens(None).allow_address("127.0.0.1")
    assert not Tokens(tmp_path / "gone").allow_address("127.0.0.1")
