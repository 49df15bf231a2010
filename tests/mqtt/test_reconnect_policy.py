"""How connections end, without a broker: which ends are a takeover, and how the next connection begins."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from vedette.errors import BrokerAway, BrokerBusy, BrokerError, BrokerTakenOver
from vedette.mqtt.reconnect_policy import (
    DUPLICATE_NAMED_FOR_S,
    NO_TAKEOVER_FOR_S,
    PROOF_CONNECTIONS,
    SEARCH_AFTER,
    SHORT_CONNECTION_S,
    SHORT_CONNECTIONS,
    TAKEN_OVER_PAUSE_S,
    ReconnectPolicy,
)
from vedette.mqtt.terms import CONNECT_TIMEOUT_S, Start, Terms

FULL, V3 = Terms(is_v5=True), Terms(is_v5=False)
KEPT = Start(FULL, clean=False, keep_session=True)
CLEAN = Start(FULL, clean=True, keep_session=True)
LEAVES_NO_SESSION = Start(FULL, clean=True, keep_session=False)
DELAY_S = 0.25


@dataclass
class Connection:
    """The attributes that `ReconnectPolicy` reads of a connection."""

    connected_s: float | None = None
    answered: bool = True
    session_present: bool = True
    hung_up: bool = True
    demand: Terms | None = None
    expects_tls: bool | None = None


class Device:
    """ReconnectPolicy with a clock that the test sets."""

    def __init__(self, wanted: Terms = FULL) -> None:
        self.now_s = 1000.0
        self.policy = ReconnectPolicy(wanted, self.clock)

    def start(self) -> Start:
        """How the next connection begins, wherever it goes."""
        return replace(self.policy.start(), turn=0)

    def clock(self) -> float:
        return self.now_s

    def lived(self, seconds: float = 0.2, *, finds_session: bool = True, hung_up: bool = True,
              end: BrokerError | None = None) -> tuple[Start, float]:
        """One connection that the broker accepts; returns how it began, and the pause after it."""
        end = end or BrokerAway("ended")
        start = self.start()
        connection = Connection(self.now_s, session_present=finds_session and not start.clean, hung_up=hung_up)
        self.policy.connected(connection)
        self.now_s += seconds
        self.policy.ended(connection)
        return start, self.policy.pause_s(end, DELAY_S)

    def knows_duplicate(self) -> bool:
        return self.policy.has_duplicate

    def refused(self, demand: Terms | None = None) -> Start:
        """One connection that the broker refuses."""
        start = self.start()
        self.policy.ended(Connection(hung_up=False, demand=demand))
        return start

    def unanswered(self, *, hung_up: bool = True) -> Start:
        start = self.start()
        self.policy.ended(Connection(answered=False, hung_up=hung_up))
        return start

    def unreachable(self, end: BrokerError | None = None) -> float:
        """A connect that fails before there is a connection; returns the pause after it."""
        end = end or BrokerAway("refused")
        self.policy.unreachable(end)
        return self.policy.pause_s(end, DELAY_S)


@pytest.fixture
def device() -> Device:
    return Device()


def test_mqtt_3_1_1_discards_a_session_with_a_connection_of_its_own() -> None:
    """The connection that begins clean would keep no session. The next one keeps its own, as all after it."""
    device = Device(V3)
    first = device.policy.start()
    device.policy.discarded()
    starts = [device.lived(SHORT_CONNECTION_S)[0] for _ in range(3)]
    assert first.only_discards
    assert starts == [Start(V3, clean=False)] * 3
    assert not any(start.only_discards for start in (*starts, CLEAN, KEPT, LEAVES_NO_SESSION))


def test_a_broker_that_bears_no_kept_session_gets_none() -> None:
    """With MQTT 3.1.1, the connection after a kept one that failed behind a clean one asks for no session, and lives.
    """
    device = Device(V3)
    device.policy.discarded()
    assert device.refused() == Start(V3, clean=False)
    assert device.lived(SHORT_CONNECTION_S)[0] == Start(V3, keep_session=False)
    assert device.start() == Start(V3, clean=False)


def test_after_a_failure_another_address_is_tried_first(device: Device) -> None:
    """A node that hangs up or refuses is left; one that served the device for long enough is not."""
    turns = []
    for fails in (device.unanswered, device.refused, device.lived, lambda: device.lived(SHORT_CONNECTION_S)):
        turns.append(device.policy.start().turn)
        fails()
    assert [*turns, device.policy.start().turn] == [0, 1, 2, 3, 3]


def test_failures_in_a_row_discard_the_session_once_each_time() -> None:
    """With MQTT 3.1.1, behind the connection that discards comes one that keeps its session."""
    device = Device(V3)
    device.policy.discarded()
    device.lived(SHORT_CONNECTION_S)
    for _ in range(SHORT_CONNECTIONS):
        assert device.refused() == Start(V3, clean=False)
    assert device.policy.start().only_discards
    device.policy.discarded()
    assert device.start() == Start(V3, clean=False)


def test_a_session_that_this_device_did_not_leave_proves_a_takeover(device: Device) -> None:
    """After the short connections one leaves no session; if the next one finds one, another device made it."""
    starts = [device.lived()[0] for _ in range(SHORT_CONNECTIONS + 1)]
    assert not device.knows_duplicate()
    start, pause_s = device.lived()
    assert [*starts, start] == [CLEAN, KEPT, KEPT, LEAVES_NO_SESSION, KEPT]
    assert device.knows_duplicate()
    assert TAKEN_OVER_PAUSE_S[0] <= pause_s <= TAKEN_OVER_PAUSE_S[1]


def test_without_that_session_there_is_no_takeover(device: Device) -> None:
    """The broker or the network ends the connections: no long pause, and features of the broker are searched."""
    for _ in range(SHORT_CONNECTIONS + 1):
        device.lived(finds_session=False)
    start, pause_s = device.lived(finds_session=False)
    assert start == KEPT
    assert not device.knows_duplicate()
    assert pause_s == DELAY_S
    assert device.policy.must_search
    device.policy.found(FULL)
    pauses = [device.lived()[1] for _ in range(2 * SHORT_CONNECTIONS)]
    assert set(pauses) == {DELAY_S}
    assert not device.knows_duplicate()


def test_a_connection_that_is_not_answered_does_not_clear_the_suspicion(device: Device) -> None:
    """RabbitMQ may hang up before it answers while two devices fight for one name."""
    for _ in range(SHORT_CONNECTIONS):
        device.lived()
        device.unanswered()
    assert not device.policy.start().keep_session


def test_nobody_found_once_is_suspected_again_later(device: Device) -> None:
    """The other device may have been away, or have begun clean itself, at that moment."""
    for _ in range(SHORT_CONNECTIONS + PROOF_CONNECTIONS):
        device.lived(finds_session=False)
    assert device.policy.start().keep_session
    device.now_s += NO_TAKEOVER_FOR_S
    for _ in range(SHORT_CONNECTIONS + PROOF_CONNECTIONS):
        device.lived()
    assert device.knows_duplicate()


def test_while_a_takeover_is_known_one_short_life_is_enough(device: Device) -> None:
    """It ends, and is forgotten DUPLICATE_NAMED_FOR_S later."""
    _, pause_s = device.lived(hung_up=False, end=BrokerTakenOver("another client"))
    assert pause_s >= TAKEN_OVER_PAUSE_S[0]
    assert device.knows_duplicate()
    assert device.lived()[1] >= TAKEN_OVER_PAUSE_S[0]
    assert device.lived(SHORT_CONNECTION_S)[1] == DELAY_S
    device.now_s += DUPLICATE_NAMED_FOR_S
    assert not device.knows_duplicate()
    assert device.lived()[1] == DELAY_S


def test_long_lives_and_a_broker_that_is_away_clear_the_suspicion(device: Device) -> None:
    """Short connections count only in a row."""
    for clear in (lambda: device.lived(SHORT_CONNECTION_S), device.unreachable, device.policy.found_poison):
        for _ in range(SHORT_CONNECTIONS - 1):
            device.lived()
        clear()
        assert device.policy.start().keep_session
        device.lived()
        assert device.policy.start().keep_session
        device.unreachable()


def test_an_end_with_a_reason_is_no_short_life(device: Device) -> None:
    """A broker that shuts down, or a keep-alive that ran out, gives its reason."""
    for _ in range(2 * SHORT_CONNECTIONS):
        assert device.lived(hung_up=False)[0].keep_session


@pytest.mark.parametrize("fails", [Device.refused, Device.unanswered])
def test_after_some_failures_a_clean_start_is_tried(device: Device, fails: Callable[[Device], Start]) -> None:
    """The broker may have lost the session with one of its nodes."""
    device.lived(SHORT_CONNECTION_S)
    starts = [fails(device) for _ in range(2 * SHORT_CONNECTIONS + 1)]
    assert [start.clean for start in starts] == [False, False, False, True, False, False, True]


def test_a_demand_of_the_broker_applies_to_the_next_connection(device: Device) -> None:
    """It applies until the broker could not be reached."""
    device.refused(V3)
    assert device.start() == Start(V3, clean=True, keep_session=True)
    device.lived(SHORT_CONNECTION_S)
    assert device.policy.start().terms == V3
    device.unreachable()
    assert device.policy.start().terms == FULL


@pytest.mark.parametrize("late", [
    lambda device: device.unreachable(BrokerBusy("timed out")),      # TCP or TLS
    lambda device: device.unanswered(hung_up=False),                 # CONNECT
])
def test_a_late_broker_gets_more_time(device: Device, late: Callable[[Device], object]) -> None:
    """In a crowd, whoever gives up joins the end of the queue again. A minute is the most, and success resets it."""
    bounds = []
    for _ in range(4):
        bounds.append(device.policy.start().within_s)
        late(device)
    assert bounds == [CONNECT_TIMEOUT_S, 60, 60, 60]
    device.lived()
    assert device.policy.start().within_s == CONNECT_TIMEOUT_S
    late(device)
    device.unreachable()
    assert device.policy.start().within_s == CONNECT_TIMEOUT_S


def test_pauses_grow_only_for_a_busy_broker(device: Device) -> None:
    """Of 2,000 devices each, the longest pause comes near a minute, and the pauses spread over it from zero."""
    longest = []
    for failures in (1, 4, 8, 12):
        pauses = []
        for _ in range(2000):
            one = Device()
            for _ in range(failures):
                pause_s = one.unreachable(BrokerBusy("hung up"))
            pauses.append(pause_s)
        longest.append(max(pauses))
        assert min(pauses) < longest[-1] / 50
        assert 0.4 < statistics.fmean(pauses) / longest[-1] < 0.6
    assert [round(one / full, 1) for one, full in zip(longest, (0.5, 4, 60, 60), strict=True)] == [1] * 4
    for _ in range(12):
        device.unreachable(BrokerBusy("hung up"))
    assert device.unreachable() == DELAY_S
    assert device.unreachable(BrokerBusy("hung up")) <= 0.5
    device.lived()
    assert device.unreachable(BrokerBusy("hung up")) <= 0.5


def test_the_connections_of_a_search_wait_like_all_others(device: Device) -> None:
    """Until one succeeds. A crowd that searches would otherwise come back at once, ten times each."""
    for _ in range(9):
        device.policy.busy_pause_s(BrokerBusy("hung up"))
    assert max(device.policy.busy_pause_s(BrokerBusy("hung up")) for _ in range(50)) > 4
    assert device.policy.busy_pause_s(None) == 0
    assert device.policy.busy_pause_s(BrokerBusy("hung up")) <= 0.5
    assert device.policy.busy_pause_s(BrokerAway("after its answer")) == 0


def test_what_is_known_of_tls_is_kept_until_the_broker_may_be_another(device: Device) -> None:
    """Each device of a crowd would otherwise come twice."""
    def hung_up() -> None:
        device.policy.ended(Connection(answered=False, expects_tls=device.policy.start().expects_tls or False))
    for clear in (device.unreachable, device.lived):
        assert device.policy.start().expects_tls is None
        hung_up()
        hung_up()
        assert device.policy.start().expects_tls is False
        clear()
    assert device.policy.start().expects_tls is None


def test_a_broker_that_does_not_answer_is_searched_less_and_less_often(device: Device) -> None:
    """Otherwise a proxy whose broker is away would be searched for ever."""
    counts = []
    for found in (None, FULL, None):
        count = 0
        while not device.policy.must_search:
            device.unanswered()
            count += 1
        device.policy.found(found)
        counts.append(count)
    assert counts == [SEARCH_AFTER, 2 * SEARCH_AFTER, 4 * SEARCH_AFTER]
    for _ in range(4 * SEARCH_AFTER):
        device.refused()
    assert not device.policy.must_search
