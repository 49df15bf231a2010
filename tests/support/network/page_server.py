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


class ShortPage(PageServer):
    """Its limits are short enough for a test, but a request may take long."""

    head_s = body_s = 1.0
    idle_s = 1.0


def cheap_password_file(folder: Path) -> Path:
    """Write the file of PASSWORD, whose hash costs little."""
    path, salt = folder / "page-password", b"0123456789abcdef"
    value = hashlib.scrypt(PASSWORD.encode(), salt=salt, n=1 << 4, r=1, p=1, dklen=32)
    texts = [base64.b64encode(each).decode().rstrip("=") for each in (salt, value)]
    path.write_text(f"$scrypt$ln=4,r=1,p=1${'$'.join(texts)}\n")
    path.chmod(0o600)
    return path


@contextmanager
def page_server(kind: type[PageServer] = ShortPage, service: Answering | None = None,
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


def connect(server: PageServer, source: str = "127.0.0.1", timeout_s: float = PATIENCE_S) -> socket.socket:
    """Connect from an address of loopback."""
    return socket.create_connection(("127.0.0.1", server.server_port), timeout_s, (source, 0))


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
