"""What every device has published is gathered whole, from a broker that drops what it cannot queue."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import cast

import pytest

from vedette.fleet.gathering import ASKED_AT_ONCE, Gathering
from vedette.fleet.roster import FOLLOWED, Roster
from vedette.mqtt.command_filter import Incoming
from vedette.mqtt.listener import Listener

PAYLOADS = {"availability": b'"online"', "model": b'{"state": "good"}', "health": b'{"state": "ok"%s}' % (b" " * 90)}


class ForgetfulBroker:
    """A connection to a broker that drops what is more than `queued` bytes for one SUBSCRIBE.

    `forgets`: the numbers of the subscriptions that it answers with nothing at all, not even SUBACK.
    """

    def __init__(self, retained: dict[str, bytes], queued: int, forgets: Collection[int] = ()) -> None:
        self.unanswered: dict[int, Sequence[str]] = {}
        self._forgets = forgets
        self.asked: list[Sequence[str]] = []
        self.single: set[str] = set()
        self._retained = retained
        self._queued = queued
        self._waiting: list[Incoming] = []

    def subscribe(self, filters: Sequence[str], *, qos: int) -> None:
        assert qos == 0
        self.asked.append(filters)
        self.single |= {name for name in filters if "+" not in name}
        if len(self.asked) in self._forgets:
            self.unanswered[len(self.asked)] = filters
            return
        names = [name for name in self._retained if name in filters or f"vedette/+/{name.split('/')[2]}" in filters]
        left = self._queued
        for name in names:
            left -= len(self._retained[name])
            if left >= 0:
                self._waiting.append(Incoming(name, self._retained[name], retain=True))

    def unsubscribe(self, filters: Sequence[str]) -> None:
        self.single -= set(filters)

    def poll(self, timeout_s: float) -> list[Incoming]:
        assert timeout_s > 0
        taken, self._waiting = self._waiting[:50], self._waiting[50:]
        return taken


def gathered(broker: ForgetfulBroker) -> Roster:
    roster = Roster()
    gathering = Gathering(cast("Listener", broker), roster, json.loads)
    while not gathering.is_complete:
        gathering.listen(0.05)
    return roster


@pytest.mark.parametrize(("queued", "asked"), [(1_000_000, 3), (60_000, 5)])
def test_everything_comes_however_much_is_dropped(queued: int, asked: int) -> None:
    """Each device is asked for on its own where its message was dropped, and no such subscription is left."""
    broker = ForgetfulBroker({f"vedette/gate-{number:04}/{topic}": payload for number in range(1300)
                              for topic, payload in PAYLOADS.items()}, queued)
    roster = gathered(broker)
    assert ([roster.lacking(topic) for topic in FOLLOWED], len(roster)) == ([[], [], []], 1300)
    assert (len(broker.asked), broker.single) == (asked, set())
    assert max(map(len, broker.asked)) <= ASKED_AT_ONCE


def test_a_broker_that_drops_its_answer_too_is_asked_again() -> None:
    """mosquitto drops SUBACK as it drops messages. The first single devices get nothing, and are asked for again."""
    broker = ForgetfulBroker({f"vedette/gate-{number:04}/{topic}": payload for number in range(700)
                              for topic, payload in PAYLOADS.items()}, 60_000, forgets=(4,))
    roster = gathered(broker)
    assert [roster.lacking(topic) for topic in FOLLOWED] == [[], [], []]
    assert (broker.asked[3], broker.unanswered, broker.single) == (broker.asked[4], {}, set())


def test_what_a_device_never_published_is_known_to_be_missing() -> None:
    """It was asked for again, on its own, and the gathering ends."""
    broker = ForgetfulBroker({"vedette/gate-1/availability": b'"online"', "vedette/gate-2/health": b'{"state": "ok"}'},
                             1000)
    roster = gathered(broker)
    assert [roster.lacking(topic) for topic in FOLLOWED] == [["gate-2"], ["gate-1", "gate-2"], ["gate-1"]]
    assert broker.asked[3:] == [["vedette/gate-2/availability"], ["vedette/gate-1/model", "vedette/gate-2/model"],
                                ["vedette/gate-1/health"]]
