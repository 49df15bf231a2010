"""What happens to models, as pure transitions of the store's state."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.present import present
from vedette.store.probes import DEATHS_MAX, PROBES_KEPT, Probe, begun, ended, forced, probe_of
from vedette.store.release import ShadowRequirement, TrialRequirement
from vedette.store.state import (
    ACTED_KEPT,
    CRASHES_MAX,
    OTHER_ENDS_MAX,
    REFUSED_KEPT,
    Installed,
    Offer,
    Outcome,
    Refused,
    RoleFloor,
    StoreState,
    Trial,
    crash_looped,
    parse_damaged,
)

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


def model(number: int, release: int | None = 1) -> Installed:
    return Installed(sha256=f"{number:064x}", size=number, name=f"model {number}", version=str(number), release=release)


A, B, C = (model(number, number) for number in (1, 2, 3))
GOOD_A = StoreState().activated(A, NOW).marked_good(NOW)
B_ON_TRIAL = GOOD_A.staged(B).activated(B, NOW)

times = st.datetimes(timezones=st.just(UTC))
counts = st.integers(0, 2**53 - 1)
digests = st.integers(0, 2**256 - 1).map(lambda number: f"{number:064x}")
installed = st.builds(Installed, sha256=digests, size=counts, name=st.text(max_size=400), release=st.none() | counts,
                      version=st.none() | st.text(), variant=st.none() | st.text(),
                      shadow=st.none() | st.builds(ShadowRequirement), trial=st.none() | st.builds(TrialRequirement))
states = st.builds(
    StoreState, active=st.none() | installed, previous=st.none() | installed, candidate=st.none() | installed,
    trial=st.none() | st.builds(Trial, since_utc=times, starts=counts, crashes=counts, other_ends=counts,
                                open_boot=st.none() | st.text(), frames=counts, seconds=st.floats(0, 1e9)),
    refused=st.lists(st.builds(Refused, sha256=digests, release=st.none() | counts, why=st.text(), at=times,
                               lasting=st.booleans()),
                     max_size=3).map(tuple),
    held=st.none() | counts, trusted_time=st.none() | times,
    probes=st.lists(st.builds(Probe, sha256=digests, release=st.none() | counts, deaths=counts,
                              open_boot=st.none() | st.text(), forced_by=st.none() | st.text()), max_size=3).map(tuple),
    floors=st.dictionaries(st.sampled_from(["root", "timestamp"]),
                           st.builds(RoleFloor, version=counts, keyids=st.tuples(st.text()))),
    last_outcome=st.none() | st.builds(Outcome, sha256=digests, name=st.text(), version=st.none() | st.text(),
                                       words=st.text(), at=times, ok=st.booleans()),
    latest=st.none() | st.builds(Offer, name=st.text(), version=st.text(), release=counts))


@given(states)
def test_a_written_state_is_read_back(state: StoreState) -> None:
    """parse(serialize(x)) = x, with names from any file."""
    assert StoreState.parse(state.serialize()) == state


@given(states, st.sampled_from(["previous", "candidate", "trial", "refused", "held", "floors", "trusted_time", "format",
                                "last_outcome", "latest", "acted"]), st.sampled_from([7.5, "x", [1], {"a": 1}]))
def test_a_wrong_part_costs_that_part_only(state: StoreState, part: str, wrong: object) -> None:
    """If one part cannot be parsed, the active model and the other parts stay; a wrong trial starts again."""
    state = state.model_copy(update={"active": A, "trial": Trial(since_utc=NOW, starts=2)})
    found = parse_damaged(json.dumps({**json.loads(state.serialize()), part: wrong}).encode())
    assert found is not None
    assert found.active == A
    assert found.trial is not None
    others = set(StoreState.model_fields) - {part}
    assert found.model_dump(include=others) == state.model_dump(include=others)


@pytest.mark.parametrize("content", [b"", b"\0" * 4096, b"{", b"[]", b"null", b"[" * 100_000, b'{"active": 7}', b"{}",
                                     b'{"format": 2}', b"\xff\xfe"])
def test_content_that_names_no_model_is_not_used(content: bytes) -> None:
    """Zero length, garbage, wrong types: the result is None, never an exception."""
    assert parse_damaged(content) is None


def test_a_newer_format_with_unknown_keys_is_read_as_far_as_it_goes() -> None:
    """After a downgrade the active model still runs."""
    newer = {**json.loads(B_ON_TRIAL.serialize()), "format": 2, "wings": 2}
    assert parse_damaged(json.dumps(newer).encode()) == B_ON_TRIAL


def test_a_trial_with_a_time_of_an_older_version_goes_on() -> None:
    """Older versions saved the previous model's time with a trial; the trial is read without it."""
    content = json.loads(B_ON_TRIAL.serialize())
    content["trial"]["previous_ms"] = 3.5
    assert StoreState.parse(json.dumps(content).encode()) == B_ON_TRIAL


