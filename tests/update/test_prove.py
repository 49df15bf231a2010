"""The checks of a candidate: the probe, against this device's configuration, and the shadow, with its settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from tests.support.fakes import MODEL, FakeClock, make_frame, make_result
from tests.support.models.sham_candidates import ShamCandidates, configured, detected, stored
from tests.support.present import present
from vedette._lib.patience import MOST_S
from vedette.config.camera_values import region_of
from vedette.config.models import Config, DetectorConfig
from vedette.config.update import UpdateConfig
from vedette.detect.open_model import DetectorOpener
from vedette.errors import (
    ModelDamaged,
    ModelError,
    ModelMismatched,
    ModelTimedOut,
    ModelTooSlow,
    ModelUnproven,
    ModelUnsupported,
    RuntimeMissing,
    UpdateRefused,
)
from vedette.store.model_store import ModelStore
from vedette.store.probes import probe_of
from vedette.store.release import ShadowRequirement
from vedette.store.state import Installed
from vedette.tflite.file import read_model
from vedette.types import WHOLE, Box, ModelRef
from vedette.update.activate import ModelActivator
from vedette.update.probe_count import ProbeCount
from vedette.update.prove import RETRY_MOST_S, UNPROVEN_MAX, Candidates, Prover
from vedette.update.status import update_reasons
from vedette.validate.frame_tap import FrameTap
from vedette.vision.model_child import TIMEOUT_S
from vedette.vision.probe import Proof

BOX = Path(__file__).parents[2] / "models" / "vedette-street.tflite"


def test_a_slow_model_is_refused() -> None:
    """The measured time of an undisturbed invoke is compared with `update.latency_budget_ms`."""
    config = Config(detector=DetectorConfig(threads=1), update=UpdateConfig(latency_budget_ms=0.001))
    candidates = Candidates(config)
    with candidates.open(BOX, read_model(BOX).sha256) as candidate, pytest.raises(
            ModelTooSlow, match=r"takes [\d.]+ ms for a frame; expected at most 0.001"):
        candidates.probe(candidate)
    assert candidate.pid is None


class Active:
    """The active model, and the outcome of the candidate."""

    running: ModelRef | None = MODEL
    is_opening = False

    def __init__(self, store: ModelStore) -> None:
        self.activated: list[Installed] = []
        self.probe_count = ProbeCount(store, "boot")

    def announce_opening(self) -> None:
        """Nothing watches this thread."""

    def activate(self, model: Installed) -> None:
        self.activated.append(model)

    def remember(self, proof: Proof) -> None:
        """A proof is of no use here."""


class Rig:
    """A candidate that is being proven."""

    def __init__(self, folder: Path) -> None:
        self.store = ModelStore(folder)
        self.store.recover()
        self.clock, self.tap, self.active = FakeClock(), FrameTap(), Active(self.store)
        self.candidates = ShamCandidates(configured())
        self.config = configured()
        self.prover = Prover(self.store, cast(DetectorOpener, self.active), cast(ModelActivator, self.active),
                             self.candidates, self.tap, self.clock,
                             on_comparison=lambda *_: None, governed=lambda: False)

    def stage(self, content: bytes, shadow: ShadowRequirement | None = None, release: int | None = None) -> Installed:
        model = stored(self.store, content, shadow, release)
        self.store.change(self.store.state.staged(model))
        return model

    def reload(self, config: Config) -> None:
        """The active detector takes the new limits at once."""
        self.config = config
        self.candidates.reload(config)

    def frame(self) -> None:
        """Let the active model detect in one frame, and the candidate too if it is in shadow."""
        self.clock.advance(1)
        self.tap.request()      # else the next step waits for a frame
        result = make_result(make_frame(self.clock), detected(self.config))
        self.tap(replace(result, roi=region_of(self.config.camera.roi)))
        self.prover.step()


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_a_shadow_is_counted_while_it_lasts(rig: Rig) -> None:
    """It is on disk as long as the comparison, and an orderly end closes it."""
    model = rig.stage(b"new", ShadowRequirement(frames=10, minutes=0.1))
    rig.prover.step()
    rig.frame()
    assert rig.prover.progress
    assert probe_of(rig.store.read().probes, model.sha256).open_boot == "boot"
    rig.prover.close()
    assert rig.store.read().probes == ()


def test_a_comparison_waits_until_the_active_model_is_opened(rig: Rig) -> None:
    """A candidate that is proven first would otherwise become active without its comparison."""
    rig.stage(b"new", ShadowRequirement(frames=10, minutes=0.1))
    rig.active.running, rig.active.is_opening = None, True
    rig.prover.step()
    assert (rig.active.activated, rig.candidates.opened) == ([], [])
    rig.active.running, rig.active.is_opening = MODEL, False
    rig.prover.step()
    assert rig.prover.progress == 0
    assert rig.active.activated == []


def test_a_reload_during_a_shadow_starts_it_again(rig: Rig) -> None:
    """The candidate is compared with the settings of the active model; earlier comparisons are dropped."""
    model = rig.stage(b"new", ShadowRequirement(frames=10, minutes=0.1))
    rig.prover.step()
    for _ in range(5):
        rig.frame()
    rig.reload(configured())
    rig.frame()
    assert rig.prover.progress == 0.6, "nothing has changed"
    rig.reload(configured(score_threshold=0.9))
    rig.frame()
    assert rig.prover.progress == 0
    for _ in range(10):
        rig.frame()
    assert (rig.active.activated, rig.store.state.refused) == ([model], ())
    assert [child.comparisons for child in rig.candidates.opened] == [6, 10]
    assert all(child.is_closed for child in rig.candidates.opened)


def test_only_frames_of_one_region_are_compared(rig: Rig) -> None:
    """The active detector has the new region before the candidate's child. Frames of both are not compared."""
    right = configured(roi=Box(0.5, 0, 1, 1))
    rig.stage(b"new", ShadowRequirement(frames=10, minutes=0.1))
    rig.prover.step()
    rig.frame()
    rig.config = right
    rig.frame()
    rig.reload(right)
    rig.frame()     # begins anew
    rig.frame()
    assert [(child.comparisons, child.roi) for child in rig.candidates.opened] == [
        (1, WHOLE), (1, right.camera.roi)]


