"""The web server of an update source that wants a token."""

from __future__ import annotations

import codecs
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.support.network.http_server import served
from tests.support.network.rude_server import Behave, answering, serving
from vedette.errors import UpdateBusy, UpdateUnreachable
from vedette.net.timed_socket import Deadline
from vedette.update.origin import origin_of


class Guarded(BaseHTTPRequestHandler):
    """Gives its only file to whoever sends the token."""

    def do_GET(self) -> None:
        allowed = self.headers["Authorization"] == "Bearer hunter2"
        self.send_response(200 if allowed else 401)
        self.end_headers()
        self.wfile.write(b"root" if allowed else b"")

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def content(url: str, token_file: Path) -> bytes:
    with origin_of(url, token_file=token_file).open("root.json", most_bytes=99, deadline=Deadline(60)) as opened:
        return b"".join(opened.chunks)


def test_the_token_is_sent_and_read_again(tmp_path: Path) -> None:
    """A line end or a byte order mark of an editor does not belong to it."""
    token_file = tmp_path / "token"
    with served(HTTPServer(("127.0.0.1", 0), Guarded)) as url:
        token_file.write_bytes(codecs.BOM_UTF8 + b"hunter2\r\n")
        assert content(url, token_file) == b"root"
        token_file.write_text("old")
        with pytest.raises(UpdateUnreachable, match="401"):
            content(url, token_file)


@pytest.mark.parametrize(("text", "said"), [("hunter2 hunter2", "one token on one line"), ("", "one token"),
                                            ("hunt\u00e9r2", "plain characters"), (None, "cannot be read")])
def test_a_token_that_cannot_be_sent_is_named_without_it(tmp_path: Path, text: str | None, said: str) -> None:
    """The message has the file and what is wrong; nothing is asked."""
    token_file = tmp_path / "token"
    if text is not None:
        token_file.write_text(text)
    with pytest.raises(UpdateUnreachable, match=said) as raised:
        content("http://127.0.0.1:1", token_file)
    assert "token: " in str(raised.value)
    assert "hunt" not in str(raised.value)


OK = b"HTTP/1.1 200 OK\r\n"


def status(line: bytes) -> Behave:
    return answering(b"HTTP/1.1 " + line + b"\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize(("behave", "is_busy"), [
    (answering(), True), (answering(OK), True), (answering(OK + b"Content-Length: 9\r\n\r\nhel"), True),
    (answering(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel"), True), (answering(then_wait=True), True),
    (status(b"429 No"), True), (status(b"503 No"), True), (status(b"504 No"), True),
    (status(b"500 No"), False), (status(b"404 No"), False), (answering(b"SSH-2.0-x\r\n\r\n"), False),
], ids=["nothing", "half a head", "half a body", "half a chunk", "silent", "429", "503", "504", "500", "404", "ssh"])
def test_a_busy_source_is_told_from_a_broken_one(behave: Behave, *, is_busy: bool) -> None:
    """It is late, hangs up before its answer is complete, or says that it has too much to do."""
    with serving(behave) as port, pytest.raises(UpdateUnreachable) as raised, origin_of(
            f"http://127.0.0.1:{port}", idle_s=0.5).open("a", most_bytes=99, deadline=Deadline(60)) as opened:
        b"".join(opened.chunks)
    assert isinstance(raised.value, UpdateBusy) is is_busy


def test_an_absent_source_is_not_busy() -> None:
    """Nobody listens there."""
    with pytest.raises(UpdateUnreachable, match="refused") as raised, \
            origin_of("http://127.0.0.1:1").open("a", most_bytes=99, deadline=Deadline(60)):
        pytest.fail("it answered")
    assert not isinstance(raised.value, UpdateBusy)
