"""A signed configuration on a device: chosen, downloaded, checked whole, on trial, good, refused or withdrawn.

The source, the file, the loading and the reload are real. Frames, health and the main thread are driven by hand.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from tests.support.fakes import FakeClock, Frames, NoComparison
from tests.support.faults.forgetful_disk import CountedDisk, PowerCut
from tests.support.network.operators import Operator
from tests.support.present import present
from tests.support.waiting.until import wait_until
from vedette._lib.durable import Files
from vedette.config.load import Loaded, read
from vedette.config.models import Config
from vedette.config.reload import Reloader
from vedette.config.signed import MAX_BYTES, Signed, signed_of
from vedette.detect.pipeline import Pipeline
from vedette.errors import StateUnusable, UpdateRefused, UpdateUnreachable
from vedette.store.configurations import ConfigurationStore
from vedette.store.model_store import ModelStore
from vedette.store.release import TrialRequirement
from vedette.types import ConfigurationStatus, ReasonCode, RunIdentity
from vedette.update.build import downloaded
from vedette.update.configuration import ConfigurationUpdater
from vedette.update.configuration_trial import UNHEALTHY_S, ConfigurationTrial
from vedette.update.fetch import open_source
from vedette.update.live_configuration import LiveConfiguration, configuration_at_start
from vedette.update.old_configuration import OldConfiguration
from vedette.update.verdicts import LEAST_ERRORS

SHORT = TrialRequirement(frames=10, minutes=0.1)


class Device:
    """A device in a folder, and the fleet that it follows. `restart` is what a new daemon does first."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, FakeClock()
        self.operator = Operator(folder)
        (folder / "root.json").write_bytes(self.operator.root)
        self.file = folder / "config.yaml"
        self.write("")
        self.models = ModelStore(folder / "models")
        self.models.recover()
        self.failed: tuple[ReasonCode, ...] = ()
        self.orders: list[Callable[[], None]] = []
        self.taken: list[float] = []
        self.restart()

    def write(self, more: str) -> None:
        root = self.folder / "root.json"
        self.file.write_text(f"update: {{source: '{self.operator.served}', root: '{root}'}}\n{more}")

    def load(self, signed: Signed | None = None) -> Loaded:
        return read(self.file, environ={}, signed=signed)

    def restart(self, boot_id: str = "a boot", files: Files = os) -> None:
        self.orders.clear()
        self.store = ConfigurationStore(self.folder, files=files)
        loaded = configuration_at_start(self.store, self.load(), self.load, boot_id=boot_id, now=self.clock.utc_now())
        self.reloader = Reloader(loaded, self._load_now)
        self.reloader.parts = (self,)
        self.frames = Frames()
        self.live = LiveConfiguration(self.store, self.reloader, self.load, self.clock, self.orders.append)
        trial = ConfigurationTrial(self.store, self.clock, cast(Pipeline, self.frames),
                                   cast(OldConfiguration, NoComparison()), throttled=bool, governed=bool)
        trial.failed_reasons = self._failed_reasons
        self.updater = ConfigurationUpdater(
            self.store, loaded.config.update, self.clock, RunIdentity("gate", 1, boot_id), live=self.live, trial=trial,
            download=partial(downloaded, loaded.config.update, self.models))

    def reload(self, config: Config) -> None:
        """As a part with live keys."""
        self.taken.append(config.detector.score_threshold)

    def release(self, values: object, number: int, **changes: object) -> None:
        content = values if isinstance(values, bytes) else json.dumps(values).encode()
        self.operator.release(content, str(number), number, **{"kind": "configuration", "trial": SHORT, **changes})
        self.operator.publish()

    def withdraw(self, number: int) -> None:
        with self.operator.opened() as repository:
            repository.withdraw(self.operator.keys, number)
        self.operator.publish()

    def poll(self) -> None:
        """Ask the source, and do all that can be done."""
        source = open_source(self.reloader.config.update, self.models)
        self.updater.offer(source.refresh({}, datetime.now(UTC)).targets)
        self.settle()

    def settle(self, *, free: bool = True) -> None:
        """Step until nothing is under way; the main thread does what it is asked for."""
        def is_settled() -> bool:
            self.updater.step(free=free)
            while self.orders:
                self.orders.pop(0)()
            return self.updater._under_way is None and self.live.is_matched
        assert wait_until(is_settled)
        self.updater.step(free=free)

    def watch(self, frames: int = 10, seconds: float = 60, errors: int = 0) -> None:
        self.clock.advance(seconds)
        self.frames.invoked += frames
        self.frames.errors += errors
        self.settle()

    @property
    def threshold(self) -> float:
        return self.reloader.config.detector.score_threshold

    @property
    def status(self) -> ConfigurationStatus:
        return self.updater.status()

    @property
    def last(self) -> tuple[int | None, bool, str]:
        last = present(self.status.last_update)
        return last.release, last.ok, last.code

    def _load_now(self) -> Loaded:
        return self.load(self.store.signed)

    def _failed_reasons(self) -> tuple[ReasonCode, ...]:
        return self.failed


