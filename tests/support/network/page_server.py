"""Real servers of the page in this process, without a daemon, and clients that say exactly what a test wants."""

from __future__ import annotations

import base64
import hashlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.waiting.fair_clock import PATIENCE_S
from vedette.config.page import PageConfig
from vedette.page.devices import Devices
from vedette.page.gate import Gate
from vedette.page.history import History
from vedette.page.server import PageServer, ProxyServer, serve, tls_of
from vedette.page.service import PageService
from vedette.serve.server import Answering

PASSWORD = "correct horse 9"  # noqa: S105 - of the tests
STATE = b"GET /api/state HTTP/1.1\r\nHost: localhost\r\n"
PAUSE = b"POST /api/commands/pause HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
LOGIN = PAUSE.replace(b"commands/pause", b"login")
CHUNKS = b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + STATE + b"\r\n"
BASIC = b"Authorization: Basic " + base64.b64encode(f":{PASSWORD}".encode()) + b"\r\n"

TWO_MEANINGS = {
    "two hosts": b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
    "two hosts that are the same": b"GET / HTTP/1.1\r\nHost: localhost\r\nhost: localhost\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "a foreign name": b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    "a whole address": b"GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "another whole address": b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "two lengths": PAUSE + b"Content-Length: 2\r\nContent-Length: 40\r\n\r\n{}" + STATE + b"\r\n",
    "a list of lengths": PAUSE + b"Content-Length: 2, 2\r\n\r\n{}",
    "a signed length": PAUSE + b"Content-Length: +2\r\n\r\n{}",
    "a length and chunks": PAUSE + b"Content-Length: 2\r\n" + CHUNKS,
    "chunks": PAUSE + CHUNKS,
    "a line that goes on": STATE + b"X: a\r\n Remote-User: ann\r\n\r\n",
    "a lone CR": STATE + b"X: a\rRemote-User: ann\r\n\r\n",
    "a NUL": STATE + b"X: a\0b\r\n\r\n",
    "a space before the colon": STATE + b"Content-Length : 5\r\n\r\n",
    "a line without a colon": STATE + b"nothing\r\nX: y\r\n\r\n",
    "a name with a space": STATE + b"X Y: z\r\n\r\n",
    "a path with a NUL": b"GET /\0 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "up": b"GET /static/../../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "up, encoded": b"GET /static/..%2f..%2f..%2fetc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "encoded twice": b"GET /static/%252e%252e%252fetc HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a huge head": STATE + b"X: y\r\n" * 90 + b"Y: " + b"z" * 40_000 + b"\r\n\r\n",
    "many headers": STATE + b"X: y\r\n" * 2000 + b"\r\n",
    "a huge path": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "another version": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no version": b"GET /api/state\r\nHost: evil.example\r\n\r\n",
    "another method": b"TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a preflight": b"OPTIONS /api/commands/pause HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n",
}
"""Heads that two programs could read differently, and paths that lead out."""


class PatientPage(PageServer):
    """Nobody is too slow for it, so a starved machine is not either."""

    request_s = head_s = body_s = idle_s = 3600.0


class ShortPage(PatientPage):
    """Its limits are short enough for a test, but a request may take long."""

    head_s = body_s = idle_s = 2.0


def cheap_password_file(folder: Path) -> Path:
    """Write the file of PASSWORD, whose hash costs little."""
    path, salt = folder / "page-password", b"0123456789abcdef"
    value = hashlib.scrypt(PASSWORD.encode(), salt=salt, n=1 << 4, r=1, p=1, dklen=32)
    texts = [base64.b64encode(each).decode().rstrip("=") for each in (salt, value)]
    path.write_text(f"$scrypt$ln=4,r=1,p=1${'$'.join(texts)}\n")
    path.chmod(0o600)
    return path


@contextmanager
def page_server(kind: type[PageServer] = PatientPage, service: Answering | None = None,
                **config: Any) -> Iterator[PageServer]:
    """Serve on a free port of loopback, and on the proxy's socket if there is one; ends in order."""
    page = PageConfig(**config)
    tls = tls_of(page.tls)
    history = History(None, days=1, mb=1)
    service = service or PageService(Devices(tuple, history, on_end=print), history,
                                     Gate(page, "127.0.0.1", under_tls=tls is not None))
    servers, end = [kind("127.0.0.1", 0, service, tls)], threading.Event()
    if page.proxy_socket:
        servers.append(ProxyServer(page.proxy_socket, service))
    thread = threading.Thread(target=serve, args=(servers, end.wait))
    thread.start()
    try:
        yield servers[0]
    finally:
        end.set()
        thread.join(60)
        history.close()
        assert not thread.is_alive()


def connect(port: int, source: str = "127.0.0.1", timeout_s: float = PATIENCE_S) -> socket.socket:
    """Connect from an address of loopback."""
    return socket.create_connection(("127.0.0.1", port), timeout_s, (source, 0))


def exchange(connection: socket.socket, content: bytes) -> bytes:
    """Send these bytes and return all that comes back; what came before a reset, if there is one."""
    reply = b""
    with connection:
        try:
            connection.sendall(content)
            while more := connection.recv(65536):
                reply += more
        except ConnectionError:
            pass
        return reply


def status_of(reply: bytes) -> int:
    """Return the status of a reply; 0 if there is none."""
    return int(reply.split(b" ", 2)[1]) if reply.startswith(b"HTTP/1.1 ") else 0
