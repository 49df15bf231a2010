"""Disks that stop, fail and forget, as `_lib.durable.Files`, over a real folder.

What a program did is carried out for real; what of it would survive a power cut is written down beside it: content
only by fsync of its file, names only by fsync of their folder.
"""
# The paths are strings, as `Files` gives them.
# ruff: noqa: PTH102, PTH105, PTH108, PTH120

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

Names = dict[str, int | None]     # path -> file; None: a folder
Change = tuple[str | None, str | None, int | None]    # path removed, path added, file
SUBSETS_OF = 8


class PowerCut(Exception):
    """The power fails at this step."""


class CountedDisk:
    """The real disk with every change counted; before step `stop_at` and before each later one it calls `stop`."""

    def __init__(self, stop_at: int | None, stop: Callable[[], None]) -> None:
        self.steps = 0
        self.stop_at = stop_at
        self._stop = stop

    def step(self) -> None:
        if self.stop_at is not None and self.steps >= self.stop_at:
            self._stop()
        self.steps += 1

    def open(self, path: str, flags: int, mode: int = 0o777, /) -> int:
        if flags & (os.O_CREAT | os.O_TRUNC):
            self.step()
        return os.open(path, flags, mode)

    def write(self, descriptor: int, content: bytes | memoryview, /) -> int:
        self.step()
        return os.write(descriptor, content[:1000])     # it may take less than it was given

    def fsync(self, descriptor: int, /) -> None:
        self.step()

    def close(self, descriptor: int, /) -> None:
        os.close(descriptor)

    def replace(self, source: str, target: str, /) -> None:
        self.step()
        os.replace(source, target)

    def unlink(self, path: str, /) -> None:
        self.step()
        os.unlink(path)

    def mkdir(self, path: str, mode: int = 0o777, /) -> None:
        self.step()
        os.mkdir(path, mode)


