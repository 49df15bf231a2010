"""A change of the fleet's folder happens as a whole or not at all, wherever the command dies."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from tests.support.network.http_server import serving_folder
from tests.support.network.operators import Device, Operator
from tests.support.present import present
from vedette._lib.durable import Files
from vedette.errors import StateUnusable
from vedette.fleet.folder import FleetFolder

OLD, NEW = {"a": b"1"}, {"a": b"2", "b/new": b"2"}


class Killed(BaseException):
    """The command dies here."""


class Cut:
    """The real disk, until the command is killed before step `at`."""

    def __init__(self, at: int) -> None:
        self._left = at

    def __getattr__(self, name: str) -> Callable[..., int]:
        def step(*arguments: object) -> int:
            if self._left == 0:
                raise Killed
            self._left -= 1
            return cast(int, getattr(os, name)(*arguments))
        return step


def content(folder: FleetFolder) -> dict[str, bytes]:
    return {name: found for name in NEW if (found := folder.read(name)) is not None}


@pytest.mark.slow
def test_a_change_cut_at_every_step_is_old_or_new(tmp_path: Path) -> None:
    """The next command finds either all old files or all new ones; after a finished change, the new ones."""
    seen = []
    for at in itertools.count():
        path = tmp_path / str(at)
        with FleetFolder(path, new=True) as folder:
            folder.change({**OLD, "fleet.json": b""})
        folder = FleetFolder(path, files=cast(Files, Cut(at)))
        try:
            folder.change(NEW)
            done = True
        except Killed:
            done = False
        folder.close()
        with FleetFolder(path) as folder:
            found = content(folder)
        assert found in (OLD, NEW)
        seen.append(found == NEW)
        assert not (path / ".change").exists()
        if done:
            assert found == NEW
            break
    assert seen == sorted(seen)             # one moment decides
    assert 5 < seen.count(False) < len(seen) - 5


def test_without_the_list_a_cut_leaves_a_mixture(tmp_path: Path) -> None:
    """Files that are put in place one by one fail the test above; so a change is written to `.change` first."""
    found = []
    for at in range(16):
        path = tmp_path / str(at)
        with FleetFolder(path, new=True) as folder:
            folder.change({**OLD, "fleet.json": b""})
        folder = FleetFolder(path, files=cast(Files, Cut(at)))
        try:
            for name, text in NEW.items():
                folder._put(path / name, text)
        except Killed:
            pass
        found.append(content(folder))
        folder.close()
    assert any(each not in (OLD, NEW) for each in found)


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """A lock, file or folder of another type: the message names it and gives the reason."""
    with FleetFolder(tmp_path / "fleet", new=True) as folder:
        folder.change({"fleet.json": b"", "a": b"1"})
        (tmp_path / "fleet/b").mkdir()
        with pytest.raises(StateUnusable, match="fleet/b"):
            folder.read("b")
        with pytest.raises(StateUnusable, match="fleet/b"):
            folder.change({"b": b"2"})
        assert "held" in repr(folder)
    with pytest.raises(StateUnusable, match="fleet/b"):        # the change was acknowledged by nobody, but is ready
        FleetFolder(tmp_path / "fleet")
    (tmp_path / "fleet/b").rmdir()
    with FleetFolder(tmp_path / "fleet") as folder:
        assert folder.read("b") == b"2"
    (tmp_path / "fleet/lock").unlink()
    (tmp_path / "fleet/lock").mkdir()
    with pytest.raises(StateUnusable, match="lock"):
        FleetFolder(tmp_path / "fleet")


ENDLESS = """
import sys
from pathlib import Path
from tests.support.network.operators import Operator, bundle_of
fleet = Operator.existing(Path(sys.argv[1]))
number = 0

def acknowledge():
    print({expiry.role: expiry.version for expiry in repository.expiries}["timestamp"], flush=True)

while True:
    number += 1
    content = b"model %d" % number * 5000
    with fleet.opened() as repository:
        repository.add(content, bundle_of(content, str(number)))
        repository.release(fleet.keys, bundle_of(content, str(number)), None, {})
        acknowledge()
        repository.rotate(fleet.keys, "timestamp")
        acknowledge()
        for target in repository.targets:
            repository.withdraw(fleet.keys, target.release.release)
            acknowledge()
"""


@pytest.mark.slow
def test_killed_at_random_moments_the_repository_stays_whole(tmp_path: Path) -> None:
    """After SIGKILL during any change it opens, no acknowledged change is lost, and a device verifies it."""
    operator = Operator(tmp_path)
    with serving_folder(operator.served) as web:
        device = Device(tmp_path / "device", web.url, operator.root)
        for number in range(int(os.environ.get("KILLS", "8"))):
            child = subprocess.Popen([sys.executable, "-c", ENDLESS, tmp_path],
                                     stdout=subprocess.PIPE)
            moment = random.Random(number)
            acknowledged = [int(present(child.stdout).readline()) for _ in range(moment.randint(1, 4))]
            threading.Event().wait(moment.uniform(0, 0.1))      # somewhere in the next change
            child.send_signal(signal.SIGKILL)
            child.wait(240)
            present(child.stdout).close()
            with operator.opened() as repository:
                released = {target.release.release for target in repository.targets}
                now = {expiry.role: expiry.version for expiry in repository.expiries}["timestamp"]
            assert now >= acknowledged[-1]
            operator.publish()
            assert device.releases().keys() == released
