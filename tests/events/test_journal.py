"""Starts and ends of events: on disk before they are published, and until the broker has them."""

from __future__ import annotations

import errno
import json
import os
import zlib
from pathlib import Path
from typing import Any

import pytest

from tests.campaign.event_cuts import Broker, Device, draft, power
from tests.support.faults.forgetful_disk import CountedDisk, NoContentSync, NoFolderSync
from vedette.events.journal import FILE, GROWN_BYTES, IN_FLIGHT_MAX, WAITING_MAX
from vedette.mqtt.backfill import SAVE_AFTER_S


class Patient(Broker):
    """A broker that acknowledges when the test says so."""

    def __init__(self) -> None:
        self.received = []
        self.connected = True

    def publish(self, message: Any) -> None:
        self.received.append(message)

    def acknowledge(self) -> None:
        for message in self.received:
            if message.on_done:
                message.on_done()

    @property
    def told(self) -> list[tuple[int, int, str, str]]:
        contents = [json.loads(message.payload) for message in self.received]
        return [(content["run"], content["seq"], content["type"], content["id"]) for content in contents]


class Visits:
    """Runs of a device on one state folder."""

    def __init__(self, state: Path, **how: Any) -> None:
        self.state = state
        self.how = how

    def run(self, number: int) -> tuple[Device, Patient]:
        broker = Patient()
        return Device(self.state, number, broker, **self.how), broker


@pytest.fixture
def visits(tmp_path: Path) -> Visits:
    return Visits(tmp_path)


def tell(device: Device, *told: tuple[str, str]) -> None:
    for kind, event in told:
        device.journal.put(draft(kind, 1, event))  # type: ignore[arg-type]
        device.journal.round(False)


def test_a_message_is_on_disk_before_it_is_published(tmp_path: Path) -> None:
    """Also when it is published, its line is there already."""
    seen = []

    class Looking(Patient):
        def publish(self, message: Any) -> None:
            seen.append(json.loads(message.payload)["id"].encode() in (tmp_path / FILE).read_bytes())

    device = Device(tmp_path, 1, Looking())
    tell(device, ("start", "1-1"), ("start", "1-2"), ("end", "1-1"))
    assert seen == [True] * 3


def test_a_new_run_ends_what_the_last_one_had_not(visits: Visits) -> None:
    """With what was known last, once, and the broker gets again what it did not acknowledge."""
    device, broker = visits.run(1)
    tell(device, ("start", "1-1"), ("start", "1-2"))
    broker.acknowledge()
    tell(device, ("update", "1-1"), ("end", "1-2"))
    device.journal.put(draft("update", 1, "1-1", publish=False))
    device.journal.round(False)
    for run in (2, 3):
        device, broker = visits.run(run)
        device.journal.round(False)
        assert broker.told == [(1, 4, "end", "1-2"), (2, 1, "end", "1-1")]
    contents = [json.loads(message.payload) for message in broker.received]
    assert [content["interrupted"] for content in contents] == [False, True]
    assert all(content["backfilled"] for content in contents)
    broker.acknowledge()
    device.journal.round(True)
    device, broker = visits.run(4)
    device.journal.round(False)
    assert broker.told == []


def test_an_event_costs_two_writes(tmp_path: Path) -> None:
    """What the broker has is written with the next message."""
    disk = CountedDisk(None, lambda: None)
    device = Device(tmp_path, 1, broker := Patient(), files=disk)
    tell(device, ("start", "1-0"))      # the first makes the file
    steps = disk.steps
    for number in range(1, 11):
        tell(device, ("start", f"1-{number}"), ("update", f"1-{number}"), ("end", f"1-{number}"))
        broker.acknowledge()
        device.journal.round(False)
    assert disk.steps - steps <= 10 * 2 * 3     # each: one fsync, and one or two writes of up to 1,000 bytes


def test_the_file_stays_small(visits: Visits) -> None:
    """A thousand events that the broker has, beside one that goes on, leave only that one."""
    device, broker = visits.run(1)
    tell(device, ("start", "1-0"))
    for number in range(1, 1001):
        tell(device, ("start", f"1-{number}"), ("end", f"1-{number}"))
        broker.acknowledge()
        broker.received.clear()
        assert (visits.state / FILE).stat().st_size <= GROWN_BYTES
    device, broker = visits.run(2)
    device.journal.round(False)
    assert broker.told[-1] == (2, 1, "end", "1-0")
    assert len(broker.told) <= 3


