"""The folder of the clips: names, what is deleted and what never is."""

from __future__ import annotations

import errno
import os
import subprocess
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from tests.support.daemon.as_nobody import as_nobody, give_away
from tests.support.faults import small_disk
from vedette.events.clip_folder import ClipFolder

AT = datetime(2026, 11, 29, 14, 2, 7, 123_999, UTC)
DAY = timedelta(days=1)


def clip(folder: Path, at: datetime = AT, size: int = 1000, device: str = "gate", event: str = "412-31") -> Path:
    """A complete clip of that time."""
    path = ClipFolder(folder, device, mb=1, days=1).paths_for(at, event, "person")[1]
    path.write_bytes(b"." * size)
    os.utime(path, (at.timestamp(), at.timestamp()))
    return path


def test_a_name_has_time_device_event_and_label(tmp_path: Path) -> None:
    """The time is UTC, to the millisecond. Before it is complete, the name is hidden."""
    folder = ClipFolder(tmp_path, "gate-01", mb=1, days=1)
    there = AT.astimezone(timezone(timedelta(hours=9)))
    assert [path.name for path in folder.paths_for(there, "412-31", "person")] == [
        ".2026-11-29T14-02-07.123Z.gate-01.412-31.person.avi.tmp", "2026-11-29T14-02-07.123Z.gate-01.412-31.person.avi"]


@pytest.mark.parametrize("label", ["../../etc/passwd", "a\0b", "", ".", "\ud800", "Füße/" * 99, "C:\\a", "-rf", "a\nb"])
def test_any_label_makes_a_name_in_the_folder(tmp_path: Path, label: str) -> None:
    """Escaped, bounded, and recognized again as our own."""
    folder = ClipFolder(tmp_path, "a" * 63, mb=1, days=1)
    hidden, path = folder.paths_for(AT, label, label)
    assert hidden.parent == path.parent == tmp_path
    hidden.write_bytes(b"")
    hidden.rename(path)
    folder.tidy(AT)
    os.utime(path, (0, 0))
    folder.tidy(None)
    assert path.exists()
    folder.tidy(AT)
    assert not path.exists()


def test_names_sort_by_time(tmp_path: Path) -> None:
    """Whatever the device, the event and the label are called."""
    folder = ClipFolder(tmp_path, "gate", mb=1, days=1)
    names = [folder.paths_for(AT + timedelta(milliseconds=37 * step), f"{9 - step % 10}", "x")[1].name
             for step in range(40)]
    assert names == sorted(names)


def test_only_what_is_old_or_too_much_goes(tmp_path: Path) -> None:
    """First by age, then the oldest, until the rest fits the quota."""
    now = AT + 10 * DAY
    old = clip(tmp_path, AT)
    rest = [clip(tmp_path, now - hours * DAY / 24, 400_000) for hours in (4, 3, 2, 1)]
    folder = ClipFolder(tmp_path, "gate", mb=1.3, days=9)
    folder.tidy(now)
    assert not old.exists()
    assert [path.exists() for path in rest] == [False, True, True, True]
    assert folder.make_room(500_000)
    assert [path.exists() for path in rest] == [False, False, True, True]
    assert not folder.make_room(1_300_001)
    assert sorted(tmp_path.iterdir()) == []


def test_nothing_else_is_ever_deleted(tmp_path: Path) -> None:
    """Other devices' clips, also with a longer name; other files; links, their targets and folders of our name."""
    kept = [clip(tmp_path, device=device) for device in ("gate2", "gate_2", "back-gate")]
    for name in ("holiday.avi", "2026-11-29T14-02-07.123Z.avi", "2026-11-29T14-02-07.123Z.gate.avi",
                 "x2026-11-29T14-02-07.123Z.gate.1.person.avi", "2026-11-29T14-02-07.123Z.gate.1.person.avi.bak",
                 "..2026-11-29T14-02-07.123Z.gate.1.person.avi", "config.yaml"):
        kept.append(tmp_path / name)
        kept[-1].write_text("mine")
    link, inner = clip(tmp_path, event="1"), clip(tmp_path, event="2")
    link.unlink()
    inner.unlink()
    target = tmp_path / "target"
    target.write_text("mine")
    link.symlink_to(target)
    inner.mkdir()
    for path in kept:
        os.utime(path, (0, 0))
    os.utime(target, (0, 0))
    folder = ClipFolder(tmp_path, "gate", mb=0.000001, days=1)
    folder.tidy(AT + 1000 * DAY)
    folder.make_room(10 ** 9)
    assert all(path.exists() for path in [*kept, link, inner, target])
    assert link.is_symlink()


def test_what_a_killed_run_left_is_deleted(tmp_path: Path) -> None:
    """An unfinished clip of this device, and of no other."""
    hidden = [ClipFolder(tmp_path, device, mb=1, days=1).paths_for(AT, "1", "car")[0] for device in ("gate", "other")]
    for path in hidden:
        path.write_text("half")
    ClipFolder(tmp_path, "gate", mb=1, days=1).tidy(AT)
    assert [path.exists() for path in hidden] == [False, True]


def failure_of(path: Path) -> int | None:
    """The number of the error with which the folder says that it cannot take a clip."""
    try:
        ClipFolder(path, "gate", mb=1, days=1).tidy(AT)
    except OSError as failure:
        return failure.errno if failure.filename else -1
    return None


def test_a_folder_that_cannot_take_a_clip_says_why(tmp_path: Path) -> None:
    """Missing, no folder, without the right to write."""
    (tmp_path / "file").write_text("")
    (tmp_path / "closed").mkdir()
    give_away(tmp_path / "closed")
    (tmp_path / "closed").chmod(0o500)
    assert failure_of(tmp_path / "absent") == errno.ENOENT
    assert failure_of(tmp_path / "file") == errno.ENOTDIR
    assert as_nobody(lambda: failure_of(tmp_path / "closed")) == errno.EACCES
    assert failure_of(tmp_path) is None


@pytest.mark.skipif(not small_disk.possible(), reason="needs the right to mount a disk")
def test_a_full_disk_and_a_read_only_one(tmp_path: Path) -> None:
    """The last 100 MB of a disk are left to others."""
    with small_disk.mounted(tmp_path, 8):
        assert failure_of(tmp_path) == errno.ENOSPC
        subprocess.run(["mount", "-o", "remount,ro", tmp_path], check=True)
        assert failure_of(tmp_path) == errno.EROFS