def fail(rig: Rig, *failures: ModelUnproven | RuntimeMissing) -> None:
    """Let the next probes end with these."""
    rig.candidates.failures.extend(failures)
    for _ in failures:
        rig.prover.step()
        rig.clock.advance(60)


def test_each_candidate_has_its_own_tries(rig: Rig) -> None:
    """Failures of an earlier candidate do not count for its successor."""
    rig.stage(b"one")
    fail(rig, *[ModelUnproven("no memory")] * (UNPROVEN_MAX - 1))
    two = rig.stage(b"two")
    fail(rig, *[ModelUnproven("no memory")] * (UNPROVEN_MAX - 1))
    assert (rig.store.state.candidate, rig.store.state.refused) == (two, ())
    fail(rig, ModelUnproven("no memory"))
    assert (rig.store.state.candidate, rig.store.state.refused) == (None, ()), "a file without a release is dropped"


def test_a_release_that_finds_no_time_is_tried_again_later(rig: Rig) -> None:
    """It is never refused for it: the pauses grow to an hour, health says why, and a quiet moment lets it in."""
    model = rig.stage(b"one", release=3)
    tries = []
    for _ in range(10):
        rig.candidates.failures.append(ModelUnproven("no time"))
        began = rig.clock.monotonic_ns()
        while rig.candidates.failures:
            rig.prover.step()
            rig.clock.advance(10)
        tries.append((rig.clock.monotonic_ns() - began) / 1e9)
    assert tries[1] < 60
    assert 3500 < tries[-1] < 3700
    state = rig.store.state
    assert (state.candidate, state.refused) == (model, ())
    assert update_reasons(state, {}, {model.sha256}) == {"update_failed": f"one {model.sha256[:12]}: "
                                                                          "tried again later: no time"}
    rig.clock.advance(RETRY_MOST_S)
    rig.prover.step()
    assert rig.active.activated == [model]


