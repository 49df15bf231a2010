"""A TCP or TLS connection on which nothing waits beyond a deadline, however slowly the other side sends.

Invariants: every wait is limited to the time that is left, computed before each read and write; a failure leaves no
socket open. The ssl module itself bounds TLS: its time limit is for a whole handshake or read.
"""

from __future__ import annotations

import io
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any, Self

CHUNK_BYTES = 1 << 16

Addresses = list[tuple[Any, ...]]
Resolve = Callable[..., Addresses]
"""A function like `socket.getaddrinfo`."""


class Deadline:
    """A time on the monotonic clock by which the whole exchange must end."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._at = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that are left, more than 0. Raises: TimeoutError."""
        left = self._at - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"not done within {self.seconds:g} s")
        return left


class TimedSocket:
    """A connected socket with the methods that http.client uses. One thread owns it.

    `idle_s` bounds the wait for a single byte. Every method raises: TimeoutError, OSError.
    """

    def __init__(self, connected: socket.socket, deadline: Deadline, idle_s: float) -> None:
        self._socket = connected
        self._deadline = deadline
        self._idle_s = idle_s
        self.ended = False
        """Whether the other side has closed its end."""

    @classmethod
    def connect(cls, host: str, port: int, *, deadline: Deadline, idle_s: float, tls: ssl.SSLContext | None,
                resolve: Resolve = socket.getaddrinfo) -> Self:
        """Resolve the name, connect, and do the TLS handshake. With TLS, `host` must be valid for IDNA.

        Raises: TimeoutError, OSError, ValueError for an invalid name.
        """
        connected = _connect_first(_resolve_name(host, port, deadline, resolve), deadline)
        return cls(connected if tls is None else _start_tls(connected, host, deadline, tls), deadline, idle_s)

    def set_deadline(self, deadline: Deadline) -> None:
        """Replace the deadline, for the next part of the exchange."""
        self._deadline = deadline

    def recv_into(self, buffer: Any) -> int:
        """Read the available bytes, at least one; returns 0 at the end."""
        got = self._ready().recv_into(buffer)
        self.ended = got == 0
        return got

    def sendall(self, content: bytes) -> None:
        """Write all of `content`."""
        view = memoryview(content)
        while view:
            view = view[self._ready().send(view[:CHUNK_BYTES]):]

    def makefile(self, _mode: str = "rb", buffer_bytes: int = CHUNK_BYTES) -> io.BufferedReader:
        """Return a reader."""
        return io.BufferedReader(_Reader(self), buffer_bytes)

    def close(self) -> None:
        """Do nothing: http.client calls it while the body is still to come. `disconnect` closes."""

    def disconnect(self) -> None:
        """Close the connection. Safe to call twice."""
        self._socket.close()

    def _ready(self) -> socket.socket:
        self._socket.settimeout(min(self._deadline.left(), self._idle_s))
        return self._socket


class _Reader(io.RawIOBase):
    def __init__(self, connection: TimedSocket) -> None:
        self._connection = connection

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._connection.recv_into(buffer)


def _resolve_name(host: str, port: int, deadline: Deadline, resolve: Resolve) -> Addresses:
    """Resolve in a thread that may be left behind: nothing can end the resolver, which has time limits of its own."""
    answers: queue.SimpleQueue[Addresses | OSError | ValueError] = queue.SimpleQueue()

    def resolve_name() -> None:
        try:
            answers.put(resolve(host, port, type=socket.SOCK_STREAM))
        except (OSError, ValueError) as failure:      # ValueError: an invalid name, such as a label of 64 letters
            answers.put(failure)

    threading.Thread(target=resolve_name, name="resolve", daemon=True).start()
    try:
        answer = answers.get(timeout=deadline.left())
    except queue.Empty:
        raise TimeoutError(f"the name {host} was not resolved within {deadline.seconds:g} s") from None
    if isinstance(answer, list):
        return answer
    raise answer


def _connect_first(addresses: Addresses, deadline: Deadline) -> socket.socket:
    """Connect to the first address that answers; an address that does not answer leaves time for the others."""
    failure = OSError("no address")
    for index, (family, kind, protocol, _, address) in enumerate(addresses):
        patience_s = deadline.left() / (len(addresses) - index)
        try:
            connecting = socket.socket(family, kind, protocol)
        except OSError as unsupported:
            failure = unsupported
            continue
        try:
            connecting.settimeout(patience_s)
            connecting.connect(address)
        except OSError as refused:
            connecting.close()
            failure = refused
        else:
            return connecting
    raise failure


def _start_tls(connected: socket.socket, host: str, deadline: Deadline, tls: ssl.SSLContext) -> ssl.SSLSocket:
    secured = tls.wrap_socket(connected, server_hostname=host, do_handshake_on_connect=False)
    try:
        secured.settimeout(deadline.left())
        secured.do_handshake()
    except (OSError, ValueError):
        secured.close()
        raise
    return secured
