"""An operator's actions on the store: install, activate, roll back. They are the same with a daemon and without one.

Invariants: a model is proven before the store adopts it; a refusal gives its reason and changes nothing; each action
is one change of the state, which also records the request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from vedette.errors import UpdateExpired, UpdateRefused
from vedette.store.probes import forced
from vedette.store.state import Installed
from vedette.update import rules
from vedette.update.fetch import installed_from

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vedette.config.models import Config
    from vedette.store.model_store import ModelStore
    from vedette.store.release import Target
    from vedette.validate.candidate import ProbeReport


class Switch(Protocol):
    """Makes another model the active one, durably."""

    def activate(self, model: Installed, *, on_trial: bool = True, held: int | None = None,
                 note: str | None = None) -> None:
        """Run this model. Raises: ModelError, RuntimeMissing, StateUnusable; then nothing has changed."""

    def roll_back_by_operator(self, *, note: str | None = None) -> None:
        """Go back to the previous model until a higher release. Raises: ValueError, ModelError, StateUnusable."""


class OperatorActions:
    """`prove` probes a file as this device would run it; `known` is what trusted metadata on this device names."""

    def __init__(self, store: ModelStore, config: Config, switch: Switch, *,
                 prove: Callable[[Path, str], ProbeReport], known: Callable[[], tuple[Target, ...]]) -> None:
        self._store = store
        self._config = config
        self._switch = switch
        self._prove = prove
        self._known = known

    def admit(self, sha256: str, *, force: bool = False) -> Target | None:
        """Accept a file before it is tried; returns its release, if any. Raises: UpdateRefused, StateUnusable."""
        update, pinned = self._config.update, self._config.detector.model
        rules.admit_unpinned(pinned)
        try:
            known = self._known()
        except UpdateExpired:
            if update.require_signed:
                raise
            known = ()
        return rules.admit(sha256, known, state=self._store.state, device_class=update.device_class,
                           require_signed=update.require_signed, pinned=pinned, force=force)

    def install(self, upload: Path, sha256: str, *, force: bool = False, note: str | None = None) -> str:
        """Install a complete file of `incoming`; returns a message about the outcome.

        Raises: UpdateRefused, ModelError, RuntimeMissing, StateUnusable.
        """
        target, state = self.admit(sha256, force=force), self._store.state
        if state.active is not None and state.active.sha256 == sha256:
            return f"{_title(state.active)} is already active"
        if state.previous is not None and state.previous.sha256 == sha256:
            return self.activate(sha256, force=force, note=note)        # proven here already
        file = self._store.locate(upload, sha256)
        if not file.exists():
            raise UpdateRefused("interrupted: the daemon and the command ended, and the file is gone; install it again")
        if force:
            self._forget_deaths(sha256, note)
        report = self._prove(file, sha256)
        size = file.stat().st_size
        model = installed_from(target) if target else Installed(sha256=sha256, size=size, name=report.name,
                                                                version=report.version)
        if file == upload:
            self._store.adopt(upload, sha256)
        if model.shadow is not None and state.active is not None:
            staged = self._store.state.refusal_cleared(sha256).staged(model)
            self._store.change(staged.with_done_request(note) if note else staged)
            return f"{_title(model)} passed the probe and now runs in shadow"
        self._switch.activate(model, held=self._held_for(model), note=note)
        return f"{_title(model)} passed the probe and is active, on trial"

    def activate(self, sha256: str, *, force: bool = False, note: str | None = None) -> str:
        """Activate a model of the store; returns a message about the outcome. Raises: as `install`."""
        rules.admit_unpinned(self._config.detector.model)
        state = self._store.state
        model = next((model for model in state.named if model.sha256 == sha256), None)
        refused = state.refusal_of(sha256)
        if model is None:
            return self._clear_refusal(sha256, force=force, note=note)
        if state.active is not None and model.sha256 == state.active.sha256:
            return f"{_title(model)} is already active"
        if refused is not None and not force:
            raise UpdateRefused(f"refused before: {sha256[:12]} ({refused.why}); --force tries it again")
        good = state.previous is not None and state.previous.sha256 == sha256
        if force:
            self._forget_deaths(sha256, note)
        if not good:
            self._prove(self._store.verified(sha256), sha256)
        self._switch.activate(model, on_trial=not good, held=self._held_for(model), note=note)
        return f"{_title(model)} is active{'' if good else ', on trial'}"

    def roll_back(self, *, note: str | None = None) -> str:
        """Go back to the previous model; returns a message about the outcome.

        Raises: UpdateRefused, ModelDamaged, ModelUnreadable, StateUnusable.
        """
        rules.admit_unpinned(self._config.detector.model)
        left = self._store.state.active
        try:
            self._switch.roll_back_by_operator(note=note)
        except ValueError as error:
            raise UpdateRefused(f"no previous model: {error}") from error
        state = self._store.state
        assert left is not None  # noqa: S101 - for the type checker: roll_back_by_operator() has checked
        assert state.active is not None  # noqa: S101 - as above
        return (f"rolled back from {_title(left)} to {_title(state.active)}; it stays until a release "
                f"above {state.held}")

    def _clear_refusal(self, sha256: str, *, force: bool, note: str | None) -> str:
        state = self._store.state
        refused = state.refusal_of(sha256)
        if refused is None:
            raise UpdateRefused(f"not in the store: {sha256[:12]}; `vedette model list` shows the models that are")
        if not force:
            raise UpdateRefused(f"refused before: {sha256[:12]} ({refused.why}); --force tries it again")
        refusal_cleared = state.refusal_cleared(sha256)
        self._store.change(refusal_cleared.with_done_request(note) if note else refusal_cleared)
        return f"{sha256[:12]} is no longer refused: install it, or wait for the next poll"

    def _forget_deaths(self, sha256: str, note: str | None) -> None:
        state = self._store.state
        self._store.change(state.with_probes(forced(state.probes, sha256, note)))

    def _held_for(self, model: Installed) -> int | None:
        """Return the release above which an update may replace an operator's choice; None if it is the newest."""
        latest = self._store.state.latest
        if latest is None or latest.release == model.release:
            return None
        return max(latest.release, model.release or 0)


def _title(model: Installed) -> str:
    return f"{model.name} {model.version or model.sha256[:12]}"
