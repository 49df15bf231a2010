"""Makes the pipeline run the model that the store names as active.

Invariants: a new detector is opened and warm before the state changes, and it is in use right after; the state changes
durably before the pipeline does, so that a crash of the new model is counted; a model that cannot be opened changes
nothing; the calling thread closes the old detector. Update thread only.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import TYPE_CHECKING

from vedette.detect.open_model import ModelChoice
from vedette.errors import ModelDamaged, ModelError, ModelTimedOut, ModelUnproven, RuntimeMissing, StateUnusable
from vedette.store.incoming import digest_of
from vedette.update.probe_count import ProbeCount

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vedette.detect.open_model import DetectorOpener
    from vedette.detect.pipeline import Pipeline
    from vedette.ports import Clock
    from vedette.store.model_store import ModelStore
    from vedette.store.state import Installed
    from vedette.types import DetectorFacts, ModelRef, UpdateCode
    from vedette.vision.local import LocalDetector

log = logging.getLogger(__name__)

OFFER_WITHIN_S = 30.0


class ModelActivator:
    """Opens, activates and takes back models. `boot_id` is that of the machine's present boot."""

    def __init__(self, store: ModelStore, opener: DetectorOpener, pipeline: Pipeline, clock: Clock, *,
                 boot_id: str) -> None:
        self._store = store
        self._opener = opener
        self._pipeline = pipeline
        self._clock = clock
        self._boot_id = boot_id
        self.before_opening: Callable[[], object] | None = None
        """Called before a model is opened. Opening takes long if the model must be proven in a child."""
        self._retried: ModelError | None = None
        self.probe_count = ProbeCount(store, boot_id)

    @property
    def facts(self) -> DetectorFacts | None:
        """The detector that runs now; None if there is none. Any thread."""
        return self._pipeline.status().facts

    @property
    def running(self) -> ModelRef | None:
        """The model that runs now; None if there is none. Any thread."""
        facts = self.facts
        return facts.model if facts else None

    @property
    def is_opening(self) -> bool:
        """As Pipeline.is_opening."""
        return self._pipeline.is_opening

    def activate(self, model: Installed, *, on_trial: bool = True, held: int | None = None,
                 note: str | None = None) -> None:
        """Run this model from now on. `note`: the id of the request that asked for it.

        Raises: ModelError, RuntimeMissing (it cannot be opened), StateUnusable; then nothing has changed.
        """
        running, opened = self.running, None
        self.announce_opening()
        if running is None or (running.sha256, running.variant) != (model.sha256, model.variant):
            choice = ModelChoice(self._store.verified(model.sha256), model.sha256, model.variant)
            with self.probe_count.counted(model.sha256, model.release):
                opened = self._opener.open(choice)
        wanted = self._store.state.activated(model, self._clock.utc_now(), on_trial=on_trial, held=held)
        if wanted.trial is not None and wanted.trial.open_boot is None:
            wanted = wanted.started(self._boot_id)
        try:
            self._store.change(wanted.with_done_request(note) if note else wanted)
        except StateUnusable:
            if opened is not None:
                opened.close()
            raise
        log.info("model %s %s (%s) is active%s", model.name, model.version, model.sha256[:12],
                 ", on trial" if wanted.trial else "")
        if opened is not None:
            self._pipeline.offer(opened, OFFER_WITHIN_S)
        self._store.clean_up()

    def roll_back(self, why: str, code: UpdateCode = "unknown", *, refuse: bool = True,
                  lasting: bool = True) -> None:
        """Go back to the previous model, or to none. Going back to a model also works on a full disk.

        Not `lasting`: a higher release of the same file is tried again.

        Raises: StateUnusable, ModelDamaged, ModelUnreadable; then nothing has changed.
        """
        self._store.roll_back(self._store.state.rolled_back(
            why, self._clock.utc_now(), code=code, refuse=refuse, lasting=lasting))
        log.warning("rolled back: %s", why)
        self.match()
        self._store.clean_up()

    def roll_back_by_operator(self, *, note: str | None = None) -> None:
        """Go back to the previous model by an operator's decision.

        Raises: ValueError (there is nothing to go back to), ModelDamaged, ModelUnreadable, StateUnusable; then nothing
        has changed.
        """
        state = self._store.state.rolled_back_by_operator(self._clock.utc_now())
        if state.active is not None:
            self._store.verified(state.active.sha256)
        self._store.change(state.with_done_request(note) if note else state)
        self.match()
        self._store.clean_up()

    def match(self) -> None:
        """Make the pipeline run what the state says, if it does not. Raises: StateUnusable."""
        running, wanted, refusal = self.running, self._opener.choose(), self._pipeline.refusal
        if running is None:
            if wanted is not None and isinstance(refusal, ModelError):
                self._retry(wanted, refusal)
        elif wanted is None:
            self._pipeline.offer(None, OFFER_WITHIN_S)
        elif not wanted.pinned and (running.sha256, running.variant) != (_sha256_of(wanted), wanted.variant):
            self._pipeline.offer(self._opened(wanted), OFFER_WITHIN_S)

    def _opened(self, wanted: ModelChoice) -> LocalDetector | None:
        """Return the detector; None if it cannot be opened: then the pipeline tries it, and reports the error."""
        self.announce_opening()
        try:
            return self._opener.open(wanted)
        except (ModelError, RuntimeMissing) as error:
            log.error("%s", error)
            return None

    def announce_opening(self) -> None:
        """Say that a model is opened or probed now, which takes long."""
        if self.before_opening is not None:
            self.before_opening()

    def _retry(self, wanted: ModelChoice, refusal: ModelError) -> None:
        """Handle an active model that cannot be opened: roll back if it is on trial, or damaged on the disk."""
        state = self._store.state
        if wanted.pinned or state.active is None:
            return
        if str(wanted.path) not in str(refusal):
            if refusal is not self._retried:
                self._retried = refusal
                self._pipeline.offer(None, OFFER_WITHIN_S)      # the refusal was about another model: try now
        elif isinstance(refusal, ModelTimedOut):
            return      # it may only be slow, and the pipeline's next try has more time
        elif state.trial is not None:
            self.roll_back(f"on trial it cannot be opened: {refusal}", "not_opened",
                           lasting=not isinstance(refusal, ModelUnproven))
        elif state.previous is not None:
            try:
                self._store.verified(state.active.sha256)
            except ModelDamaged as damage:
                self.roll_back(str(damage), "lost", refuse=False)


def _sha256_of(choice: ModelChoice) -> str:
    return choice.sha256 or _digest_of(choice.path)


@cache
def _digest_of(path: Path) -> str:
    return digest_of(path)
