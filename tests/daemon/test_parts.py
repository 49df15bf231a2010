"""What a daemon does before its first part starts, and as its parts stop."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar, cast

import pytest

from tests.support.daemon.board import PlantedBoard
from vedette.app import Daemon, Options
from vedette.commands import CommandDesk
from vedette.device.board import Board
from vedette.device.identity import StateFolder
from vedette.supervisor import EXIT_INTERNAL, Part

D = TypeVar("D", bound=Daemon)


@pytest.fixture(autouse=True)
def _signals_restored() -> Iterator[None]:
    """The supervisor installs handlers in this very process."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture
def board(tmp_path: Path) -> PlantedBoard:
    return PlantedBoard(tmp_path / "root")


@pytest.fixture
def make(tmp_path: Path, board: PlantedBoard) -> Iterator[Callable[[type[D]], D]]:
    """Makes a daemon of a class."""
    config = tmp_path / "config.yaml"
    config.write_text("device: gate\ncamera: {source: 'synthetic'}\n")
    options = Options(config, {})
    (tmp_path / "state").mkdir()
    state = StateFolder(tmp_path / "state")
    yield lambda kind: kind(options, options.load(), state, board=lambda path: Board(path, board.root, ""))
    state.close()


class Asker(Daemon):
    """Starts one part, which asks whether the clock is set."""

    found: bool | None = None

    def parts(self) -> tuple[Part, ...]:
        return (Part("asker", self.ask, self._camera.close),)

    def ask(self) -> None:
        self.found = self._monitor.clock_synced()

    def ended(self) -> str | None:
        return "asked"


def test_the_clock_of_the_first_result_is_known_to_be_set(make: Callable[[type[Asker]], Asker],
                                                          board: PlantedBoard) -> None:
    """The board is read before anything can make a result: a time stamp must not pass for an unset clock's."""
    board.says("run/systemd/timesync/synchronized", "")
    daemon = make(Asker)
    assert daemon.run() == 0
    assert daemon.found is True


class FailingDesk:
    """Fails as the code that publishes replies might."""

    def stop(self) -> None:
        raise ZeroDivisionError


class Failing(Daemon):
    """Starts nothing, and cannot reply to commands that wait."""

    def parts(self) -> tuple[Part, ...]:
        self._desk = cast(CommandDesk, FailingDesk())
        return (Part("capture", lambda: None, self._camera.close), Part("mqtt", lambda: None, self._stop_publisher))

    def ended(self) -> str | None:
        return "nothing to do"

    @property
    def stops_publishing(self) -> bool:
        return self._mqtt.worker.stopping.is_set()


def test_the_publisher_is_stopped_also_if_the_last_replies_fail(make: Callable[[type[Failing]], Failing]) -> None:
    """Else the broker reports the device as lost, and what waits is not saved."""
    daemon = make(Failing)
    assert daemon.run() == EXIT_INTERNAL
    assert daemon.stops_publishing
