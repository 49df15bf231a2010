"""Keeps a daemon running as systemd does: whatever it ends with, a while later the next one starts."""

from __future__ import annotations

import signal
from collections.abc import Callable

from tests.support.daemon.running import RunningDaemon
from tests.support.waiting.in_thread import InThread
from tests.support.waiting.until import wait_until

LIKE_SYSTEMD_S = 3.0
"""RestartSec of the shipped unit."""


class KeptAlive(InThread):
    """`start` gives the next daemon, `pause_s` how long to wait before it. `ends` are the exit codes so far."""

    def __init__(self, start: Callable[[], RunningDaemon],
                 pause_s: Callable[[], float] = lambda: LIKE_SYSTEMD_S) -> None:
        super().__init__()
        self.ends: list[int] = []
        self.logs: list[str] = []
        self._start = start
        self._pause_s = pause_s
        self._daemon: RunningDaemon | None = None

    @property
    def log(self) -> str:
        """The logs of the last three daemons."""
        daemon = self._daemon
        return "\n--\n".join([*self.logs[-2:], daemon.log if daemon else ""])

    def signal(self, number: signal.Signals) -> bool:
        """Send it to the running daemon; returns whether there was one."""
        daemon = self._daemon
        if daemon is None or daemon.process.poll() is not None:
            return False
        daemon.signal(number)
        return True

    def waits_for_ends(self, count: int, within_s: float = 60) -> bool:
        """Wait until so many have ended."""
        return wait_until(lambda: len(self.ends) >= count, within_s)

    def _run(self) -> None:
        while not self._stopping.is_set():
            with self._start() as daemon:
                self._daemon = daemon
                while daemon.process.poll() is None and not self._stopping.wait(0.02):
                    pass
                if daemon.process.poll() is None:
                    daemon.signal(signal.SIGTERM)
                self.ends.append(daemon.ends())
                self.logs.append(daemon.log)
            self._stopping.wait(self._pause_s())
