"""The verdicts: what a shadow and a trial must show, and what is no evidence."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vedette.store.release import ShadowRequirement, TrialRequirement
from vedette.types import Box, Detection
from vedette.update.verdicts import LEAST_ERRORS, SIGHTINGS, SPELL_S, ShadowTally, TrialTally

PERSON = Detection("person", 0, 0.8, Box(0.1, 0.1, 0.3, 0.5))
SHADOW = ShadowRequirement(frames=20, minutes=1, deadline_minutes=5)
TRIAL = TrialRequirement(frames=50, minutes=1)
QUICK = TrialRequirement(frames=5, minutes=0.01)


def person(score: float = 0.8, xmin: float = 0.1, label: str = "person") -> Detection:
    return Detection(label, 0, score, Box(xmin, 0.1, xmin + 0.2, 0.5))


def shadow(*frames: tuple[list[Detection], list[Detection]], requirement: ShadowRequirement = SHADOW,
           ratio: float = 1.0) -> ShadowTally:
    tally = ShadowTally(requirement)
    for active, candidate in frames:
        tally.add(active, candidate, 20.0, 20.0 * ratio)
    return tally


# shadow

def test_a_candidate_that_agrees_is_accepted() -> None:
    """A candidate is accepted only after the required frames and minutes."""
    tally = shadow(*[([PERSON], [person(0.75)])] * 20)
    assert tally.verdict(0.9).ruling == "undecided"
    assert tally.verdict(1.0).ruling == "accepted"
    assert shadow(*[([PERSON], [PERSON])] * 19).verdict(4.9).ruling == "undecided"


@pytest.mark.parametrize(("candidate", "ratio", "words"), [
    ([], 1.0, "agreement 0.00"), ([person(xmin=0.7)], 1.0, "agreement 0.00"), ([person(label="cat")], 1.0, "agreement"),
    ([person(0.5)], 1.0, "scores shifted by -0.30"), ([PERSON], 2.1, "takes 2.10 times as long")])
def test_a_candidate_that_differs_is_refused(candidate: list[Detection], ratio: float, words: str) -> None:
    """A candidate that detects nothing, elsewhere, something else, with lower scores or too slowly is refused."""
    verdict = shadow(*[([PERSON], candidate)] * 20, ratio=ratio).verdict(1)
    assert verdict.ruling == "refused"
    assert words in verdict.message
    assert verdict.code == {"takes": "slow"}.get(words.split(maxsplit=1)[0], "agreement")


@pytest.mark.parametrize(("agreeing", "ruling"), [(10, "accepted"), (9, "refused")])
def test_agreement_of_exactly_what_is_required_is_enough(agreeing: int, ruling: str) -> None:
    """F1 is 0.5 where half of the frames agree."""
    frames = [([PERSON], [PERSON])] * agreeing + [([PERSON], [person(xmin=0.7)])] * (20 - agreeing)
    assert shadow(*frames).verdict(1).ruling == ruling


def test_an_empty_street_refuses_nobody() -> None:
    """If neither model detects anything they agree, and the message says that nothing was detected."""
    verdict = shadow(*[([], [])] * 20).verdict(1)
    assert (verdict.ruling, "neither model detected anything" in verdict.message) == ("accepted", True)


@pytest.mark.parametrize(("on_deadline", "ruling"), [("accept", "accepted"), ("refuse", "refused")])
def test_the_deadline_ends_it_as_configured(on_deadline: str, ruling: str) -> None:
    """At the deadline with too few frames, the configured outcome applies."""
    requirement = SHADOW.model_copy(update={"on_deadline": on_deadline})
    assert shadow(requirement=requirement).verdict(5).ruling == ruling
    few = shadow(*[([PERSON], [])] * 9, requirement=requirement)
    assert few.verdict(4.99).ruling == "undecided"
    assert few.verdict(5).ruling == ruling
    assert "only 9 of 20 frames" in few.verdict(5).message
    assert few.verdict(5).code == "no_evidence"


def test_the_deadline_waits_while_frames_are_rare() -> None:
    """Minutes at a governed rate do not count for the deadline, but count as minutes in shadow."""
    few = shadow(*[([PERSON], [PERSON])] * 9)
    assert few.verdict(5).ruling == "refused"
    assert few.verdict(60, held_minutes=55.1).ruling == "undecided"
    assert few.verdict(60, held_minutes=55).ruling == "refused"
    assert shadow(*[([PERSON], [PERSON])] * 20).verdict(60, held_minutes=60).ruling == "accepted"


def test_evidence_counts_at_the_deadline_too() -> None:
    """At the deadline ten frames of disagreement refuse a candidate."""
    requirement = SHADOW.model_copy(update={"on_deadline": "accept"})
    assert shadow(*[([PERSON], [])] * 10, requirement=requirement).verdict(5).ruling == "refused"


@given(st.lists(st.tuples(st.lists(st.floats(0, 1), max_size=3), st.lists(st.floats(0, 1), max_size=3)), max_size=60),
       st.floats(0, 20), st.sampled_from(["accept", "refuse"]), st.randoms())
def test_laws_of_the_shadow(frames: list[tuple[list[float], list[float]]], minutes: float, on_deadline: str,
                            dice: random.Random) -> None:
    """Decided exactly when the evidence or the deadline is there; the order of frames is of no matter."""
    requirement = SHADOW.model_copy(update={"on_deadline": on_deadline})
    seen = [([person(score, 0.3 * place) for place, score in enumerate(active)],
             [person(score, 0.3 * place) for place, score in enumerate(candidate)]) for active, candidate in frames]
    tally = shadow(*seen, requirement=requirement)
    ruling = tally.verdict(minutes).ruling
    due = (len(seen) >= 20 and minutes >= 1) or minutes >= 5
    assert (ruling in {"accepted", "refused"}) == due
    assert 0 <= tally.figures.agreement <= 1
    dice.shuffle(seen)
    again = shadow(*seen, requirement=requirement).figures
    assert again.agreement == pytest.approx(tally.figures.agreement)
    assert again.score_shift == pytest.approx(tally.figures.score_shift)


@given(st.lists(st.floats(0.05, 1), min_size=1, max_size=4))
def test_a_model_agrees_with_itself(scores: list[float]) -> None:
    """A model compared with itself agrees fully, whatever it detects."""
    seen = [person(score, 0.24 * place) for place, score in enumerate(scores)]
    verdict = shadow(*[(seen, seen)] * 20).verdict(1)
    assert verdict.ruling == "accepted"
    assert "agreement 1.00" in verdict.message


def test_the_shadows_memory_is_bounded() -> None:
    """Memory stays bounded over a long shadow."""
    tally = shadow(*[([PERSON], [PERSON])] * 5000)
    assert tally.figures.frames == 5000
    assert len(tally._active_ms) == len(tally._candidate_ms) == 1000


# trial

def trial(requirement: TrialRequirement = TRIAL, *, has_previous: bool = True, **before: Any) -> TrialTally:
    return TrialTally(requirement, has_previous=has_previous, **before)


def live(tally: TrialTally, seconds: float, *, ms: float = 20.0, previous_ms: float = 20.0, throttled: bool = False,
         previous: tuple[Detection, ...] = (PERSON,),
         active: tuple[Detection, ...] = (PERSON,)) -> TrialTally:
    """Ten frames a second, one of them compared."""
    for _ in range(round(seconds)):
        for _ in range(10):
            tally.detected(throttled=throttled)
        tally.compared(previous, active, previous_ms=previous_ms, active_ms=ms)
        tally.elapsed(1.0, throttled=throttled)
    return tally


def test_a_sound_model_is_good_in_its_time() -> None:
    """A trial is good only with enough frames, minutes and comparisons."""
    tally = live(trial(), 59)
    assert tally.verdict().ruling == "undecided"
    assert live(tally, 1).verdict().ruling == "good"


def test_an_earlier_start_counts() -> None:
    """What was there before a restart is not asked for again, but sight is."""
    tally = trial(frames=500, seconds=60.0)
    assert "0 of 10 frames in which the previous model detected" in tally.verdict().message
    assert live(tally, 10).verdict().ruling == "good"


def test_dusk_fails_no_good_model() -> None:
    """Neither model sees anything: that is no evidence, the trial goes on until there is some."""
    tally = live(trial(), 600, previous=(), active=())
    assert tally.verdict().ruling == "undecided"
    assert tally.verdict().message == "on trial: 0 of 10 frames in which the previous model detected something"
    assert live(tally, 10).verdict().ruling == "good"


def test_without_a_previous_model_sight_is_not_asked_for() -> None:
    """Without a previous model blindness is not checked."""
    assert live(trial(has_previous=False), 60, previous=(), active=()).verdict().ruling == "good"


def test_a_blind_model_is_bad_after_ten_frames() -> None:
    """From its first frame, and after a long time of seeing well."""
    assert live(trial(), SIGHTINGS - 1, active=()).verdict().ruling == "undecided"
    assert "blind: detected something in 0 of the last 10" in live(trial(), SIGHTINGS, active=()).verdict().message
    assert live(trial(), SIGHTINGS, active=()).verdict().code == "blind"
    long_sighted = live(trial(TRIAL.model_copy(update={"minutes": 60})), 600)
    assert live(long_sighted, SIGHTINGS, active=()).verdict().ruling == "bad"


@pytest.mark.parametrize(("seen", "bad"), [(2, True), (3, False)])
def test_the_share_that_counts_as_blind(seen: int, bad: bool) -> None:
    """A fifth of the frames is blind, more is not."""
    tally = live(live(trial(), seen), SIGHTINGS - seen, active=())
    assert (tally.verdict().ruling == "bad") == bad


def test_frames_that_fail_end_the_trial() -> None:
    """All of them at once; a few of many only when the share is too large."""
    tally = trial()
    for count in range(1, LEAST_ERRORS + 1):
        tally.failed()
        assert (tally.verdict().ruling == "bad") == (count == LEAST_ERRORS)
    assert "detection failed in 100% of the frames" in tally.verdict().message
    assert tally.verdict().code == "errors"


def test_few_errors_are_judged_at_the_end() -> None:
    """One of 100 is within the 2 percent, three are not."""
    for errors, ruling in ((1, "good"), (3, "bad")):
        tally = live(trial(TRIAL.model_copy(update={"minutes": 10 / 60})), 9)
        for _ in range(errors):
            tally.failed()
        assert tally.verdict().ruling == "undecided"
        assert live(tally, 1).verdict().ruling == ruling


def test_a_model_that_becomes_slow_is_bad_within_a_minute() -> None:
    """In two spells in a row, the first of which it may have begun well."""
    tally = live(trial(TRIAL.model_copy(update={"minutes": 60})), 119)
    seconds = 0
    while tally.verdict().ruling == "undecided":
        live(tally, 1, ms=41.0)
        seconds += 1
        assert seconds <= 3 * SPELL_S
    assert "slow: 41.0 ms for a frame, expected at most 40.0" in tally.verdict().message
    assert tally.verdict().code == "slow"
    assert seconds >= SPELL_S


def test_a_hiccup_is_no_slow_model() -> None:
    """Slow for one spell, as while packages are upgraded, then as before."""
    tally = live(trial(), 20)
    assert live(tally, SPELL_S, ms=90.0).verdict().ruling == "undecided"
    assert live(tally, 2 * SPELL_S).verdict().ruling == "good"


def test_a_short_trial_waits_to_see_whether_it_stays_slow() -> None:
    """A slow model is not good only because its trial was shorter than it takes to say so."""
    tally = live(trial(QUICK), 12, ms=90.0)
    assert tally.verdict().message == "on trial: whether it stays slower than 40.0 ms a frame"
    assert live(tally, 2 * SPELL_S, ms=90.0).verdict().ruling == "bad"


def test_throttled_minutes_are_no_evidence() -> None:
    """Frames of a throttled board count neither for the model nor against it."""
    tally = live(trial(), 600, ms=90.0, throttled=True)
    assert (tally.frames, tally.seconds) == (0, 0.0)
    assert tally.verdict().ruling == "undecided"
    assert live(tally, 60).verdict().ruling == "good"


def test_a_governed_rate_says_nothing_of_times() -> None:
    """Its frames and minutes count; slow ones are no fault, nor is it waited whether they stay so; errors are."""
    def governed(tally: TrialTally, seconds: int) -> TrialTally:
        for _ in range(seconds):
            tally.detected()
            tally.compared((PERSON,), (PERSON,), previous_ms=20.0, active_ms=90.0)
            tally.elapsed(1.0, governed=True)
        return tally
    assert governed(trial(), 300).verdict().ruling == "good"
    half_slow = live(trial(), SPELL_S + 10, ms=90.0)
    assert governed(half_slow, 300).verdict().ruling == "good"
    assert governed(live(trial(), 3 * SPELL_S, ms=90.0), 300).verdict().ruling == "bad"
    failing = governed(trial(), 300)
    for _ in range(100):
        failing.failed()
    assert failing.verdict().ruling == "bad"


def test_a_busy_device_makes_no_model_slow() -> None:
    """Another program slows both models for an hour: the new one is no slower than the previous one."""
    tally = live(trial(), 10)
    assert live(tally, 3600, ms=90.0, previous_ms=80.0).verdict().ruling == "good"


def test_a_model_is_slow_beside_a_previous_one_that_was_once_slow_itself() -> None:
    """What the previous model took in an earlier, busy spell excuses nothing now."""
    tally = live(trial(TRIAL.model_copy(update={"minutes": 60})), 100, ms=90.0, previous_ms=80.0)
    assert live(tally, 3 * SPELL_S, ms=90.0).verdict().ruling == "bad"
    assert not tally.verdict().lasting, "a higher release is tried again"


def test_without_comparisons_no_latency_is_judged() -> None:
    """A previous model that cannot run beside the new one has no time."""
    tally = trial(has_previous=False)
    for _ in range(60):
        for _ in range(10):
            tally.detected()
        tally.elapsed(1.0)
    assert tally.verdict().ruling == "good"


@given(st.lists(st.sampled_from(["looked", "slow", "failed", "both", "blind", "dusk", "second", "hot"]), max_size=400),
       st.integers(0, 2**32))
def test_laws_of_the_trial(events: list[str], seed: int) -> None:
    """Good only with all evidence; evidence never shrinks; sight is judged by the frames with something in them."""
    dice, tally = random.Random(seed), trial(QUICK)
    for event in events:
        frames, seconds = tally.frames, tally.seconds
        match event:
            case "looked" | "slow":
                tally.detected(throttled=dice.random() < 0.1)
                if event == "slow":
                    tally.compared([], [], previous_ms=20.0, active_ms=90.0)
            case "failed":
                tally.failed()
            case "both" | "blind":
                tally.compared([PERSON], [PERSON] if event == "both" else [], previous_ms=20.0, active_ms=20.0)
            case "dusk":
                tally.compared([], [PERSON] if dice.random() < 0.1 else [], previous_ms=20.0, active_ms=20.0)
            case "second" | "hot":
                tally.elapsed(1.0, throttled=event == "hot")
        assert (tally.frames, tally.seconds) >= (frames, seconds)
        verdict = tally.verdict()
        if verdict.ruling == "good":
            assert tally.frames >= 5
            assert tally.seconds >= 0.6
            assert events.count("both") + events.count("blind") >= SIGHTINGS
            assert events.count("both") > 0
        if verdict.ruling == "bad":
            assert {"failed", "slow", "blind"} & set(events)
