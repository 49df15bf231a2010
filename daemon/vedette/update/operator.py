"""What an operator asks of the store by hand: install, activate, roll back. The same beside a daemon and without one.

Invariants: a model is proven before it is the store's; a refusal says its reason and has changed nothing; each act is
done with one change of the state, which notes its request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from vedette.errors import UpdateRefused
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
        """Have this model run. Raises: ModelError, RuntimeMissing, StateUnusable; then nothing has changed."""

    def hold_back(self, *, note: str | None = None) -> None:
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
        """Accept a file before it is tried; returns the release that it is. Raises: UpdateRefused, StateUnusable."""
        update, pinned = self._config.update, self._config.detector.model
        rules.admit_unpinned(pinned)
        return rules.admit(sha256, self._known(), state=self._store.state, device_class=update.device_class,
                           require_signed=update.require_signed, pinned=pinned, force=force)

    def install(self, upload: Path, sha256: str, *, force: bool = False, note: str | None = None) -> str:
        """Take a complete file of `incoming` in; returns what became of it, in words.

        Raises: UpdateRefused, ModelError, RuntimeMissing, StateUnusable.
        """
        target, state = self.admit(sha256, force=force), self._store.state
        if state.active is not None and state.active.sha256 == sha256:
            return f"{_title(state.active)} is active already"
        if state.previous is not None and state.previous.sha256 == sha256:
            return self.activate(sha256, force=force, note=note)        # proven here already
        file = self._store.locate(upload, sha256)
        report = self._prove(file, sha256)
        size = file.stat().st_size
        model = installed_from(target) if target else Installed(sha256=sha256, size=size, name=report.name,
                                                                version=report.version)
        if file == upload:
            self._store.adopt(upload, sha256)
        if model.shadow is not None and state.active is not None:
            staged = self._store.state.refusal_cleared(sha256).staged(model)
            self._store.change(staged.with_done_request(note) if note else staged)
            return f"{_title(model)} passed the probe and is compared in shadow now"
        self._switch.activate(model, held=self._held_for(model), note=note)
        return f"{_title(model)} passed the probe and is active, on trial"

    def activate(self, sha256: str, *, force: bool = False, note: str | None = None) -> str:
        """Make a model of the store the active one; returns what became of it, in words. Raises: as `install`."""
        rules.admit_unpinned(self._config.detector.model)
        state = self._store.state
        model = next((model for model in state.named if model.sha256 == sha256), None)
        refused = state.refusal_of(sha256)
        if model is None:
            return self._pardon(sha256, force=force, note=note)
        if state.active is not None and model.sha256 == state.active.sha256:
            return f"{_title(model)} is active already"
        if refused is not None and not force:
            raise UpdateRefused(f"refused before: {sha256[:12]} ({refused.why}); --force tries it again")
        good = state.previous is not None and state.previous.sha256 == sha256
        if not good:
            self._prove(self._store.verified(sha256), sha256)
        self._switch.activate(model, on_trial=not good, held=self._held_for(model), note=note)
        return f"{_title(model)} is active{'' if good else ', on trial'}"

    def roll_back(self, *, note: str | None = None) -> str:
        """Go back to the previous model; returns what became of it, in words.

        Raises: UpdateRefused, ModelDamaged, ModelUnreadable, StateUnusable.
        """
        rules.admit_unpinned(self._config.detector.model)
        left = self._store.state.active
        try:
            self._switch.hold_back(note=note)
        except ValueError as error:
            raise UpdateRefused(f"no previous model: {error}") from error
        state = self._store.state
        assert left is not None  # noqa: S101 - for the type checker: hold_back() has looked
        assert state.active is not None  # noqa: S101 - as above
        return (f"rolled back from {_title(left)} to {_title(state.active)}; it stays until a release "
                f"above {state.held}")

    def _pardon(self, sha256: str, *, force: bool, note: str | None) -> str:
        state = self._store.state
        refused = state.refusal_of(sha256)
        if refused is None:
            raise UpdateRefused(f"not in the store: {sha256[:12]}; `vedette model list` shows what is")
        if not force:
            raise UpdateRefused(f"refused before: {sha256[:12]} ({refused.why}); --force lets it be tried again")
        refusal_cleared = state.refusal_cleared(sha256)
        self._store.change(refusal_cleared.with_done_request(note) if note else refusal_cleared)
        return f"{sha256[:12]} is refused no longer: install it, or wait for the next poll"

    def _held_for(self, model: Installed) -> int | None:
        """An operator's choice stays until a release above those known, unless it is the newest itself."""
        latest = self._store.state.latest
        if latest is None or latest.release == model.release:
            return None
        return max(latest.release, model.release or 0)


def _title(model: Installed) -> str:
    return f"{model.name} {model.version or model.sha256[:12]}"
