"""The update thread's requests: each one is answered, also where the daemon stops before it is served."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from tests.support.fakes import FakeClock
from vedette.config.models import Config
from vedette.errors import VedetteError
from vedette.store.model_store import ModelStore
from vedette.update.activate import ModelActivator
from vedette.update.prove import Prover
from vedette.update.trial import TrialMonitor
from vedette.update.worker import Updater


class Idle:
    """Stands for every part of the updater: it does nothing."""

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
