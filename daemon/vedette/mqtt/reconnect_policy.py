"""Judges how connections end, and decides how the next one begins.

A short connection is one that the broker accepted, and that ended within SHORT_CONNECTION_S without a reason.

Invariants:
- A takeover is only what is proven: the broker says so, or another client left a session of this device's name. MQTT
  3.1.1 cannot say it, and mosquitto 2.0.11 does not say it with MQTT 5 either. So after SHORT_CONNECTIONS short ones in
  a row one connection begins clean and asks for no session. If the next one finds a session, another client made it.
- While a takeover is known, one short connection is enough to step back.
- After SHORT_CONNECTIONS failures in a row a connection begins clean: a broker may have damaged or lost the session.
- MQTT 3.1.1 keeps no session of a connection that begins clean. So one connection only discards the old session, and
  the next one keeps its own. Where that one fails, the one after it does without a session.
- Less than before is asked of a broker only if it demands that, or if a search has shown that it helps.
- A broker that could not be reached may come back as another: everything begins anew.
- A broker that did not answer in time gets more time at the next connection. Whoever waits takes part in the queue of a
  crowded broker; whoever gives up and comes again makes it longer. After a hang-up the pauses grow instead.
- The connections of a search wait like all others, and whether the port expects TLS is found out once. So a crowd at
  a broker that hangs up does not grow by them.
- After a failure the next connection begins with another address of the broker's name: it may be another node.
- A broker that refuses, or is not there, is tried again within a few seconds, since nothing is crowded then.
- The `mqtt` thread owns this; nothing blocks.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from vedette.errors import BrokerBusy, BrokerError, BrokerTakenOver
from vedette.mqtt.terms import CONNECT_TIMEOUT_S, Start

if TYPE_CHECKING:
    from vedette.mqtt.terms import Terms

SHORT_CONNECTION_S = 5.0
SHORT_CONNECTIONS = 3
PROOF_CONNECTIONS = 2
"""The connections that a proof of a takeover takes: one that leaves no session, and one that finds it."""
TAKEN_OVER_PAUSE_S = (20.0, 40.0)
"""The device can report the takeover only after the pause; health must show `duplicate_device` within a minute."""
DUPLICATE_NAMED_FOR_S = 300.0
NO_TAKEOVER_FOR_S = 15.0
"""So long short connections are not suspected after a proof that nobody took over. The other may have been away."""
SEARCH_AFTER = 2
"""Connections in a row to which the broker did not even answer. The number doubles with each search in vain."""
SEARCH_AFTER_MAX = 64
LATE_WITHIN_S = 60.0
"""For a broker that was late once. One whose machine went away in the middle of a connection is found within this time.
Steps in between would only fill the queue of a crowded broker with those who gave up."""
BUSY_FIRST_S, BUSY_CAP_S = 0.5, 60.0
"""The longest pause after one connect that failed at a busy broker, and after many. It doubles in between."""


class KnownConnection(Protocol):
    """What is asked of a Connection. It has these names, and explains them."""

    connected_s: float | None
    answered: bool
    session_present: bool
    hung_up: bool
    demand: Terms | None
    expects_tls: bool | None


class ReconnectPolicy:
    """What is known about one broker from the ends of connections to it."""

    def __init__(self, wanted: Terms, now_s: Callable[[], float] = time.monotonic) -> None:
        self.must_search = False
        """Whether the publisher is to find out which terms the broker bears."""
        self._wanted = wanted
        self._terms = wanted
        self._now_s = now_s
        self._is_first = True
        self._has_discarded = False
        """Whether the last connection only discarded a session: the next one keeps its own."""
        self._bears_no_session = False
        """Whether that next connection failed: this one asks for no session, and lives."""
        self._turn = 0
        self._failures = 0
        self._short_connections = 0
        self._unanswered = 0
        self._was_late = False
        self._expects_tls: bool | None = None
        self._busy = 0
        """Connects in a row that ended as those to a busy broker do."""
        self._search_after = SEARCH_AFTER
        self._leaves_no_session = False
        """Whether the next connection, or the one that just ended, asks the broker to keep no session."""
        self._finds_foreign_session = False
        """Whether a session that the next connection finds is another client's."""
        self._not_suspected_until_s = 0.0
        self._duplicate_until_s = 0.0

    @property
    def has_duplicate(self) -> bool:
        """Whether another client of this device's name is known."""
        return self._now_s() < self._duplicate_until_s

    @property
    def are_short(self) -> bool:
        """Whether connections fail again and again, so that the next must wait longer."""
        return self._failures >= SHORT_CONNECTIONS

    def start(self) -> Start:
        """Return how the next connection is to begin."""
        is_clean = self._is_first or self._leaves_no_session or (
            not (self._finds_foreign_session or self._has_discarded)
            and self._failures > 0 and self._failures % SHORT_CONNECTIONS == 0)
        within_s = LATE_WITHIN_S if self._was_late else CONNECT_TIMEOUT_S
        keeps = not (self._leaves_no_session or self._bears_no_session)
        return Start(self._terms, is_clean or self._bears_no_session, keeps, within_s, self._expects_tls,
                     self._turn)

    def connected(self, connection: KnownConnection) -> None:
        """The broker accepted a connection."""
        self._was_late, self._expects_tls, self._busy = False, None, 0
        self._is_first = False
        if self._finds_foreign_session:
            self._finds_foreign_session = False
            self._short_connections = 0
            if connection.session_present:
                self._duplicate_until_s = self._now_s() + DUPLICATE_NAMED_FOR_S
            else:
                self._not_suspected_until_s = self._now_s() + NO_TAKEOVER_FOR_S
                self.must_search = True

    def discarded(self) -> None:
        """The broker has discarded the session that it kept: the next connection keeps its own."""
        self._is_first, self._has_discarded = False, True

    def ended(self, connection: KnownConnection) -> None:
        """A connection has ended that had reached the broker."""
        had_discarded, self._has_discarded, self._bears_no_session = self._has_discarded, False, False
        lived_s = None if connection.connected_s is None else self._now_s() - connection.connected_s
        self._expects_tls = connection.expects_tls
        if not connection.answered and not connection.hung_up:
            self._was_late = True
        left_no_session = self._leaves_no_session
        self._leaves_no_session = left_no_session and lived_s is None
        if lived_s is not None and lived_s >= SHORT_CONNECTION_S:
            self._failures = self._short_connections = self._unanswered = 0
            self._search_after = SEARCH_AFTER
            return
        if connection.demand is not None:
            self._terms = connection.demand
            return
        self._turn += 1
        self._bears_no_session = had_discarded and lived_s is None
        self._failures += connection.hung_up or (connection.answered and lived_s is None)
        self._count_unanswered(connection)
        if not connection.hung_up:
            self._short_connections = 0
        elif lived_s is not None:
            self._count_short_connection(left_no_session=left_no_session)

    def unreachable(self, end: BrokerError) -> None:
        """No connection was made: no other client and no limit of the broker ended it."""
        self._was_late = isinstance(end, BrokerBusy)
        self._failures = self._short_connections = self._unanswered = 0
        self._leaves_no_session = self._finds_foreign_session = False
        self._expects_tls = None
        self._terms = self._wanted

    def found_poison(self) -> None:
        """A message was found at which the broker hangs up: nobody took over."""
        self._short_connections = 0
        self._leaves_no_session = False

    def pause_s(self, end: BrokerError, delay_s: float) -> float:
        """Return how long to wait before the next connection: mostly `delay_s`."""
        if busy_pause_s := self.busy_pause_s(end):
            return busy_pause_s
        if isinstance(end, BrokerTakenOver):
            self._duplicate_until_s = self._now_s() + DUPLICATE_NAMED_FOR_S
        elif not (self.has_duplicate and self._short_connections):
            return delay_s
        self._duplicate_until_s = self._now_s() + DUPLICATE_NAMED_FOR_S
        self._short_connections = 0
        self._leaves_no_session = False
        return random.uniform(*TAKEN_OVER_PAUSE_S)  # noqa: S311 - jitter, no secret

    def busy_pause_s(self, end: BrokerError | None) -> float:
        """Return how long to wait after a connection to a busy broker, of a search too; 0 after any other."""
        self._busy = self._busy + 1 if isinstance(end, BrokerBusy) else 0
        longest_s = min(BUSY_FIRST_S * 2.0 ** min(self._busy - 1, 9), BUSY_CAP_S) if self._busy else 0.0
        return random.uniform(0, longest_s)  # noqa: S311 - jitter, no secret

    def found(self, terms: Terms | None) -> None:
        """A search has ended. None: the broker bears no terms at all."""
        self.must_search = False
        self._unanswered = 0
        if terms in (None, self._terms):
            self._search_after = min(2 * self._search_after, SEARCH_AFTER_MAX)
        self._terms = terms or self._terms

    def _count_unanswered(self, connection: KnownConnection) -> None:
        self._unanswered = self._unanswered + 1 if connection.hung_up and not connection.answered else 0
        self.must_search |= self._unanswered >= self._search_after

    def _count_short_connection(self, *, left_no_session: bool) -> None:
        self._short_connections += 1
        if left_no_session:
            self._finds_foreign_session = True
        elif self._short_connections >= SHORT_CONNECTIONS and self._now_s() >= self._not_suspected_until_s:
            self._leaves_no_session = not self.has_duplicate
