"""A local socket whose results, messages and commands come from the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.fakes import IDENTITY, FakeClock, FakeFlow, FakePublisher, make_frame, make_result
from tests.support.waiting.until import wait_until
from vedette.config.load import Loaded
from vedette.config.models import Config
from vedette.config.page import PageConfig
from vedette.config.reload import Reloader
from vedette.serve.local.published import PublishedMessages
from vedette.serve.local.recent_results import RecentResults
from vedette.serve.local.server import LocalSocket
from vedette.types import Box, Command, Detection, Frame
from vedette.vision.limits import Limits

PERSON = Detection("person", 0, 0.9, Box(0.1, 0.1, 0.4, 0.8), track=3)
LISTED = {"active": None, "trouble": None}


class NoEncoder:
    """A camera that has the frames no more, so that the daemon encodes a copy. It keeps its orders if `encodes`."""

    def __init__(self) -> None:
        self.on_picture: Callable[[int, bytes], None] | None = None
        self.encodes = False
        self.orders: list[int] = []

    def order_picture(self, frame: Frame, width: int, height: int, quality: int) -> bool:
        if self.encodes:
            self.orders.append(frame.seq)
        return self.encodes


class Rig:
    """A socket whose results and messages come from the test."""

    def __init__(self, folder: Path, kind: type[LocalSocket] = LocalSocket, **page: Any) -> None:
        self.path = folder / "socket"
        self.clock = FakeClock()
        self.broker = FakePublisher()
        self.published = PublishedMessages(self.broker)
        self.camera = NoEncoder()
        self.results = RecentResults(IDENTITY, self.camera, flow=FakeFlow(), clock_synced=lambda: True)
        self.commands: list[Command] = []
        self.limits: Limits | None = None
        self.seq = 0
        self.configured = Config(page=PageConfig(**page))
        self.reloader = Reloader(Loaded(self.configured), lambda: Loaded(self.configured))
        self.socket = kind(self.path, self.reloader, self.published, self.results,
                           accept=self.commands.append, models=lambda: LISTED, limits=lambda: self.limits)

    def reload(self, **page: Any) -> None:
        """As SIGHUP does, with these keys of `page`."""
        self.configured = Config(page=PageConfig(**page))
        self.reloader.reload()

    def see(self, grey: int = 0, width: int = 64, height: int = 48) -> int:
        """A result of a frame of this grey; returns its number."""
        self.seq += 1
        self.clock.advance(0.1)
        pixels = memoryview(bytes([grey]) * (width * height * 3)).cast("B", (height, width, 3))
        frame = make_frame(self.clock, self.seq)
        self.results.on_result(make_result(Frame(self.seq, pixels, frame.captured_ns, frame.captured_at, 0), (PERSON,)))
        return self.seq

    @property
    def clients(self) -> int:
        return len(self.socket._exchanges)


@contextmanager
def started(rig: Rig) -> Iterator[Rig]:
    """The socket, open; in the end its thread has not failed, and its file is gone."""
    rig.socket.start()
    assert wait_until(rig.path.exists)
    yield rig
    assert rig.socket.stop(60)
    assert rig.socket.worker.failure is None
    assert not rig.path.exists()
