"""Finds out what a broker bears that hangs up without a reason. MQTT 3.1.1 has no reasons, and some brokers give none.

Invariants: the broker bears terms if a connection with them, with the device's own name, will and subscriptions, lasts
for HOLD_S after `online` was published; less than before is concluded only if it works and the full terms fail, twice
in turn, so that a broker that just restarts is not taken for a poor one. Every attempt is bounded and begins clean. A
broker that cannot be reached or is late says nothing about its terms, so the search ends. A crowd must not grow by
those who search. So after each hang-up before an answer the next attempt waits as long as any other connection would,
and the least terms come first: where even they fail, no others are tried.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from vedette.errors import BrokerBusy, BrokerError, BrokerRefused

if TYPE_CHECKING:
    from vedette._lib.worker import Worker
    from vedette.mqtt.command_filter import Incoming
    from vedette.mqtt.connection import Connection
    from vedette.mqtt.terms import Terms
    from vedette.types import Message

HOLD_S = 0.5
ATTEMPT_WITHIN_S = 360.0
"""The resolver, four addresses with TLS, and the answer to CONNECT, as long as a late broker is given for each."""
CONFIRMATIONS = 2


class Search:
    """`connect` makes a connection with such terms; `receive` takes what it brings.

    `pause_s` returns how long to wait after an end (None: a success). When `worker` is told to stop, the search ends
    without a finding.
    """

    def __init__(self, connect: Callable[[Terms], Connection], online: Message, receive: Callable[[Incoming], None],
                 pause_s: Callable[[BrokerError | None], float], worker: Worker) -> None:
        self._connect = connect
        self._online = online
        self._receive = receive
        self._pause_s = pause_s
        self._worker = worker

    def run(self, full: Terms) -> Terms | None:
        """Return the best terms that the broker bears, or None if it bears none or cannot be reached."""
        with suppress(BrokerError):
            if self._bears(full):
                return full
            least = {terms.is_v5: terms for terms in full.lesser()}.values()
            if not any(map(self._bears, least)):
                return None
            if self._bears(full):
                return full
            for terms in full.lesser():
                if self._bears(terms):
                    return terms if self._confirmed(full, terms) else full
        return None

    def _confirmed(self, full: Terms, less: Terms) -> bool:
        return all(not self._bears(full) and self._bears(less) for _ in range(CONFIRMATIONS))    # ends with a success

    def _bears(self, terms: Terms) -> bool:
        """Raises: BrokerError if the broker cannot be reached, or is late."""
        if self._worker.stopping.is_set():
            return False
        self._worker.beat(ATTEMPT_WITHIN_S)
        connection, end = self._attempt(terms)
        pause_s = self._pause_s(end)
        self._worker.beat(pause_s + ATTEMPT_WITHIN_S)
        self._worker.stopping.wait(pause_s)
        if end is None:
            return True
        if connection is None:
            raise end
        # A refusal is an answer: whatever it refuses, it is not for these terms.
        return isinstance(end, BrokerRefused) and connection.answered and connection.demand is None

    def _attempt(self, terms: Terms) -> tuple[Connection | None, BrokerError | None]:
        """Return the connection, closed, and how it ended. No connection: it was not made, or the broker was late."""
        try:
            connection = self._connect(terms)
        except BrokerError as end:
            return None, end
        try:
            self._hold(connection)
        except BrokerError as end:
            is_late = isinstance(end, BrokerBusy) and not connection.hung_up
            return None if is_late else connection, end
        finally:
            connection.close(send_disconnect=True)
        return connection, None

    def _hold(self, connection: Connection) -> None:
        """Raises: BrokerError when the connection ends."""
        while not connection.connected:
            connection.poll(HOLD_S)
        online = self._online
        connection.publish(online.topic, online.payload, qos=online.qos, retain=online.retain)
        until_s = time.monotonic() + HOLD_S
        while not connection.is_idle or time.monotonic() < until_s:
            for message in connection.poll(HOLD_S / 5):
                self._receive(message)