class ForgetfulDisk(CountedDisk):
    """The power fails before step `cut_at`; `after_the_cut` gives the possible contents of `root`, empty at first."""

    def __init__(self, root: Path, cut_at: int | None) -> None:
        super().__init__(cut_at, self._cut)
        self._root = str(root)
        self._paths: dict[int, str] = {}                # open descriptors
        self._names: Names = {self._root: None}         # as a reader sees them now
        self._durable: Names = dict(self._names)
        self._pending: list[Change] = []
        self._written: list[bytes] = []                 # content of each file
        self._synced: list[bytes] = []

    @staticmethod
    def _cut() -> None:
        raise PowerCut

    def open(self, path: str, flags: int, mode: int = 0o777, /) -> int:
        descriptor = super().open(path, flags, mode)
        if flags & os.O_CREAT and path not in self._names:
            self._written.append(b"")
            self._synced.append(b"")
            self._rename(None, path, len(self._written) - 1)
        if flags & os.O_TRUNC:
            self._written[self._file(path)] = b""
        self._paths[descriptor] = path
        return descriptor

    def write(self, descriptor: int, content: bytes | memoryview, /) -> int:
        taken = super().write(descriptor, content)
        self._written[self._file(self._paths[descriptor])] += bytes(content[:taken])
        return taken

    def _file(self, path: str) -> int:
        file = self._names[path]
        assert file is not None, f"{path} is a folder"
        return file

    def fsync(self, descriptor: int, /) -> None:
        super().fsync(descriptor)
        path = self._paths[descriptor]
        file = self._names[path]
        if file is None:
            self.sync_names(path)
        else:
            self.sync_content(file)

    def sync_names(self, folder: str) -> None:
        here = [change for change in self._pending if folder in self._folders(change)]
        renamed = {change[0] for change in here}        # what gave such a name comes along
        synced = [change for change in self._pending if change in here or change[1] in renamed]
        for change in synced:
            self._apply(self._durable, change)
            self._pending.remove(change)

    def sync_content(self, file: int) -> None:
        self._synced[file] = self._written[file]

    def close(self, descriptor: int, /) -> None:
        del self._paths[descriptor]
        super().close(descriptor)

    def replace(self, source: str, target: str, /) -> None:
        super().replace(source, target)
        self._rename(source, target, self._names[source])

    def unlink(self, path: str, /) -> None:
        super().unlink(path)
        self._rename(path, None, None)

    def mkdir(self, path: str, mode: int = 0o777, /) -> None:
        super().mkdir(path, mode)
        self._rename(None, path, None)

    def _rename(self, removed: str | None, added: str | None, file: int | None) -> None:
        change = (removed, added, file)
        self._pending.append(change)
        self._apply(self._names, change)

    @staticmethod
    def _apply(names: Names, change: Change) -> None:
        removed, added, file = change
        if removed is not None:
            names.pop(removed, None)
        if added is not None:
            names[added] = file

    @staticmethod
    def _folders(change: Change) -> set[str]:
        return {os.path.dirname(path) for path in change[:2] if path is not None}

    def after_the_cut(self) -> Iterator[dict[str, bytes | None]]:
        """Each folder that may be there: path below the root -> content, None for a folder.

        Of the names that were not synced any may have reached the disk (of very many: the first so many); of content
        that was not synced, nothing, some or all.
        """
        known = set()
        for reached in self._subsets(self._pending):
            names = dict(self._durable)
            for change in reached:
                self._apply(names, change)
            for remembers in (self._synced, [whole[:len(whole) // 2] for whole in self._written], self._written):
                world = {path: None if file is None else max(self._synced[file], remembers[file], key=len)
                         for path, file in names.items() if self._stands(names, path)}
                key = tuple(sorted(world.items()))
                if key not in known:
                    known.add(key)
                    yield {os.path.relpath(path, self._root): content for path, content in world.items()}

    @staticmethod
    def _subsets(changes: list[Change]) -> Iterator[Iterable[Change]]:
        if len(changes) > SUBSETS_OF:
            yield from (changes[:count] for count in range(len(changes) + 1))
        else:
            yield from itertools.chain.from_iterable(
                itertools.combinations(changes, count) for count in range(len(changes) + 1))

    def _stands(self, names: Names, path: str) -> bool:
        return path == self._root or (os.path.dirname(path) in names and self._stands(names, os.path.dirname(path)))


class NoSync(ForgetfulDisk):
    """As if the program had never called fsync."""

    def sync_names(self, folder: str) -> None:
        pass

    def sync_content(self, file: int) -> None:
        pass


class NoContentSync(ForgetfulDisk):
    """As if it had synced folders only."""

    def sync_content(self, file: int) -> None:
        pass


class NoFolderSync(ForgetfulDisk):
    """As if it had synced files only."""

    def sync_names(self, folder: str) -> None:
        pass


class _Story(Protocol):
    def run(self) -> None:
        """Write to the disk, until the power is cut."""


S = TypeVar("S", bound=_Story)


def after_each_cut(ram: Path, disk_of: type[ForgetfulDisk], story_of: Callable[[Path, ForgetfulDisk], S], *,
                   steps_min: int) -> Iterator[tuple[Path, S]]:
    """Cut the power before every step of a story, which has more than `steps_min`.

    Yields each folder that the disk may then have, and the story as far as it came.
    """
    for cut_at in itertools.count():
        with tempfile.TemporaryDirectory(dir=ram) as name:
            root = Path(name, "disk")
            root.mkdir()
            disk = disk_of(root, cut_at)
            story = story_of(root, disk)
            try:
                story.run()
                done = True
            except PowerCut:
                done = False
            for number, world in enumerate(disk.after_the_cut()):
                folder = Path(name, str(number))
                folder.mkdir()
                for path, content in sorted(world.items()):
                    if content is None:
                        (folder / path).mkdir(exist_ok=True)
                    else:
                        (folder / path).write_bytes(content)
                yield folder, story
            if done:
                assert cut_at > steps_min
                return
