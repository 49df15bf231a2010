"""Reports the service's state to systemd, over the datagram socket named in `$NOTIFY_SOCKET` (see sd_notify(3)).

Invariants: without that variable every call does nothing; no call raises or blocks longer than `SEND_TIMEOUT_S`, since
a service must not end because systemd does not read; messages that could not be sent are counted in `lost`.
"""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

from vedette._lib.patience import MOST_S, grown_s

if TYPE_CHECKING:
    from collections.abc import Mapping


SEND_TIMEOUT_S = 1.0


class Notifier:
    """The socket to systemd. Any thread."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self.lost = 0
        name = environ.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the NUL byte of the abstract namespace.
        self._address = "\0" + name[1:] if name.startswith("@") else name
        self._socket = None
        interval_us = environ.get("WATCHDOG_USEC", "")
        self._watchdog_s = int(interval_us) / 1e6 if interval_us.isdecimal() else 0.0
        if name:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.settimeout(SEND_TIMEOUT_S)

    def __repr__(self) -> str:
        return f"<Notifier {self._address!r} lost={self.lost}>"

    def starting(self) -> None:
        """Report that a start has begun. A slow board may take longer for its imports than the unit's limit."""
        self._send(f"EXTEND_TIMEOUT_USEC={MOST_S * 1e6:.0f}")
        self.status("starting")

    def allow_longer(self, hangs: int) -> float | None:
        """After so many runs in a row that the watchdog may have ended, ask it to wait longer for `watchdog()`.

        Returns for how many seconds it waits; None: as the unit says.
        """
        if not (hangs and self._watchdog_s):
            return None
        within_s = grown_s(self._watchdog_s, hangs)
        self._send(f"WATCHDOG_USEC={within_s * 1e6:.0f}")
        return within_s

    def ready(self) -> None:
        """Report that start-up, or the reload announced before, is complete."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """Set the line that `systemctl status` shows; line breaks become spaces."""
        self._send("STATUS=" + " ".join(text.splitlines()))

    def watchdog(self) -> None:
        """Report that real progress was made."""
        self._send("WATCHDOG=1")

    def reloading(self) -> None:
        """Report that the configuration is being read again; `ready()` must follow."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Report that the orderly stop has begun."""
        self._send("STOPPING=1")

    def close(self) -> None:
        """Close the socket. Safe to call twice; later calls do nothing."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, message: str) -> None:
        if self._socket is None:
            return
        try:
            self._socket.sendto(message.encode(), self._address)
        except OSError:
            self.lost += 1
