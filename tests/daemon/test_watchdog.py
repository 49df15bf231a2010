"""What systemd receives from a daemon: READY, its status, and WATCHDOG only while it makes progress."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.broker.mosquitto import running
from tests.support.broker.witness import Witness
from tests.support.daemon.faulty import HANGS_NOW, PROGRAM, give
from tests.support.daemon.notify_socket import NotifySocket
from tests.support.daemon.running import RunningDaemon
from tests.support.truth.bright_squares import write_model
from tests.support.waiting.until import wait_until

pytestmark = pytest.mark.daemon

SILENCE_S = 3.0
"""The watchdog is fed once a second."""


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[NotifySocket]:
    with NotifySocket(tmp_path) as one:
        yield one


def watchdog_stops(systemd: NotifySocket) -> bool:
    """Whether WATCHDOG stops; STATUS may go on."""
    return wait_until(lambda: not systemd.receives("WATCHDOG=1", SILENCE_S))


def run_hanging(folder: Path, systemd: NotifySocket, port: int) -> tuple[RunningDaemon, Path]:
    """A daemon that hangs on order, and the file that gives the order."""
    order = folder / "order"
    give(order, "")
    config = folder / "config.yaml"
    config.write_text(f"device: gate\nmqtt: {{port: {port}}}\nhealth: {{interval_s: 1}}\n"
                      f"detector: {{model: '{write_model(folder)}', threads: 1}}\ncamera: {{source: 'tcp://{order}'}}\n")
    return RunningDaemon(folder, config, program=PROGRAM, env=systemd.environ), order


def test_a_start_first_asks_for_time(tmp_path: Path, systemd: NotifySocket) -> None:
    """Imports take long on a slow board, so it comes before them, and before the configuration is read."""
    with RunningDaemon(tmp_path, "--config", tmp_path / "missing.yaml", env=systemd.environ) as daemon:
        assert systemd.message(240).startswith("EXTEND_TIMEOUT_USEC=")
        assert daemon.ends() == 78


def test_a_worker_that_hangs_in_native_code_stops_the_watchdog_messages(tmp_path: Path, systemd: NotifySocket) -> None:
    """READY, STATUS and WATCHDOG arrive; then health reports a hung detect thread, and WATCHDOG stops."""
    with running(tmp_path) as broker, Witness(broker.client(), "gate") as witness:
        daemon, order = run_hanging(tmp_path, systemd, broker.port)
        with daemon:
            assert systemd.receives("READY=1"), daemon.log
            assert systemd.receives("WATCHDOG=1"), daemon.log
            assert wait_until(lambda: "camera capturing" in systemd.receives("STATUS=")), daemon.log
            give(order, "hang in detect")
            assert wait_until(lambda: "worker_hung" in witness.reasons), daemon.log
            assert witness.health["state"] == "failed"
            assert watchdog_stops(systemd), daemon.log
            assert "worker_hung" in systemd.receives("STATUS="), daemon.log
            daemon.signal(signal.SIGABRT)
            assert daemon.ends() == -signal.SIGABRT
            assert_every_stack(daemon.log)


def test_a_thread_that_holds_the_interpreter_stops_the_watchdog_messages(tmp_path: Path, systemd: NotifySocket) -> None:
    """When no Python runs any more, WATCHDOG stops, and SIGABRT still writes every thread's stack."""
    daemon, order = run_hanging(tmp_path, systemd, port=1)
    with daemon:
        assert systemd.receives("READY=1"), daemon.log
        assert wait_until(lambda: "camera capturing" in systemd.receives("STATUS=")), daemon.log
        give(order, "hold the gil")
        assert daemon.waits_for_log(HANGS_NOW), daemon.log
        assert watchdog_stops(systemd), daemon.log
        daemon.signal(signal.SIGABRT)
        assert daemon.ends() == -signal.SIGABRT
        assert_every_stack(daemon.log)


def assert_every_stack(log: str) -> None:
    """The hung call, the supervisor, the publisher and the capture thread are in the dump."""
    dump = log[log.index("Fatal Python error: Aborted"):]
    for place in ("_hang_on_order", "supervisor.py", "publisher.py", "remote.py"):
        assert place in dump, dump
