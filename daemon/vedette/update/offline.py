"""The operator's actions where no daemon runs: an activated model runs on trial from the next start on.

Invariants: the caller holds the state folder's lock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vedette.update import rules
from vedette.update.fetch import open_source
from vedette.update.operator import OperatorActions

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from vedette.config.models import Config
    from vedette.store.model_store import ModelStore
    from vedette.store.release import Target
    from vedette.store.state import Installed, StoreState
    from vedette.validate.candidate import ProbeReport


def offline_actions(store: ModelStore, config: Config, *, prove: Callable[[Path, str], ProbeReport],
               utc_now: Callable[[], datetime], clock_synced: bool) -> OperatorActions:
    """Return the actions; `prove` as in OperatorActions."""
    def known() -> tuple[Target, ...]:
        if config.update.source is None:
            return ()
        reference = rules.reference_time(utc_now(), synced=clock_synced, persisted=store.state.trusted_time)
        return open_source(config.update, store).known(reference)
    return OperatorActions(store, config, StoreOnly(store, utc_now), prove=prove, known=known)


class StoreOnly:
    """A switch where no daemon runs: an activated model runs at the next start. The caller holds the lock."""

    def __init__(self, store: ModelStore, utc_now: Callable[[], datetime]) -> None:
        self._store = store
        self._utc_now = utc_now

    def activate(self, model: Installed, *, on_trial: bool = True, held: int | None = None,
                 note: str | None = None) -> None:
        """Activate it. Raises: StateUnusable, ModelDamaged, ModelUnreadable; then nothing has changed."""
        self._store.verified(model.sha256)
        self._save(self._store.state.activated(model, self._utc_now(), on_trial=on_trial, held=held), note)

    def roll_back_by_operator(self, *, note: str | None = None) -> None:
        """Activate the previous model. Raises: ValueError, ModelDamaged, ModelUnreadable, StateUnusable."""
        state = self._store.state.rolled_back_by_operator(self._utc_now())
        if state.active is not None:
            self._store.verified(state.active.sha256)
        self._save(state, note)

    def _save(self, state: StoreState, note: str | None) -> None:
        self._store.change(state.with_done_request(note) if note else state)
        self._store.clean_up()
