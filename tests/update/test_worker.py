"""The update thread's requests: each one is answered, also where the daemon stops before it is served."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from tests.support.fakes import EPOCH, FakeClock
from vedette.config.models import Config, DetectorConfig
from vedette.errors import StateUnusable, VedetteError
from vedette.store.model_store import ModelStore
from vedette.store.state import Trial
from vedette.update.activate import ModelActivator
from vedette.update.configuration import ConfigurationUpdater
from vedette.update.fetch import ReleaseFetcher
from vedette.update.prove import Prover
from vedette.update.trial import TrialMonitor
from vedette.update.verdicts import Verdict
from vedette.update.worker import Updater


class Idle:
    """Stands for every part of the updater: it does nothing."""

    progress: float | None = None
    is_on_trial = False

    def interrupt(self) -> None:
        """Nothing is under way."""

    def probe(self) -> None:
        """Never called."""


def test_a_rollback_that_a_stop_finds_waiting_is_answered(tmp_path: Path) -> None:
    """Once, with an error: the previous model was not activated."""
    answers: list[tuple[str, VedetteError | None]] = []

    def answered(message: str, error: VedetteError | None) -> None:
        answers.append((message, error))
    idle = Idle()
    updater = Updater(Config(), ModelStore(tmp_path), FakeClock(), switch=cast(ModelActivator, idle),
                      prover=cast(Prover, idle), trial=cast(TrialMonitor, idle), fetcher=None)
    updater.request_roll_back(answered)
    assert updater.stop(60)
    assert updater.stop(60)
    ((message, error),) = answers
    assert (message, str(error)) == ("", "the daemon stops")


class Bad(Idle):
    """A model on trial that is bad, and whoever must go back; and a configuration whose file cannot be written."""

    def __init__(self) -> None:
        self.rolled_back: list[str] = []

    def match(self) -> None:
        """What runs is what the store says."""

    def roll_back(self, why: str, *_: object, **__: object) -> None:
        self.rolled_back.append(why)

    def step(self, *_: object, compare: bool = False, free: bool | None = None) -> Verdict | None:
        if free is not None:
            raise StateUnusable("configuration.json: cannot be written")
        return Verdict("bad", "blind", code="blind") if compare else None


def test_a_configuration_that_cannot_be_saved_does_not_keep_a_bad_model(tmp_path: Path) -> None:
    """The model is taken back all the same, and health has the reason."""
    bad = Bad()
    updater = Updater(Config(), ModelStore(tmp_path), FakeClock(), switch=cast(ModelActivator, bad),
                      prover=cast(Prover, bad), trial=cast(TrialMonitor, bad), fetcher=cast(ReleaseFetcher, bad))
    updater.configurations = cast(ConfigurationUpdater, bad)
    updater._step()
    assert bad.rolled_back == ["blind"]
    assert "cannot be written" in str(updater._trouble)


@pytest.mark.parametrize(("on_trial", "pinned", "in_shadow", "compares"), [
    (False, False, False, False), (True, False, False, True), (True, True, False, False), (False, False, True, True)])
def test_it_needs_frames_while_a_model_is_in_shadow_or_on_trial(tmp_path: Path, on_trial: bool, pinned: bool,
                                                                in_shadow: bool, compares: bool) -> None:
    """A trial that waits behind a pinned model needs none."""
    store, idle = ModelStore(tmp_path), Idle()
    idle.progress = 0.0 if in_shadow else None
    store.change(store.state.model_copy(update={"trial": Trial(since_utc=EPOCH) if on_trial else None}))
    config = Config(detector=DetectorConfig(model=tmp_path / "m.tflite" if pinned else None))
    updater = Updater(config, store, FakeClock(), switch=cast(ModelActivator, idle), prover=cast(Prover, idle),
                      trial=cast(TrialMonitor, idle), fetcher=None)
    assert updater.compares() == compares
