"""A request that a daemon began and did not finish is reported by the next daemon, since nobody waits for it any more.

The command is a real one and dies by SIGKILL. Until then, the test holds the lock of the state folder as a daemon does.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon.running import environment, vedette
from tests.support.daemon.update_device import Device, device_in, digest
from tests.support.models import lamps
from tests.support.present import present
from tests.support.waiting.bounded_popen import BoundedPopen
from tests.support.waiting.until import wait_until
from vedette.device.identity import StateFolder
from vedette.store.inbox import Inbox, Request

pytestmark = pytest.mark.daemon


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    with device_in(tmp_path) as one:
        yield one


def cut_off(device: Device, *command: str | Path) -> None:
    """Run a command until a daemon has claimed its request, then end both."""
    state = device.folder / "state"
    folder = StateFolder(state)
    with BoundedPopen([sys.executable, "-m", "vedette", "model", *command], cwd=device.folder,
                      env=environment(device.folder), stdout=subprocess.DEVNULL) as process:
        inbox, found = Inbox(state / "models"), list[Request]()

        def is_there() -> bool:
            request = inbox.next_request(device.state)
            found.extend([request] if request else [])
            return bool(found)

        assert wait_until(is_there)
        process.send_signal(signal.SIGKILL)
    folder.close()


def test_an_installation_that_is_cut_off_is_reported(device: Device, tmp_path: Path) -> None:
    """Its file is gone. Log, health, model message and `model list` say so, until the file is installed again."""
    new = lamps.write(tmp_path, "2")
    device.good(lamps.write(tmp_path, "1"))
    cut_off(device, "install", new)
    with device.daemon() as daemon:
        assert wait_until(lambda: "update_failed" in device.reasons()), daemon.log
        told = str(device.reasons()["update_failed"])
        assert told.startswith(f"install {digest(new)[:12]}: interrupted"), told
        assert "install it again" in told
        assert "before this start" in told
        assert device.waits_for_model(last_outcome=told, installed_version="1"), device.model
        assert told in daemon.log
        assert "interrupted" in vedette("model", "list", folder=device.folder).stdout
        assert vedette("model", "install", new, folder=device.folder).returncode == 0
        assert wait_until(lambda: "update_failed" not in device.reasons()), device.reasons()
        daemon.signal(signal.SIGTERM)
        assert daemon.ends() == 0


def test_a_request_that_is_done_after_a_restart_says_when_it_was_made(device: Device, tmp_path: Path) -> None:
    """A rollback does not need the command any more. It is done, and reported with the time of the request."""
    device.good(lamps.write(tmp_path, "1"), lamps.write(tmp_path, "2"))
    cut_off(device, "rollback")
    with device.daemon() as daemon:
        assert device.waits_for_model(state="good", installed_version="1"), daemon.log
        assert wait_until(lambda: "before this start" in str(device.model["last_outcome"])), device.model
        assert "UTC" in device.model["last_outcome"]
        assert str(device.model["last_outcome"]).partition(": ")[2] in daemon.log
        assert "update_failed" not in device.reasons()
    assert present(device.state.last_outcome).ok