def test_a_candidate_that_is_only_slow_gets_more_time(rig: Rig) -> None:
    """It is told at once, and neither dropped nor refused, even without a release; success forgets it."""
    model = rig.stage(b"one")
    bounds: list[float] = []
    for _ in range(6):
        bounds.append(rig.candidates.patience(model.sha256).bound_s(TIMEOUT_S))
        rig.candidates.failures.append(ModelTimedOut("took longer"))
        rig.prover.step()
        assert update_reasons(rig.store.state, {}, None)["update_failed"].endswith("tried again later: took longer")
        rig.clock.advance(RETRY_MOST_S)
    assert bounds == [30, 60, 120, 240, 300, 300]
    assert (rig.store.state.candidate, rig.store.state.refused) == (model, ())
    assert rig.prover.longest_s == MOST_S
    rig.prover.step()
    assert rig.active.activated == [model]
    assert rig.prover.longest_s == TIMEOUT_S


def test_an_operator_waits_for_a_slow_model(rig: Rig) -> None:
    """Each try that ran out of time gets more, at once; only the daemon's stop ends the tries before the last."""
    model = rig.stage(b"one")
    path = rig.store.path_of(model.sha256)
    rig.candidates.failures.extend([ModelTimedOut("took longer")] * 3)
    assert rig.prover.probe(path, model.sha256).name == "street"
    rig.candidates.failures.extend([ModelTimedOut("took longer")] * 3)
    rig.prover.interrupt()
    with pytest.raises(ModelTimedOut):
        rig.prover.probe(path, model.sha256)


@pytest.mark.parametrize(("failure", "pardoned", "code"), [
    (ModelTooSlow("latency: takes 90 ms"), True, "latency"),
    (UpdateRefused("labels: the model lacks cat"), True, "labels"), (UpdateRefused("another rule"), True, "refused"),
    (ModelMismatched("F1 0.2 over its golden frames"), False, "golden_frames"),
    (ModelDamaged("the child died"), False, "damaged"), (ModelUnsupported("no decoder"), False, "unsupported")])
def test_a_higher_release_pardons_what_was_not_the_models_fault(rig: Rig, failure: ModelError | UpdateRefused,
                                                                pardoned: bool, code: str) -> None:
    """A busy moment and this device's configuration may change; golden frames that differ stay different."""
    model = rig.stage(b"one", release=3)
    rig.candidates.failures.append(failure)
    rig.prover.step()
    assert rig.store.state.candidate is None
    assert rig.store.state.refuses(model.sha256, 3)
    assert rig.store.state.refuses(model.sha256, 4) != pardoned
    assert present(rig.store.state.last_outcome).code == present(rig.store.state.refusal_of(model.sha256)).code == code


@pytest.mark.parametrize("missing_first", [True, False])
def test_a_missing_runtime_refuses_no_model(rig: Rig, missing_first: bool) -> None:
    """The candidate is dropped after as many tries, but it may come again."""
    rig.stage(b"one")
    failures = [RuntimeMissing("no runtime"), *[ModelUnproven("no memory")] * (UNPROVEN_MAX - 1)]
    fail(rig, *(failures if missing_first else reversed(failures)))
    assert (rig.store.state.candidate, rig.store.state.refused) == (None, ())


def test_a_stop_ends_a_comparison_in_shadow(rig: Rig) -> None:
    """A comparison may take longer than a stop waits. It does not count against the candidate."""
    model = rig.stage(b"new", ShadowRequirement(frames=10, minutes=0.1))
    rig.prover.step()
    (child,) = rig.candidates.opened
    child.on_compare = rig.prover.interrupt     # the daemon stops in the middle of it
    rig.frame()
    assert (child.is_interrupted, child.comparisons, child.is_closed) == (True, 0, True)
    assert (rig.store.state.candidate, rig.store.state.refused) == (model, ())
