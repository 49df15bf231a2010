"""Leads a rollout: listens to the devices, decides, signs and publishes, until the rollout is over.

Invariants:
- A decision that changes anything is made twice: the second time with all that the broker keeps, asked for anew. The
  broker drops messages for a slow reader, so what was heard may lack some.
- A broken connection, and a time in which this process did not run, end all that is known: everything is asked for
  again, and who is silent is found out again.
- What cannot be signed or published now is tried again until it can; a stop comes before anything else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from vedette._lib.backoff import backoff
from vedette._lib.clock import pause
from vedette.errors import BrokerAway, BrokerError, FleetBusy, FleetError, ModelDamaged, StateUnusable
from vedette.fleet.gathering import Gathering
from vedette.fleet.outcomes import Tally
from vedette.fleet.ranges import shared
from vedette.fleet.roll_desk import RollDesk, approve
from vedette.fleet.roll_view import RollView, named
from vedette.fleet.rollout import OVER, Decision, Phase, Step, decide, next_step
from vedette.fleet.rolls import log_line, write_log
from vedette.fleet.roster import DEVICES_MAX, Roster, Row, devices
from vedette.store.release import BUCKETS

if TYPE_CHECKING:
    from vedette.fleet.rolls import RollRecord
    from vedette.mqtt.listener import Listener

TICK_MAX_S: Final = 5.0
GATHERED_WITHIN_S: Final = 120.0
GATHERED_AGAIN_S: Final = 300.0
ASLEEP_S: Final = 30.0
"""After such a pause the machine was asleep or the process stopped, and messages may be missing."""
TRIED_AGAIN_S: Final = 15.0
"""After so long, what could not be signed or published is tried again."""
_UNPUBLISHED: Final = datetime(2026, 11, 1, tzinfo=UTC)


class Audience(Protocol):
    """Who is told what happens, and may say yes."""

    def said(self, words: str) -> None:
        """Take a decision or an event, for the log."""

    def counted(self, record: RollRecord, tally: Tally, words: str) -> None:
        """Take the newest counts, at most once in a tick."""

    def says_yes(self) -> bool:
        """Return whether somebody has just typed a yes."""


@dataclass(frozen=True)
class Ears:
    """How to listen to the broker: `connect` raises BrokerError, `parsed` reads a payload.

    `tick_s`: how often the devices are judged.
    """

    connect: Callable[[], AbstractContextManager[Listener]]
    parsed: Callable[[bytes], Any]
    tick_s: float = TICK_MAX_S


class Roller:
    """Leads the rollout of a desk. `view`: its devices."""

    def __init__(self, desk: RollDesk, view: RollView, ears: Ears, audience: Audience) -> None:
        self._desk = desk
        self._view = view
        self._ears = ears
        self._audience = audience
        self._plan = desk.record.order.plan
        self._tick_s = ears.tick_s
        self._stop: str | None = desk.record.state.words if desk.record.state.phase == "stopping" else None
        """Why it must stop, until the stop is signed."""
        self._complaints: dict[str, str] = {}
        self._not_before_s = 0.0
        self._tally = Tally(0, 0, 0, {}, 0, 0)
        self._is_again = True
        """Whether what is signed is to be published, although it was before: its publication may have been cut."""

    def run(self) -> Phase:
        """Lead it to its end; returns how it ended."""
        pauses = backoff(1, 30)
        while not self._acted():
            try:
                with self._ears.connect() as connection:
                    self._listen(connection)
                    pauses = backoff(1, 30)
            except BrokerError as error:
                self._complain("broker", f"{error}; no step goes on until the devices are heard again")
                self._rest(next(pauses))
            finally:
                self._view.end()
        self._audience.counted(self._desk.record, self._tally, self._desk.record.state.words)
        return self._desk.record.state.phase

    def _listen(self, connection: Listener) -> None:
        """Follow the devices; returns when the rollout is over, or when messages may be missing."""
        gathering, roster = gathered(connection, self._ears.parsed, self._view.devices)
        gathered_s = last_s = self._now_s()
        self._view.begin(_rows(roster), last_s)
        self._complain("broker", "")
        while not self._acted():
            gathering.listen(self._tick_s)
            now_s = self._now_s()
            if now_s - last_s > ASLEEP_S:
                self._say(f"nothing was heard for {now_s - last_s:.0f} s; everything is asked for again")
                return
            self._view.update(_rows(roster), now_s)
            if self._is_news(self._decided()) or now_s - gathered_s > GATHERED_AGAIN_S:
                gathering, roster = gathered(connection, self._ears.parsed, self._view.devices)
                gathered_s = now_s = self._now_s()
                self._view.update(_rows(roster), now_s)
                if self._is_news(decision := self._decided()):
                    self._carry_out(decision)
            last_s = now_s

    def _decided(self) -> Decision:
        state, now_s, published_s = self._desk.record.state, self._now_s(), self._desk.published_s
        tally = self._view.tally(state.end, published_s, now_s)
        begin = state.published_at or _UNPUBLISHED
        since_s = self._view.listening_s
        decision = decide(state, self._plan, tally, begin + timedelta(seconds=now_s - published_s),
                          listening_since=None if since_s is None else begin + timedelta(seconds=since_s - published_s))
        self._tally = tally
        self._audience.counted(self._desk.record, tally, decision.words)
        return decision

    def _is_news(self, decision: Decision) -> bool:
        """Return whether the decision changes anything, and may be carried out now."""
        is_asked = decision.verdict == "ask" and self._desk.record.state.phase == "asking"
        may_act = self._stop is None and self._now_s() >= self._not_before_s
        return decision.verdict != "wait" and not is_asked and may_act

    def _carry_out(self, decision: Decision) -> None:
        if decision.verdict == "stop":
            self._say(f"stops: {decision.words}")
            self._stop = decision.words
        else:
            self._tried(partial(self._go_on, decision))

    def _go_on(self, decision: Decision) -> None:
        desk, state = self._desk, self._desk.record.state
        unfit = self._view.unfit(state.end, BUCKETS, self._now_s())
        step = next_step(state.model_copy(update={"accepted": decision.accepted}), self._plan, self._view.buckets,
                         self._tally.expected, self._view.fit(unfit))
        if decision.verdict == "done" or step is None:
            desk.settle(phase="done", accepted=decision.accepted, words=decision.words)
            self._say(f"done: {decision.words}")
        elif decision.verdict == "ask":
            if state.phase != "asking":
                desk.settle(phase="asking", words=decision.words)
                self._say(f"waits for a yes to buckets 0-{step.end - 1}: {decision.words}. Type yes, or run: "
                          f"vedette fleet approve {desk.fleet} {state.release}")
        else:
            left_out = self._view.among(unfit, step.end)
            desk.widen(step, left_out, accepted=decision.accepted)
            self._view.leave_out(left_out)
            self._say(f"goes on: {decision.words}; {described_step(step, left_out, accepted=decision.accepted)}")

    def _acted(self) -> bool:
        """Do what is due, with or without the devices; returns whether the rollout is over."""
        if self._now_s() >= self._not_before_s:
            self._tried(self._do_what_is_due)
        return self._desk.record.is_over

    def _do_what_is_due(self) -> None:
        desk = self._desk
        says_yes = self._audience.says_yes()        # what was typed before the question is no answer to it
        if (by_hand := desk.refresh() or self._overtaken()) is not None:
            desk.settle(phase="ended", words=by_hand)
            self._say(f"ends: {by_hand}. Nothing was changed")
            return
        if desk.record.state.phase == "asking" and says_yes and not desk.record.state.approved:
            approve(desk.fleet, desk.record.number)
            desk.refresh()
            self._say("a yes was typed")
        if self._stop is not None and desk.record.state.phase != "stopped":
            desk.stop(self._stop)
            self._say(desk.stop_words)
        if desk.record.state.published_at is None or self._is_again:
            desk.publish()
            self._is_again = False
            self._say(f"published to {desk.record.order.destination}")

    def _overtaken(self) -> str | None:
        """Return which higher release takes devices of this one, in words."""
        record = self._desk.record
        releases = [target.release for target in self._desk.targets]
        own = next((release for release in releases if release.release == record.number), None)
        if own is None or record.state.phase in OVER or self._stop is not None:
            return None
        for other in releases:
            are_nested = set(own.tags) <= set(other.tags) or set(other.tags) <= set(own.tags)
            if other.release > own.release and are_nested and (where := shared(own, other)) is not None:
                return f"release {other.release} is higher and takes {where}"
        return None

    def _tried(self, action: Callable[[], None]) -> None:
        """Do it, or say why it cannot be done now."""
        try:
            action()
            self._complain("desk", "")
        except FleetBusy:
            self._not_before_s = self._now_s() + self._tick_s
        except (FleetError, StateUnusable, ModelDamaged) as error:
            self._complain("desk", f"{error}; it is tried again")
            self._not_before_s = self._now_s() + TRIED_AGAIN_S

    def _rest(self, seconds: float) -> None:
        """Wait for another connection. What is due without the devices is done."""
        end_s = self._now_s() + seconds
        while self._now_s() < end_s and not self._acted():
            self._decided()
            pause(min(self._tick_s, 1.0))

    def _complain(self, about: str, words: str) -> None:
        """Say what keeps it from its work, once. '': nothing does any more."""
        if words and words != self._complaints.get(about):
            self._say(words)
        self._complaints[about] = words

    def _say(self, words: str) -> None:
        desk = self._desk
        line = log_line(desk.record.number, desk.utc_now(), words)
        try:
            write_log(desk.fleet, desk.record.number, line)
        except StateUnusable as error:      # a full disk must not keep it from stopping
            line = f"{line} ({error}: this line is not in the log)"
        self._audience.said(line)

    def _now_s(self) -> float:
        return self._desk.clock.now_s()


def gathered(connection: Listener, parsed: Callable[[bytes], Any],
             only: Iterable[str] | None = None) -> tuple[Gathering, Roster]:
    """Return all that the broker keeps, and what hears more. `only`: of these devices.

    Raises: BrokerError, also if it is not all.
    """
    roster = Roster(only)
    gathering = Gathering(connection, roster, parsed)
    if not gathering.finish(GATHERED_WITHIN_S):
        raise BrokerAway(f"the broker has not sent everything within {GATHERED_WITHIN_S:.0f} s")
    if connection.refused_filters:
        raise BrokerAway(f"the broker refuses the subscription to {', '.join(connection.refused_filters)}")
    if roster.is_full:
        raise BrokerAway(f"there may be more devices than {DEVICES_MAX}: some are not heard")
    return gathering, roster


def described_step(step: Step, left_out: Mapping[str, str], *, accepted: bool) -> str:
    """Return how far a step reaches, in words."""
    passed = f" (nobody to watch up to bucket {', '.join(str(end - 1) for end in step.empty)})" if step.empty else ""
    unfit = f"; not expected: {named(left_out)}" if left_out else ""
    limit = "" if accepted else ", at most doubled until the halt test accepts it"
    return (f"buckets 0-{step.end - 1} ({step.end / BUCKETS:.2%}) with {devices(step.reached)}{limit}"
            f"{passed}{unfit}")


def _rows(roster: Roster) -> dict[str, Row]:
    return {row.device: row for row in roster.rows()}
