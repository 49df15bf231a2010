"""A rollout over a real broker: it goes on, stops and waits by itself.

The audience plays the world: at each tick it lets the devices speak and moves the clock, so that no test waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.fleet.test_roll_desk import BUNDLE, Office
from tests.support.broker.mosquitto import Mosquitto, running
from tests.support.broker.rolled_devices import RolledDevices
from tests.support.broker.subscriber import send
from tests.support.faults.small_disk import fill, mounted, possible
from vedette._lib.clock import CarriedClock
from vedette.cli.broker import connected, parsed
from vedette.fleet.outcomes import Tally
from vedette.fleet.roll_desk import RollDesk, approve
from vedette.fleet.roll_view import RollView
from vedette.fleet.roller import Ears, Roller
from vedette.fleet.rollout import Phase, Plan, RolloutState, next_step
from vedette.fleet.rolls import FOLDER, Order, RollRecord
from vedette.store.release import bucket_of

pytestmark = pytest.mark.slow

DEVICES = [f"gate-{number}" for number in range(6)]
FIRST = min(DEVICES, key=partial(bucket_of, "x"))
"""The device of the first step."""
TICK_S = 2


class World:
    """A broker, devices and an operator's folder, seen by a rollout as its audience."""

    def __init__(self, folder: Path, broker: Mosquitto, ends: dict[str, str], silent: tuple[str, ...] = ()) -> None:
        self.office = Office(folder)
        self.broker = broker
        self.devices = RolledDevices(broker.client(), self.office.served, ends, silent)
        self.lines: list[str] = []
        self.events: dict[int, Callable[[], object]] = {}
        """What happens at which tick."""
        self.ticks = 0
        self.now_s = 0.0
        self.yes = False
        self.listens = True

    def said(self, line: str) -> None:
        self.lines.append(line)

    def counted(self, record: RollRecord, tally: Tally, words: str) -> None:
        self.ticks += 1
        assert self.ticks < 400, self.lines
        self.now_s += TICK_S
        self.events.pop(self.ticks, int)()
        if self.listens:
            self.devices.live()

    def says_yes(self) -> bool:
        said, self.yes = self.yes, False
        return said

    def roll(self, **plan: object) -> Phase:
        """Begin a rollout as the command does, and lead it to its end."""
        self.devices.connect()
        order = Order(sha256=BUNDLE.sha256, terms={}, destination=str(self.office.served), plan=Plan.model_validate(
            {"steps": (5000, 10_000), "soak_s": 5, "silent_after_s": 20, "within_s": 200, "max_failed": 0.03,
             "min_good": 20, **plan}))
        with self.office.operator.opened() as repository:
            target = repository.planned(BUNDLE, None, {"salt": "x"})
        view = RollView(target, DEVICES, {}, order.plan.silent_after_s)
        first = next_step(RolloutState(release=1), order.plan, view.buckets, 0)
        assert first is not None
        desk = RollDesk.begin(self.office.fleet, self.office.operator.keys, BUNDLE, target.release, order, first,
                              devices=DEVICES, left_out={}, utc_now=self.office._utc_now)
        return self.lead(desk)

    def lead(self, desk: RollDesk) -> Phase:
        desk.clock = CarriedClock(self._now_ns, "boot")
        view = RollView(desk.record.target, desk.record.devices, desk.record.left_out,
                        desk.record.order.plan.silent_after_s)
        ears = Ears(partial(connected, self.broker.client(), ()), parsed, 0.02)
        return Roller(desk, view, ears, self).run()

    @property
    def log(self) -> str:
        return (self.office.fleet / FOLDER / "1.log").read_text()

    def _now_ns(self) -> int:
        return int(self.now_s * 1e9)


@contextmanager
def world(folder: Path, ends: dict[str, str] | None = None, silent: tuple[str, ...] = ()) -> Iterator[World]:
    with running(folder) as broker:
        made = World(folder, broker, {**dict.fromkeys(DEVICES, "good"), **(ends or {})}, silent)
        try:
            yield made
        finally:
            made.devices.close()


def test_a_good_release_reaches_every_device(tmp_path: Path) -> None:
    """Strangers that report that they failed count for nothing; each decision is in the log."""
    with world(tmp_path) as seen:
        bad = b'{"state": "good", "last_update": {"release": 1, "ok": false, "code": "blind"}}'
        seen.events[3] = partial(send, seen.broker.client(), "vedette/stranger/model", bad, retain=True)
        assert seen.roll() == "done"
        assert seen.office.released()[1].buckets == (0, 9999)
        assert set(seen.devices.taken.values()) == {1}
        assert [line for line in seen.log.splitlines() if "goes on" in line or "done" in line]
        assert seen.log.splitlines() == seen.lines


def test_a_bad_release_is_taken_back_from_the_devices_that_have_it(tmp_path: Path) -> None:
    """It stops in the first step, long before the soak is over, and is withdrawn where devices look for it."""
    with world(tmp_path, {FIRST: "blind"}) as seen:
        assert seen.roll(soak_s=100) == "stopped"
        assert seen.now_s < 100
        assert (seen.office.released(), seen.devices.releases()) == ({}, {})
        assert "blind 1" in seen.log


