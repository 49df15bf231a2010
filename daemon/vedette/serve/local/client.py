"""Asks a daemon of this machine over its local socket.

Invariants: every call ends after its time; a reply has at most REPLY_BYTES.
"""

from __future__ import annotations

import json
import re
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from vedette._lib.clock import pause
from vedette.errors import DaemonAway
from vedette.serve.local.socket_file import address_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

REPLY_BYTES = 64 * 1024 * 1024
ANSWER_S = 10.0
RETRY_S = 0.02


class LocalClient:
    """One daemon, by the path of its socket. `device` is the name that it gives itself."""

    def __init__(self, path: Path, device: str = "") -> None:
        self.path = path
        self.device = device
        self.began_anew = True
        """Whether the last `messages` gave the newest of each topic: at first, after a restart, if some were missed."""
        self._cursor = ""

    def __repr__(self) -> str:
        return f"<LocalClient {self.path} {self.device}>"

    def messages(self, wait_s: float = 0.0) -> list[tuple[str, Any]]:
        """Return topic and JSON value of what was published since the last call; first of each retained topic.

        A picture has the value None. Raises: DaemonAway.
        """
        query = f"?wait={wait_s:.3f}" + (f"&after={quote(self._cursor)}" if self._cursor else "")
        answer = self._object(self.ask("GET", f"/messages{query}", within_s=wait_s + ANSWER_S))
        try:
            messages = [(str(each["topic"]), each["payload"]) for each in answer["messages"]]
            run, _, before = self._cursor.partition("-")
            self.device, self._cursor = str(answer["device"]), str(answer["next"])
            self.began_anew = self._cursor != f"{run}-{int(before or 0) + len(messages)}"
        except (KeyError, TypeError, ValueError) as error:
            raise DaemonAway(f"{self.path}: an answer of unknown shape") from error
        return messages

    def models(self) -> dict[str, Any]:
        """Return what `vedette model list --json` prints. Raises: DaemonAway."""
        return self._object(self.ask("GET", "/models"))

    def snapshot(self, within_s: float) -> bytes:
        """Return one frame as JPEG. Raises: DaemonAway, with the daemon's message if it refuses."""
        content = self.ask("POST", f"/commands/snapshot?wait={within_s:.3f}", within_s=within_s + ANSWER_S)
        line, _, jpeg = content.partition(b"\n")
        reply = self._object(line)
        if reply.get("status") != "ok" or not jpeg:
            raise DaemonAway(f"{self.device or self.path}: {reply.get('status')}: {reply.get('error')}")
        return jpeg

    def ask(self, method: str, target: str, *, within_s: float = ANSWER_S) -> bytes:
        """Return the body of a reply. Raises: DaemonAway, also if the daemon refuses."""
        status, body = self.exchange(method, target, within_s=within_s)
        if status not in (200, 204):
            raise DaemonAway(f"{self.path}: {_error_of(body) or 'no usable answer'}")
        return body

    def exchange(self, method: str, target: str, body: bytes = b"", *,
                 within_s: float = ANSWER_S) -> tuple[int, bytes]:
        """Return status and body of a reply. Raises: DaemonAway, also if the reply is cut off."""
        deadline_s = time.monotonic() + within_s
        head = f"{method} {target} HTTP/1.1\r\nHost: vedette\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connect(connection, self.path, deadline_s)
                with suppress(BrokenPipeError):     # refused before it was read: the reply says why
                    connection.sendall(head + body)
                received = _read_all(connection, deadline_s)
        except OSError as failure:
            raise DaemonAway(f"{self.path}: {failure.strerror or failure}") from failure
        first, _, content = received.partition(b"\r\n\r\n")
        found = re.match(rb"HTTP/1\.1 ([0-9]{3}) (?:.*\r\n)*Content-Length: ([0-9]+)\r\n", first)
        if found is None or len(content) != int(found[2]):
            raise DaemonAway(f"{self.path}: the reply is cut off")
        return int(found[1]), content

    def _object(self, content: bytes) -> dict[str, Any]:
        try:
            value = json.loads(content)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise DaemonAway(f"{self.path}: an answer of unknown shape")
        return value


def connect(connection: socket.socket, path: Path, deadline_s: float) -> None:
    """Connect to the socket at this path, and set the time-out. Raises: OSError."""
    with address_of(path) as address:
        while True:
            connection.settimeout(max(0.001, deadline_s - time.monotonic()))
            try:
                connection.connect(address)
            except BlockingIOError:     # as many clients as may wait do so already
                if time.monotonic() >= deadline_s:
                    raise
                pause(RETRY_S)
            else:
                return


def daemons(paths: Iterable[Path], device: str) -> list[LocalClient]:
    """Return the daemons at these paths that answer, and have this name; `+`: any name."""
    found = []
    for path in paths:
        client = LocalClient(path)
        try:
            client.messages()
        except DaemonAway:
            continue
        if device in ("+", client.device):
            found.append(LocalClient(path, client.device))
    return found


def _read_all(connection: socket.socket, deadline_s: float) -> bytes:
    """Return everything until the other side closes. Raises: OSError."""
    received = bytearray()
    try:
        while len(received) < REPLY_BYTES and (content := connection.recv(1 << 16)):
            received += content
            connection.settimeout(max(0.001, deadline_s - time.monotonic()))
    except ConnectionResetError:        # it closed before it had read everything
        if not received:
            raise
    return bytes(received)


def _error_of(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return ""
