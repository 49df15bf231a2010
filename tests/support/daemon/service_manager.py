"""Keeps a daemon running as systemd does by the shipped unit: it listens at $NOTIFY_SOCKET, ends a daemon in SIGABRT
that does not feed the watchdog, runs the unit's ExecStopPost=, and starts the next one a while after any end.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.daemon.notify_socket import NotifySocket
from tests.support.daemon.running import RunningDaemon
from tests.support.waiting.in_thread import InThread
from tests.support.waiting.until import wait_until

WATCHDOG_S, RESTART_S = 30.0, 3.0
"""As shipped."""
READY_WITHIN_S = 60.0
UNIT = Path(__file__).parents[3] / "systemd/vedette.service"


@dataclass(frozen=True)
class End:
    """How a daemon ended. `fed_s`: monotonic moment of its last READY or WATCHDOG."""

    code: int
    by_watchdog: bool
    fed_s: float
    log: str


def run_stop_post(state: Path, code: int, *, by_watchdog: bool = False) -> None:
    """Run the unit's ExecStopPost= in the state folder, after an end with this code, as subprocess gives it."""
    line = re.search(r"^ExecStopPost=(.*)$", UNIT.read_text(), re.MULTILINE)
    assert line
    ended = {"EXIT_CODE": "killed", "EXIT_STATUS": signal.Signals(-code).name[3:]} if code < 0 else {
        "EXIT_CODE": "exited", "EXIT_STATUS": str(code)}
    result = "signal" if code < 0 else "exit-code" if code else "success"
    subprocess.run(shlex.split(line[1]), cwd=state, check=True, timeout=240,
                   env={"PATH": os.environ["PATH"], "SERVICE_RESULT": "watchdog" if by_watchdog else result, **ended})


class ServiceManager(InThread):
    """`start` gives a daemon with these variables in its environment. `ends` so far."""

    def __init__(self, folder: Path, start: Callable[[Mapping[str, str]], RunningDaemon], *,
                 watchdog_s: float = WATCHDOG_S, restart_s: float = RESTART_S) -> None:
        super().__init__()
        self.ends: list[End] = []
        self.daemon: RunningDaemon | None = None
        self._state = folder / "state"
        self._systemd = NotifySocket(folder)
        self._start = start
        self._watchdog_s = watchdog_s
        self._restart_s = restart_s

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self._systemd.__exit__()

    @property
    def log(self) -> str:
        """The logs of the present daemon and of the one before."""
        return "\n--\n".join([*(end.log for end in self.ends[-1:]), self.daemon.log if self.daemon else ""])

    def waits_for_ends(self, count: int, within_s: float) -> bool:
        """Wait until so many have ended."""
        return wait_until(lambda: len(self.ends) >= count, within_s)

    def _run(self) -> None:
        while not self._stopping.is_set():
            with self._start({**self._systemd.environ, "WATCHDOG_USEC": f"{self._watchdog_s * 1e6:.0f}"}) as daemon:
                self.daemon = daemon
                self.ends.append(self._watch(daemon))
            self._stopping.wait(self._restart_s)

    def _watch(self, daemon: RunningDaemon) -> End:
        fed_s, allowed_s, watchdog_s, starved = time.monotonic(), READY_WITHIN_S, self._watchdog_s, False
        while daemon.process.poll() is None and not self._stopping.is_set() and not starved:
            message = self._systemd.message(0.1)
            if message in ("READY=1", "WATCHDOG=1"):
                fed_s, allowed_s = time.monotonic(), watchdog_s
            elif message.startswith("EXTEND_TIMEOUT_USEC="):
                fed_s, allowed_s = time.monotonic(), max(READY_WITHIN_S, int(message.partition("=")[2]) / 1e6)
            elif message.startswith("WATCHDOG_USEC="):
                watchdog_s = int(message.partition("=")[2]) / 1e6
            starved = time.monotonic() - fed_s > allowed_s
        if daemon.process.poll() is None:
            daemon.signal(signal.SIGABRT if starved else signal.SIGTERM)
        code = daemon.ends()
        run_stop_post(self._state, code, by_watchdog=starved)
        return End(code, starved, fed_s, daemon.log)
