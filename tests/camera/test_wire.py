"""The messages between child and owner, and packets that are not messages."""

import re
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.daemon.cameras import make_settings
from vedette.camera.child.owner_socket import PACKET_BYTES
from vedette.camera.settings import CaptureSettings, with_credentials
from vedette.camera.wire import (
    Final,
    FrameReady,
    Message,
    Opening,
    PictureOrder,
    PictureReady,
    Trouble,
    decode,
    decode_answer,
    encode,
    encode_free,
    encode_order,
    encode_request,
)
from vedette.net.urls import shown
from vedette.types import ReasonCode, Scaling

REAL = st.floats(0, 1e6)
MESSAGES = st.one_of(
    st.builds(Opening, REAL), st.builds(Trouble, st.sampled_from(["offline", "stalled"]), st.text(max_size=50), REAL),
    st.builds(PictureReady, st.integers(0, 2**70), st.integers(-9, 2**70)),
    st.builds(Final, st.sampled_from(["ended", "invalid", "missing"]), st.text(max_size=50), REAL),
    st.builds(FrameReady, *[st.integers(-9, 2**70)] * 5, REAL, st.none() | REAL, st.none() | REAL,
              st.lists(st.sampled_from(get_args(ReasonCode))).map(tuple), st.lists(st.integers(0, 9999)).map(tuple),
              st.lists(REAL).map(tuple), st.text(max_size=9), st.booleans(), st.integers(0, 99),
              st.none() | st.integers(-9, 2**70)))


@given(MESSAGES)
def test_decode_reads_what_encode_wrote(message: Message) -> None:
    """decode(encode(m)) = m."""
    assert decode(encode(message)) == message


@given(st.binary(max_size=300) | st.from_regex(rb'\{"kind": "(FrameReady|Final|Opening)".*\}'))
def test_anything_else_is_a_value_error(packet: bytes) -> None:
    """Random packets never raise anything but ValueError."""
    try:
        decode(packet)
    except ValueError:
        return


def test_a_reason_that_does_not_exist_is_a_value_error() -> None:
    """A child out of its mind cannot put a reason into health that no table knows."""
    frame = FrameReady(1, 0, 4, 4, 5, 1.0, None, None, ("camera_black",), ())
    with pytest.raises(ValueError, match="reasons"):
        decode(encode(frame).replace(b"camera_black", b"camera_blue"))


def test_deep_nesting_is_a_value_error() -> None:
    """A packet of brackets does not exhaust the stack."""
    with pytest.raises(ValueError, match="nested"):
        decode(b"[" * 60_000)


@given(st.integers(0, 100))
def test_freed_slots_go_back(slot: int) -> None:
    """decode_answer(encode_free(p)) = p."""
    assert decode_answer(encode_free(slot)) == slot


@given(st.none() | st.builds(Scaling, *[st.integers(0, 9999)] * 6), st.booleans())
def test_requests_cross_the_socket(scaling: Scaling | None, gate_is_open: bool) -> None:
    """decode_answer(encode_request(r)) = r."""
    assert decode_answer(encode_request(scaling, gate_is_open=gate_is_open)) == (scaling, gate_is_open)


@given(st.builds(PictureOrder, *[st.integers(0, 9999)] * 7))
def test_orders_cross_the_socket(order: PictureOrder) -> None:
    """decode_answer(encode_order(o)) = o, in a packet that the child reads whole."""
    assert decode_answer(encode_order(order)) == order
    assert len(encode_order(order._replace(seq=10**15))) <= PACKET_BYTES


def test_settings_cross_the_socket_whole() -> None:
    """from_json(to_json(s)) = s, masks included."""
    settings = make_settings("rtsp://cam/1", masks=(((0.0, 0.0), (1.0, 0.0), (1.0, 1.0)),), rotate=90)
    assert CaptureSettings.from_json(settings.to_json()) == settings


@pytest.mark.parametrize(("source", "kind", "may_return"), [
    ("auto", "auto", True), ("picamera2", "picamera2", True), ("picamera2:imx708", "picamera2", True),
    ("/dev/video0", "device", True),
    ("rtsp://cam/1", "stream", True), ("http://cam/1", "stream", True), ("/srv/a.mp4", "path", False),
    ("file:///srv/a.mp4", "path", False), ("synthetic", "synthetic", True)])
def test_kinds_of_sources(source: str, kind: str, may_return: bool) -> None:
    """The form of a source decides its kind, and the kind decides whether to wait for it."""
    settings = make_settings(source)
    assert (settings.kind, settings.may_return) == (kind, may_return)


def test_stall_is_three_frames_or_three_seconds() -> None:
    """A slow camera gets the time of three frames."""
    assert make_settings("x", fps=30.0).stall_s == 3.0
    assert make_settings("x", fps=0.5).stall_s == 6.0


def test_credentials_are_escaped_and_redacted(tmp_path: Path) -> None:
    """A password with any character is escaped in the URL, and redaction always removes it."""
    secret = tmp_path / "secret"
    secret.write_text("me:p@ss:w/rd?#\n")
    url = with_credentials("rtsp://cam:554/live?x=1", str(secret))
    assert url == "rtsp://me:p%40ss%3Aw%2Frd%3F%23@cam:554/live?x=1"
    assert shown(url) == "rtsp://cam:554/live?x=1"
    assert with_credentials("rtsp://cam", None) == "rtsp://cam"
    assert shown("rtsp://me:secret@[::1/x@y") == "rtsp://[::1/x@y"      # not a valid address, but still shown
    assert shown("http://cam/video.cgi?usr=me&pwd=secret") == "http://cam/video.cgi?usr=me&pwd=***"


def test_credentials_fill_the_places_that_the_source_names(tmp_path: Path) -> None:
    """Some cameras want them in the path: each is escaped, and one that looks like a placeholder stays as it is."""
    secret = tmp_path / "secret"
    secret.write_text("a{password}b:p@s&s\n")
    url = with_credentials("rtsp://cam/user={user}_password={password}_channel=1", str(secret))
    assert url == "rtsp://cam/user=a%7Bpassword%7Db_password=p%40s%26s_channel=1"
    assert shown(url) == "rtsp://cam/user=a%7Bpassword%7Db_password=***_channel=1"


def test_credentials_that_cannot_be_used_are_not_repeated(tmp_path: Path) -> None:
    """The error repeats neither a line without a colon nor bytes that are not UTF-8, as Python's message would."""
    secret = tmp_path / "secret"
    for content in (b"no colon", b"me:\xe4pass", b"me:a\nyou:b"):
        secret.write_bytes(content)
        with pytest.raises(ValueError, match=f"^{secret}: expected user:password") as refusal:
            with_credentials("rtsp://cam", str(secret))
        assert not re.search("colon|0xe4|pass[^w]|position", str(refusal.value).removeprefix(str(secret)))
