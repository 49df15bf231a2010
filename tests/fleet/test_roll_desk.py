"""Steps of a rollout are signed, recorded and published so that a kill at any moment loses none of it."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.network.operators import Operator, bundle_of
from vedette.errors import FleetBusy, FleetError, KeyUnusable, StateUnusable
from vedette.fleet.folder import FleetFolder
from vedette.fleet.publish import TIMESTAMP
from vedette.fleet.roll_desk import RollDesk, approve
from vedette.fleet.rollout import Plan, Step
from vedette.fleet.rolls import Order, RollRecord, read
from vedette.fleet.settings import Bundle
from vedette.store.release import Release

MODEL = b"a model" * 1000
BUNDLE = bundle_of(MODEL, "4")
FIRST, SECOND = Step(100, 10), Step(1000, 40)


class Office:
    """An operator's folder with one bundle, and rollouts of it."""

    def __init__(self, folder: Path, root_days: int = 400) -> None:
        self.now = datetime.now(UTC).replace(microsecond=0)
        self.operator = Operator(folder, now=self.now, root=root_days)
        self.fleet, self.served = self.operator.folder, self.operator.served
        with self.operator.opened() as repository:
            repository.add(MODEL, BUNDLE)

    def begun(self, *, on_stop: str = "withdraw", bundle: Bundle = BUNDLE) -> RollDesk:
        plan = Plan.model_validate({"steps": (100, 1000, 10_000), "soak_s": 60, "max_failed": 0.03, "min_good": 20,
                                    "silent_after_s": 60, "on_stop": on_stop})
        order = Order(sha256=bundle.sha256, terms={}, plan=plan, destination=str(self.served))
        with self.operator.opened() as repository:
            target = repository.planned(bundle, None, {"salt": "x", "buckets": (0, 9999)})
        return RollDesk.begin(self.fleet, self.operator.keys, bundle, target.release, order, FIRST,
                              devices=("gate-1", "gate-2"), left_out={"gate-2": "silent"}, utc_now=self._utc_now)

    def resumed(self, number: int = 1) -> RollDesk:
        record = read(self.fleet, number)
        assert record is not None
        return RollDesk(self.fleet, self.operator.keys, record, self._utc_now)

    def released(self) -> dict[int, Release]:
        with self.operator.opened() as repository:
            return {target.release.release: target.release for target in repository.targets}

    def published(self) -> int:
        """The highest version of the timestamp that is published."""
        from tuf.api.metadata import Metadata, Timestamp
        return Metadata[Timestamp].from_file(str(self.served / TIMESTAMP)).signed.version

    def _utc_now(self) -> datetime:
        return self.now


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


def saved(desk: RollDesk) -> RollRecord:
    record = read(desk.fleet, desk.record.number)
    assert record == desk.record
    return desk.record


def test_the_first_step_is_signed_and_recorded_together(office: Office) -> None:
    """The record names the step, and nothing is published yet: a kill here is continued with the publication."""
    desk = office.begun()
    assert office.released()[1].buckets == (0, 99)
    assert (saved(desk).state.end, saved(desk).state.published_at, saved(desk).left_out) == (
        100, None, {"gate-2": "silent"})
    assert not office.served.exists()
    again = office.resumed()
    again.publish()
    assert (saved(again).state.published_at, office.published()) == (office.now, 2)


def test_a_configuration_is_rolled_out_like_a_model(office: Office) -> None:
    """Its reports are counted as those of a configuration."""
    values = b'{"detector": {"score_threshold": 0.4}}'
    bundle = bundle_of(values, "1", "night").model_copy(update={"kind": "configuration"})
    with office.operator.opened() as repository:
        repository.add(values, bundle)
    desk = office.begun(bundle=bundle)
    desk.publish()
    desk.widen(SECOND, {}, accepted=False)
    assert (office.released()[1].kind, saved(desk).target.release.kind) == ("configuration", "configuration")
    assert desk.refresh() is None


