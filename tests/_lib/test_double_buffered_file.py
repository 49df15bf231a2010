"""A small record that is replaced in place."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.faults.synced_folders import synced_folders
from vedette._lib.double_buffered_file import LONGEST, SLOT, DoubleBufferedFile


def test_absent_then_written_then_read_by_another(tmp_path: Path) -> None:
    """There is no record at first; then each reader gets the last one."""
    path = tmp_path / "mark"
    slots = DoubleBufferedFile(path)
    assert slots.read() is None
    for content in (b"one", b"", b"x" * LONGEST, b"four"):
        slots.write(content)
        assert DoubleBufferedFile(path).read() == content
    assert path.stat().st_size == 2 * SLOT
    DoubleBufferedFile(path).write(b"five")
    assert DoubleBufferedFile(path).read() == b"five"


@given(cut=st.integers(0, SLOT - 1), torn=st.binary(min_size=1, max_size=SLOT))
def test_a_write_cut_anywhere_leaves_the_record_before(tmp_path_factory: pytest.TempPathFactory, cut: int,
                                                       torn: bytes) -> None:
    """After a power cut during a write, the other record is whole."""
    path = tmp_path_factory.mktemp("slots") / "mark"
    slots = DoubleBufferedFile(path)
    slots.write(b"old")          # slot 1
    slots.write(b"newest")       # slot 0
    content = bytearray(path.read_bytes())
    torn = torn[:SLOT - cut]
    if content[SLOT + cut:SLOT + cut + len(torn)] == torn:
        return
    content[SLOT + cut:SLOT + cut + len(torn)] = torn
    path.write_bytes(content)
    assert DoubleBufferedFile(path).read() == b"newest"


def test_a_damaged_newest_record_gives_the_one_before(tmp_path: Path) -> None:
    """The last write was cut: the record before it counts, and the next write replaces the damaged one."""
    path = tmp_path / "mark"
    slots = DoubleBufferedFile(path)
    slots.write(b"old")
    slots.write(b"newest")
    content = bytearray(path.read_bytes())
    content[16] ^= 1
    path.write_bytes(content)
    again = DoubleBufferedFile(path)
    assert again.read() == b"old"
    again.write(b"next")
    assert DoubleBufferedFile(path).read() == b"next"
    path.write_bytes(b"nonsense")
    assert DoubleBufferedFile(path).read() is None


def test_a_too_long_record_or_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    """A record longer than a slot is refused; the message names a missing folder."""
    with pytest.raises(ValueError, match="at most"):
        DoubleBufferedFile(tmp_path / "mark").write(b"x" * (LONGEST + 1))
    with pytest.raises(OSError, match="gone"):
        DoubleBufferedFile(tmp_path / "gone" / "mark").write(b"x")


def test_a_record_that_cannot_be_synced_is_an_error(tmp_path: Path) -> None:
    """`/dev/null` takes every byte and refuses the sync."""
    (tmp_path / "mark").symlink_to("/dev/null")
    with pytest.raises(OSError, match="Invalid argument"):
        DoubleBufferedFile(tmp_path / "mark").write(b"x")


def test_the_name_of_a_new_file_is_synced(tmp_path: Path) -> None:
    """The first record syncs the folder too. A later one changes no name."""
    slots = DoubleBufferedFile(tmp_path / "mark")
    with synced_folders() as synced:
        slots.write(b"first")
        slots.write(b"second")
    assert synced == [str(tmp_path)]
