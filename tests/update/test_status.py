"""What the model message and health say of updates."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest

from tests.support.fakes import FakeDetector
from tests.support.present import present
from vedette.store.state import Installed, Offer, StoreState
from vedette.types import LastUpdate, ModelStatus, UpdateCode
from vedette.update.status import model_status, update_reasons

NOW = datetime(2026, 11, 21, tzinfo=UTC)
FACTS = FakeDetector().facts
RUNS = Installed(sha256=FACTS.model.sha256, size=1, name="street", version="7", release=7)
OTHER = Installed(sha256="cd" * 32, size=1, name="street", version="8", release=8)
GOOD = StoreState().activated(RUNS, NOW, on_trial=False)


def told(state: StoreState, **more: Any) -> ModelStatus:
    return model_status(FACTS, state, **{"pinned": False, "downloaded": None, "compared": None, **more})


@pytest.mark.parametrize(("state", "more", "expected"), [
    (StoreState(), {"pinned": True}, "pinned"),
    (StoreState(), {}, "box"),
    (GOOD, {}, "good"),
    (StoreState().activated(RUNS, NOW), {}, "trial"),
    (GOOD.staged(OTHER), {}, "staged"),
    (GOOD.staged(OTHER), {"compared": 0.25}, "shadow"),
    (GOOD, {"downloaded": 0.5}, "downloading"),
])
def test_states(state: StoreState, more: dict[str, Any], expected: str) -> None:
    """The state of a new model comes before the state of the running one."""
    status = told(state, **more)
    assert status.state == expected
    assert status.in_progress == (expected in ("staged", "shadow", "downloading"))
    assert status.percentage == {"shadow": 25, "downloading": 50}.get(expected)


def test_the_status_names_the_running_model_not_the_wanted_one() -> None:
    """Until the new model is in the pipeline the message names the old one, without the new one's release."""
    status = told(StoreState().activated(OTHER, NOW).offered(Offer(name="street", version="8", release=8)))
    assert (present(status.model).sha256, status.release, status.latest_version) == (RUNS.sha256, None, "8")
    assert (status.state, status.in_progress) == ("staged", True)
    status = told(GOOD)
    assert (present(status.model).version, status.release) == ("7", 7)
    assert model_status(None, GOOD, pinned=False, downloaded=None, compared=None).state == "none"


def test_a_failed_update_is_a_reason_until_it_is_withdrawn_or_another_succeeds() -> None:
    """An operator's own rollback is not a failed update."""
    failed = GOOD.activated(OTHER, NOW).rolled_back("blind", NOW)
    for offered in (None, {OTHER.sha256}):
        assert update_reasons(failed, {}, offered) == {"update_failed": "street 8: blind"}
    assert update_reasons(failed, {}, {RUNS.sha256}) == {}
    better = OTHER.model_copy(update={"sha256": "ef" * 32})
    assert update_reasons(failed.activated(better, NOW).marked_good(NOW), {}, None) == {}
    assert update_reasons(GOOD.activated(OTHER, NOW).rolled_back_by_operator(NOW), {}, None) == {}
    assert update_reasons(GOOD, {"update_unreachable": "x"}, None) == {"update_unreachable": "x"}


def test_a_refused_newest_release_is_a_reason_while_it_is_offered() -> None:
    """Also after something else succeeded; a higher release of the same file is tried, and another file is none."""
    refused = GOOD.staged(OTHER).dropped_candidate("slow", NOW, code="slow", lasting=False)
    third = OTHER.model_copy(update={"sha256": "ef" * 32, "version": "6", "release": 6})
    good_again = refused.activated(third, NOW).marked_good(NOW)
    assert update_reasons(good_again, {}, {OTHER.sha256}) == {}

    def offered(release: int, sha256: str | None = OTHER.sha256) -> StoreState:
        return good_again.offered(Offer(name="street", version="8", release=release, sha256=sha256))
    for state in (offered(8), StoreState.parse(offered(8).serialize())):
        assert present(told(state).last_update) == LastUpdate(8, OTHER.sha256, ok=False, code="slow", at=NOW)
    assert present(told(offered(9)).last_update) == LastUpdate(6, third.sha256, ok=True, code="good", at=NOW)
    expected = {"update_failed": "street 8: refused on 2026-11-21: slow"}
    assert update_reasons(offered(8), {}, {OTHER.sha256}) == update_reasons(offered(8), {}, None) == expected
    for other in (offered(9), offered(8, None), offered(8, "ab" * 32), good_again.offered(None)):
        assert update_reasons(other, {}, {OTHER.sha256}) == {}


def test_the_last_update_of_a_model_by_hand_has_no_release() -> None:
    """Before the first update there is none."""
    assert told(StoreState()).last_update is None
    loose = OTHER.model_copy(update={"release": None})
    good = GOOD.activated(loose, NOW).marked_good(NOW)
    assert told(good).last_update == LastUpdate(None, OTHER.sha256, ok=True, code="good", at=NOW)


def test_every_code_is_explained() -> None:
    """The guide has one line for each code of an update, and no other."""
    guide = (Path(__file__).parents[2] / "docs/updates.md").read_text().partition("| code | when |")[2]
    assert tuple(line.split("`")[1] for line in guide.partition("\n\n")[0].splitlines()[2:]) == get_args(UpdateCode)