def test_to_publish_again_changes_nothing(office: Office) -> None:
    """The soak goes on from the first publication; what a killed publication left out is there afterwards."""
    desk = office.begun()
    desk.publish()
    before = saved(desk)
    shutil.rmtree(office.served / "targets")
    office.now += timedelta(hours=1)
    again = office.resumed()
    again.publish()
    assert again.record == before
    assert list((office.served / "targets/1").iterdir())
    assert again.published_s == before.stamp.at_s if before.stamp else False


def test_no_second_rollout_of_the_same_file_begins(office: Office) -> None:
    """Two commands at the same moment sign one release."""
    office.begun()
    with pytest.raises(FleetBusy, match="release 1"):
        office.begun()
    assert set(office.released()) == {1}


def test_a_wider_step_keeps_all_else(office: Office) -> None:
    """Buckets and record change together; a yes counts for one step only."""
    desk = office.begun()
    desk.publish()
    desk.settle(phase="asking", words="w")
    assert approve(office.fleet, 1) == "w"
    assert desk.refresh() is None
    assert desk.record.state.approved
    desk.widen(SECOND, {"gate-1": "pinned"}, accepted=True)
    state = saved(desk).state
    assert (state.step, state.end, state.passed, state.reached, state.published_at, state.accepted, state.approved,
            state.phase) == (2, 1000, 100, 40, None, True, False, "rolling")
    assert saved(desk).left_out == {"gate-2": "silent", "gate-1": "pinned"}
    release = office.released()[1]
    assert (release.buckets, release.salt) == ((0, 999), "x")


def test_a_stop_withdraws_or_narrows(office: Office) -> None:
    """Narrowed: to the buckets that have passed; without any, the release is withdrawn."""
    desk = office.begun()
    desk.stop("bad")
    assert office.released() == {}
    assert (saved(desk).state.phase, saved(desk).state.words, saved(desk).is_over) == ("stopped", "bad", False)
    desk.publish()
    assert saved(desk).is_over
    narrow = office.begun(on_stop="narrow")
    narrow.widen(SECOND, {}, accepted=False)
    narrow.stop("bad")
    assert office.released()[2].buckets == (0, 99)
    assert narrow.stop_words == "the release is narrowed to buckets 0-99, which have passed"


def test_a_stop_that_cannot_be_signed_stays_a_stop(office: Office) -> None:
    """The key is away: nothing makes the rollout go on after that, and the stop is signed when it is back."""
    desk = office.begun()
    desk.publish()
    key = office.operator.key_file("targets")
    away = key.rename(key.with_name("away"))
    with pytest.raises(KeyUnusable):
        desk.stop("bad")
    assert saved(desk).state.phase == "stopping"
    away.rename(key)
    again = office.resumed()
    again.stop(again.record.state.words)
    assert (office.released(), saved(again).state.words) == ({}, "bad")


@pytest.mark.parametrize("hand", ["withdraw", "buckets", "salt"])
def test_what_is_changed_by_hand_is_not_touched(office: Office, hand: str) -> None:
    """It is noticed when the signatures have changed, and no step is signed over it."""
    desk = office.begun()
    assert desk.refresh() is None
    with office.operator.opened() as repository:
        if hand == "withdraw":
            repository.withdraw(office.operator.keys, 1)
        else:
            changes = {"buckets": (0, 4999)} if hand == "buckets" else {"salt": "y"}
            repository.release(office.operator.keys, None, 1, changes)
    by_hand = office.released()
    with pytest.raises(FleetError, match="by hand"):
        desk.widen(SECOND, {}, accepted=False)
    assert "by hand" in (desk.refresh() or "")
    assert office.released() == by_hand


def test_a_withdrawal_by_hand_does_not_keep_it_from_stopping(office: Office) -> None:
    """The release that is to be withdrawn is withdrawn already."""
    desk = office.begun()
    with office.operator.opened() as repository:
        repository.withdraw(office.operator.keys, 1)
    desk.stop("bad")
    assert saved(desk).state.phase == "stopped"


