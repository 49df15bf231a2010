"""The local socket: one thread for all clients of this machine. The thread is `socket`.

Invariants:
- No other thread ever waits for this one. It waits for no client: each has a deadline for its request, for the wait and
  for the reply, and is dropped then. At most CLIENTS are served; others are refused at once.
- Only root, the daemon's own user and members of the socket's group are answered.
- While nobody is connected, nothing is copied or encoded.
- A socket that cannot be made, or whose file is gone, is made again; meanwhile all else works.
"""

from __future__ import annotations

import logging
import selectors
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from vedette._lib.logs import LastLines
from vedette._lib.worker import Worker
from vedette.serve.local.answers import Answers
from vedette.serve.local.exchange import Exchange, Reply, RequestRefused, refusal
from vedette.serve.local.socket_file import SocketFile, may_use

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from vedette.config.effective import Running
    from vedette.serve.local.published import PublishedMessages
    from vedette.serve.local.recent_results import RecentResults
    from vedette.types import Command
    from vedette.vision.limits import Limits

log = logging.getLogger(__name__)

CLIENTS = 32
WAIT_S, WAIT_MAX_S = 20.0, 30.0
IDLE_S, BUSY_S = 1.0, 0.25
"""The thread wakes so often by itself, without and with clients."""


class LocalSocket:
    """Offers the socket at a path. `start`, `stop`: main thread.

    A client has `request_s` for its request and `reply_s` to take the reply. The file is checked every `check_s`.
    The copy of a frame is freed `rest_s` after its last viewer.
    """

    request_s, reply_s, check_s, rest_s = 5.0, 5.0, 10.0, 2.0

    def __init__(self, path: Path, running: Running, published: PublishedMessages, results: RecentResults, *,
                 accept: Callable[[Command], None], models: Callable[[], Mapping[str, Any]],
                 limits: Callable[[], Limits | None], on_end: Callable[[Worker], None] | None = None) -> None:
        self.worker = Worker("socket", self._run, on_end=on_end)
        self.refused = 0
        """Clients that were refused: too many, or without rights."""
        self.dropped = 0
        """Clients that were too slow."""
        self._file = SocketFile(path)
        self._published = published
        self._results = results
        self._lines = LastLines()
        self._answers = Answers(running, published, results, accept=accept, models=models, limits=limits,
                                log_lines=self._lines.last, on_reply=self._ring)
        self._exchanges: dict[int, Exchange] = {}
        self._bell: socket.socket | None = None
        self._polls_messages = False
        self._next_check_s = self._viewed_s = 0.0
        self._slot_s = float("-inf")
        self._trouble = ""

    def __repr__(self) -> str:
        return f"<LocalSocket {self._file!r} clients={len(self._exchanges)} dropped={self.dropped}>"

    def start(self) -> None:
        """Start the thread, which makes the socket."""
        logging.getLogger().addHandler(self._lines)
        self.worker.start()

    def stop(self, timeout_s: float) -> bool:
        """Close the socket and drop all clients; returns whether the thread has ended. Safe to call twice."""
        logging.getLogger().removeHandler(self._lines)
        self.worker.stopping.set()
        self._ring()
        return self.worker.stop(timeout_s)

    def _ring(self) -> None:
        """Wake the thread. Any thread; never blocks."""
        bell = self._bell
        if bell is not None:
            with suppress(OSError):     # it rings already, or the thread has ended
                bell.send(b"!")

    def _ring_for_messages(self) -> None:
        if self._polls_messages:
            self._ring()

    def _run(self, worker: Worker) -> None:
        near, far = socket.socketpair()
        selector = selectors.DefaultSelector()
        try:
            for end in (near, far):
                end.setblocking(False)
            self._bell = far
            self._results.on_copied, self._published.on_new = self._ring, self._ring_for_messages
            selector.register(near, selectors.EVENT_READ)
            while not worker.stopping.is_set():
                worker.beat()
                self._listen(selector)
                self._step(selector, near)
        finally:
            self._results.on_copied = self._published.on_new = self._bell = None
            for exchange in self._exchanges.values():
                exchange.socket.close()
            self._exchanges.clear()
            self._results.rest()
            self._file.close()
            selector.close()
            near.close()
            far.close()

    def _listen(self, selector: selectors.BaseSelector) -> None:
        """Make the socket if there is none, or if its file is gone."""
        now_s = time.monotonic()
        if now_s < self._next_check_s:
            return
        self._next_check_s = now_s + self.check_s
        if self._file.is_there():
            return
        if self._file.listening is not None:
            selector.unregister(self._file.listening)
            self._file.close()
        try:
            selector.register(self._file.open(), selectors.EVENT_READ)
        except OSError as failure:
            trouble = f"{self._file.path}: {failure.strerror}"
            if trouble != self._trouble:
                log.warning("no local socket: %s", trouble)
            self._trouble = trouble
        else:
            self._trouble = ""
            log.info("local socket: %s", self._file.path)

    def _step(self, selector: selectors.BaseSelector, near: socket.socket) -> None:
        for key, _ in selector.select(self._pause_s()):
            exchange = self._exchanges.get(key.fd)
            if exchange is not None:
                self._go_on(selector, exchange)
            elif key.fileobj is near:
                near.recv(4096)
            else:
                self._accept(selector)
        self._encode()
        for exchange in [each for each in self._exchanges.values() if each.is_waiting]:
            self._try_reply(selector, exchange)
        self._polls_messages = any(each.is_waiting and each.path == "/messages" for each in self._exchanges.values())
        now_s = time.monotonic()
        self._want_or_rest(now_s)
        for exchange in [each for each in self._exchanges.values() if not each.is_waiting and now_s >= each.deadline_s]:
            self.dropped += 1
            self._drop(selector, exchange)

    def _encode(self) -> None:
        """Take the picture that has come, or encode the copy, if somebody waits for it."""
        if any(self._views()):
            self._viewed_s = time.monotonic()
            ordered_s = self._results.encode(self._answers.page)
            if ordered_s is not None:
                period_s = 1 / self._answers.page.fps
                self._slot_s = max(self._slot_s + period_s, ordered_s - period_s / 2)

    def _want_or_rest(self, now_s: float) -> None:
        """Have the next frame copied when it is time and somebody waits; have none copied when nobody views."""
        if not any(self._views()):
            if now_s - self._viewed_s >= self.rest_s:
                self._results.rest()
        elif self._left_s(now_s) <= 0:
            self._results.want(self._answers.page)

    def _views(self) -> Iterator[bool]:
        return (each.is_waiting and each.path == "/frame" for each in self._exchanges.values())

    def _left_s(self, now_s: float) -> float:
        """Return the seconds until the next frame may be copied: one in each slot of 1 / fps, on average."""
        return min(self._slot_s, now_s) + 1 / self._answers.page.fps - now_s

    def _pause_s(self) -> float:
        if not self._exchanges:
            return IDLE_S
        left_s = self._left_s(time.monotonic())
        return min(left_s, BUSY_S) if left_s > 0 and any(self._views()) else BUSY_S

    def _accept(self, selector: selectors.BaseSelector) -> None:
        listening = self._file.listening
        while listening is not None:
            try:
                client, _ = listening.accept()
            except BlockingIOError:
                return
            except OSError as failure:      # no descriptors are left, for example
                log.debug("no client of the local socket can be accepted: %s", failure)
                self.worker.stopping.wait(BUSY_S)
                return
            client.setblocking(False)
            exchange = Exchange(client, time.monotonic() + self.request_s)
            self._exchanges[client.fileno()] = exchange
            selector.register(client, selectors.EVENT_READ)
            if not may_use(client, self._file.group):
                self._refuse(selector, exchange, refusal(403, "only for root, the daemon's user, and its group"))
            elif len(self._exchanges) > CLIENTS:
                self._refuse(selector, exchange, refusal(503, "the local socket has too many clients"))

    def _refuse(self, selector: selectors.BaseSelector, exchange: Exchange, reply: Reply) -> None:
        """Send the reply as far as the client takes it at once."""
        self.refused += 1
        exchange.begin_reply(reply, 0.0)
        with suppress(OSError):
            exchange.send()
        self._drop(selector, exchange)

    def _go_on(self, selector: selectors.BaseSelector, exchange: Exchange) -> None:
        """Read or send, as far as the client lets it."""
        try:
            if exchange.is_replying:
                if exchange.send():
                    self._drop(selector, exchange)
            elif exchange.receive() and exchange.request is not None:
                exchange.deadline_s = time.monotonic() + exchange.request.number("wait", WAIT_S, WAIT_MAX_S)
        except RequestRefused as problem:
            self._begin_reply(selector, exchange, refusal(problem.status, str(problem)))
        except BlockingIOError:
            return
        except OSError:
            self._drop(selector, exchange)

    def _try_reply(self, selector: selectors.BaseSelector, exchange: Exchange) -> None:
        request = exchange.request
        assert request is not None  # noqa: S101 - for the type checker: it waits
        reply = self._answers.answer(request, is_last=time.monotonic() >= exchange.deadline_s)
        if reply is not None:
            self._begin_reply(selector, exchange, reply)

    def _begin_reply(self, selector: selectors.BaseSelector, exchange: Exchange, reply: Reply) -> None:
        exchange.begin_reply(reply, time.monotonic() + self.reply_s)
        selector.modify(exchange.socket, selectors.EVENT_WRITE)
        self._go_on(selector, exchange)

    def _drop(self, selector: selectors.BaseSelector, exchange: Exchange) -> None:
        del self._exchanges[exchange.socket.fileno()]
        selector.unregister(exchange.socket)
        exchange.socket.close()