def test_install_to_good() -> None:
    """Staged, activated, good: the good model that was active becomes previous."""
    assert (B_ON_TRIAL.active, B_ON_TRIAL.previous, B_ON_TRIAL.candidate) == (B, A, None)
    assert B_ON_TRIAL.trial == Trial(since_utc=NOW)
    good = B_ON_TRIAL.marked_good(LATER)
    assert (good.active, good.previous, good.trial) == (B, A, None)
    assert good.last_outcome == Outcome(sha256=B.sha256, name="model 2", version="2", words="good", at=LATER, ok=True,
                                        release=B.release, code="good")
    assert good.marked_good(NOW) == good


def test_previous_has_always_been_good() -> None:
    """A model that is replaced during its trial is dropped; the good one before it stays as previous."""
    assert B_ON_TRIAL.activated(C, LATER).previous == A
    assert B_ON_TRIAL.rolled_back_by_operator(LATER).previous is None
    assert B_ON_TRIAL.activated(A, LATER).previous is None      # the active model is never its own previous one


def test_a_bad_model_is_rolled_back_and_not_tried_again() -> None:
    """The previous model is active and good; the digest is refused with its reason until an operator forces it."""
    back = B_ON_TRIAL.rolled_back("blind", LATER)
    assert (back.active, back.previous, back.trial) == (A, None, None)
    assert back.refusal_of(B.sha256) == Refused(sha256=B.sha256, release=2, why="blind", at=LATER)
    assert back.last_outcome is not None
    assert (back.last_outcome.words, back.last_outcome.ok) == ("blind", False)
    assert back.activated(B, LATER).refusal_of(B.sha256) is None
    assert back.rolled_back("blind too", LATER).active is None
    assert StoreState().rolled_back("nothing", NOW) == StoreState()


def test_a_candidate_that_is_dropped() -> None:
    """It is refused or only superseded; the active model does not change."""
    state = B_ON_TRIAL.staged(C)
    assert state.dropped_candidate("slow", NOW).refusal_of(C.sha256) is not None
    assert state.dropped_candidate("superseded", NOW, refuse=False).refused == ()
    for dropped in (state.dropped_candidate("slow", NOW), state.dropped_candidate("slow", NOW, refuse=False)):
        assert (dropped.candidate, dropped.active, dropped.trial) == (None, B, state.trial)
    assert GOOD_A.dropped_candidate("none", NOW) == GOOD_A


def test_the_active_model_again_keeps_what_it_is() -> None:
    """A release of the same file under another number starts no second trial and ends none."""
    again = B.model_copy(update={"release": 9})
    for state in (B_ON_TRIAL, B_ON_TRIAL.marked_good(NOW)):
        assert state.activated(again, LATER) == state.model_copy(update={"active": again})


def started(state: StoreState, *boots: str) -> StoreState:
    for boot in boots:
        state = state.started(boot)
    return state


def test_crashes_are_starts_still_open_in_the_same_boot() -> None:
    """Three crashes make a crash loop."""
    for crashes in range(CRASHES_MAX + 1):
        trial = started(B_ON_TRIAL, *["boot"] * (crashes + 1)).trial
        assert trial == Trial(since_utc=NOW, starts=crashes + 1, crashes=crashes, open_boot="boot")
        assert crash_looped(trial) == (crashes >= CRASHES_MAX)


