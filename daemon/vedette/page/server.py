"""Where the page listens: on an address, with TLS or without, and on the unix socket of a proxy.

Invariants:
- No client holds a connection for long before it has asked, and none has more than half of all connections. The proxy
  has as many of its own, so it cannot lock out who connects without it.
- No reply, not even an error, can be shown or read by another site. Each says to the browser that it may load and run
  only what comes from this page.
- At the end nobody waits for a browser that waits for the next picture.
"""

from __future__ import annotations

import ctypes
import ssl
import threading
from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from vedette.errors import ConfigError
from vedette.serve.local.socket_file import SocketFile
from vedette.serve.server import CONNECTIONS, Answering, HttpServer

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

    from vedette.config.page import PageTlsConfig

CONTENT_POLICY = ("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
                  "form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
_POLL_S = 0.2
_M_ARENA_MAX = -8
"""mallopt(3). Python has no name for it."""


class PageServer(HttpServer):
    """Serves the page on an address."""

    request_s, head_s, body_s, finish_s = 40.0, 5.0, 5.0, 1.0
    per_client = CONNECTIONS // 2
    headers = MappingProxyType({
        "Content-Security-Policy": CONTENT_POLICY, "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer", "Cross-Origin-Resource-Policy": "same-origin"})


class ProxyServer(PageServer):
    """Serves the page on a unix socket, which a proxy connects to. It replaces the socket of a run that was killed."""

    per_client = CONNECTIONS
    is_proxy = True

    def __init__(self, path: Path, service: Answering) -> None:
        self._file = SocketFile(path)
        super().__init__("", 0, service)

    @property
    def address(self) -> str:
        """The path that it listens on."""
        return str(self._file.path)

    def server_bind(self) -> None:
        """Listen on the path. Raises: OSError."""
        self.socket.close()     # the one that socketserver has made for an address
        self.socket = self._file.open()

    def server_activate(self) -> None:
        """Do nothing: it listens already."""

    def server_close(self) -> None:
        """Stop listening, and remove the file."""
        with suppress(OSError):
            super().server_close()
        self._file.close()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection. The other side has no address."""
        return self.socket.accept()[0], ("the proxy", 0)


def tls_of(config: PageTlsConfig | None) -> ssl.SSLContext | None:
    """Return what a server needs for TLS, or None without TLS. Raises: ConfigError."""
    if config is None or config.cert_file is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(config.cert_file, config.key_file, password=_no_passphrase)
    except (OSError, ValueError) as error:      # an SSLError is an OSError
        message = (f"page.tls: {config.cert_file} and {config.key_file or 'the key in it'}: cannot be used: {error}; "
                   "expected PEM files of a certificate and its key, without a passphrase")
        raise ConfigError((message,)) from error
    return context


def share_arena() -> None:
    """Have all threads take memory from one place. glibc gives each its own, and keeps there what is freed."""
    with suppress(AttributeError):      # only glibc has this function
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def serve(servers: list[PageServer], wait_for_end: Callable[[], object]) -> None:
    """Serve until `wait_for_end` returns. Then wait a little for the exchanges under way."""
    threads = [threading.Thread(target=each.serve_forever, args=(_POLL_S,), name="serve") for each in servers]
    for thread in threads:
        thread.start()
    try:
        wait_for_end()
    finally:
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()
        for server in servers:
            server.finish()


def _no_passphrase() -> str:
    raise ValueError("the key has a passphrase")
