"""What runs is what the state says: with a real store, real detectors and the real flow, and a disk that fails."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest

from tests.support.fakes import FakeCamera, FakeClock, make_frame, make_pipeline
from tests.support.models import lamps
from tests.support.network.http_server import serving_folder
from tests.support.network.operators_desk import Fleet
from tests.support.present import present
from tests.support.truth.bright_squares import SIZE
from tests.support.waiting.until import wait_until
from vedette._lib.durable import Files
from vedette._lib.worker import Worker
from vedette.config.models import CameraConfig, Config, DetectorConfig
from vedette.config.update import UpdateConfig
from vedette.detect.open_model import DetectorOpener, ModelChoice
from vedette.detect.opening_count import OpeningCount
from vedette.errors import InvokeFailed, ModelDamaged, ModelError, StateUnusable
from vedette.store.model_store import ModelStore
from vedette.store.state import Installed
from vedette.types import DetectionResult, Frame
from vedette.update.activate import ModelActivator
from vedette.update.fetch import ReleaseFetcher
from vedette.update.prove import Candidates, Prover
from vedette.update.schedule import PollSchedule
from vedette.validate.frame_tap import FrameTap
from vedette.vision.local import LocalDetector
from vedette.vision.model_child import TIMEOUT_S

pytestmark = pytest.mark.slow

NOW = datetime(2026, 11, 21, tzinfo=UTC)


class FailingDisk:
    """The real disk; while `broken`, nothing can be created."""

    broken = False

    def __getattr__(self, name: str) -> object:
        return getattr(os, name)

    def open(self, path: str, flags: int, mode: int = 0o777, /) -> int:
        if self.broken and flags & os.O_CREAT:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        return os.open(path, flags, mode)


class EndlessCamera(FakeCamera):
    """Gives a new frame whenever one is asked for."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__([], ends=False)
        self._clock = clock

    def take(self, timeout_s: float) -> Frame | None:
        self.captured += 1
        self.frames.append(make_frame(self._clock, self.captured, SIZE, SIZE))
        return super().take(timeout_s)


class Rig:
    """A device's flow without a daemon around it."""

    def __init__(self, folder: Path, *, probe_s: float = TIMEOUT_S) -> None:
        self.disk = FailingDisk()
        self.store = ModelStore(folder / "models", files=cast(Files, self.disk))
        self.store.recover()
        self.heard: list[DetectionResult] = []
        config = Config(camera=CameraConfig(source="/dev/video0"), detector=DetectorConfig(threads=1))
        clock = FakeClock()
        self.opener = DetectorOpener(config, self.store, folder / "proofs.json", OpeningCount(folder, died=False),
                                     probe_s=probe_s)
        self.camera = EndlessCamera(clock)
        self.pipeline = make_pipeline(self.camera, self.opener.open_chosen, clock, self.hear)
        self.switch = ModelActivator(self.store, self.opener, self.pipeline, clock, boot_id="this boot")

    def hear(self, result: DetectionResult) -> None:
        self.heard[:] = [result]

    def stored(self, model: Path) -> Installed:
        sha256, size = self.store.stage(model, None, limit_bytes=1 << 24)
        return Installed(sha256=sha256, size=size, name="lamps", version=model.stem[-1])

    def runs(self, model: Installed) -> bool:
        return wait_until(lambda: bool(self.heard) and present(self.heard[0].model).sha256 == model.sha256)

    @contextmanager
    def running(self) -> Iterator[None]:
        worker = Worker("detect", self.pipeline.run)
        worker.start()
        try:
            yield
        finally:
            assert worker.stop(60)
        assert worker.failure is None
        status = self.pipeline.status()
        assert self.camera.captured == status.detected + sum(status.dropped.values())


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_activate_roll_back_and_remove(rig: Rig, tmp_path: Path) -> None:
    """The first model runs, then a second on trial, then the first, then none."""
    one = rig.stored(lamps.write(tmp_path, "1"))
    with rig.running():
        rig.switch.activate(one, on_trial=False)
        assert rig.runs(one)
        two = rig.stored(lamps.write(tmp_path, "2"))
        rig.switch.activate(two)
        assert rig.runs(two)
        trial = present(rig.store.state.trial)
        assert (trial.starts, trial.open_boot) == (1, "this boot")
        rig.switch.roll_back("blind")
        assert rig.runs(one)
        assert present(rig.store.state.refusal_of(two.sha256)).why == "blind"
        assert not rig.store.path_of(two.sha256).exists()
        rig.switch.roll_back("tired", refuse=False)
        assert wait_until(lambda: "no_model" in rig.pipeline.reasons())


