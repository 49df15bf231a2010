"""Clients of the local socket as a test needs them: also those that are rude."""

from __future__ import annotations

import json
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.support.waiting.fair_clock import PATIENCE_S
from vedette.serve.local.client import connect as connect_to


def connect(path: Path) -> socket.socket:
    """A connection that has sent nothing yet."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connect_to(client, path, time.monotonic() + PATIENCE_S)
    except BaseException:
        client.close()
        raise
    return client


def send(path: Path, content: bytes) -> tuple[int, bytes]:
    """Send these bytes, as far as the daemon takes them; returns status and body of the reply."""
    with connect(path) as client:
        with suppress(BrokenPipeError):
            client.sendall(content)
        return reply_of(client)


def reply_of(client: socket.socket) -> tuple[int, bytes]:
    """Read a reply to its end."""
    received = b""
    try:
        while content := client.recv(1 << 16):
            received += content
    except ConnectionResetError:
        assert received
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), body


def request(target: str, method: str = "GET", body: bytes = b"") -> bytes:
    """The bytes of a request."""
    return f"{method} {target} HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def get(path: Path, target: str) -> tuple[int, bytes]:
    """Ask; returns status and body."""
    return send(path, request(target))


def get_json(path: Path, target: str) -> Any:
    """Ask for JSON."""
    status, body = get(path, target)
    assert status == 200, body
    return json.loads(body)
