"""Messages on disk: unchanged and in order when loaded, also after cuts and damage, and never above the limit."""

from __future__ import annotations

import os
import resource
import signal
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.faults.synced_folders import synced_folders
from vedette.mqtt.spool import Batch, Moment, SavedMessage, Spool
from vedette.types import Message

EPOCH = datetime(2026, 11, 21, tzinfo=UTC)
HOUR_S = 3600.0


def at(seconds: float = 0, boot: str = "first", *, wall_s: float | None = None, synced: bool = True) -> Moment:
    return Moment(boot, int(seconds * 1e9), EPOCH + timedelta(seconds=seconds if wall_s is None else wall_s), synced)


def result(number: int, size: int = 10) -> SavedMessage:
    return SavedMessage(number, Message("detections", os.urandom(size), seq=number))


def opened(folder: Path, limit_bytes: int = 1_000_000) -> Spool:
    spool = Spool(folder / "outbox", limit_bytes)
    assert spool.recover() is None
    return spool


def everything(spool: Spool) -> list[SavedMessage]:
    found: list[SavedMessage] = []
    while (number := spool.oldest) is not None:
        batches, _ = spool.read(number)
        found += [kept for batch in batches for kept in batch.messages()]
        spool.remove(number)
    return found


MESSAGES = st.builds(
    lambda topic, payload, qos, seq, ns: Message(topic, payload, qos, False, seq, ns),
    st.sampled_from(["detections", "/vedette/gate-01/reply/pause"]), st.binary(max_size=50), st.sampled_from([1, 2]),
    st.none() | st.integers(1, 2**53), st.none() | st.integers(0, 2**63))


@given(st.lists(st.lists(MESSAGES, min_size=1, max_size=4), max_size=6))
def test_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, batches: list[list[Message]]) -> None:
    """Every message comes back unchanged and in order, also in the next run, and is counted."""
    folder = tmp_path_factory.mktemp("spool")
    spool = opened(folder, limit_bytes=100)      # a segment is full soon
    kept = [[SavedMessage(number, message) for message in batch] for number, batch in enumerate(batches)]
    for batch in kept:
        spool.append([batch], 7, at())
    again = opened(folder)
    assert len(again) == len(spool) == sum(map(len, kept))
    assert everything(again) == [one for batch in kept for one in batch]
    assert list((folder / "outbox").glob("*")) == []


def test_no_folder_is_created_before_a_message_is_saved(tmp_path: Path) -> None:
    """A device that is always online has no such folder."""
    spool = opened(tmp_path)
    assert (spool.oldest, spool.size, spool.surplus(at(), HOUR_S)) == (None, 0, None)
    assert list(tmp_path.iterdir()) == []


def test_reading_closes_a_segment(tmp_path: Path) -> None:
    """Messages that arrive while a segment is read go to the next one."""
    spool = opened(tmp_path)
    spool.append([[result(1)]], 1, at())
    first = spool.oldest
    assert first is not None
    spool.read(first)
    spool.append([[result(2)]], 1, at())
    spool.remove(first)
    assert [number for number, _ in everything(spool)] == [2]


def test_cut_at_every_byte(tmp_path: Path) -> None:
    """A batch whose writing was cut is not used; the batch before it is whole, and the next one is saved."""
    spool = opened(tmp_path)
    spool.append([[result(1)]], 1, at())
    whole = spool.size
    spool.append([[result(2)]], 1, at())
    path = spool.path(1)
    content = path.read_bytes()
    for cut in range(whole, len(content)):
        path.write_bytes(content[:cut])
        again = Spool(tmp_path / "outbox", 1_000_000)
        damage = again.recover()
        assert (damage is None) == (cut == whole)
        again.append([[result(3)]], 2, at())
        assert [number for number, _ in everything(again)] == [1, 3]


def test_one_wrong_byte_costs_one_batch(tmp_path: Path) -> None:
    """If any byte of the middle batch is wrong, both others are read and the damage is reported."""
    spool = opened(tmp_path)
    ends = []
    for number in range(3):
        spool.append([[result(number)]], 1, at())
        ends.append(spool.size)
    content = spool.path(1).read_bytes()
    for position in range(ends[0], ends[1]):
        broken = bytearray(content)
        broken[position] ^= 0x55
        spool.path(1).write_bytes(broken)
        batches, is_damaged = spool.read(1)
        assert is_damaged
        assert [kept.number for batch in batches for kept in batch.messages()] == [0, 2]
        heads = sum((batch.kinds for batch in batches), Counter())
        assert heads in (Counter(detections=2), Counter(detections=3))


def test_a_failed_write_changes_nothing(tmp_path: Path) -> None:
    """A missing folder is an error each time until it is back; earlier messages are not doubled."""
    (tmp_path / "state").mkdir()
    spool = opened(tmp_path / "state")
    spool.append([[result(1)]], 1, at())
    (tmp_path / "state").rename(tmp_path / "away")
    for _ in range(2):
        with pytest.raises(OSError, match="state"):
            spool.append([[result(2)]], 1, at())
    (tmp_path / "away").rename(tmp_path / "state")
    spool.append([[result(2)]], 1, at())
    assert [number for number, _ in everything(spool)] == [1, 2]


def test_what_cannot_be_synced_is_not_saved(tmp_path: Path) -> None:
    """A write counts only once it is durable. `/dev/null` takes every byte and refuses the sync."""
    spool = opened(tmp_path)
    spool.append([[result(1)]], 1, at())
    spool.path(1).unlink()
    spool.path(1).symlink_to("/dev/null")
    with pytest.raises(OSError, match="Invalid argument"):
        spool.append([[result(2)]], 1, at())
    assert len(spool) == 1


