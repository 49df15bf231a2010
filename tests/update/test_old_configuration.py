"""A configuration on trial is blind if the one before it lets the same model see what the new one wants and misses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import pytest

from tests.support.fakes import FakeClock, make_frame, make_result
from tests.support.models.sham_candidates import ShamCandidates, detected
from vedette.config.camera_values import region_of
from vedette.config.load import Loaded
from vedette.config.models import CameraConfig, Config, DetectorConfig
from vedette.config.reload import Reloader
from vedette.detect.open_model import DetectorOpener, ModelChoice
from vedette.detect.pipeline import Pipeline
from vedette.errors import ConfigError, ModelDamaged
from vedette.store.release import TrialRequirement
from vedette.types import Box, DetectorFacts, ModelRef
from vedette.update.old_configuration import OldConfiguration
from vedette.update.trial import COMPARE_S, RETRY_AFTER_S
from vedette.update.verdicts import SIGHTINGS, TrialTally, Verdict
from vedette.validate.frame_tap import FrameTap

STREET = ModelRef("street", "1", "ab" * 32)
FACTS = DetectorFacts(STREET, "litert", "2", 1.0, 1, "ssd", 96, 96, ("background", "person", "car"))


@dataclass
class Running:
    """Stands for the pipeline: the model that runs."""

    facts: DetectorFacts | None = FACTS

    def status(self) -> Running:
        return self


class Chosen:
    """Stands for the opener: the model that is to run."""

    def choose(self) -> ModelChoice:
        return ModelChoice(Path("street.tflite"), STREET.sha256)


class Rig:
    """Two configurations of one device: `before` and what the reloader has now."""

    def __init__(self, before: Config, now: Config) -> None:
        self.before, self.clock, self.tap = before, FakeClock(), FrameTap()
        self.reloader = Reloader(Loaded(now), self.not_reloaded)
        self.opened: list[ShamCandidates] = []
        self.running = Running()
        self.old = OldConfiguration(self.tap, self.clock, cast(DetectorOpener, Chosen()), cast(Pipeline, self.running),
                                    self.reloader, self.old_one, self.open)
        self.can_differ = self.old.begin()
        self.tally = TrialTally(TrialRequirement(frames=1, minutes=0.001), has_previous=self.can_differ,
                                what="configuration")

    def not_reloaded(self) -> Loaded:
        raise AssertionError("only what is tried changes here")

    def old_one(self) -> Config:
        return self.before

    def open(self, config: Config) -> ShamCandidates:
        self.opened.append(ShamCandidates(config))
        return self.opened[-1]

    def frame(self, seconds: float = COMPARE_S, roi: Box | None = None) -> Verdict:
        """Let the model detect in one frame as it is configured now, and compare."""
        self.clock.advance(seconds)
        self.tap.request()      # else the comparison waits for a frame
        config = self.reloader.config
        seen = tuple(each for each in detected(config) if each.label not in config.detector.deny)
        roi = roi or region_of(config.camera.roi)
        self.tap(replace(make_result(make_frame(self.clock), seen), model=STREET, roi=roi))
        self.tally.detected()
        self.tally.elapsed(seconds)
        self.old.compare(self.tally)
        return self.tally.verdict()


def with_detector(**keys: object) -> Config:
    return Config(detector=DetectorConfig.model_validate(keys))


def test_a_threshold_that_lets_nothing_through_is_blind() -> None:
    """The same model with the old threshold saw a person each time."""
    rig = Rig(with_detector(score_threshold=0.5), with_detector(score_threshold=0.9))
    for _ in range(SIGHTINGS - 1):
        assert rig.frame().ruling == "undecided"
    verdict = rig.frame()
    assert [verdict.ruling, verdict.code] == ["bad", "blind"]
    assert "previous configuration did" in verdict.message
    rig.old.close()


def test_a_threshold_that_keeps_the_things_is_good() -> None:
    """And the child is the one of the old configuration, opened once."""
    rig = Rig(with_detector(score_threshold=0.5), with_detector(score_threshold=0.7))
    for _ in range(SIGHTINGS):
        verdict = rig.frame()
    assert verdict.ruling == "good"
    ((child,),) = [each.opened for each in rig.opened]
    assert (child.comparisons, child.is_closed) == (SIGHTINGS, False)
    rig.old.close()
    assert child.is_closed


@pytest.mark.parametrize(("now", "can_differ"), [
    (with_detector(score_threshold=0.5), False), (Config(), True),
    (with_detector(score_threshold=0.9, deny=["person", "car"]), False),
    (with_detector(score_threshold=0.9, allow=["car"]), True),
    (Config(camera=CameraConfig(roi=(0.5, 0.0, 1.0, 1.0))), True)])
def test_there_is_nothing_to_compare_where_nothing_can_differ(now: Config, can_differ: bool) -> None:
    """Or the trial would wait for sightings that never come. A bundle's own threshold is none that is stated."""
    assert Rig(with_detector(score_threshold=0.5), now).can_differ == can_differ


