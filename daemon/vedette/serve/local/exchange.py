"""One client of the local socket: HTTP/1.1, one request and one reply on a connection.

Invariants: nothing here waits; a request has at most `HEAD_BYTES` and `BODY_BYTES`; a reply is sent in parts that many
clients share, so a client that reads slowly costs no copy.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote

from vedette.messages import payloads

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

HEAD_BYTES = 8 * 1024
BODY_BYTES = 64 * 1024
_READ_BYTES = 16 * 1024
_HEAD_END = b"\r\n\r\n"
_REASONS = {200: "OK", 204: "No Content", 400: "Bad Request", 403: "Forbidden", 404: "Not Found",
            413: "Content Too Large", 431: "Request Header Fields Too Large", 503: "Service Unavailable",
            504: "Gateway Timeout"}


class RequestRefused(ValueError):
    """The request cannot be answered: its status and a message."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a client gets. The body is `parts`, one after another."""

    parts: tuple[bytes, ...]
    content_type: str = "application/json"
    status: int = 200


@dataclass(slots=True, eq=False)
class Request:
    """What a client wants. `reply` is set by the thread that has carried out its command."""

    method: str
    path: str
    query: Mapping[str, str]
    body: bytes
    begun: bool = field(default=False, init=False)
    reply: Reply | None = field(default=None, init=False)

    def number(self, name: str, default: float, highest: float) -> float:
        """Return a number of the query, from 0 to `highest`. Raises: RequestRefused."""
        text = self.query.get(name)
        if text is None:
            return default
        if not re.fullmatch(r"[0-9]{1,15}(\.[0-9]{1,6})?", text):
            raise RequestRefused(400, f"{name}: expected a number, got {text[:40]!r}")
        return min(float(text), highest)


def refusal(status: int, message: str) -> Reply:
    """Return the reply that says why there is no other."""
    return Reply((payloads.encode({"error": message}),), status=status)


def parsed(received: bytes) -> Request | None:
    """Return the request, or None if more of it is to come. Raises: RequestRefused."""
    head, found, body = received.partition(_HEAD_END)
    if len(head) > HEAD_BYTES:
        raise RequestRefused(431, f"the head has more than {HEAD_BYTES} bytes")
    if not found:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1.") or not words[1].startswith("/"):
        raise RequestRefused(400, "expected a request of HTTP/1.1")
    length = _length(lines)
    if len(body) > length:
        raise RequestRefused(400, "expected one request")
    if len(body) < length:
        return None
    path, _, query = words[1].partition("?")
    try:
        fields = dict(parse_qsl(query, max_num_fields=20))
    except ValueError as problem:
        raise RequestRefused(400, "the query has too many fields") from problem
    return Request(words[0], unquote(path), fields, bytes(body))


def _length(lines: list[str]) -> int:
    """Return the length of the body. Raises: RequestRefused."""
    length = 0
    for line in lines:
        name, _, value = line.partition(":")
        if name.lower() == "transfer-encoding":
            raise RequestRefused(400, "expected a Content-Length")
        if name.lower() == "content-length":
            if not re.fullmatch("[0-9]{1,15}", value.strip(), re.ASCII):
                raise RequestRefused(400, "Content-Length: expected a number")
            length = int(value)
    if length > BODY_BYTES:
        raise RequestRefused(413, f"the body has more than {BODY_BYTES} bytes")
    return length


class Exchange:
    """A connection: first its request comes, then it waits for the reply, then that is sent."""

    def __init__(self, client: socket.socket, deadline_s: float) -> None:
        self.socket = client
        self.deadline_s = deadline_s
        """When the request must be there, the wait is over, or the reply must be sent."""
        self.request: Request | None = None
        self.is_replying = False
        self._received = bytearray()
        self._unsent: list[memoryview] = []

    def __repr__(self) -> str:
        return f"<Exchange {self.path or 'reading'} {len(self._unsent)} parts unsent>"

    @property
    def is_waiting(self) -> bool:
        """Whether the request is there and the reply is not."""
        return self.request is not None and not self.is_replying

    @property
    def path(self) -> str:
        """What is asked for; empty while the request is not there."""
        return self.request.path if self.request is not None else ""

    def receive(self) -> bool:
        """Read what has come; returns whether the request is complete now.

        Raises: OSError if the client has left; RequestRefused.
        """
        content = self.socket.recv(_READ_BYTES)
        if not content:
            raise ConnectionResetError("the client has left")
        if self.request is not None:
            raise ConnectionAbortedError("the client sends more than its request")
        self._received += content
        self.request = parsed(bytes(self._received))
        return self.request is not None

    def begin_reply(self, reply: Reply, deadline_s: float) -> None:
        """Reply with this from now on, until the deadline."""
        length = sum(map(len, reply.parts))
        head = (f"HTTP/1.1 {reply.status} {_REASONS[reply.status]}\r\nContent-Type: {reply.content_type}\r\n"
                f"Content-Length: {length}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n")
        self._unsent = [memoryview(part) for part in (head.encode(), *reply.parts) if part]
        self.is_replying, self.deadline_s = True, deadline_s

    def send(self) -> bool:
        """Send what the client takes; returns whether that was all. Raises: OSError if the client has left."""
        while self._unsent:
            try:
                sent = self.socket.send(self._unsent[0])
            except BlockingIOError:
                return False
            if sent == len(self._unsent[0]):
                self._unsent.pop(0)
            else:
                self._unsent[0] = self._unsent[0][sent:]
        return True