def test_devices_that_fall_silent_stop_it(tmp_path: Path) -> None:
    """They run the release, they were good before, and nothing comes of them any more."""
    with world(tmp_path, silent=(FIRST,)) as seen:
        assert seen.roll(on_stop="narrow") == "stopped"
        assert "1 silent" in seen.log
        assert seen.devices.releases() == {}


def test_a_broker_that_is_away_is_no_failure_of_devices(tmp_path: Path) -> None:
    """However long it is away, no step goes on and nothing is stopped; its retained messages are lost as well."""
    with world(tmp_path) as seen:
        def lose() -> None:
            seen.listens = False
            seen.broker.stop()

        def find() -> None:
            seen.broker.start()
            seen.devices.connect()
            seen.listens = True
        seen.events |= {3: lose, 10: partial(setattr, seen, "now_s", 1000.0), 11: find}
        assert seen.roll(steps=(10_000,)) == "done"
        assert "no step goes on until the devices are heard again" in seen.log
        assert "stops" not in seen.log


def test_a_closed_lid_is_no_silence_of_devices(tmp_path: Path) -> None:
    """The soak is over, but what was heard before is old: everything is asked for again before a step goes on."""
    with world(tmp_path) as seen:
        seen.events[3] = partial(setattr, seen, "now_s", 5000.0)
        assert seen.roll(steps=(10_000,), within_s=10_000) == "done"
        assert "nothing was heard for" in seen.log
        assert "silent after" not in seen.log


def test_nothing_goes_on_without_a_yes(tmp_path: Path) -> None:
    """A yes before the question is none; a yes of `approve` and a typed one let one step go on each."""
    with world(tmp_path) as seen:
        def early() -> None:
            seen.yes = True

        def ask() -> None:
            first, last = seen.office.released()[1].buckets
            assert first == 0 < last < 9999
            approve(seen.office.fleet, 1)
        seen.events |= {2: early, 60: ask}
        assert seen.roll(approve=True, max_failed=0.9) == "done"
        assert seen.ticks > 60
        assert seen.log.count("waits for a yes to buckets 0-9999") == 1


@pytest.mark.skipif(not possible(), reason="no disk can be mounted here")
def test_a_full_disk_does_not_make_it_forget_the_stop(tmp_path: Path) -> None:
    """The stop cannot be signed, and the device says by then that it is good."""
    (disk := tmp_path / "disk").mkdir()
    with mounted(disk, 4), running(tmp_path) as broker:
        seen = World(disk, broker, {**dict.fromkeys(DEVICES, "good"), FIRST: "blind"})
        waste: list[Path] = []
        seen.listens = False

        def speak() -> None:
            waste.append(fill(disk))
            seen.devices.live()

        def change_its_mind() -> None:
            assert any("stops: " in line for line in seen.lines)
            assert set(seen.office.released()) == {1}
            good = b'{"state": "good", "release": 1, "last_update": {"release": 1, "ok": true, "code": "good"}}'
            send(broker.client(), f"vedette/{FIRST}/model", good, retain=True)

        def free() -> None:
            waste[0].unlink()
        seen.events |= {2: speak, 20: change_its_mind, 40: free}
        try:
            assert seen.roll(steps=(10_000,), soak_s=100) == "stopped"
        finally:
            seen.devices.close()
        assert seen.devices.releases() == {}


def test_a_change_by_hand_ends_it(tmp_path: Path) -> None:
    """Somebody has withdrawn the release: that stays, and the words say so."""
    with world(tmp_path) as seen:
        def withdraw() -> None:
            with seen.office.operator.opened() as repository:
                repository.withdraw(seen.office.operator.keys, 1)
        seen.events[4] = withdraw
        assert seen.roll(steps=(10_000,), soak_s=100) == "ended"
        assert "withdrawn by hand" in seen.log
        assert seen.office.released() == {}


def test_a_higher_release_for_its_devices_ends_it(tmp_path: Path) -> None:
    """They will not take this one any more, and that is no failure of theirs."""
    with world(tmp_path) as seen:
        def release() -> None:
            with seen.office.operator.opened() as repository:
                repository.release(seen.office.operator.keys, BUNDLE, None, {"salt": "y"})
        seen.events[4] = release
        assert seen.roll(steps=(10_000,), soak_s=100) == "ended"
        assert "release 2 is higher and takes" in seen.log


def test_a_stop_waits_for_its_key_and_its_destination(tmp_path: Path) -> None:
    """It is tried again until the release is withdrawn where devices look for it; good reports change nothing."""
    with world(tmp_path, {FIRST: "blind"}) as seen:
        key = seen.office.operator.key_file("targets")
        away, gone = key.with_name("away"), seen.office.served.with_name("gone")

        def lose() -> None:
            key.rename(away)

        def find_key() -> None:
            away.rename(key)
            seen.office.served.rename(gone)
        seen.listens = False
        seen.events |= {1: lose, 30: find_key, 60: partial(gone.rename, seen.office.served)}

        def speak() -> None:
            seen.listens = True
        seen.events[2] = speak
        assert seen.roll(soak_s=100) == "stopped"
        assert "targets-" in seen.log
        assert "is it mounted" in seen.log
        assert seen.devices.releases() == {}
