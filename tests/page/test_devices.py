"""Which daemons the page shows: those that are found, also later."""

from __future__ import annotations

from pathlib import Path

from tests.support.fakes import IDENTITY
from tests.support.network.local_rig import Rig, started
from tests.support.waiting.until import eventually
from vedette.device.identity import found_sockets
from vedette.page.devices import Devices
from vedette.page.history import History


def test_a_daemon_that_starts_after_the_page_is_shown(tmp_path: Path) -> None:
    """At a boot the page may be the first. A daemon that is gone stays, so that its absence shows."""
    gate, street = tmp_path / "gate", tmp_path / "street"
    found: list[Path] = []
    history = History(None, days=1, mb=1)
    devices = Devices(lambda: found, history, on_end=lambda _worker: None)
    devices.find_every_s = 0.01
    devices.start()
    try:
        before = devices.changed(None, 0)
        found[:] = [gate]
        eventually(lambda: [state.path for state in devices.states()] == [gate])
        eventually(lambda: devices.changed(None, 0) != before)
        found[:] = [street]
        eventually(lambda: [state.path for state in devices.states()] == [gate, street])
        eventually(lambda: all(state.error for state in devices.states()))
    finally:
        devices.stop(5)
        history.close()


def test_a_name_belongs_to_the_first_daemon_that_has_it(tmp_path: Path) -> None:
    """Else the events and the blind times of two cameras would be one. The second one says what is wrong."""
    paths = [tmp_path / "gate", tmp_path / "yard"]
    for path in paths:
        path.mkdir()
    history = History(None, days=1, mb=1)
    with started(Rig(paths[0])) as first, started(Rig(paths[1])) as second:
        found = [first.path]
        devices = Devices(lambda: found, history, on_end=lambda _worker: None)
        devices.find_every_s = 0.01
        devices.start()
        try:
            eventually(lambda: [state.reachable for state in devices.states()] == [True])
            found.append(second.path)
            eventually(lambda: len(devices.states()) == 2 and devices.states()[1].error is not None)
            state = devices.states()[1]
            assert (state.device, state.reachable) == ("", False)
            assert str(first.path) in str(state.error)
            owner = devices.of(IDENTITY.device)
            assert owner is not None
            assert owner.state.path == first.path
        finally:
            devices.stop(60)
            history.close()


def test_a_page_finds_the_sockets_of_the_machine(tmp_path: Path) -> None:
    """Those of the unit and of its instances, and that of the user's own daemon, once they are there."""
    environ = {"STATE_DIRECTORY": str(tmp_path / "lib/vedette-page"), "XDG_STATE_HOME": str(tmp_path / "state")}
    assert found_sockets(environ, tmp_path / "run") == []
    sockets = [tmp_path / path for path in (
        "run/vedette/socket", "run/vedette-front/socket", "state/vedette/socket")]
    for path in (*sockets, tmp_path / "lib/vedette-page/socket"):
        path.parent.mkdir(parents=True)
        path.touch()
    assert set(found_sockets(environ, tmp_path / "run")) == set(sockets)
