"""The law of the store: after a cut at any step of any write, its state is the acknowledged one, its models whole."""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.faults.forgetful_disk import (
    CountedDisk,
    ForgetfulDisk,
    NoContentSync,
    NoFolderSync,
    NoSync,
    PowerCut,
    after_each_cut,
)
from vedette._lib.durable import Files
from vedette.errors import StateUnusable
from vedette.store.incoming import digest_of
from vedette.store.model_store import ModelStore
from vedette.store.state import CRASHES_MAX, Installed, StoreState

pytestmark = pytest.mark.slow

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
LIMIT = 1 << 20


class Story:
    """What a daemon does with its store.

    `acknowledged` is the last state whose save succeeded. The disk may also hold one of those `attempted` since.
    """

    def __init__(self, folder: Path, files: Files) -> None:
        self.store = ModelStore(folder / "models", files=files, min_free_bytes=0, utc_now=lambda: NOW)
        self.acknowledged, self.attempted = StoreState(), [StoreState()]
        self.files = files
        self._stages_downloads = False
        self._sources = folder.parent / "sources"
        self._sources.mkdir(exist_ok=True)

    def run(self) -> None:
        self.store.recover()
        first, second, third, fourth = (self.model(number) for number in range(1, 5))
        self.install(first)
        self.change(self.store.state.marked_good(NOW))
        self.install(second)
        self.change(self.store.state.rolled_back_by_operator(NOW))        # out of its trial: it is not kept
        self.install(second)
        self.change(self.store.state.marked_good(NOW))
        self.install(third, as_candidate=False)
        for _ in range(CRASHES_MAX + 1):                    # a crash loop
            self.start()
        self._stages_downloads = True
        self.install(fourth, as_candidate=False)
        self.start()
        self.change(self.store.state.ended_cleanly())
        self.store.recover()
        self.start()
        self.change(self.store.state.marked_good(NOW))
        self.change(self.store.state.rolled_back_by_operator(NOW))
        self.store.clean_up()

    def model(self, number: int) -> Path:
        path = self._sources / str(number)
        path.write_bytes(b"model %d " % number * 3)
        return path

    def install(self, source: Path, *, as_candidate: bool = True) -> None:
        sha256, size = self.stage(source)
        model = Installed(sha256=sha256, size=size, name=source.name)
        if as_candidate:
            self.change(self.store.state.staged(model))
        self.change(self.store.state.activated(model, NOW))
        self.store.clean_up()

    def stage(self, source: Path) -> tuple[str, int]:
        if self._stages_downloads:
            return self.download(source)
        return self.store.stage(source, None, limit_bytes=LIMIT)

    def download(self, source: Path) -> tuple[str, int]:
        """Store a download whose writer syncs nothing."""
        content = source.read_bytes()
        path = self.store.incoming / "download"
        try:
            descriptor = self.files.open(str(path), os.O_WRONLY | os.O_CREAT, 0o600)
            self.files.write(descriptor, content)
            self.files.close(descriptor)
        except OSError as error:
            raise StateUnusable(str(error)) from error
        sha256 = hashlib.sha256(content).hexdigest()
        self.store.adopt(path, sha256)
        return sha256, len(content)

    def start(self) -> None:
        counted = self.store.state.started("a boot")
        crashed = counted.trial is not None and counted.trial.crashes >= CRASHES_MAX
        self.attempted.append(counted.rolled_back("a loop", NOW) if crashed else counted)
        model, words = self.store.start("a boot", NOW)
        assert model == self.store.state.active
        if self.store.trouble is None:
            assert (words is not None) == crashed
            self.acknowledged, self.attempted = self.store.state, []

    def change(self, state: StoreState) -> None:
        self.attempted.append(state)
        before = self.store.state
        try:
            self.store.change(state)
        except StateUnusable:
            assert self.store.state == before
            raise
        assert self.store.state == state
        self.acknowledged, self.attempted = state, []


