"""The law of durable replacement, on a disk that loses all content that was not synced."""

from __future__ import annotations

import errno
import itertools
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.faults.forgetful_disk import ForgetfulDisk, PowerCut
from vedette._lib.durable import replace_file

NAME = "run"
OLD, NEW = b"old content", b"the new content" * 200      # longer than one write of the disk takes

Write = Callable[[ForgetfulDisk, Path], None]


def lost_by(write: Write, folder: Path) -> set[str]:
    """Cut the power before every step of `write`; returns the errors in any content that may follow."""
    wrong = set()
    for steps in itertools.count():
        root = folder / str(steps)
        root.mkdir()
        disk = ForgetfulDisk(root, None)
        replace_file(root / NAME, OLD, files=disk)
        disk.stop_at = disk.steps + steps
        try:
            write(disk, root / NAME)
            done = True
        except PowerCut:
            done = False
        for world in disk.after_the_cut():
            if world.get(NAME) not in (OLD, NEW):
                wrong.add("mixture")
            elif done and world[NAME] != NEW:
                wrong.add("acknowledged, then lost")
        if done:
            return wrong
    raise AssertionError("unreachable")


def write_all(disk: ForgetfulDisk, path: Path, *, sync: bool) -> None:
    descriptor = disk.open(str(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    written = 0
    while written < len(NEW):
        written += disk.write(descriptor, NEW[written:])
    if sync:
        disk.fsync(descriptor)
    disk.close(descriptor)


def sync_folder(disk: ForgetfulDisk, folder: Path) -> None:
    descriptor = disk.open(str(folder), os.O_DIRECTORY)
    disk.fsync(descriptor)
    disk.close(descriptor)


def overwrite_in_place(disk: ForgetfulDisk, path: Path) -> None:
    write_all(disk, path, sync=True)


def rename_without_sync(disk: ForgetfulDisk, path: Path) -> None:
    write_all(disk, path.with_name(".tmp"), sync=False)
    disk.replace(str(path.with_name(".tmp")), str(path))
    sync_folder(disk, path.parent)


def rename_without_folder_sync(disk: ForgetfulDisk, path: Path) -> None:
    write_all(disk, path.with_name(".tmp"), sync=True)
    disk.replace(str(path.with_name(".tmp")), str(path))


def test_old_or_new_at_every_cut(tmp_path: Path) -> None:
    """A power cut before any step leaves the old content or the new, and the new once the call has returned."""
    assert lost_by(lambda disk, path: replace_file(path, NEW, files=disk), tmp_path) == set()


@pytest.mark.parametrize(("naive", "loses"), [
    (overwrite_in_place, "mixture"),
    (rename_without_sync, "mixture"),
    (rename_without_folder_sync, "acknowledged, then lost"),
])
def test_the_law_catches_shortcuts(naive: Write, loses: str, tmp_path: Path) -> None:
    """Each well-known shortcut breaks the law that replace_file keeps."""
    assert loses in lost_by(naive, tmp_path)


def test_replaces_with_mode(tmp_path: Path) -> None:
    """The file has the new content and the given mode, and the folder holds nothing else."""
    path = tmp_path / "proofs.json"
    path.write_bytes(OLD)
    replace_file(path, NEW, mode=0o600)
    assert path.read_bytes() == NEW
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


class RealDisk:
    """The real disk."""

    open = staticmethod(os.open)
    fsync = staticmethod(os.fsync)
    close = staticmethod(os.close)
    replace = staticmethod(os.replace)
    unlink = staticmethod(os.unlink)
    mkdir = staticmethod(os.mkdir)
    write = staticmethod(os.write)


class BusyDisk(RealDisk):
    """While one thread writes, another one replaces the same file from beginning to end."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, descriptor: int, content: bytes | memoryview, /) -> int:  # type: ignore[override]
        half = os.write(descriptor, content[:1 + len(content) // 2])
        other = threading.Thread(target=replace_file, args=(self._path, OLD))
        other.start()
        other.join()
        return half


def test_concurrent_writers_do_not_mix(tmp_path: Path) -> None:
    """The last rename wins, with the whole content of its writer."""
    path = tmp_path / "run"
    replace_file(path, NEW, files=BusyDisk(path))
    assert path.read_bytes() == NEW
    assert list(tmp_path.iterdir()) == [path]


class FullDisk(RealDisk):
    """The real disk, without free space."""

    def write(self, descriptor: int, content: bytes | memoryview, /) -> int:  # type: ignore[override]
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_full_disk_changes_nothing(tmp_path: Path) -> None:
    """A failed write names the path, keeps the old content and removes the temporary file."""
    path = tmp_path / "run"
    path.write_bytes(OLD)
    with pytest.raises(OSError, match="No space left") as caught:
        replace_file(path, NEW, files=FullDisk())
    assert caught.value.filename == str(path)
    assert path.read_bytes() == OLD
    assert list(tmp_path.iterdir()) == [path]


def test_missing_folder_is_named(tmp_path: Path) -> None:
    """If the folder is missing, the error names the path that could not be written, not the temporary one."""
    with pytest.raises(FileNotFoundError) as caught:
        replace_file(tmp_path / "away" / "run", NEW)
    assert caught.value.filename == str(tmp_path / "away" / "run")


@pytest.mark.parametrize("kind", ["pipe", "link to a device", "folder"])
def test_only_a_regular_file_is_replaced(tmp_path: Path, kind: str) -> None:
    """`--out /dev/stdout` by root must not replace the device."""
    path = tmp_path / "out"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/null")
    with pytest.raises(OSError, match=r"a folder|no regular file"):
        replace_file(path, NEW)
    assert [each.name for each in tmp_path.iterdir()] == ["out"]
    assert not path.is_file()
