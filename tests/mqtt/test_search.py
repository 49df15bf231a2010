"""The search for what a broker bears, against servers that hang up, are silent, or are not there."""

from __future__ import annotations

import socket
import threading
from contextlib import closing

from tests.support.network.rude_server import Behave, serving
from tests.support.waiting.until import wait_until
from vedette._lib.worker import Worker
from vedette.config.models import MqttConfig
from vedette.errors import BrokerBusy, BrokerError
from vedette.mqtt.connection import Connection
from vedette.mqtt.search import Search
from vedette.mqtt.terms import Start, Terms
from vedette.types import Message

FULL = Terms(is_v5=True)
CONNECT, TLS = b"\x10", b"\x16"


class Stopping(threading.Event):
    """It is never set, and remembers for how long it was waited for."""

    def __init__(self, waited_s: list[float | None]) -> None:
        super().__init__()
        self._waited_s = waited_s

    def wait(self, timeout: float | None = None) -> bool:
        self._waited_s.append(timeout)
        return False


class Searching:
    """A search at a port, with the connections that it made, and the ends after which it waited."""

    def __init__(self, port: int) -> None:
        self.ends: list[BrokerError | None] = []
        self.waited_s: list[float | None] = []
        self.tried: list[Terms] = []
        self._mqtt = MqttConfig(host="127.0.0.1", port=port)

    def run(self) -> Terms | None:
        def ignore(_: object) -> None:
            """Nothing is to be done."""

        worker = Worker("search", ignore)
        worker.stopping = Stopping(self.waited_s)
        return Search(self._connect, Message("availability", b"online", retain=True), ignore, self._pause_s,
                      worker).run(FULL)

    def _connect(self, terms: Terms) -> Connection:
        self.tried.append(terms)
        return Connection(self._mqtt, "gate", Start(terms, within_s=0.3, expects_tls=False))

    def _pause_s(self, end: BrokerError | None) -> float:
        self.ends.append(end)
        return float(len(self.ends))


def hang_up(connection: socket.socket, _stopping: threading.Event) -> None:
    connection.recv(4096)


def be_silent(_connection: socket.socket, stopping: threading.Event) -> None:
    stopping.wait(60)


def test_each_hang_up_is_followed_by_a_pause() -> None:
    """The least terms fail too, so no others are tried. None of the connections comes at once."""
    with serving(hang_up) as port:
        search = Searching(port)
        assert search.run() is None
    every = list(FULL.lesser())
    assert search.tried == [FULL, next(terms for terms in reversed(every) if not terms.is_v5), every[-1]]
    assert [type(end) for end in search.ends] == [BrokerBusy] * len(search.tried)
    assert search.waited_s == list(range(1, len(search.tried) + 1))


def test_a_late_broker_ends_the_search() -> None:
    """It says nothing about terms, and a crowd must not grow."""
    with serving(be_silent) as port:
        search = Searching(port)
        assert search.run() is None
    assert search.tried == [FULL]


def test_a_broker_that_is_away_ends_the_search() -> None:
    """There is nobody to be searched."""
    search = Searching(1)
    assert search.run() is None
    assert search.tried == [FULL]


def test_a_broker_that_hangs_up_is_asked_about_tls_once() -> None:
    """Its message goes on to say what was found out."""
    firsts: list[bytes] = []

    def behave(connection: socket.socket, _stopping: threading.Event) -> None:
        firsts.append(connection.recv(4096)[:1])

    said = [expects_tls_said(behave, expects_tls=None), expects_tls_said(behave, expects_tls=False)]
    assert firsts == [CONNECT, TLS, CONNECT]
    assert said == [False, False]
    assert expects_tls_said(behave, expects_tls=True)


def expects_tls_said(behave: Behave, *, expects_tls: bool | None) -> bool:
    """Return what one connection found out or knew; its message must say the same."""
    with serving(behave) as port, closing(Connection(
            MqttConfig(host="127.0.0.1", port=port), "gate", Start(FULL, expects_tls=expects_tls))) as connection:
        ends: list[BrokerError] = []

        def has_ended() -> bool:
            try:
                connection.poll(0.1)
            except BrokerError as end:
                ends.append(end)
            return bool(ends)
        assert wait_until(has_ended)
    assert ("the port expects TLS" in str(ends[0])) is connection.expects_tls
    assert ("it speaks no TLS" in str(ends[0])) is not connection.expects_tls
    return bool(connection.expects_tls)