def test_other_changes_of_the_folder_are_none_of_its_business(office: Office) -> None:
    """A renewal, or a release for others."""
    desk = office.begun()
    assert desk.refresh() is None
    with office.operator.opened() as repository:
        repository.renew(office.operator.keys)
        repository.release(office.operator.keys, BUNDLE, None, {"channel": "beta"})
    assert desk.refresh() is None
    assert [target.release.release for target in desk.targets] == [2, 1]


def test_a_destination_that_is_gone_is_no_new_one(office: Office) -> None:
    """A web server's folder that is no longer mounted: to publish below the mount point would reach nobody."""
    desk = office.begun()
    desk.publish()
    desk.stop("bad")
    office.served.rename(office.served.with_name("unmounted"))
    with pytest.raises(StateUnusable, match="is it mounted"):
        desk.publish()
    assert not saved(desk).is_over
    assert not office.served.exists()


@pytest.mark.parametrize("moved_s", [-3600, 3600])
def test_no_step_is_signed_by_a_clock_that_was_moved(office: Office, moved_s: int) -> None:
    """Its signatures would be of another time. The soak begins again, and a stop is signed at once."""
    desk = office.begun()
    desk.publish()
    office.now += timedelta(seconds=moved_s)
    with pytest.raises(FleetError, match="the soak begins again"):
        desk.widen(SECOND, {}, accepted=False)
    assert (office.released()[1].buckets, saved(desk).state.published_at) == ((0, 99), office.now)
    desk.stop("bad")
    assert office.released() == {}


def test_expired_signatures_keep_no_stop_from_the_devices(tmp_path: Path) -> None:
    """A long wait for a yes: the timestamp has expired, and nothing can be published. The stop is signed anew."""
    office = Office(tmp_path)
    desk = office.begun()
    office.now += timedelta(days=15)
    with pytest.raises(FleetError, match="timestamp expired"):
        desk.publish()
    desk.stop("bad")
    desk.publish()
    assert saved(desk).is_over


def test_a_stop_waits_for_a_root_that_has_expired(tmp_path: Path) -> None:
    """Devices accept nothing then, bad or good. Once root is renewed, the stop is signed."""
    office = Office(tmp_path, root_days=1)
    desk = office.begun()
    office.now += timedelta(days=2)
    with pytest.raises(FleetError, match="root expired"):
        desk.stop("bad")
    assert saved(desk).state.phase == "stopping"
    office.operator.now = office.now
    with office.operator.opened() as repository:
        repository.renew(office.operator.keys, root=True)
    desk.stop("bad")
    desk.publish()
    assert (saved(desk).is_over, office.released()) == (True, {})


def test_a_folder_in_use_is_tried_again(office: Office) -> None:
    """Another command holds it: the step is not signed, and nothing is lost."""
    desk = office.begun()
    with FleetFolder(office.fleet), pytest.raises(FleetBusy):
        desk.widen(SECOND, {}, accepted=False)
    desk.widen(SECOND, {}, accepted=False)
    assert saved(desk).state.end == 1000


def test_a_yes_that_nobody_waits_for_is_refused(office: Office) -> None:
    """A yes before the question would be a yes to something unseen."""
    with pytest.raises(FleetError, match="no rollout"):
        approve(office.fleet, 1)
    office.begun()
    with pytest.raises(FleetError, match="it is rolling"):
        approve(office.fleet, 1)


def test_the_soak_goes_on_after_a_restart_and_begins_anew_after_a_boot(office: Office) -> None:
    """Nobody knows how long a machine was off, so that time does not count."""
    desk = office.begun()
    desk.publish()
    stamp = saved(desk).stamp
    assert stamp is not None
    assert office.resumed().clock.now_s() >= desk.published_s
    earlier = desk.record.model_copy(update={"stamp": stamp.model_copy(update={"boot": "another", "at_s": 1e9})})
    another = RollDesk(office.fleet, office.operator.keys, earlier, desk.utc_now)
    assert 1e9 == another.published_s <= another.clock.now_s()
