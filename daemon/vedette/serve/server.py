"""HTTP on a socket, with hard limits on the time, the bytes and the connections that clients may use.

Invariants:
- A connection is one request. From the TCP handshake to the last byte of the reply it has `request_s`. A client that
  drips or stops reading loses its thread then. A TLS handshake with the head, and a body, have shorter limits.
- At most `CONNECTIONS` are served, and at most `per_client` of one address; others are refused at once.
- A head has at most `HEAD_BYTES`, and one meaning: what two programs could read differently is refused.
- A body is read only when the service asks for it.
- A refusal reaches its client even if its body was not read: the rest of the body is drained, within bounds.

The standard library's server is enough for this, so there is no other dependency. The open internet is for a proxy in
front (docs/cloud.md).
"""

from __future__ import annotations

import json
import logging
import re
import socket
import ssl
import sys
import threading
import time
from collections import Counter
from http import HTTPStatus
from http.client import LineTooLong
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from socketserver import TCPServer
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from vedette import __version__
from vedette.net.client_address import client_of
from vedette.net.timed_socket import Deadline, TimedSocket
from vedette.serve.exchange import REQUEST_S, Reply, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)

CONNECTIONS = 64
HEAD_BYTES = 32 * 1024
BUFFER_BYTES = 4096      # each connection has one, and most heads are shorter
DRAIN_S, DRAIN_BYTES = 1.0, 16 * 2**20
_FIRST_LINE = re.compile(rb"[^\r\n\0]*\r?\n")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~\w-]+:[^\r\n\0]*)?\r?\n")
_POLL_S = 0.2
_FULL = b'{"success": false, "error": "the server has too many connections"}'
_SERVER_FULL = (b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(_FULL), _FULL))


class Answering(Protocol):
    """What answers the requests. Any thread."""

    def answer(self, request: Request) -> Reply:
        """Return the reply to a request. Raises: OSError from its connection."""

    def count_refused(self) -> None:
        """Count a connection that was refused, because there are too many. Never blocks."""

    def close(self) -> None:
        """Close what the answers come from, after the last one."""


class _Head:
    """Reads the lines of a request's head, at most `HEAD_BYTES` in all."""

    def __init__(self, reader: BinaryIO) -> None:
        self.is_plain = True
        """Whether each line so far has one meaning. One that goes on, or has a lone CR or no name, has more."""
        self._reader = reader
        self._form = _FIRST_LINE
        self._left = HEAD_BYTES

    def readline(self, limit: int = -1) -> bytes:
        """Return a line. Raises: LineTooLong; http.server answers it."""
        line = self._reader.readline(min(limit, self._left + 1) if limit >= 0 else self._left + 1)
        self._left -= len(line)
        if self._left < 0:
            raise LineTooLong("the head of the request")
        self.is_plain = self.is_plain and self._form.fullmatch(line) is not None
        self._form = _FIELD
        return line