def test_only_so_many_are_under_way_and_updates_wait_for_nobody(visits: Visits) -> None:
    """While the broker is slow, later messages stay here, and updates are left out."""
    device, broker = visits.run(1)
    for number in range(1, 2 * IN_FLIGHT_MAX + 1):
        tell(device, ("start", f"1-{number}"), ("update", f"1-{number}"))
    assert len([told for told in broker.told if told[2] == "start"]) == IN_FLIGHT_MAX
    broker.acknowledge()
    device.journal.round(False)
    starts = [told[3] for told in broker.told if told[2] == "start"]
    assert starts == [f"1-{number}" for number in range(1, 2 * IN_FLIGHT_MAX + 1)]


def test_too_many_are_dropped_and_counted(visits: Visits) -> None:
    """The oldest go first; memory and disk are bounded."""
    device, broker = visits.run(1)
    broker.connected = False
    for number in range(1, WAITING_MAX // 2 + 51):
        device.journal.put(draft("start", 1, f"1-{number}"))
        device.journal.put(draft("end", 1, f"1-{number}"))
    device.journal.round(False)
    assert device.spool.outbox.dropped_by_kind == {"events": 100}
    broker.connected = True
    device.journal.round(False)
    assert broker.told[0] == (1, 101, "start", "1-51")


def test_a_disk_that_fails_is_named_and_events_are_published_all_the_same(tmp_path: Path) -> None:
    """Once it works again, everything that is still needed gets there."""
    class Full:
        is_full = True

        def __getattr__(self, name: str) -> Any:
            if self.is_full and name in ("write", "open"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return getattr(os, name)

    disk = Full()
    device = Device(tmp_path, 1, broker := Patient(), files=disk)
    disk.is_full = False
    tell(device, ("start", "1-0"))
    disk.is_full = True
    tell(device, ("start", "1-1"))
    assert [told[2:] for told in broker.told] == [("start", "1-0"), ("start", "1-1")]
    assert "No space left" in device.journal.reasons()["spool_failed"]
    disk.is_full = False
    device.journal.round(True)
    assert device.journal.reasons() == {}
    device, broker = Device(tmp_path, 2, other := Patient()), other
    device.journal.round(False)
    assert [told[2:] for told in broker.told] == [
        ("start", "1-0"), ("start", "1-1"), ("end", "1-0"), ("end", "1-1")]


def test_damaged_lines_are_named_and_cost_only_themselves(visits: Visits) -> None:
    """A last line that is only begun is what a power cut leaves, and no damage."""
    device, broker = visits.run(1)
    broker.connected = False
    tell(device, ("start", "1-1"), ("start", "1-2"), ("start", "1-3"))
    path = visits.state / FILE
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines) + b"0bad")
    device, broker = visits.run(2)
    device.journal.round(False)
    assert device.journal.reasons() == {}
    assert len(broker.told) == 6
    path.write_bytes(b"".join((*lines[:2], lines[2].replace(b"car", b"cat"), lines[3])))
    device, broker = visits.run(3)
    device.journal.round(False)
    assert "1 lines are damaged" in device.journal.reasons()["spool_failed"]
    assert {told[3] for told in broker.told} == {"1-1", "1-3"}


@pytest.mark.parametrize("content", [
    b"[]", b'{"done": 7}', b'{"done": [[1]]}', b'{"payload": {}}', b'{"kind": "of another version"}', b'"text"',
    b'{"send": true, "goes_on": true, "seen": "x", "ns": null, "boot": "b", "payload": {"run": 1}}'])
def test_a_line_of_another_version_costs_only_itself(visits: Visits, content: bytes) -> None:
    """Also a sound one. The next run works and says so."""
    device, broker = visits.run(1)
    broker.connected = False
    tell(device, ("start", "1-1"))
    with (visits.state / FILE).open("ab") as file:
        file.write(b"%08x %s\n" % (zlib.crc32(content), content))
    device, broker = visits.run(2)
    device.journal.round(False)
    assert [told[2:] for told in broker.told] == [("start", "1-1"), ("end", "1-1")]
    assert "1 lines are damaged" in device.journal.reasons()["spool_failed"]


