"""The service manager's end of $NOTIFY_SOCKET: what a daemon sends to systemd."""

from __future__ import annotations

import contextlib
import socket
import time
from pathlib import Path
from typing import Self

from tests.support.waiting.fair_clock import PATIENCE_S


class NotifySocket:
    """Bound to a file in `folder`; `environ` leads a daemon to it."""

    def __init__(self, folder: Path) -> None:
        self.environ = {"NOTIFY_SOCKET": str(folder / "notify")}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.environ["NOTIFY_SOCKET"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def message(self, within_s: float) -> str:
        """Return the next message, or "" if none arrives within `within_s`."""
        self._socket.settimeout(max(0.0, within_s))
        with contextlib.suppress(BlockingIOError, TimeoutError):
            return self._socket.recv(4096).decode()
        return ""

    def receives(self, beginning: str, within_s: float = PATIENCE_S) -> str:
        """Return the next message that begins with these characters, or "" if none arrives within `within_s`."""
        deadline_s = time.monotonic() + within_s
        while (left_s := deadline_s - time.monotonic()) > 0:
            message = self.message(left_s)
            if message.startswith(beginning):
                return message
        return ""

    def received(self) -> list[str]:
        """Return every line that has arrived since the last call."""
        lines: list[str] = []
        while message := self.message(0):
            lines += message.split("\n")
        return lines