def test_power_cuts_and_clean_stops_are_other_ends() -> None:
    """They have their own, larger limit and never count as crashes."""
    cut = started(B_ON_TRIAL, "one", "two", "three").trial
    assert cut is not None
    assert (cut.crashes, cut.other_ends) == (0, 2)
    state = B_ON_TRIAL
    for ends in range(1, OTHER_ENDS_MAX + 1):
        state = state.started("boot").ended_cleanly().ended_cleanly()
        assert state.trial is not None
        assert (state.trial.crashes, state.trial.other_ends, state.trial.starts) == (0, ends, ends)
        assert crash_looped(state.trial) == (ends >= OTHER_ENDS_MAX)


def test_a_good_model_is_not_counted() -> None:
    """Its starts and stops change nothing, so nothing is written."""
    assert GOOD_A.started("boot") == GOOD_A.ended_cleanly() == GOOD_A.with_evidence(9, 9) == GOOD_A


def test_evidence_lasts() -> None:
    """The totals of a trial survive its starts."""
    state = B_ON_TRIAL.started("one").with_evidence(40, 12.5).started("two")
    assert state.trial is not None
    assert (state.trial.frames, state.trial.seconds) == (40, 12.5)


def test_an_operators_rollback_holds() -> None:
    """The previous model runs. No release up to the replaced one is activated; a higher one ends the hold."""
    state = B_ON_TRIAL.marked_good(NOW).rolled_back_by_operator(LATER)
    assert (state.active, state.previous, state.held) == (A, B, 2)
    assert state.refused == ()
    assert state.activated(model(7, 2), LATER).held == 2
    assert state.activated(model(7, None), LATER).held == 2
    assert state.activated(C, LATER).held is None
    assert state.rolled_back_by_operator(LATER).active == B
    with pytest.raises(ValueError, match="no previous"):
        GOOD_A.rolled_back_by_operator(LATER)


def test_a_rollback_from_a_loose_bundle_holds_against_the_latest_release() -> None:
    """Without the hold, the next poll would bring that release."""
    loose = GOOD_A.activated(model(9, None), NOW).marked_good(NOW)
    assert loose.rolled_back_by_operator(LATER).held == 1
    assert loose.offered(Offer(name="new", version="5", release=5)).rolled_back_by_operator(LATER).held == 5


def test_an_operators_choice_may_hold() -> None:
    """An activation by hand names the release that it holds against."""
    assert GOOD_A.activated(B, NOW, held=8).held == 8


def test_lists_are_bounded() -> None:
    """The oldest refusals and requests are dropped first."""
    state = GOOD_A
    for number in range(REFUSED_KEPT + 5):
        state = state.staged(model(100 + number)).dropped_candidate("slow", NOW).with_done_request(str(number))
    assert len(state.refused) == REFUSED_KEPT
    assert state.refusal_of(f"{104:064x}") is None
    assert state.refusal_of(f"{105:064x}") is not None
    assert state.acted == tuple(map(str, range(REFUSED_KEPT + 5 - ACTED_KEPT, REFUSED_KEPT + 5)))


def probed(state: StoreState, *boots: str, release: int | None = 2) -> StoreState:
    """Begin a probe of B in each of these boots, and let the daemon die in it."""
    for boot in boots:
        state = state.with_probes(begun(state.probes, B.sha256, boot, release))
    return state


def deaths(state: StoreState) -> int:
    return probe_of(state.probes, B.sha256).deaths


def closed(state: StoreState) -> StoreState:
    return state.with_probes(ended(state.probes, B.sha256))


def forced_by(state: StoreState, request_id: str | None) -> StoreState:
    return state.with_probes(forced(state.probes, B.sha256, request_id))


