"""The web server of an update source that wants a token."""

from __future__ import annotations

import codecs
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.support.network.http_server import served
from vedette.errors import UpdateUnreachable
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