def test_a_file_that_cannot_be_read_is_never_written_over(visits: Visits) -> None:
    """Until it can be, events are published and kept in memory."""
    (visits.state / FILE).mkdir()
    device, broker = visits.run(1)
    tell(device, ("start", "1-1"))
    assert len(broker.told) == 1
    assert "Is a directory" in device.journal.reasons()["spool_failed"]
    (visits.state / FILE).rmdir()
    device.journal.round(True)
    assert device.journal.reasons() == {}
    assert b"1-1" in (visits.state / FILE).read_bytes()


def test_late_messages_say_so(visits: Visits) -> None:
    """Those that had to wait for the broker."""
    device, broker = visits.run(1)
    broker.connected = False
    tell(device, ("start", "1-1"))
    device.journal._clock = type("Later", (), {
        "monotonic_ns": lambda _: int(1e18) + int(SAVE_AFTER_S * 1e9)})()
    broker.connected = True
    tell(device, ("start", "1-2"))
    assert [json.loads(message.payload)["backfilled"] for message in broker.received] == [True, False]


def test_power_cuts_lose_nothing() -> None:
    """Each event starts once and ends once."""
    assert power(200, 10)["wrong"] == []


@pytest.mark.parametrize("disk", [NoContentSync, NoFolderSync])
def test_without_each_sync_events_would_be_wrong(disk: Any) -> None:
    """This is what the campaign finds on a journal that does not sync."""
    assert power(200, 10, disk)["wrong"]


def test_a_long_backlog_is_not_written_anew_for_each_message(tmp_path: Path) -> None:
    """While the broker is away, an event costs its own bytes, however many wait before it."""
    disk = CountedDisk(None, lambda: None)
    device = Device(tmp_path, 1, broker := Patient(), files=disk)
    broker.connected = False
    for number in range(1, 501):
        device.journal.put(draft("start", 1, f"1-{number}"))
    device.journal.round(False)
    assert (tmp_path / FILE).stat().st_size > 2 * GROWN_BYTES
    steps = disk.steps
    tell(device, *[("start", f"1-{number}") for number in range(501, 521)])
    assert disk.steps - steps <= 20 * 3


@pytest.mark.parametrize("how", ["memory only", "a full disk"])
def test_what_the_broker_has_is_forgotten_without_a_disk(tmp_path: Path, how: str) -> None:
    """Where no file takes note of it, nothing of it stays in memory."""
    device = Device(tmp_path, 1, broker := Patient(), memory_only=how == "memory only")
    if how == "a full disk":
        (tmp_path / FILE).mkdir()
    for number in range(1, 51):
        tell(device, ("start", f"1-{number}"), ("end", f"1-{number}"))
        broker.acknowledge()
        broker.received.clear()
    device.journal.round(False)
    assert list(device.journal._done) == []


def test_all_that_was_put_has_settled_only_when_the_broker_was_given_all(visits: Visits) -> None:
    """At a stop, more events may end than may be under way at a time."""
    device, broker = visits.run(1)
    for number in range(1, IN_FLIGHT_MAX + 2):
        device.journal.put(draft("start", 1, f"1-{number}"))
    device.journal.round(False)
    assert not device.journal.settle(0)
    broker.acknowledge()
    device.journal.round(False)
    assert device.journal.settle(0)
    broker.connected = False
    tell(device, ("start", "1-0"))
    assert device.journal.settle(0)


def test_what_is_lost_with_a_run_without_a_spool_is_counted(tmp_path: Path) -> None:
    """Neither the broker nor the disk has it."""
    device = Device(tmp_path, 1, broker := Patient(), memory_only=True)
    broker.connected = False
    tell(device, ("start", "1-1"), ("end", "1-1"))
    device.journal.round(True)
    assert device.spool.outbox.dropped_by_kind == {"events": 2}


def test_a_run_without_a_spool_ends_what_one_with_a_spool_left(visits: Visits) -> None:
    """Once; after that there is no file any more."""
    device, broker = visits.run(1)
    broker.connected = False
    tell(device, ("start", "1-1"))
    without = Visits(visits.state, memory_only=True)
    for run, told in ((2, [(1, 1, "start", "1-1"), (2, 1, "end", "1-1")]), (3, [])):
        device, broker = without.run(run)
        device.journal.round(False)
        assert broker.told == told
        assert not (visits.state / FILE).exists()
        assert device.journal.reasons() == {}