def test_deaths_are_probes_still_open_in_the_same_boot() -> None:
    """A probe that ended, however it ended, and a power cut are none."""
    assert deaths(probed(GOOD_A, *"1111")) == DEATHS_MAX
    assert deaths(probed(GOOD_A, *"1234")) == 0
    state = GOOD_A
    for _ in range(5):
        state = closed(closed(probed(state, "1")))
    assert state == GOOD_A
    assert deaths(probed(closed(probed(GOOD_A, "1", "1")), "1")) == 1


def test_deaths_are_forgotten_by_a_higher_release_or_by_force_once_for_each_request() -> None:
    """A request that a daemon finds again after its death must not begin anew for ever."""
    dead = probed(GOOD_A, *"1111")
    assert deaths(probed(dead, "1")) == DEATHS_MAX + 1
    assert deaths(probed(dead, "1", release=3)) == 0
    again = probed(forced_by(dead, "request"), "1", "1")
    assert deaths(again) == 1
    assert deaths(probed(forced_by(again, "request"), "1")) == 2
    assert deaths(forced_by(again, "another")) == 0
    assert forced_by(dead, None).probes == ()


def test_probes_are_forgotten_once_the_model_is_active_or_refused() -> None:
    """Then its starts on trial are counted, or its refusal stands; the list is bounded."""
    dead = probed(GOOD_A.staged(B), *"111")
    assert dead.activated(B, NOW).probes == ()
    assert dead.refusal_cleared(B.sha256).probes == ()
    assert dead.dropped_candidate("later", NOW, refuse=False).probes == dead.probes
    refused = dead.dropped_candidate("died", NOW, lasting=False)
    assert refused.probes == ()
    assert [refused.refuses(B.sha256, release) for release in (1, 2, 3)] == [True, True, False]
    assert dead.dropped_candidate("slow", NOW).refuses(B.sha256, 3)
    assert not GOOD_A.refuses(B.sha256, 1)
    for number in range(PROBES_KEPT + 5):
        dead = dead.with_probes(begun(dead.probes, f"{100 + number:064x}", "1"))
    assert len(dead.probes) == PROBES_KEPT


def test_trusted_time_never_goes_back() -> None:
    """Later metadata may give an older time; floors are replaced."""
    floors = {"root": RoleFloor(version=3, keyids=("k",))}
    state = StoreState().trusted(floors, LATER).trusted(floors, NOW).trusted(floors, None)
    assert (state.trusted_time, state.floors) == (LATER, floors)


def test_each_end_of_an_update_has_a_code() -> None:
    """A trial, a rollback, a refusal, an activation and an operator's rollback; a withdrawal is no failure."""
    ends = [B_ON_TRIAL.marked_good(LATER), B_ON_TRIAL.rolled_back("blind", LATER, code="blind"),
            GOOD_A.staged(C).dropped_candidate("slow", LATER, code="slow"),
            GOOD_A.staged(C).dropped_candidate("gone", LATER, code="withdrawn", refuse=False),
            GOOD_A.staged(C).postponed_candidate("no memory", LATER), B_ON_TRIAL.rolled_back_by_operator(LATER),
            B_ON_TRIAL.marked_good(NOW).activated(A, LATER, on_trial=False)]
    told = [(present(end.last_outcome).code, present(end.last_outcome).ok, present(end.last_outcome).release)
            for end in map(StoreState.parse, [end.serialize() for end in ends])]
    assert told == [("good", True, B.release), ("blind", False, B.release), ("slow", False, C.release),
                    ("withdrawn", True, C.release), ("not_tried", False, C.release), ("rolled_back", True, B.release),
                    ("activated", True, A.release)]
    assert present(ends[1].refusal_of(B.sha256)).code == "blind"


def test_an_older_state_has_no_codes() -> None:
    """It is read, and its outcome is one of an unknown kind."""
    old = json.loads(B_ON_TRIAL.rolled_back("blind", LATER, code="blind").serialize())
    for part in (old["last_outcome"], old["refused"][0]):
        del part["code"]
    state = StoreState.parse(json.dumps(old).encode())
    assert (present(state.last_outcome).code, state.refused[0].code) == ("unknown", "unknown")