class PointerFirst(Story):
    """A wrong order: the state names the model before its file is in the store."""

    def install(self, source: Path, *, as_candidate: bool = True) -> None:
        content = source.read_bytes()
        model = Installed(sha256=hashlib.sha256(content).hexdigest(), size=len(content), name=source.name)
        self.change(self.store.state.activated(model, NOW))
        self.stage(source)
        self.store.clean_up()


def broken(folder: Path, story: Story) -> str | None:
    """Return what is wrong with the recovered store; None if the law holds."""
    store = ModelStore(folder / "models", files=CountedDisk(None, lambda: None), utc_now=lambda: NOW)
    found = store.recover()
    if found.active is not None and digest_of(store.path_of(found.active.sha256)) != found.active.sha256:
        return "the active model is damaged"
    if facts(found) not in map(facts, (story.acknowledged, *story.attempted)):
        return "acknowledged, then lost"
    return None


def facts(state: StoreState) -> tuple[object, ...]:
    """Return the parts of a state without its messages: their wording is free."""
    return (state.active, state.previous, state.candidate, state.trial, state.held,
            [refused.sha256 for refused in state.refused])


def lost_by(ram: Path, disk_of: type[ForgetfulDisk], story_of: type[Story] = Story) -> str | None:
    """Cut the power before every step; returns the first error in any content that the disk may then have."""
    errors = (broken(folder, story) for folder, story in after_each_cut(ram, disk_of, story_of, steps_min=100))
    return next(filter(None, errors), None)


def test_a_power_cut_at_any_step_loses_nothing(ram: Path) -> None:
    """On a disk that loses unsynced writes, the state found is the acknowledged one or the next, its model whole."""
    assert lost_by(ram, ForgetfulDisk) is None


@pytest.mark.parametrize(("disk", "story"), [
    (NoSync, Story), (NoContentSync, Story), (NoFolderSync, Story), (ForgetfulDisk, PointerFirst)])
def test_the_law_catches_shortcuts(ram: Path, disk: type[ForgetfulDisk], story: type[Story]) -> None:
    """The law is broken without fsync, without fsync of files or of folders, or if the state is written first."""
    assert lost_by(ram, disk, story) == "acknowledged, then lost"


def stops() -> Callable[[], None]:
    def stop() -> None:
        raise PowerCut
    return stop


def fails(number: int) -> Callable[[], None]:
    def fail() -> None:
        raise OSError(number, os.strerror(number))
    return fail


def test_a_kill_at_any_step_loses_nothing(ram: Path) -> None:
    """Killed after step i; all earlier steps are on disk."""
    for stop_at in itertools.count():
        with tempfile.TemporaryDirectory(dir=ram) as name:
            root = Path(name, "disk")
            root.mkdir()
            story = Story(root, CountedDisk(stop_at, stops()))
            try:
                story.run()
            except PowerCut:
                assert broken(root, story) is None
            else:
                break


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_disk_that_fails_from_any_step_on_is_reported_and_loses_nothing(ram: Path, number: int) -> None:
    """Each failure is StateUnusable or stands in `trouble`; the state in memory is the old one; a start works."""
    for fail_at in itertools.count():
        with tempfile.TemporaryDirectory(dir=ram) as name:
            root = Path(name, "disk")
            root.mkdir()
            disk = CountedDisk(fail_at, fails(number))
            story = Story(root, disk)
            message = None
            try:
                story.run()
            except StateUnusable as error:
                message = str(error)
            assert message is None or os.strerror(number) in message
            if disk.steps < fail_at:
                break
            again = ModelStore(root / "models", files=CountedDisk(0, fails(number)), utc_now=lambda: NOW)
            found = again.recover()
            assert facts(found) in map(facts, (story.acknowledged, *story.attempted))
            model, _ = again.start("a boot", NOW)
            assert (model is None) == (found.active is None)
            assert broken(root, story) is None
