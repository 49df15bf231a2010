"""The signed configurations on disk: old or new after a power cut, none for a damaged file, and what a start counts."""

from __future__ import annotations

import errno
import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import JsonValue

from tests.support.faults.forgetful_disk import (
    CountedDisk,
    ForgetfulDisk,
    NoContentSync,
    NoFolderSync,
    after_each_cut,
)
from tests.support.present import present
from vedette._lib.durable import Files
from vedette.config.signed import FILE, signed_of
from vedette.errors import ConfigError, StateUnusable
from vedette.store.configurations import ConfigurationsState, ConfigurationStore, InstalledConfiguration
from vedette.store.state import CRASHES_MAX

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def configuration(number: int) -> InstalledConfiguration:
    """Release `number`: its value is long enough for several writes."""
    labels: dict[str, JsonValue] = {f"label {each}": 0.5 for each in range(60)}
    return InstalledConfiguration(sha256=f"{number:064x}", size=10, name="settings", version=str(number),
                                  release=number, values={"detector": {"score_threshold": number / 10,
                                                                       "labels": labels}})


class Story:
    """What a device does with its configurations. `possible`: the states that the disk may hold now."""

    def __init__(self, folder: Path, files: Files) -> None:
        self.store = ConfigurationStore(folder, files=files)
        self.possible = [ConfigurationsState()]

    def change(self, state: ConfigurationsState) -> None:
        self.possible.append(state)
        self.store.change(state)
        self.possible = [state]

    def run(self) -> None:
        self.change(self.store.state.activated(configuration(1), NOW).started("a boot"))
        self.change(self.store.state.with_evidence(10, 5))
        self.change(self.store.state.marked_good(NOW))
        self.change(self.store.state.activated(configuration(2), NOW).started("a boot"))
        for crash in range(CRASHES_MAX):
            state = self.store.state.started("a boot")
            self.possible.append(state.rolled_back("", NOW, code="crashed", lasting=False)
                                 if crash == CRASHES_MAX - 1 else state)
            self.store.start("a boot", NOW)
            self.possible = self.possible[-1:]
        assert [present(self.store.state.active).release, self.store.state.trial] == [1, None]
        self.change(self.store.state.withdrawn(NOW))


def facts(state: ConfigurationsState) -> tuple[object, ...]:
    return state.active, state.previous, state.trial, [each.sha256 for each in state.refused]


def broken(folder: Path, story: Story) -> bool:
    """Whether the folder holds another state than it may."""
    found = ConfigurationStore(folder)
    return found.damage is not None or facts(found.state) not in map(facts, story.possible) \
        or signed_of(folder) != found.signed


def lost_by(ram: Path, disk_of: type[ForgetfulDisk]) -> bool:
    """Whether anything is lost or mixed if the power is cut before any step."""
    return any(broken(folder, story) for folder, story in after_each_cut(ram, disk_of, Story, steps_min=20))


def test_a_power_cut_at_any_step_leaves_the_old_state_or_the_new(ram: Path) -> None:
    """Never neither, and never a mixture: with all that the disk may have lost."""
    assert not lost_by(ram, ForgetfulDisk)


@pytest.mark.parametrize("disk", [NoContentSync, NoFolderSync])
def test_the_law_catches_shortcuts(ram: Path, disk: type[ForgetfulDisk]) -> None:
    """Without fsync of the file, or of the folder, something is lost."""
    assert lost_by(ram, disk)


def fail() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_changes_nothing_but_never_keeps_a_bad_one(tmp_path: Path) -> None:
    """A change is refused; going back works, and is saved as soon as there is room."""
    store = ConfigurationStore(tmp_path)
    store.change(store.state.activated(configuration(1), NOW, on_trial=False))
    store.change(store.state.activated(configuration(2), NOW))
    disk = CountedDisk(0, fail)
    full = ConfigurationStore(tmp_path, files=disk)
    with pytest.raises(StateUnusable):
        full.change(full.state.marked_good(NOW))
    assert full.state.trial is not None
    full.roll_back("too bad", NOW, "blind")
    assert present(full.signed).release == 1
    assert "configuration.json" in full.problems()["store_failed"]
    disk.stop_at = None
    full.retry_save()
    assert full.problems() == {}
    assert present(signed_of(tmp_path)).release == 1


def test_a_start_that_cannot_be_counted_uses_the_configuration_before(tmp_path: Path) -> None:
    """Else a bad one could crash the daemon for ever. It is not refused: the disk was at fault."""
    store = ConfigurationStore(tmp_path)
    store.change(store.state.activated(configuration(1), NOW, on_trial=False))
    store.change(store.state.activated(configuration(2), NOW))
    full = ConfigurationStore(tmp_path, files=CountedDisk(0, fail))
    full.start("a boot", NOW)
    assert [present(full.signed).release, full.state.refused] == [1, ()]
    assert present(full.state.last_outcome).code == "not_counted"


@pytest.mark.parametrize("content", [b"", b"{", b'{"format": 2}', b"[" * 100_000, b'{"format": 1, "active": {}}'])
def test_a_damaged_file_means_the_devices_own_keys(tmp_path: Path, content: bytes) -> None:
    """It is a reason, also after a start, until something is kept again."""
    (tmp_path / FILE).write_bytes(content)
    store = ConfigurationStore(tmp_path)
    store.start("a boot", NOW)
    assert store.signed is None
    assert "is damaged" in store.problems()["configuration_failed"]
    assert (tmp_path / FILE).read_bytes() == content, "it is kept until there is something better"
    store.change(store.state.activated(configuration(1), NOW))
    assert store.problems() == {}


def test_what_could_not_be_used_is_tried_again_after_a_start(tmp_path: Path) -> None:
    """The next daemon may be a newer one, or its own keys may fit. What failed on trial stays refused."""
    store = ConfigurationStore(tmp_path)
    store.change(store.state.refused_unused(configuration(1), "unknown key", NOW))
    store.change(store.state.activated(configuration(2), NOW).rolled_back("blind", NOW, code="blind", lasting=False))
    assert store.state.refuses(configuration(1).sha256, 1)
    again = ConfigurationStore(tmp_path)
    again.start("a boot", NOW)
    assert not again.state.refuses(configuration(1).sha256, 1)
    assert again.state.refuses(configuration(2).sha256, 2)
    assert not again.state.refuses(configuration(2).sha256, 3), "a higher release of the same file is tried again"


def test_the_file_is_what_other_parts_read(tmp_path: Path) -> None:
    """`active` has the values and the release; nothing but configurations is in the file."""
    store = ConfigurationStore(tmp_path)
    store.change(store.state.activated(configuration(7), NOW))
    kept = json.loads((tmp_path / FILE).read_bytes())
    assert kept["format"] == 1
    assert kept["active"]["values"]["detector"]["score_threshold"] == 0.7
    assert kept.keys() == {"format", "active", "previous", "trial", "refused", "latest", "last_outcome"}
    assert ConfigurationStore(tmp_path).state == store.state
    (tmp_path / FILE).write_text("{")
    with pytest.raises(ConfigError):
        signed_of(tmp_path)
