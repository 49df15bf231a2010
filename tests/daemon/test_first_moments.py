"""What a daemon knows before its first part starts."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon.board import PlantedBoard
from vedette.app import Daemon, Options
from vedette.device.board import Board
from vedette.device.identity import StateFolder
from vedette.supervisor import Part


@pytest.fixture(autouse=True)
def _signals_restored() -> Iterator[None]:
    """The supervisor installs handlers in this very process."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


class Asker(Daemon):
    """Starts one part, which asks whether the clock is set."""

    found: bool | None = None

    def parts(self) -> tuple[Part, ...]:
        return (Part("asker", self.ask, self._camera.close),)

    def ask(self) -> None:
        self.found = self._monitor.clock_synced()

    def ended(self) -> str | None:
        return "asked"


def test_the_clock_of_the_first_result_is_known_to_be_set(tmp_path: Path) -> None:
    """The board is read before anything can make a result: a time stamp must not pass for an unset clock's."""
    board = PlantedBoard(tmp_path / "root")
    board.says("run/systemd/timesync/synchronized", "")
    config = tmp_path / "config.yaml"
    config.write_text("device: gate\ncamera: {source: 'synthetic'}\n")
    options = Options(config, {})
    (tmp_path / "state").mkdir()
    state = StateFolder(tmp_path / "state")
    try:
        daemon = Asker(options, options.load(), state, board=lambda path: Board(path, board.root, ""))
        assert daemon.run() == 0
    finally:
        state.close()
    assert daemon.found is True