def test_the_name_of_a_new_segment_is_synced(tmp_path: Path) -> None:
    """The first write to a segment syncs the folder too, a later one need not."""
    spool = opened(tmp_path)
    with synced_folders() as synced:
        spool.append([[result(1)]], 1, at())
    assert str(tmp_path / "outbox") in synced
    with synced_folders() as synced:
        spool.append([[result(2)]], 1, at())
    assert synced == []


def test_a_full_disk_keeps_no_part_of_a_write(tmp_path: Path) -> None:
    """A write that a full disk cuts is undone; once there is space, writing works again."""
    spool = opened(tmp_path)
    spool.append([[result(1)]], 1, at())
    size = spool.size
    before, limits = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, limits[1]))      # the next byte is refused in the middle
    try:
        with pytest.raises(OSError, match="large"):
            spool.append([[result(2, 5000)]], 1, at())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert (spool.size, spool.path(1).stat().st_size) == (size, size)
    spool.append([[result(3)]], 1, at())
    assert [number for number, _ in everything(opened(tmp_path))] == [1, 3]


def test_never_more_bytes_than_allowed(tmp_path: Path) -> None:
    """After each surplus segment is removed, the folder exceeds its limit by one write at most."""
    spool = opened(tmp_path, limit_bytes=100_000)
    dropped = 0
    for number in range(300):
        spool.append([[result(number, 1000)]], 1, at())
        while (surplus := spool.surplus(at(), HOUR_S)) is not None:
            dropped += spool.kinds_of(surplus).total()
            spool.remove(surplus)
        assert sum(path.stat().st_size for path in (tmp_path / "outbox").iterdir()) == spool.size <= 100_000
    assert spool.size > 80_000
    kept = everything(spool)
    assert [number for number, _ in kept] == list(range(dropped, 300))


@pytest.mark.parametrize(("then", "now", "is_old"), [
    (at(0), at(HOUR_S - 1), False),
    (at(0), at(HOUR_S + 1), True),
    (at(0), at(10, wall_s=10 * 365 * 86400), False),                            # the clock jumps: nothing ages
    (at(0), at(HOUR_S + 1, wall_s=-10 * 365 * 86400), True),
    (at(0), at(10, "second", wall_s=HOUR_S + 1), True),                         # another boot: both clocks were set
    (at(0), at(10, "second", wall_s=HOUR_S - 1), False),
    (at(0, synced=False), at(10, "second", wall_s=9e8), False),                 # or not: nobody knows
    (at(0), at(HOUR_S + 1, "second", wall_s=-9e7), True),                       # nor less than this boot is old
    (at(0, synced=False), at(HOUR_S + 1, "second", wall_s=0), True),            # but as long as this boot it was
])
def test_age_does_not_follow_the_wall_clock(tmp_path: Path, then: Moment, now: Moment, is_old: bool) -> None:
    """The monotonic clock measures the age; after a restart of the machine, the wall clock does if it was set."""
    opened(tmp_path).append([[result(1)]], 1, then)
    assert (opened(tmp_path).surplus(now, HOUR_S) == 1) == is_old


def test_an_unreadable_segment_costs_no_other(tmp_path: Path) -> None:
    """A segment that cannot be read is reported; all others are found, and no later write touches them."""
    spool = opened(tmp_path, limit_bytes=100_000)
    for number in (1, 2, 3):
        spool.append([[result(number, 20_000)]], 1, at())       # each fills a segment
    first = spool.path(1)
    first.rename(tmp_path / "away")
    first.mkdir()       # reading it fails, also for root
    again = Spool(tmp_path / "outbox", 1_000_000)
    damage = again.recover()
    assert damage is not None
    assert first.name in damage
    assert len(again) == 2
    again.append([[result(4)]], 2, at())
    first.rmdir()
    (tmp_path / "away").rename(first)
    assert [number for number, _ in everything(again)] == [1, 2, 3, 4]


def test_a_new_segment_never_replaces_a_file(tmp_path: Path) -> None:
    """A file that has the number of the next segment stays as it is; the segment after it takes the messages."""
    spool = opened(tmp_path, limit_bytes=100_000)
    spool.append([[result(1, 20_000)]], 1, at())
    spool.path(2).write_bytes(b"of somebody else")
    with pytest.raises(FileExistsError):
        spool.append([[result(2)]], 1, at())
    spool.append([[result(2)]], 1, at())
    assert spool.path(2).read_bytes() == b"of somebody else"
    assert [number for number, _ in everything(spool)] == [1, 2]


def test_numbers_are_not_used_again(tmp_path: Path) -> None:
    """A checkpoint about a removed segment never fits a new one."""
    spool = Spool(tmp_path / "outbox", 1_000_000)
    spool.recover(used=41)
    spool.append([[result(1)]], 1, at())
    assert spool.oldest == 42
    later = Spool(tmp_path / "outbox", 1_000_000)
    later.recover(used=50)
    later.append([[result(2)]], 1, at())
    later.remove(42)
    assert later.oldest == 51


def test_damaged_body_is_still_counted() -> None:
    """A batch with a damaged body gives no message; its head says how many are lost."""
    batch = Batch(1, Counter(detections=3), at(), None)
    assert (batch.messages(), batch.kinds.total()) == ([], 3)
