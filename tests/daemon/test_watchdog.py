"""What systemd hears of a daemon: ready, its status, and the watchdog's food only while it makes progress."""

from __future__ import annotations

import contextlib
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.broker.mosquitto import running
from tests.support.broker.witness import Witness
from tests.support.daemon.faulty import HANGS_NOW, PROGRAM, give
from tests.support.daemon.running import RunningDaemon
from tests.support.truth.bright_squares import write_model
from tests.support.waiting.fair_clock import PATIENCE_S
from tests.support.waiting.until import wait_until

pytestmark = pytest.mark.daemon

SILENCE_S = 3.0
"""The watchdog is fed once a second."""


class Systemd:
    """The service manager's end of $NOTIFY_SOCKET."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))

    def hears(self, word: str, within_s: float = PATIENCE_S) -> str:
        """Return the next message that begins with the word, or nothing when none came within `within_s`."""
        deadline_s = time.monotonic() + within_s
        with contextlib.suppress(TimeoutError):
            while (left_s := deadline_s - time.monotonic()) > 0:
                self._socket.settimeout(left_s)
                message = self._socket.recv(4096).decode()
                if message.startswith(word):
                    return message
        return ""

    def hears_no_food(self) -> bool:
        """Whether the watchdog is fed no more; the status may go on."""
        return not self.hears("WATCHDOG=1", SILENCE_S)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    one = Systemd(tmp_path)
    yield one
    one.close()


def run_hanging(folder: Path, systemd: Systemd, port: int) -> tuple[RunningDaemon, Path]:
    """A daemon that hangs on order, and the file that orders it."""
    order = folder / "order"
    give(order, "")
    config = folder / "config.yaml"
    config.write_text(f"device: gate\nmqtt: {{port: {port}}}\nhealth: {{interval_s: 1}}\n"
                      f"detector: {{model: '{write_model(folder)}', threads: 1}}\ncamera: {{source: 'tcp://{order}'}}\n")
    return RunningDaemon(folder, config, program=PROGRAM, env={"NOTIFY_SOCKET": str(systemd.path)}), order


def test_a_worker_that_hangs_in_native_code_starves_the_watchdog(tmp_path: Path, systemd: Systemd) -> None:
    """READY, STATUS and WATCHDOG come; then a hung detect thread is named in health, and WATCHDOG comes no more."""
    with running(tmp_path) as broker, Witness(broker.client(), "gate") as witness:
        daemon, order = run_hanging(tmp_path, systemd, broker.port)
        with daemon:
            assert systemd.hears("READY=1"), daemon.log
            assert systemd.hears("WATCHDOG=1"), daemon.log
            assert wait_until(lambda: "camera capturing" in systemd.hears("STATUS=")), daemon.log
            give(order, "hang in detect")
            assert wait_until(lambda: "worker_hung" in witness.reasons), daemon.log
            assert witness.health["state"] == "failed"
            assert wait_until(systemd.hears_no_food), daemon.log
            assert "worker_hung" in systemd.hears("STATUS="), daemon.log
            daemon.signal(signal.SIGABRT)
            assert daemon.ends() == -signal.SIGABRT
            assert_every_stack(daemon.log)


def test_a_thread_that_keeps_the_interpreter_for_itself_starves_the_watchdog(tmp_path: Path, systemd: Systemd) -> None:
    """Where no Python runs any more, WATCHDOG stops by itself, and SIGABRT still writes every thread's stack."""
    daemon, order = run_hanging(tmp_path, systemd, port=1)
    with daemon:
        assert systemd.hears("READY=1"), daemon.log
        assert wait_until(lambda: "camera capturing" in systemd.hears("STATUS=")), daemon.log
        give(order, "hold the gil")
        assert daemon.waits_for_log(HANGS_NOW), daemon.log
        assert wait_until(systemd.hears_no_food), daemon.log
        daemon.signal(signal.SIGABRT)
        assert daemon.ends() == -signal.SIGABRT
        assert_every_stack(daemon.log)


def assert_every_stack(log: str) -> None:
    """The hung call, the supervisor, the publisher and the capture thread are in the dump."""
    dump = log[log.index("Fatal Python error: Aborted"):]
    for place in ("_hang_on_order", "supervisor.py", "publisher.py", "remote.py"):
        assert place in dump, dump
