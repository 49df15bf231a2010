"""The rules of a rollout: how far each step reaches, what lets it go on, and what stops it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from tests.support.present import present
from vedette.fleet.outcomes import Tally
from vedette.fleet.rollout import Decision, Plan, RolloutState, decide, next_step

BEGIN = datetime(2026, 11, 30, 12, tzinfo=UTC)
PLAN = Plan(steps=(100, 1000, 5000, 10_000), soak_s=7200, max_failed=0.03, min_good=20)
STEP = RolloutState(release=7, step=1, end=100, reached=100, published_at=BEGIN)
GOOD = Tally(100, 100, 0, {}, 0, 0)


def decided(tally: Tally, minutes: float = 121, state: RolloutState = STEP, plan: Plan = PLAN,
            listened_minutes: float | None = 30) -> Decision:
    """What is decided so long after the step was published, by somebody who has listened for some of the time."""
    now = BEGIN + timedelta(minutes=minutes)
    since = None if listened_minutes is None else now - timedelta(minutes=listened_minutes)
    return decide(state, plan, tally, now, listening_since=since)


def of(expected: int, *, good: int = 0, failed: int = 0, silent: int = 0) -> Tally:
    return Tally(expected, good, 0, {"blind": failed} if failed else {}, silent, expected - good - failed - silent)


def test_a_good_step_goes_on_after_its_soak() -> None:
    """No report shortens the soak; a step is known to be good only when its end has come."""
    assert decided(GOOD, 119).verdict == "wait"
    assert decided(GOOD, 120).verdict == "go_on"


@pytest.mark.parametrize("tally", [GOOD, of(100), of(100, failed=50), of(100, silent=100), of(0)])
def test_nothing_happens_while_nobody_listens(tally: Tally) -> None:
    """The broker is away: nothing that was heard before counts, and a step lasts for as long as it takes."""
    assert decided(tally, 100_000, listened_minutes=None).verdict == "wait"


def test_a_step_must_have_been_watched() -> None:
    """A lid that was closed for the whole soak: who is silent is known only after some time of listening."""
    assert decided(GOOD, 600, listened_minutes=14).verdict == "wait"
    assert decided(of(100), 2000, listened_minutes=14).verdict == "wait"
    assert decided(GOOD, 600, listened_minutes=15).verdict == "go_on"


def test_nothing_happens_before_the_step_is_published() -> None:
    """But a failure stops it: the publication may have got as far as the devices, or the step before is bad."""
    state = STEP.model_copy(update={"published_at": None})
    assert decided(GOOD, state=state).verdict == decided(of(100, silent=100), state=state).verdict == "wait"
    assert decided(of(100, failed=4), state=state).verdict == "stop"


@pytest.mark.parametrize(("tally", "verdict"), [
    (of(100, good=96, failed=3), "wait"), (of(100, good=97, failed=3), "go_on"), (of(100, good=97), "go_on"),
    (of(100, good=96), "wait"), (of(100, good=96, failed=4), "stop"), (of(200, failed=4), "wait"),
    (of(200, failed=5), "stop"), (of(20, good=20), "go_on"), (of(20, good=19), "wait"),
    (of(20, good=19, failed=1), "stop"), (of(50, good=48, failed=2), "stop"), (of(19, good=19), "go_on"),
    (of(19, good=18), "wait"), (of(100, good=90, failed=1, silent=3), "stop"), (of(0), "wait")])
def test_the_end_of_a_soak(tally: Tally, verdict: str) -> None:
    """It goes on where the share is good; whoever failed or is silent counts against it, and who waits is not good."""
    assert decided(tally).verdict == verdict


@pytest.mark.parametrize(("tally", "verdict"), [
    (of(100, failed=4), "stop"), (of(100, good=96, failed=4), "stop"), (of(100, failed=3), "wait"),
    (of(19, good=18, failed=1), "stop"), (of(19, silent=1), "stop"), (of(50, good=48, failed=2), "wait")])
def test_it_stops_long_before_the_end_of_the_soak(tally: Tally, verdict: str) -> None:
    """As soon as the halt test says so; of fewer devices than the minimum one is enough."""
    assert decided(tally, 16).verdict == verdict


def test_a_failure_counts_at_once_and_a_silence_only_after_its_time() -> None:
    """Who was just connected knows what failed, but not yet who is silent."""
    assert decided(of(100, failed=4), 1, listened_minutes=0).verdict == "stop"
    assert decided(of(100, silent=90), 14, listened_minutes=30).verdict == "wait"
    assert decided(of(100, silent=90), 15, listened_minutes=30).verdict == "stop"


def test_an_accepted_release_stops_at_the_share_itself() -> None:
    """The halt test is over; a fleet of 1,000 may have 30 failures."""
    state = STEP.model_copy(update={"accepted": True, "end": 1000})
    assert decided(of(1000, failed=30), 30, state=state).verdict == "wait"
    assert decided(of(1000, failed=31), 30, state=state).verdict == "stop"


def test_a_release_is_accepted_by_the_reports_alone() -> None:
    """100 good devices are too few. Devices that say nothing accept nothing."""
    assert [decided(of(expected, good=good)).accepted for expected, good in ((100, 100), (119, 116), (119, 119))] == [
        False, True, True]


def test_too_few_reports_stop_it() -> None:
    """Not before the time is over that the operator gave, and not unless somebody listened."""
    assert decided(of(100, good=96), 1439).verdict == "wait"
    decision = decided(of(100, good=96), 1440)
    assert decision.verdict == "stop"
    assert decision.words == ("too few reports after 24.0 h, 97 good devices needed: "
                              "of 100 devices 96 good, 0 on trial, 0 failed, 0 silent, 4 waiting")


def test_a_yes_is_waited_for() -> None:
    """It counts for the step for which it was given; the last step needs none."""
    plan = PLAN.model_copy(update={"approve": True})
    assert decided(GOOD, plan=plan).verdict == "ask"
    assert decided(GOOD, plan=plan, state=STEP.model_copy(update={"approved": True})).verdict == "go_on"
    assert decided(of(100, failed=4), plan=plan, state=STEP.model_copy(update={"approved": True})).verdict == "stop"
    assert decided(GOOD, plan=plan, state=STEP.model_copy(update={"end": 10_000})).verdict == "done"


def ends(buckets: list[int], plan: Plan = PLAN, *, accepted_from: int = 99) -> list[tuple[int, int]]:
    """The end of each step and the devices in it, where every device is watched."""
    state, found = RolloutState(release=7), []
    while (step := next_step(state, plan, buckets, state.reached)) is not None:
        found.append((step.end, step.reached))
        state = state.model_copy(update={"step": state.step + 1, "end": step.end, "reached": step.reached,
                                         "accepted": len(found) >= accepted_from})
    return found


def test_steps_at_most_double_until_the_release_is_accepted() -> None:
    """Then they are as the operator wants them."""
    fleet = list(range(10_000))
    assert ends(fleet, accepted_from=2) == [(100, 100), (200, 200), (1000, 1000), (5000, 5000), (10_000, 10_000)]
    assert [end for end, _ in ends(fleet)] == [100, 200, 400, 800, 1000, 2000, 4000, 5000, 10_000]


def test_a_step_is_a_share_of_the_known_devices() -> None:
    """Chance may put two of 100 devices into the first buckets, or none. The step has one of them all the same."""
    crowded, sparse = [3, 4, *range(200, 298)], list(range(5000, 5100))
    assert [ends(fleet, accepted_from=1)[0][1] for fleet in (crowded, sparse)] == [1, 1]
    assert [reached for _, reached in ends(crowded, accepted_from=1)] == [1, 10, 50, 100]
    assert PLAN.ends([]) == (10_000, 10_000, 10_000, 10_000)


def test_a_small_fleet_begins_with_one_device() -> None:
    """Shares of less than a device are one step of one device; the last step has the unknown devices too."""
    assert ends([120, 4000, 6000]) == [(121, 1), (6000, 2), (10_000, 3)]
    assert ends([4000]) == [(4001, 1), (10_000, 1)]


def test_a_step_in_which_nobody_can_be_watched_is_passed_over() -> None:
    """The next one then has a single device that can."""
    plan = PLAN.model_copy(update={"steps": (1000, 5000, 10_000)})
    fleet = list(range(0, 10_000, 1000))
    step = present(next_step(RolloutState(release=7), plan, fleet, 0, fit=fleet[3:]))
    assert (step.end, step.reached, step.empty) == (3001, 4, (1000,))


def test_devices_of_one_bucket_stay_together() -> None:
    """A step has at least one device more than the one before."""
    assert ends([50, 120, 120, 120]) == [(100, 1), (121, 4), (10_000, 4)]


def test_a_step_adds_no_more_devices_than_were_watched() -> None:
    """Of 100 devices in it only ten were expected to say anything, so the next one adds ten."""
    state = STEP.model_copy(update={"reached": 100})
    assert present(next_step(state, PLAN, list(range(1000)), 10)).reached == 110


@pytest.mark.parametrize("change", [
    {"steps": ()}, {"steps": (0, 100)}, {"steps": (100, 100)}, {"steps": (200, 100)}, {"max_failed": 0},
    {"max_failed": 1}, {"within_s": 7199}, {"silent_after_s": 86_401}, {"silent_after_s": 0}, {"min_good": 0},
    {"soak_s": float("nan")}])
def test_a_plan_that_cannot_be(change: dict[str, object]) -> None:
    """It is refused before anything is signed."""
    with pytest.raises(ValidationError):
        Plan.model_validate({**PLAN.model_dump(), **change})


def test_the_words_name_what_failed() -> None:
    """They have every count, and the code of each failure."""
    tally = replace(of(100, good=80, failed=3), failed={"blind": 2, "slow": 2})
    assert decided(tally, 30).words == (
        "4 of 100 failed or silent: the halt test says more than 3.00% will fail: "
        "of 100 devices 80 good, 0 on trial, 4 failed (blind 2, slow 2), 0 silent, 17 waiting")
