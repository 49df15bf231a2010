"""A TCP server on loopback that behaves as the test orders, one thread for each connection."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.waiting.fair_clock import fair_s

Behave = Callable[[socket.socket, threading.Event], None]
"""Serves one connection; the event is set when the test is over, or after a second at most where one only waits."""


@contextmanager
def serving(behave: Behave) -> Iterator[int]:
    """Yield the port; each connection is given to `behave` and closed after it."""
    stopping = threading.Event()
    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)

        def serve(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                connection.settimeout(240)
                behave(connection, stopping)

        def accept() -> None:
            while not stopping.is_set():
                with contextlib.suppress(TimeoutError):
                    threads.append(threading.Thread(target=serve, args=(listener.accept()[0],)))
                    threads[-1].start()

        acceptor = threading.Thread(target=accept)
        acceptor.start()
        try:
            yield listener.getsockname()[1]
        finally:
            stopping.set()
            for thread in (acceptor, *threads):
                thread.join(60)


def head_of(connection: socket.socket) -> bytes:
    """Read a request's head."""
    head = b""
    while b"\r\n\r\n" not in head and (more := connection.recv(4096)):
        head += more
    return head


def answering(*content: bytes, then_wait: bool = False) -> Behave:
    """Answer every request with these bytes; then close, or hold the connection open."""
    def behave(connection: socket.socket, stopping: threading.Event) -> None:
        head_of(connection)
        for part in content:
            connection.sendall(part)
        if then_wait:
            stopping.wait(60)
    return behave


def dripping(before: bytes, drop: bytes, every_s: float = 0.05) -> Behave:
    """Send `before` at once, then `drop` again and again, for ever."""
    def behave(connection: socket.socket, stopping: threading.Event) -> None:
        head_of(connection)
        connection.sendall(before)
        while not stopping.wait(every_s):
            connection.sendall(drop)
    return behave


def certify(folder: Path) -> tuple[Path, Path]:
    """Make a certificate for 127.0.0.1 that is its own authority; returns it and its key."""
    certificate, key = folder / "server.pem", folder / "server.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=127.0.0.1",
                    "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True, timeout=240)
    return certificate, key


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Require that the block keeps its deadline and a tenth more, in fair seconds."""
    began = fair_s()
    try:
        yield
    finally:
        took = fair_s() - began
        assert took <= 1.1 * seconds, f"{took:.2f} s"
