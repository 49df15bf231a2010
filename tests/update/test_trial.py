"""What counts as evidence while a model is on trial: its own frames, and what the previous model sees alike."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest

from tests.support.fakes import FakeClock, make_frame, make_result
from tests.support.models.sham_candidates import ShamCandidates, configured, detected, stored
from tests.support.present import present
from vedette.config.camera_values import region_of
from vedette.config.models import Config
from vedette.ports import Flow
from vedette.store.model_store import ModelStore
from vedette.types import Box, ModelRef, Source
from vedette.update.trial import COMPARE_S, TrialMonitor
from vedette.update.verdicts import LEAST_ERRORS, SIGHTINGS, Verdict
from vedette.validate.frame_tap import FrameTap

NOW = datetime(2026, 11, 21, tzinfo=UTC)


class ErrorCount:
    """A flow that counts the frames that failed."""

    errors = 0


class Rig:
    """A model on trial, beside the one before it."""

    def __init__(self, folder: Path) -> None:
        self.store = ModelStore(folder)
        self.store.recover()
        for content, on_trial in ((b"old", False), (b"new", True)):
            self.store.change(self.store.state.activated(stored(self.store, content), NOW, on_trial=on_trial))
        self.clock, self.tap = FakeClock(), FrameTap()
        self.candidates = ShamCandidates(configured())
        self.config = configured()
        self.flow = ErrorCount()
        self.trial = TrialMonitor(self.store, self.tap, self.clock, self.candidates, cast(Flow, self.flow),
                                  throttled=lambda: False, governed=lambda: False)

    def reload(self, config: Config) -> None:
        """The active detector takes the new limits at once."""
        self.config = config
        self.candidates.reload(config)

    def frame(self, source: Source = "local", sha256: str | None = None) -> Verdict:
        """Let the active model, or the one of this digest, detect in one frame."""
        self.clock.advance(COMPARE_S)
        self.tap.request()      # else the next step waits for a frame
        model = ModelRef("new", None, sha256 or present(self.store.state.active).sha256)
        result = replace(make_result(make_frame(self.clock), detected(self.config)), model=model, source=source,
                         roi=region_of(self.config.camera.roi))
        self.tap(result)
        self.trial.on_result(result)
        return present(self.trial.step(compare=True))


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_a_reload_during_a_trial_blames_no_model(rig: Rig) -> None:
    """With a higher threshold the active model detects less, and so does the previous one: that is not blindness."""
    for _ in range(SIGHTINGS // 2):
        assert rig.frame().ruling == "undecided"
    rig.reload(configured(score_threshold=0.9))
    for _ in range(2 * SIGHTINGS):
        assert rig.frame().ruling == "undecided"
    before, after = rig.candidates.opened
    assert (before.comparisons, before.is_closed) == (SIGHTINGS // 2, True)
    assert (after.comparisons, after.is_closed) == (2 * SIGHTINGS - 1, False), "one frame was from before the reload"
    rig.trial.close()


def test_sightings_of_before_a_reload_do_not_count(rig: Rig) -> None:
    """They were made with other settings, so they are gathered anew."""
    for _ in range(SIGHTINGS):
        verdict = rig.frame()
    assert f"of {SIGHTINGS} frames" not in verdict.message
    rig.reload(configured(score_threshold=0.6))
    assert f"0 of {SIGHTINGS} frames" in rig.frame().message, "that frame was from before the reload"
    assert f"1 of {SIGHTINGS} frames" in rig.frame().message
    rig.trial.close()


def test_only_frames_of_one_region_are_compared(rig: Rig) -> None:
    """After a reload a child with the new region is started. It gets no frame that was detected in the old one."""
    rig.frame()
    rig.candidates.reload(configured(roi=Box(0.5, 0, 1, 1)))
    for _ in range(3):
        rig.frame()
    rig.reload(configured(roi=Box(0.5, 0, 1, 1)))
    for _ in range(2):
        rig.frame()
    before, after = rig.candidates.opened
    assert (before.comparisons, before.is_closed) == (1, True)
    assert (after.comparisons, after.roi) == (2, Box(0.5, 0, 1, 1))
    rig.trial.close()


def test_a_reload_that_changes_no_setting_keeps_the_child(rig: Rig) -> None:
    """The comparison goes on."""
    for _ in range(3):
        rig.frame()
        rig.reload(configured())
    (child,) = rig.candidates.opened
    assert child.comparisons == 3
    rig.trial.close()
    assert child.is_closed


def test_frames_that_the_cloud_detected_in_are_no_evidence(rig: Rig) -> None:
    """A server that runs the same model says nothing of this device, and its times least of all."""
    rig.frame()     # the trial begins with the step after it
    assert "1 of 300 frames" in rig.frame().message
    assert "1 of 300 frames" in rig.frame(source="cloud").message
    assert "2 of 300 frames" in rig.frame().message
    rig.trial.close()


def test_only_frames_of_the_model_on_trial_count(rig: Rig) -> None:
    """The old detector may give a result when the trial has begun already."""
    rig.frame()
    assert "1 of 300 frames" in rig.frame().message
    assert "1 of 300 frames" in rig.frame(sha256="ab" * 32).message
    assert "2 of 300 frames" in rig.frame().message
    rig.trial.close()


def test_failures_since_the_last_step_are_counted(rig: Rig) -> None:
    """Those of before the trial belong to another model."""
    rig.flow.errors = 100
    rig.frame()
    assert rig.frame().ruling == "undecided"
    rig.flow.errors += LEAST_ERRORS
    verdict = rig.frame()
    assert (verdict.ruling, "detection failed" in verdict.message) == ("bad", True)
    rig.trial.close()