class _Exchange(BaseHTTPRequestHandler):
    """One connection with one request, on its own thread."""

    protocol_version = "HTTP/1.1"
    server_version = f"vedette/{__version__}"
    sys_version = ""
    server: HttpServer

    def setup(self) -> None:
        """Put a deadline on every read and write, and do the TLS handshake. Raises: OSError."""
        self._began = time.monotonic()
        self._whole = Deadline(self.server.request_s)
        deadline = self._at_most(self.server.head_s)
        if isinstance(self.request, ssl.SSLSocket):
            self.request.settimeout(deadline.left())
            self.request.do_handshake()
        self._socket = TimedSocket(self.request, deadline, self.server.idle_s)
        self._body = self._socket.makefile(buffer_bytes=BUFFER_BYTES)
        self._unread = 0
        self._head = _Head(self._body)
        self.rfile = self._head  # type: ignore[assignment]  # it has the method that http.server uses
        self.wfile = BytesIO()
        self.close_connection = True

    def parse_request(self) -> bool:
        """Return whether there is a request to answer. Another one is refused here."""
        if not super().parse_request():
            return False
        self._socket.set_deadline(self._whole)
        has_two_lengths = "transfer-encoding" in self.headers and "content-length" in self.headers
        if self._head.is_plain and not has_two_lengths:
            return True
        self.send_error(HTTPStatus.BAD_REQUEST, "the head of the request has more than one meaning")
        return False

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse a request that is no HTTP. http.server would do it with a page."""
        text = message or explain or HTTPStatus(code).phrase
        self._send(Reply(HTTPStatus(code), json.dumps({"error": text}).encode()))

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
        headers: dict[str, str] = {}
        for name, value in self.headers.items():    # several of one name are one list, so they are no single value
            before = headers.get(name.lower())
            headers[name.lower()] = value if before is None else f"{before}, {value}"
        lengths = set(self.headers.get_all("Content-Length", ()))
        headers["content-length"] = " and ".join(lengths)     # several lengths are no number, so they are refused
        self._unread = 1 if headers["content-length"] or "transfer-encoding" in headers else 0
        request = Request(self.command, self.path, headers, self.client_address[0], self._read, self._waited_s,
                          self.server.is_proxy)
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
        self._socket.set_deadline(self._at_most(self.server.body_s))
        content = self._body.read(length)
        self._socket.set_deadline(self._whole)
        self._unread = 0
        return content

    def _at_most(self, seconds: float) -> Deadline:
        """Return a deadline for a part of the exchange. Raises: TimeoutError if nothing is left."""
        return Deadline(min(seconds, self._whole.left()))

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in {"Content-Type": reply.content_type, "Content-Length": str(len(reply.body)),
                            "Connection": "close", **self.server.headers, **reply.headers}.items():
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
    `finish` gives up after `finish_s`. Its thread then ends with the process.
    """

    daemon_threads = True
    request_queue_size = CONNECTIONS
    request_s, head_s, body_s, idle_s, finish_s = REQUEST_S, 5.0, REQUEST_S, 5.0, REQUEST_S + 2.0
    per_client = CONNECTIONS
    headers: Mapping[str, str] = MappingProxyType({})
    """Headers of every reply, unless the reply has its own."""
    is_proxy = False
    """Whether only a proxy can connect, which says who asks."""

    def __init__(self, host: str, port: int, service: Answering, tls: ssl.SSLContext | None = None) -> None:
        self.service = service
        self._tls = tls
        self._room = threading.BoundedSemaphore(CONNECTIONS)
        self._lock = threading.Lock()
        self._clients: Counter[str] = Counter()
        """How many connections each client has."""
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Exchange)

    @property
    def address(self) -> str:
        """The URL that it listens on."""
        host, port = self.server_address[:2]
        name = f"[{host!s}]" if self.address_family == socket.AF_INET6 else f"{host!s}"
        return f"{'https' if self._tls else 'http'}://{name}:{port}"

    def server_bind(self) -> None:
        """Bind without a name lookup. http.server would ask a name server for the host's name."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "vedette", int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection on its own thread, or refuse it when there are too many."""
        client = client_of(client_address[0])
        if not self._enter(client):
            self._refuse_connection(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:       # there can be no more threads
            self._leave(client)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve the connection. Runs on that thread."""
        try:
            if self._tls is not None:
                request = self._secured(request)
            super().process_request_thread(request, client_address)
        except OSError as failure:
            log.debug("%s: %s", client_address[0], failure)
        finally:
            self._leave(client_of(client_address[0]))

    def finish(self) -> bool:
        """Wait for the exchanges under way. Return whether all of them ended in time. Call it after `shutdown`."""
        deadline = time.monotonic() + self.finish_s
        return all(self._room.acquire(timeout=max(0.0, deadline - time.monotonic())) for _ in range(CONNECTIONS))

    def handle_error(self, _request: Any, client_address: Any) -> None:
        """Log what ended an exchange. A client that left or was too slow is logged at debug level only."""
        failure = sys.exc_info()[1]
        if isinstance(failure, (OSError, LineTooLong)):
            log.debug("%s: %s", client_address[0], failure)
        else:
            log.error("an exchange ended unexpectedly", exc_info=True)

    def _enter(self, client: str) -> bool:
        """Count a connection. Return whether there is room for it."""
        with self._lock:
            if self._clients[client] < self.per_client and self._room.acquire(blocking=False):
                self._clients[client] += 1
                return True
            return False

    def _leave(self, client: str) -> None:
        with self._lock:
            self._clients[client] -= 1
            if not self._clients[client]:
                del self._clients[client]
        self._room.release()

    def _secured(self, request: socket.socket) -> ssl.SSLSocket:
        """Return the connection under TLS, before its handshake. Raises: OSError; the connection is closed then."""
        assert self._tls is not None  # noqa: S101 - for the type checker: the caller has looked
        try:
            return self._tls.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
        except OSError:
            request.close()
            raise

    def _refuse_connection(self, request: socket.socket) -> None:
        self.service.count_refused()
        request.setblocking(False)      # the client must take it at once, because others wait
        try:
            if self._tls is None:
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
