"""A file whose name comes from a user, so that anything may be there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vedette._lib.whole_file import read_whole


def test_a_file_up_to_the_limit_is_read(tmp_path: Path) -> None:
    """One byte more is too much, and then nothing is read."""
    (tmp_path / "file").write_bytes(b"12345")
    assert read_whole(tmp_path / "file", 5) == b"12345"
    with pytest.raises(OSError, match="more than"):
        read_whole(tmp_path / "file", 4)


def test_anything_else_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    """A pipe would block, a device would never end."""
    os.mkfifo(tmp_path / "pipe")
    for path, why in ((tmp_path / "pipe", "no regular file"), (Path("/dev/zero"), "no regular file"),
                      (tmp_path, "a folder"), (tmp_path / "a\0b", "NUL"), (tmp_path / "gone", "No such file")):
        with pytest.raises(OSError, match=why):
            read_whole(path, 1 << 20)
