"""The law of durable replacement, on a disk that forgets whatever was not synced."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vedette._lib.durable import replace_file

TARGET = Path("/state/run")
OLD, NEW = b"old content", b"the new content"
FOLDER = -1


class PowerCut(Exception):
    """The power fails now."""


class ForgetfulDisk:
    """One folder. Content and names become durable only by fsync; the power fails before step `cut_at`."""

    def __init__(self, cut_at: int) -> None:
        self.steps_left = cut_at
        self.written = {1: OLD}                       # inode -> content as a reader sees it now
        self.kept: dict[int, list[bytes]] = {1: [OLD]}   # inode -> contents that may be there after a cut
        self.names = {str(TARGET): 1}
        self.kept_names = [dict(self.names)]          # states of the folder that may be there after a cut
        self.inode_of: dict[int, int] = {}

    def _step(self) -> None:
        if self.steps_left == 0:
            raise PowerCut
        self.steps_left -= 1

    def open(self, path: str, flags: int, mode: int = 0, /) -> int:
        self._step()
        descriptor = len(self.inode_of) + 3
        if flags & os.O_DIRECTORY:
            self.inode_of[descriptor] = FOLDER
            return descriptor
        if path not in self.names:
            inode = len(self.written) + 1
            self.written[inode] = b""
            self.kept[inode] = [b""]
            self._rename({**self.names, path: inode})
        inode = self.names[path]
        if flags & os.O_TRUNC:
            self._fill(inode, b"")
        self.inode_of[descriptor] = inode
        return descriptor

    def write(self, descriptor: int, content: bytes | memoryview, /) -> int:
        self._step()
        inode = self.inode_of[descriptor]
        taken = bytes(content)[:len(content) // 2 + 1]       # a write may take less than it was given
        self._fill(inode, self.written[inode] + taken)
        return len(taken)

    def fsync(self, descriptor: int, /) -> None:
        self._step()
        inode = self.inode_of[descriptor]
        if inode == FOLDER:
            self.kept_names = [dict(self.names)]
        else:
            self.kept[inode] = [self.written[inode]]

    def close(self, descriptor: int, /) -> None:
        del self.inode_of[descriptor]

    def replace(self, source: str, target: str, /) -> None:
        self._step()
        names = dict(self.names)
        names[target] = names.pop(source)
        self._rename(names)

    def unlink(self, path: str, /) -> None:
        self._step()
        names = dict(self.names)
        del names[path]
        self._rename(names)

    def mkdir(self, path: str, mode: int = 0o777, /) -> None:
        raise AssertionError("there is only one folder")

    def _fill(self, inode: int, content: bytes) -> None:
        self.written[inode] = content
        self.kept[inode].append(content)

    def _rename(self, names: dict[str, int]) -> None:
        self.names = names
        self.kept_names.append(names)

    def after_the_cut(self) -> Iterator[bytes | None]:
        """Return every content that the target may have after the power is back."""
        for names in self.kept_names:
            inode = names.get(str(TARGET))
            if inode is None:
                yield None
            else:
                yield from self.kept[inode]


def lost_by(write: Callable[[ForgetfulDisk], None]) -> set[str]:
    """Cut the power before every step of `write`; returns the first error in any content that may follow."""
    wrong = set()
    for cut_at in itertools.count():
        disk = ForgetfulDisk(cut_at)
        try:
            write(disk)
            done = True
        except PowerCut:
            done = False
        for content in disk.after_the_cut():
            if content not in (OLD, NEW):
                wrong.add("mixture")
            elif done and content != NEW:
                wrong.add("acknowledged, then lost")
        if done:
            return wrong
    raise AssertionError("unreachable")


def write_all(disk: ForgetfulDisk, path: str) -> int:
    descriptor = disk.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    written = 0
    while written < len(NEW):
        written += disk.write(descriptor, NEW[written:])
    return descriptor


def overwrite_in_place(disk: ForgetfulDisk) -> None:
    disk.fsync(write_all(disk, str(TARGET)))


def rename_without_sync(disk: ForgetfulDisk) -> None:
    write_all(disk, "/state/.tmp")
    disk.replace("/state/.tmp", str(TARGET))
    disk.fsync(disk.open("/state", os.O_DIRECTORY))


def rename_without_folder_sync(disk: ForgetfulDisk) -> None:
    disk.fsync(write_all(disk, "/state/.tmp"))
    disk.replace("/state/.tmp", str(TARGET))


def test_old_or_new_at_every_cut() -> None:
    """A power cut before any step leaves the old content or the new, and the new once the call has returned."""
    assert lost_by(lambda disk: replace_file(TARGET, NEW, files=disk)) == set()


@pytest.mark.parametrize(("naive", "loses"), [
    (overwrite_in_place, "mixture"),
    (rename_without_sync, "mixture"),
    (rename_without_folder_sync, "acknowledged, then lost"),
])
def test_the_law_catches_shortcuts(naive: Callable[[ForgetfulDisk], None], loses: str) -> None:
    """Each well-known shortcut breaks the law that replace_file keeps."""
    assert loses in lost_by(naive)


def test_replaces_with_mode(tmp_path: Path) -> None:
    """The file has the new content and the given mode, and the folder holds nothing else."""
    path = tmp_path / "proofs.json"
    path.write_bytes(OLD)
    replace_file(path, NEW, mode=0o600)
    assert path.read_bytes() == NEW
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


class FullDisk:
    """The real disk, without free space."""

    open = staticmethod(os.open)
    fsync = staticmethod(os.fsync)
    close = staticmethod(os.close)
    replace = staticmethod(os.replace)
    unlink = staticmethod(os.unlink)
    mkdir = staticmethod(os.mkdir)

    def write(self, descriptor: int, content: bytes | memoryview, /) -> int:
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