def threshold(value: float) -> dict[str, Any]:
    return {"detector": {"score_threshold": value}}


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


def with_good(device: Device, value: float = 0.3, number: int = 1) -> None:
    """Let a configuration pass its trial."""
    device.release(threshold(value), number)
    device.poll()
    device.watch()
    assert [device.status.state, device.status.release] == ["good", number]


def test_it_is_live_on_trial_and_then_good(device: Device) -> None:
    """Its keys win over the device's own; the message says which it is, before and after a restart."""
    device.write("detector: {score_threshold: 0.9, max_detections: 7}")
    assert device.status == ConfigurationStatus()
    device.release(threshold(0.3), 1)
    device.poll()
    assert (device.threshold, device.reloader.config.detector.max_detections, device.taken) == (0.3, 7, [0.3])
    assert [device.status.state, device.status.release, device.status.version] == ["trial", 1, "1"]
    device.watch(frames=9)
    assert device.status.state == "trial"
    device.watch(frames=1)
    assert [device.status.state, device.last] == ["good", (1, True, "good")]
    device.restart()
    assert [device.threshold, device.status.state, device.updater.reasons()] == [0.3, "good", {}]


@pytest.mark.parametrize(("content", "problem"), [
    ({"mqtt": {"host": "elsewhere"}}, "mqtt.host"), ({"detector": {"score_threshold": 7}}, "detector.score_threshold"),
    ({"detector": {"thresh": 0.3}}, "detector.thresh"), (b"{", "not valid JSON"), (b"[]", "keys and values"),
    (b" " * (MAX_BYTES + 1) + b"{}", "256 kB")])
def test_a_bad_one_is_refused_whole(device: Device, content: object, problem: str) -> None:
    """Nothing of it is used, the old one stays, and it is named; the next good one ends that."""
    with_good(device)
    device.release(content, 2)
    device.poll()
    assert [device.threshold, device.status.release, device.status.state] == [0.3, 1, "good"]
    assert device.last == (2, False, "invalid")
    assert problem in device.updater.reasons()["configuration_failed"]
    device.poll()
    assert device.taken == [0.3], "it was not tried again"
    with_good(device, 0.4, 3)
    assert device.updater.reasons() == {}


def test_errors_roll_back(device: Device) -> None:
    """The configuration before is in effect again, also after a restart; the bad one is refused."""
    with_good(device)
    device.release(threshold(0.8), 2)
    device.poll()
    assert device.threshold == 0.8
    device.watch(errors=LEAST_ERRORS)
    assert [device.threshold, device.status.release, device.status.state] == [0.3, 1, "good"]
    assert device.last == (2, False, "errors")
    device.poll()
    assert "detection failed" in device.updater.reasons()["configuration_failed"]
    device.restart()
    assert [device.threshold, device.last] == [0.3, (2, False, "errors")]


def test_health_that_fails_for_long_rolls_back(device: Device) -> None:
    """Not a short failure, not one of the camera, and not one of before."""
    device.failed = ("detector_failing",)
    device.release(threshold(0.8), 1, trial=TrialRequirement())
    device.poll()
    for failed in (("detector_failing", "camera_offline"), ("all_stale",), ()):
        device.failed = cast(tuple[ReasonCode, ...], failed)
        device.watch(seconds=UNHEALTHY_S - 1)
    assert device.status.state == "trial"
    device.failed = ("all_stale",)
    device.watch(seconds=1)
    device.watch(seconds=UNHEALTHY_S)
    assert [device.status.state, device.last, device.threshold] == ["none", (1, False, "unhealthy"), 0.5]
    assert "all_stale" in device.updater.reasons()["configuration_failed"]


