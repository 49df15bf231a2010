"""HTTP on a socket, with hard limits: what a client may hold is bounded in time, in bytes and in number.

Invariants:
- A connection is one request. All of it, from the handshake of TCP to the last byte of the reply, has `request_s`;
  a client that drips or stops reading loses its thread then. At most `CONNECTIONS` are served, others turned away.
- A head has `HEAD_BYTES` at most; a body is read only where the service asks for it.
- A refusal reaches its client although its body was not read: what is under way is drained, within bounds.

The standard library's server is enough for that, so there is no other dependency: TLS and the open internet are the
business of the proxy in front (docs/cloud.md).
"""

from __future__ import annotations

import logging
import socket
import sys
import threading
import time
from http import HTTPStatus
from http.client import LineTooLong
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any, BinaryIO

from vedette import __version__
from vedette.net.timed_socket import Deadline, TimedSocket
from vedette.serve.exchange import Asked, Reply
from vedette.serve.service import REQUEST_S, Service

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

CONNECTIONS = 64
HEAD_BYTES = 32 * 1024
DRAIN_S, DRAIN_BYTES = 1.0, 16 * 2**20
_POLL_S = 0.2
_TURNED_AWAY = (b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n"
                b"Connection: close\r\n\r\n")


class _Head:
    """Reads lines of a request's head, so many bytes in all."""

    def __init__(self, reader: BinaryIO) -> None:
        self._reader = reader
        self._left = HEAD_BYTES

    def readline(self, limit: int = -1) -> bytes:
        """Return a line. Raises: LineTooLong, which http.server answers."""
        line = self._reader.readline(min(limit, self._left + 1) if limit >= 0 else self._left + 1)
        self._left -= len(line)
        if self._left < 0:
            raise LineTooLong("the head of this request")
        return line


class _Exchange(BaseHTTPRequestHandler):
    """One connection, one request. On a thread of its own."""

    protocol_version = "HTTP/1.1"
    server_version = f"vedette/{__version__}"
    sys_version = ""
    server: HttpServer

    def setup(self) -> None:
        """Put a deadline on everything that is read and written."""
        self._began = time.monotonic()
        self._socket = TimedSocket(self.request, Deadline(self.server.request_s), self.server.idle_s)
        self._body = self._socket.makefile()
        self._unread = 0
        self.rfile = _Head(self._body)  # type: ignore[assignment]  # it has what http.server uses
        self.wfile = BytesIO()
        self.close_connection = True

    def handle(self) -> None:
        """Answer one request, whatever the client would like to send after it."""
        self.handle_one_request()

    def finish(self) -> None:
        """Send what was written; let the client read it although some of its body was not."""
        try:
            self._socket.sendall(self.wfile.getvalue())  # type: ignore[attr-defined]  # the one of setup()
            if self._unread:
                self._drain()
        finally:
            self._body.close()

    def handle_expect_100(self) -> bool:
        """Do nothing yet: the body is invited when it is wanted."""
        return True

    def do_GET(self) -> None:
        """Answer a request; http.server wants one such name for each method."""
        headers = {name.lower(): value for name, value in self.headers.items()}
        lengths = set(self.headers.get_all("Content-Length", ()))
        headers["content-length"] = lengths.pop() if len(lengths) == 1 else "several" if lengths else ""
        self._unread = 1 if headers["content-length"] or "transfer-encoding" in headers else 0
        self._send(self.server.service.answer(
            Asked(self.command, self.path, headers, self._read, lambda: time.monotonic() - self._began)))

    do_POST = do_HEAD = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_GET  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's own name
        """Log at the level for those who look closely."""
        log.debug("%s: %s", self.client_address[0], format % args)

    def _read(self, length: int) -> bytes:
        if self.headers.get("Expect", "").lower() == "100-continue":
            self._socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        content = self._body.read(length)
        self._unread = 0
        return content

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in {"Content-Type": reply.content_type, "Content-Length": str(len(reply.body)),
                            "Connection": "close", **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)

    def _drain(self) -> None:
        """Read what the client still sends: closing on it would reset the connection, reply and all."""
        self.request.shutdown(socket.SHUT_WR)
        rest = TimedSocket(self.request, Deadline(DRAIN_S), DRAIN_S)
        scrap = bytearray(1 << 16)
        left = DRAIN_BYTES
        while left > 0 and (got := rest.recv_into(scrap)):
            left -= got


class HttpServer(ThreadingHTTPServer):
    """Serves until `shutdown`; `server_close` waits for the exchanges under way, `request_s` at most each.

    `idle_s` bounds the wait for a single byte.
    """

    daemon_threads = False
    request_queue_size = CONNECTIONS
    request_s, idle_s = REQUEST_S, 5.0

    def __init__(self, host: str, port: int, service: Service) -> None:
        self.service = service
        self._room = threading.BoundedSemaphore(CONNECTIONS)
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Exchange)

    @property
    def address(self) -> str:
        """Where it listens, as a URL."""
        host, port = self.server_address[:2]
        return f"http://[{host!s}]:{port}" if self.address_family == socket.AF_INET6 else f"http://{host!s}:{port}"

    def server_bind(self) -> None:
        """Bind; unlike http.server without asking a name server for our own name."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "vedette", int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection on a thread of its own, where there is room."""
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self._turn_away(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve it, on that thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, _request: Any, client_address: Any) -> None:
        """Log what ended an exchange: a client that left or was too slow is nothing to worry about."""
        failure = sys.exc_info()[1]
        if isinstance(failure, (OSError, LineTooLong)):
            log.debug("%s: %s", client_address[0], failure)
        else:
            log.error("an exchange ended unexpectedly", exc_info=True)

    def _turn_away(self, request: socket.socket) -> None:
        self.service.counters.answered("connection", HTTPStatus.SERVICE_UNAVAILABLE)
        request.setblocking(False)      # whoever does not take it at once misses it: nobody else may wait
        try:
            request.send(_TURNED_AWAY)
        except OSError as failure:
            log.debug("turned away: %s", failure)
        self.shutdown_request(request)


def serve(server: HttpServer, wait_for_end: Callable[[], object]) -> None:
    """Serve until `wait_for_end` returns, then end what is under way and free the detector."""
    thread = threading.Thread(target=server.serve_forever, args=(_POLL_S,), name="serve")
    thread.start()
    try:
        wait_for_end()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        server.service.close()
