"""What the page keeps of a daemon, over the daemon's restarts."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.network.local_rig import Rig, started
from tests.support.waiting.until import wait_until
from vedette.page.device import Device
from vedette.page.history import History
from vedette.page.recorder import Recorder
from vedette.types import Message


@contextmanager
def followed(path: Path) -> Iterator[Device]:
    """The daemon at this socket, followed by its thread."""
    history = History(None, days=1, mb=1)
    device = Device(path, Recorder(history), on_change=lambda: None)
    device.worker.start()
    yield device
    assert device.worker.stop(60)
    assert device.worker.failure is None
    history.close()


@pytest.mark.slow
def test_a_run_that_begins_has_nothing_of_the_run_before(tmp_path: Path) -> None:
    """What a daemon said last stays while it is away, and goes when it answers again and has not said it again."""
    with followed(tmp_path / "socket") as device:
        with started(Rig(tmp_path)) as rig:
            for run in (b'{"run":0}', b'{"run":1}'):
                rig.published.publish(Message("health", run, retain=True))
            assert wait_until(lambda: device.state.messages.get("health") == {"run": 1})
        assert wait_until(lambda: not device.state.reachable)
        assert device.state.messages["health"] == {"run": 1}
        with started(Rig(tmp_path)) as rig:
            rig.published.publish(Message("counts", b'{"counts":null}', retain=True))
            assert wait_until(lambda: device.state.messages.get("counts") == {"counts": None})
            assert dict(device.state.messages) == {"counts": {"counts": None}}