def test_a_bad_one_is_rolled_back_on_a_disk_that_fails(device: Device) -> None:
    """The evidence of the trial could not be saved before. What runs is the configuration before."""
    with_good(device)
    device.release(threshold(0.9), 2, trial=TrialRequirement(frames=1000, minutes=60))
    device.poll()
    (device.folder / "configuration.json").unlink()
    (device.folder / "configuration.json").mkdir()
    with pytest.raises(StateUnusable):
        device.watch()
    assert device.threshold == 0.9
    device.failed = ("detector_failing",)
    for _ in range(3):
        with pytest.raises(StateUnusable):
            device.watch(seconds=UNHEALTHY_S)
    device.orders.pop()()
    assert [device.threshold, device.status.release, device.last] == [0.3, 1, (2, False, "unhealthy")]


def test_a_crash_loop_rolls_back_before_it_is_used(device: Device) -> None:
    """Three crashes of one boot. A clean stop and a power cut are none."""
    with_good(device)
    device.release(threshold(0.8), 2)
    device.poll()
    device.updater.ended_cleanly()
    device.restart("another boot")
    device.restart("a third boot")
    assert device.status.state == "trial"
    for _ in range(3):
        device.restart("a third boot")
    assert [device.threshold, device.last] == [0.3, (2, False, "crashed")]


def test_a_withdrawn_one_gives_way(device: Device) -> None:
    """To the one before, without a trial; without any release, to the device's own keys."""
    with_good(device)
    with_good(device, 0.4, 2)
    device.withdraw(2)
    device.poll()
    assert [device.threshold, device.status.release, device.status.state] == [0.3, 1, "good"]
    device.withdraw(1)
    device.poll()
    assert [device.threshold, device.status.state, device.last] == [0.5, "none", (1, True, "withdrawn")]
    assert signed_of(device.folder) is None


def test_a_refused_release_does_not_take_the_good_one_away(device: Device) -> None:
    """The operator has withdrawn the old release already; the device keeps what works."""
    with_good(device)
    device.release(threshold(7), 2)
    device.withdraw(1)
    device.poll()
    assert [device.threshold, device.status.release, device.last] == [0.3, 1, (2, False, "invalid")]


def test_a_new_number_for_the_same_content_changes_nothing_else(device: Device) -> None:
    """No second trial, no reload."""
    with_good(device)
    device.release(threshold(0.3), 2)
    device.poll()
    assert [device.status.release, device.status.state, device.taken] == [2, "good", [0.3]]


def test_it_waits_while_a_model_is_on_trial(device: Device) -> None:
    """Else one could be blamed for the other."""
    device.release(threshold(0.3), 1)
    source = open_source(device.reloader.config.update, device.models)
    device.updater.offer(source.refresh({}, datetime.now(UTC)).targets)
    device.settle(free=False)
    assert device.threshold == 0.5
    device.settle()
    assert device.threshold == 0.3


def test_a_wrong_file_of_the_device_is_no_fault_of_the_release(device: Device) -> None:
    """Somebody edits it now: the release waits, and is named; it is used as soon as the file is right."""
    device.release(threshold(0.3), 1)
    device.write("detector: {score_threshold: many}")
    device.poll()
    assert [device.threshold, device.status] == [0.5, ConfigurationStatus()]
    assert "own keys are wrong" in device.updater.reasons()["configuration_failed"]
    device.write("")
    device.poll()
    assert [device.threshold, device.updater.reasons()] == [0.3, {}]


def test_a_reload_that_is_refused_is_ordered_again(device: Device) -> None:
    """The file was right when the release was checked, and wrong when the main thread read it."""
    device.release(threshold(0.3), 1)
    original = device.live.problem_with

    def spoilt(signed: Signed) -> str | None:
        found = original(signed)
        device.write("detector: {score_threshold: many}")
        return found
    device.live.problem_with = spoilt  # type: ignore[method-assign]
    source = open_source(device.reloader.config.update, device.models)
    device.updater.offer(source.refresh({}, datetime.now(UTC)).targets)
    assert wait_until(partial(_steps_until_ordered, device))
    device.orders.pop(0)()
    assert [device.threshold, device.status.state] == [0.5, "none"], "the message names what runs"
    assert "config_rejected" in device.reloader.reasons()
    device.write("")
    device.updater.step(free=True)
    assert not device.orders, "not at every step"
    device.clock.advance(60)
    device.settle()
    assert [device.threshold, device.status.state] == [0.3, "trial"]