def test_a_state_that_cannot_be_written_changes_nothing(rig: Rig, tmp_path: Path) -> None:
    """If the state cannot be written, the old model keeps running, the state is unchanged, and a retry succeeds."""
    one = rig.stored(lamps.write(tmp_path, "1"))
    with rig.running():
        rig.switch.activate(one, on_trial=False)
        assert rig.runs(one)
        two = rig.stored(lamps.write(tmp_path, "2"))
        rig.disk.broken = True
        before = rig.store.state
        with pytest.raises(StateUnusable):
            rig.switch.activate(two)
        with pytest.raises(StateUnusable):
            rig.switch.roll_back("blind")
        assert rig.store.state == before
        assert present(rig.switch.running).sha256 == one.sha256
        rig.disk.broken = False
        rig.switch.activate(two)
        assert rig.runs(two)


class BreakingOpener(DetectorOpener):
    """The disk breaks while a detector is opened."""

    opened: LocalDetector | None = None
    disk: FailingDisk | None = None

    def open(self, choice: ModelChoice) -> LocalDetector:
        self.opened = super().open(choice)
        present(self.disk).broken = True
        return self.opened


def test_a_detector_that_cannot_be_used_is_closed(rig: Rig, tmp_path: Path) -> None:
    """Its memory would be missing until the next start."""
    opener = BreakingOpener(Config(detector=DetectorConfig(threads=1)), rig.store, tmp_path / "proofs.json",
                            OpeningCount(tmp_path, died=False))
    opener.disk = rig.disk
    switch = ModelActivator(rig.store, opener, rig.pipeline, FakeClock(), boot_id="this boot")
    with pytest.raises(StateUnusable):
        switch.activate(rig.stored(lamps.write(tmp_path, "1")))
    assert rig.store.state.active is None
    with pytest.raises(InvokeFailed, match="closed"):
        present(opener.opened).detect(make_frame(FakeClock(), 1, SIZE, SIZE))


def test_a_bad_model_goes_also_where_the_disk_takes_no_more(rig: Rig, tmp_path: Path) -> None:
    """The previous model runs at once, and the state is saved as soon as the disk allows it."""
    one = rig.stored(lamps.write(tmp_path, "1"))
    with rig.running():
        rig.switch.activate(one, on_trial=False)
        two = rig.stored(lamps.write(tmp_path, "2"))
        rig.switch.activate(two)
        rig.disk.broken = True
        rig.switch.roll_back("blind")
        assert rig.runs(one)
        assert "Read-only" in (rig.store.trouble or "")
        with pytest.raises(StateUnusable):
            rig.store.retry_save()
        assert rig.store.path_of(two.sha256).is_file()      # the state on disk still names it
        rig.disk.broken = False
        rig.store.retry_save()
        assert rig.store.trouble is None
    again = ModelStore(rig.store.folder)
    assert again.recover().active == one
    assert again.state.refusal_of(two.sha256)


def test_a_bad_model_runs_on_where_there_is_no_other(rig: Rig, tmp_path: Path) -> None:
    """With a full disk and without the previous model's file, nothing changes."""
    one = rig.stored(lamps.write(tmp_path, "1"))
    with rig.running():
        rig.switch.activate(one, on_trial=False)
        two = rig.stored(lamps.write(tmp_path, "2"))
        rig.switch.activate(two)
        rig.disk.broken = True
        rig.store.path_of(one.sha256).unlink()
        with pytest.raises(ModelDamaged):
            rig.switch.roll_back("blind")
        assert rig.store.state.active == two
        assert rig.runs(two)


def test_a_model_that_cannot_be_opened_changes_nothing(rig: Rig, tmp_path: Path) -> None:
    """Neither an invalid model nor one whose file has changed is activated."""
    one = rig.stored(lamps.write(tmp_path, "1"))
    page = tmp_path / "page-3.tflite"
    page.write_bytes(b"<html>" * 500)
    with rig.running():
        rig.switch.activate(one, on_trial=False)
        two, three = rig.stored(lamps.write(tmp_path, "2")), rig.stored(page)
        before = rig.store.state
        with pytest.raises(ModelError):
            rig.switch.activate(three)
        rig.store.path_of(two.sha256).write_bytes(b"something else")
        with pytest.raises(ModelDamaged):
            rig.switch.activate(two)
        assert rig.store.state == before
        assert rig.runs(one)


def test_an_operator_does_not_go_back_to_a_damaged_model(rig: Rig, tmp_path: Path) -> None:
    """The rollback is refused, and the good model keeps running."""
    one = rig.stored(lamps.write(tmp_path, "1"))
    with rig.running():
        rig.switch.activate(one, on_trial=False)
        two = rig.stored(lamps.write(tmp_path, "2"))
        rig.switch.activate(two, on_trial=False)
        rig.store.path_of(one.sha256).write_bytes(b"rotten")
        with pytest.raises(ModelDamaged):
            rig.switch.roll_back_by_operator()
        assert rig.store.state.active == two
        assert rig.runs(two)


