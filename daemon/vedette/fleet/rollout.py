"""The rules of a rollout: how far the next step reaches, and when it goes on, stops or is done.

Invariants: free of I/O; what devices report can stop a rollout, but it shortens neither the soak nor the time of
watching; while nobody listens, no step goes on and silence counts for nothing; who is neither good nor failed is not
good; until the release is accepted, a step adds at most as many devices as were watched before.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from vedette.fleet.halt_rule import HaltTest
from vedette.fleet.roster import devices
from vedette.store.frozen import Count, FrozenModel, PrintableText
from vedette.store.release import BUCKETS

if TYPE_CHECKING:
    from vedette.fleet.outcomes import Tally

Phase = Literal["rolling", "asking", "stopping", "stopped", "done", "ended"]
"""`asking`: waits for a yes. `stopping`: the stop is not signed yet. `ended`: somebody changed the release by hand."""
Verdict = Literal["wait", "ask", "go_on", "done", "stop"]
OVER: tuple[Phase, ...] = ("stopped", "done", "ended")
Seconds = Annotated[float, Field(ge=0, le=366 * 86400)]
End = Annotated[int, Field(ge=0, le=BUCKETS)]


class Plan(FrozenModel):
    """What the operator wants. `steps`: shares of the known devices, in ten-thousandths, ascending."""

    steps: Annotated[tuple[End, ...], Field(min_length=1, max_length=100)]
    soak_s: Seconds
    max_failed: Annotated[float, Field(gt=0, lt=1)]
    min_good: Annotated[int, Field(ge=1)]
    silent_after_s: Annotated[float, Field(gt=0, le=366 * 86400)] = 900.0
    within_s: Seconds = 86400.0
    approve: bool = False
    on_stop: Literal["withdraw", "narrow"] = "withdraw"

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.steps[0] < 1 or any(one >= other for one, other in zip(self.steps, self.steps[1:], strict=False)):
            raise ValueError("steps: expected shares that grow, each of at least one bucket (0.01 %)")
        if self.within_s < max(self.soak_s, self.silent_after_s):
            raise ValueError("within: expected at least the soak, and at least the time after which a device is silent")
        return self

    def ends(self, buckets: Sequence[int]) -> tuple[int, ...]:
        """Return the first bucket past each step. `buckets`: those of the known devices, ascending."""
        return tuple(_end_of(share, buckets) for share in self.steps)

    @property
    def test(self) -> HaltTest:
        """The test that stops it."""
        return HaltTest(self.max_failed)

    def __str__(self) -> str:
        steps = ", ".join(f"{end / BUCKETS:.2%}" for end in self.steps)
        return (f"steps {steps}; soak {_duration(self.soak_s)}; at most {self.max_failed:.2%} may fail; at least "
                f"{self.min_good} good; silent after {_duration(self.silent_after_s)}; each step within "
                f"{_duration(self.within_s)}; {'a yes before each step; ' if self.approve else ''}on a stop: "
                f"{self.on_stop}")


class RolloutState(FrozenModel):
    """How far a rollout is. `end`: the first bucket past the present step; `passed`: of the last step that passed.

    `published_at` is None until the newest signatures are published. `reached`: known devices in the present step and
    those before it.
    """

    release: Count
    phase: Phase = "rolling"
    step: Count = 0
    end: End = 0
    passed: End = 0
    reached: Count = 0
    published_at: datetime | None = None
    accepted: bool = False
    approved: bool = False
    words: PrintableText = ""
    """Why it is in this phase."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now, and why, in words. `accepted`: the halt test has accepted the release."""

    verdict: Verdict
    words: str
    accepted: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """How far a step reaches: the first bucket past it, and the known devices in it. `empty`: ends passed over."""

    end: int
    reached: int
    empty: tuple[int, ...] = ()


def next_step(state: RolloutState, plan: Plan, buckets: Sequence[int], watched: int,
              fit: Sequence[int] | None = None) -> Step | None:
    """Return the step after the present one; None: the present one is the last.

    `buckets`: those of the known devices, ascending; `fit`: of those that are expected to report, all by default.
    `watched`: how many devices were expected in the steps so far. A step without a new device to watch is passed
    over, but never the last one.
    """
    ends = plan.ends(buckets)
    following = sorted({end for end in ends if end > state.end})
    before = bisect_left(buckets, state.end)
    new = [bucket for bucket in (buckets if fit is None else fit) if bucket >= state.end] or buckets[before:]
    reaching = [end for end in following if new and new[0] < end]
    if not reaching:
        return Step(following[-1], bisect_left(buckets, following[-1]), tuple(following[:-1])) if following else None
    end = reaching[0]
    if not state.accepted and end != ends[0]:
        end = min(end, max(_bound(buckets, before, max(1, watched)), new[0] + 1))
    return Step(end, bisect_left(buckets, end), tuple(following[:following.index(reaching[0])]))