def _steps_until_ordered(device: Device) -> bool:
    device.updater.step(free=True)
    return bool(device.orders)


def test_what_cannot_be_used_at_a_start_is_left(device: Device) -> None:
    """The device starts with the one before, and says so."""
    with_good(device)
    kept = (device.folder / "configuration.json").read_text()
    (device.folder / "configuration.json").write_text(kept.replace("score_threshold", "score_treshold"))
    device.restart()
    assert [device.threshold, device.status.state, device.last] == [0.5, "none", (1, False, "invalid")]


def test_a_device_without_a_source_uses_no_signed_keys(device: Device) -> None:
    """Its owner has taken it out of the fleet."""
    with_good(device)
    device.file.write_text("detector: {score_threshold: 0.6}")
    device.restart()
    assert device.threshold == 0.6


def test_a_damaged_file_is_fetched_again(device: Device) -> None:
    """Until then the device's own keys are in effect, with a reason."""
    with_good(device)
    (device.folder / "configuration.json").write_text("{")
    device.restart()
    assert [device.threshold, device.status.state] == [0.5, "none"]
    assert "is damaged" in device.updater.reasons()["configuration_failed"]
    device.poll()
    assert [device.threshold, device.status.state, device.updater.reasons()] == [0.3, "trial", {}]


def test_a_damaged_file_is_forgotten_once_the_source_has_no_configuration(device: Device) -> None:
    """The answer is what counts, not that there is one."""
    (device.folder / "configuration.json").write_text("{")
    device.operator.publish()
    device.restart()
    device.poll()
    assert device.updater.reasons() == {}


def test_a_failed_download_is_the_fault_of_the_source(device: Device) -> None:
    """It changes nothing, and is told to the poll, which comes again."""
    device.release(threshold(0.3), 1)
    (served,) = (device.operator.served / "targets").rglob("*.tflite")
    content = served.read_bytes()
    source = open_source(device.reloader.config.update, device.models)
    targets = source.refresh({}, datetime.now(UTC)).targets
    for wrong in (content.replace(b"3", b"4"), None):
        device.updater.offer(targets)
        if wrong is None:
            served.unlink()
        else:
            served.write_bytes(wrong)
        with pytest.raises((UpdateRefused, UpdateUnreachable)):
            device.settle()
        assert [device.threshold, device.status] == [0.5, ConfigurationStatus()]
    served.write_bytes(content)
    device.poll()
    assert device.threshold == 0.3


def test_a_disk_that_cannot_be_written_changes_nothing(device: Device) -> None:
    """The configuration is not used, and it is tried again with the next poll."""
    device.release(threshold(0.3), 1)
    (device.folder / "configuration.json").mkdir()
    with pytest.raises(StateUnusable):
        device.poll()
    assert device.threshold == 0.5
    (device.folder / "configuration.json").rmdir()
    device.poll()
    assert [device.threshold, device.status.state, device.updater.reasons()] == [0.3, "trial", {}]


def stop() -> None:
    raise PowerCut


def test_a_cut_at_any_step_of_applying_leaves_the_old_one_or_the_new(device: Device) -> None:
    """A good one is in effect; another is applied, and rolled back for its errors. The next start has one of both."""
    with_good(device)
    kept = (device.folder / "configuration.json").read_bytes()
    device.release(threshold(0.8), 2)
    found = []
    for cut_at in itertools.count():
        (device.folder / "configuration.json").write_bytes(kept)
        device.restart(files=CountedDisk(cut_at, stop))
        try:
            device.poll()
            device.watch(errors=LEAST_ERRORS)
            is_done = True
        except PowerCut:
            is_done = False
        device.restart("another boot")
        state = device.status
        found.append((device.threshold, state.release, state.state, device.store.damage))
        if is_done:
            break
    old, new = (0.3, 1, "good", None), (0.8, 2, "trial", None)
    assert set(found) == {old, new}
    assert [found[0], found[-1]] == [old, old]
    assert len(found) > 10