@pytest.mark.parametrize(("roi", "can_differ"), [((0.4, 0.0, 1.0, 1.0), True), ((0.5, 0.0, 1.0, 1.0), False)])
def test_regions_that_share_nothing_are_not_compared(roi: tuple[float, float, float, float], can_differ: bool) -> None:
    """The old one never sees what is in the new one, so the trial would wait for ever."""
    before = Config(camera=CameraConfig(roi=(0.0, 0.0, 0.5, 1.0)))
    rig = Rig(before, Config(camera=CameraConfig(roi=roi)))
    assert rig.can_differ == can_differ
    assert rig.frame().ruling == ("undecided" if can_differ else "good")
    rig.old.close()


def test_labels_that_the_old_one_did_not_admit_are_not_compared() -> None:
    """Persons before, cars now: what one sees says nothing of the other. Without a model, any label may come."""
    before, now = with_detector(allow=["person"]), with_detector(allow=["car"])
    rig = Rig(before, now)
    assert not rig.can_differ
    rig.running.facts = None
    rig.tally.has_previous = rig.old.begin()
    assert rig.tally.has_previous
    rig.running.facts = FACTS
    assert rig.frame().ruling == "good", "the model is open now, and nothing can differ"


@pytest.mark.parametrize(("deny", "roi"), [(["person"], None), ([], (0.5, 0.0, 1.0, 1.0))])
def test_what_the_new_one_does_not_want_is_not_missed(deny: list[str], roi: tuple[float, float, float, float] | None
                                                      ) -> None:
    """A label that it denies, or a thing outside its part of the frame."""
    now = Config(camera=CameraConfig(roi=roi), detector=DetectorConfig(score_threshold=0.9, deny=tuple(deny)))
    rig = Rig(with_detector(score_threshold=0.5), now)
    for _ in range(2 * SIGHTINGS):
        assert rig.frame().ruling == "undecided"
    rig.old.close()


def test_what_is_tried_is_no_evidence() -> None:
    """Somebody at the device tries a high threshold; afterwards the comparison begins anew."""
    rig = Rig(with_detector(score_threshold=0.5), with_detector(score_threshold=0.6))
    for _ in range(SIGHTINGS - 1):
        rig.frame()
    rig.reloader.try_out({"detector": {"score_threshold": 0.95}})
    for _ in range(2 * SIGHTINGS):
        assert rig.frame().ruling == "undecided"
    rig.reloader.try_out({})
    assert f"1 of {SIGHTINGS} frames" in rig.frame().message
    rig.old.close()


def test_a_child_that_cannot_run_is_no_evidence() -> None:
    """It is tried again later. An interrupted one is closed."""
    rig = Rig(with_detector(score_threshold=0.5), with_detector(score_threshold=0.9))
    rig.frame()
    (child,) = rig.opened[0].opened

    def die() -> None:
        raise ModelDamaged("its child has ended")
    child.on_compare = die
    rig.frame()
    assert child.is_closed
    assert f"1 of {SIGHTINGS} frames" in rig.frame().message, "not yet"
    assert f"2 of {SIGHTINGS} frames" in rig.frame(RETRY_AFTER_S).message
    rig.old.interrupt()
    rig.frame()
    assert all(each.is_closed for each in rig.opened[0].opened)


def test_an_old_configuration_that_cannot_be_loaded_is_not_compared() -> None:
    """The device's own file is wrong now."""
    rig = Rig(Config(), with_detector(score_threshold=0.9))

    def refuse() -> Config:
        raise ConfigError(("config.yaml:1: wrong",))
    rig.old._before = refuse
    assert not rig.old.begin()


def test_a_frame_of_another_region_is_no_evidence() -> None:
    """It was under way when the new region came."""
    rig = Rig(with_detector(score_threshold=0.5), with_detector(score_threshold=0.6))
    assert f"1 of {SIGHTINGS} frames" in rig.frame().message
    assert f"1 of {SIGHTINGS} frames" in rig.frame(roi=Box(0.0, 0.0, 0.5, 0.5)).message
    assert f"2 of {SIGHTINGS} frames" in rig.frame().message
    rig.old.close()