def decide(state: RolloutState, plan: Plan, tally: Tally, now: datetime, *,
           listening_since: datetime | None) -> Decision:
    """Return what to do with the present step.

    `tally`: of the devices expected in the steps so far. Its silent ones were silent for `plan.silent_after_s`.
    `now`, `listening_since`: of one clock that never jumps. None: nobody listens to the devices now.
    """
    if listening_since is None:
        return Decision("wait", "not connected to the broker: what the devices do is not known, so the step lasts")
    published_at = state.published_at or now
    has_watched = now - max(published_at, listening_since) >= timedelta(seconds=plan.silent_after_s)
    silent = tally.silent if has_watched else 0
    failed = sum(tally.failed.values()) + silent
    is_small = tally.expected < plan.min_good
    passed_s = (now - published_at).total_seconds()
    soaked = has_watched and passed_s >= plan.soak_s
    if why := _stop(state, plan, failed, tally.expected, soaked=soaked):
        return Decision("stop", f"{why}: {described(tally)}")
    if state.published_at is None:
        return Decision("wait", f"{described(tally)}; not published yet")
    needed = max(1, tally.expected if is_small else max(plan.min_good, plan.test.least_good(tally.expected)))
    if not soaked:
        left = "until it is known who is silent" if passed_s >= plan.soak_s else \
            f"{_duration(plan.soak_s - passed_s)} of the soak left"
        return Decision("wait", f"{described(tally)}; {left}")
    if tally.good >= needed:
        accepted = state.accepted or plan.test.accepts(failed, tally.good + failed)
        return Decision(_onward(state, plan), f"{tally.good} good, {needed} needed: {described(tally)}", accepted)
    if passed_s >= plan.within_s:
        return Decision("stop", f"too few reports after {_duration(plan.within_s)}, {needed} good devices needed: "
                                f"{described(tally)}")
    return Decision("wait", f"{described(tally)}; {needed} good devices needed")


def described(tally: Tally) -> str:
    """Return the counts in words."""
    codes = ", ".join(f"{code} {count}" for code, count in tally.failed.items())
    return (f"of {devices(tally.expected)} {tally.good} good, {tally.trial} on trial, {sum(tally.failed.values())} "
            f"failed{f' ({codes})' if codes else ''}, {tally.silent} silent, {tally.waiting} waiting")


def _onward(state: RolloutState, plan: Plan) -> Verdict:
    """Return what follows a step that has passed. Nothing may follow where the last step is not for all buckets."""
    if state.end >= BUCKETS:
        return "done"
    return "go_on" if state.approved or not plan.approve else "ask"


def _stop(state: RolloutState, plan: Plan, failed: int, expected: int, *, soaked: bool) -> str | None:
    """Return why it must stop. None: it need not. `failed`: with those that are silent."""
    if failed and expected < plan.min_good:
        return f"one of fewer than {plan.min_good} devices failed"
    if not state.accepted and plan.test.stops(failed, expected):
        return f"{failed} of {expected} failed or silent: the halt test says more than {plan.max_failed:.2%} will fail"
    if (state.accepted or soaked) and plan.test.exceeds(failed, expected):
        return f"{failed} of {expected} failed or silent: more than {plan.max_failed:.2%}"
    return None


def _end_of(share: int, buckets: Sequence[int]) -> int:
    """Return the end of a step: at most that share of the devices is before it, but at least one.

    By bare buckets, chance would put more devices into a step than its share: 118 of 10,000 into 1 %. As far as the
    known devices allow, it is that share of the buckets too, for the sake of unknown devices.
    """
    if share == BUCKETS or not buckets:
        return BUCKETS
    count = max(1, len(buckets) * share // BUCKETS)
    return min(max(share, buckets[count - 1] + 1), _bound(buckets, 0, count))


def _bound(buckets: Sequence[int], before: int, more: int) -> int:
    """Return the end of the buckets that have at most so many more devices, but at least one more."""
    if before + more >= len(buckets):
        return BUCKETS
    end = buckets[before + more]
    return end if end > buckets[before] else end + 1


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
