"""HTTP on a socket, with hard limits on the time, the bytes and the connections that clients may use.

Invariants:
- A connection is one request. From the TCP handshake to the last byte of the reply it has `request_s`. A client that
  drips or stops reading loses its thread then. At most `CONNECTIONS` are served; others are refused.
- A head has at most `HEAD_BYTES`. A body is read only when the service asks for it.
- A refusal reaches its client even if its body was not read: the rest of the body is drained, within bounds.

The standard library's server is enough for this, so there is no other dependency. The proxy in front handles TLS and
the open internet (docs/cloud.md).
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
from vedette.serve.exchange import Reply, Request
from vedette.serve.service import REQUEST_S, Service

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

CONNECTIONS = 64
HEAD_BYTES = 32 * 1024
DRAIN_S, DRAIN_BYTES = 1.0, 16 * 2**20
_POLL_S = 0.2
_FULL = b'{"success": false, "error": "the server has too many connections"}'
_SERVER_FULL = (b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(_FULL), _FULL))


class _Head:
    """Reads the lines of a request's head, at most `HEAD_BYTES` in all."""

    def __init__(self, reader: BinaryIO) -> None:
        self._reader = reader
        self._left = HEAD_BYTES

    def readline(self, limit: int = -1) -> bytes:
        """Return a line. Raises: LineTooLong; http.server answers it."""
        line = self._reader.readline(min(limit, self._left + 1) if limit >= 0 else self._left + 1)
        self._left -= len(line)
        if self._left < 0:
            raise LineTooLong("the head of the request")
        return line


class _Exchange(BaseHTTPRequestHandler):
    """One connection with one request, on its own thread."""

    protocol_version = "HTTP/1.1"
    server_version = f"vedette/{__version__}"
    sys_version = ""
    server: HttpServer

    def setup(self) -> None:
        """Put a deadline on every read and write."""
        self._began = time.monotonic()
        self._socket = TimedSocket(self.request, Deadline(self.server.request_s), self.server.idle_s)
        self._body = self._socket.makefile()
        self._unread = 0
        self.rfile = _Head(self._body)  # type: ignore[assignment]  # it has the method that http.server uses
        self.wfile = BytesIO()
        self.close_connection = True

    def handle(self) -> None:
        """Answer one request, and ignore whatever the client sends after it."""
        self.handle_one_request()

    def finish(self) -> None:
        """Send the reply, and let the client read it even if its body was not read."""
        try:
            self._socket.sendall(self.wfile.getvalue())  # type: ignore[attr-defined]  # the one of setup()
            if self._unread:
                self._drain()
        finally:
            self._body.close()

    def handle_expect_100(self) -> bool:
        """Do nothing yet. `_read` sends 100 Continue when the service asks for the body."""
        return True

    def do_GET(self) -> None:
        """Answer a request. http.server needs one such name for each method."""
        headers = {name.lower(): value for name, value in self.headers.items()}
        lengths = set(self.headers.get_all("Content-Length", ()))
        headers["content-length"] = " and ".join(lengths)     # several lengths are no number, so they are refused
        self._unread = 1 if headers["content-length"] or "transfer-encoding" in headers else 0
        request = Request(self.command, self.path, headers, self.client_address[0], self._read, self._waited_s)
        self._send(self.server.service.answer(request))

    do_POST = do_HEAD = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_GET  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's own name
        """Log at debug level."""
        log.debug("%s: %s", self.client_address[0], format % args)

    def _waited_s(self) -> float:
        return time.monotonic() - self._began

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
        """Read what the client still sends. To close without that would reset the connection and lose the reply."""
        self.request.shutdown(socket.SHUT_WR)
        rest = TimedSocket(self.request, Deadline(DRAIN_S), DRAIN_S)
        scrap = bytearray(1 << 16)
        left = DRAIN_BYTES
        while left > 0 and (got := rest.recv_into(scrap)):
            left -= got


class HttpServer(ThreadingHTTPServer):
    """Serves until `shutdown`. Then `finish` waits for the exchanges under way, but not without end.

    `idle_s` bounds the wait for a single byte. A picture that is being decoded or detected has no limit of its own, so
    `finish` gives up `spare_s` after the time that any exchange may take. Its thread then ends with the process.
    """

    daemon_threads = True
    request_queue_size = CONNECTIONS
    request_s, idle_s, spare_s = REQUEST_S, 5.0, 2.0

    def __init__(self, host: str, port: int, service: Service) -> None:
        self.service = service
        self._room = threading.BoundedSemaphore(CONNECTIONS)
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Exchange)

    @property
    def address(self) -> str:
        """The URL that it listens on."""
        host, port = self.server_address[:2]
        return f"http://[{host!s}]:{port}" if self.address_family == socket.AF_INET6 else f"http://{host!s}:{port}"

    def server_bind(self) -> None:
        """Bind without a name lookup. http.server would ask a name server for the host's name."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "vedette", int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection on its own thread, or refuse it when there are too many."""
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self._refuse_connection(request)

    def finish(self) -> bool:
        """Wait for the exchanges under way. Return whether all of them ended in time. Call it after `shutdown`."""
        deadline = time.monotonic() + self.request_s + self.spare_s
        return all(self._room.acquire(timeout=max(0.0, deadline - time.monotonic())) for _ in range(CONNECTIONS))

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve the connection. Runs on that thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, _request: Any, client_address: Any) -> None:
        """Log what ended an exchange. A client that left or was too slow is logged at debug level only."""
        failure = sys.exc_info()[1]
        if isinstance(failure, (OSError, LineTooLong)):
            log.debug("%s: %s", client_address[0], failure)
        else:
            log.error("an exchange ended unexpectedly", exc_info=True)

    def _refuse_connection(self, request: socket.socket) -> None:
        self.service.counters.count_reply("connection", HTTPStatus.SERVICE_UNAVAILABLE)
        request.setblocking(False)      # the client must take it at once, because others wait
        try:
            request.send(_SERVER_FULL)
        except OSError as failure:
            log.debug("a refused client did not take the reply: %s", failure)
        self.shutdown_request(request)


def serve(server: HttpServer, wait_for_end: Callable[[], object]) -> bool:
    """Serve until `wait_for_end` returns. Then wait for the exchanges under way, and close the detector.

    Return whether all exchanges ended. If not, the detector may still be in use, so it stays open, and the process
    must end without waiting for threads.
    """
    thread = threading.Thread(target=server.serve_forever, args=(_POLL_S,), name="serve")
    thread.start()
    try:
        wait_for_end()
    finally:
        server.shutdown()
        thread.join()
        ended = server.finish()
        server.server_close()
        if ended:
            server.service.close()
        else:
            log.warning("a request is still being worked on; its answer is given up")
    return ended