def test_what_runs_is_made_what_the_state_says(rig: Rig, tmp_path: Path) -> None:
    """The pipeline follows every change of the state, also of only the label of an A/B release."""
    one = rig.stored(lamps.write(tmp_path, "1"))
    with rig.running():
        rig.switch.activate(one, on_trial=False)
        two = rig.stored(lamps.write(tmp_path, "2"))
        rig.store.change(rig.store.state.activated(two, NOW))
        rig.switch.match()
        assert rig.runs(two)
        rig.store.change(rig.store.state.activated(two.model_copy(update={"variant": "b"}), NOW))
        rig.switch.match()
        assert wait_until(lambda: present(rig.heard[0].model).variant == "b")


def test_an_active_model_that_cannot_be_opened_is_given_up(rig: Rig, tmp_path: Path) -> None:
    """A model on trial becomes bad; a good one whose file is damaged is replaced by the previous model."""
    one, two = rig.stored(lamps.write(tmp_path, "1")), rig.stored(lamps.write(tmp_path, "2"))
    rig.store.change(rig.store.state.activated(one, NOW, on_trial=False))
    rig.store.change(rig.store.state.activated(two, NOW, on_trial=False))
    rig.store.path_of(two.sha256).write_bytes(b"rotten since the start")
    with rig.running():
        assert wait_until(lambda: rig.pipeline.refusal is not None)
        rig.switch.match()
        assert rig.store.state.active == one
        assert rig.store.state.refused == ()
        rig.switch.match()
        assert rig.runs(one)


def test_a_model_on_trial_that_opens_slowly_is_not_given_up(tmp_path: Path) -> None:
    """Its proof was lost, and no child makes one within a millisecond. The pipeline's next try has more time."""
    rig = Rig(tmp_path, probe_s=0.001)
    one, two = rig.stored(lamps.write(tmp_path, "1")), rig.stored(lamps.write(tmp_path, "2"))
    rig.store.change(rig.store.state.activated(one, NOW, on_trial=False))
    rig.store.change(rig.store.state.activated(two, NOW))
    with rig.running():
        assert wait_until(lambda: rig.pipeline.refusal is not None)
        rig.switch.match()
        assert (rig.store.state.active, rig.store.state.refused) == (two, ())

        def runs_after_a_while() -> bool:
            rig.pipeline.retry_model()
            return bool(rig.heard)
        assert wait_until(runs_after_a_while)
    assert present(rig.heard[0].model).sha256 == two.sha256


@pytest.mark.slow
def test_a_disk_that_takes_nothing_is_no_reason_to_ask_the_source_all_the_time(rig: Rig, tmp_path: Path) -> None:
    """With a full disk, polls become rarer; once the disk has room, the source is polled again."""
    fleet, clock = Fleet(tmp_path), FakeClock()
    fleet.release(lamps.write(tmp_path, "1"))
    with serving_folder(fleet.www) as server:
        update = UpdateConfig(source=server.url, root=fleet.root)
        schedule = PollSchedule(3600, clock.now_ns / 1e9, uniform=lambda least, _: least)
        arrivals = ReleaseFetcher(rig.store, update, schedule, clock, device="gate", clock_synced=lambda: False)

        def fails() -> bool:
            try:
                arrivals.step(rig.switch)
            except StateUnusable:
                return True
            return False

        def learns() -> bool:
            arrivals.step(rig.switch)
            return rig.store.state.latest is not None
        rig.disk.broken = True
        assert wait_until(fails, 60)
        assert not schedule.is_due(clock.now_ns / 1e9)
        clock.advance(3600)
        assert wait_until(fails, 60)
        rig.disk.broken = False
        clock.advance(3600)
        assert wait_until(learns, 60)
        assert server.polls == 3


@pytest.mark.parametrize("good", [True, False])
def test_a_candidate_is_not_proven_over_and_over_while_the_disk_takes_nothing(rig: Rig, tmp_path: Path,
                                                                              good: bool) -> None:
    """While the state cannot be written the next probe waits; later the candidate is activated, or refused."""
    clock, page = FakeClock(), tmp_path / "page-2.tflite"
    config = Config(camera=CameraConfig(source="/dev/video0"), detector=DetectorConfig(threads=1))
    proving = Prover(rig.store, rig.opener, rig.switch, Candidates(config), FrameTap(), clock,
                     on_comparison=lambda *_: None, governed=lambda: False)
    page.write_bytes(b"<html>" * 500)
    one = rig.stored(lamps.write(tmp_path, "1") if good else page)
    rig.store.change(rig.store.state.staged(one))
    rig.disk.broken = True
    with pytest.raises(StateUnusable):
        proving.step()
    proving.step()      # nothing is due
    with rig.running():
        rig.disk.broken = False
        clock.advance(60)
        proving.step()
        assert rig.store.state.candidate is None
        assert (rig.store.state.active == one) is good
        assert bool(rig.store.state.refusal_of(one.sha256)) is not good
