"""The content of the `model` message, and the health reasons of updates.

Invariants: pure; the status names the model that runs, not the one that should run: that is `staged` until the pipeline
has it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from vedette.store.state import Installed, Refused, StoreState
from vedette.types import (
    ConfigurationStatus,
    DetectorFacts,
    LastUpdate,
    ModelRef,
    ModelState,
    ModelStatus,
    ReasonCode,
    Receiver,
)


def model_status(facts: DetectorFacts | None, state: StoreState, *, pinned: bool, downloaded: float | None,
                 compared: float | None, receiver: Receiver | None = None,
                 configuration: ConfigurationStatus | None = None) -> ModelStatus:
    """Return which model runs (`facts`), and which one comes. `downloaded`, `compared`: progress, 0 to 1, or None.

    `receiver`: what the device takes, `configuration`: the signed one; both are None without an update source.
    """
    model = facts.model if facts else None
    active = state.active if model and state.active and model.sha256 == state.active.sha256 else None
    if model is not None and active is not None:
        model = replace(model, name=active.name, version=active.version)
    is_changing = model is not None and not pinned and state.active is not None and active is None
    coming: ModelState | None = None
    if downloaded is not None:
        coming = "downloading"
    elif compared is not None:
        coming = "shadow"
    elif state.candidate is not None or is_changing:
        coming = "staged"
    progress = compared if downloaded is None else downloaded
    outcome = state.last_outcome
    return ModelStatus(
        coming or _state_of_running(model, active, state, pinned=pinned),
        model, active.release if active else None, state.latest.version if state.latest else None,
        in_progress=coming is not None, percentage=None if progress is None else 100 * progress,
        last_update=last_update_of(state), receiver=receiver, configuration=configuration,
        last_outcome=f"{outcome.name} {outcome.version or outcome.sha256[:12]}: {outcome.words}" if outcome else None)


def _state_of_running(model: ModelRef | None, active: Installed | None, state: StoreState, *,
                      pinned: bool) -> ModelState:
    if model is None:
        return "none"
    if pinned:
        return "pinned"
    if active is None:
        return "box"
    return "good" if state.trial is None else "trial"


def update_reasons(state: StoreState, source: Mapping[ReasonCode, str],
                   offered: Collection[str] | None) -> dict[ReasonCode, str]:
    """Return the reasons that hold. `offered`: digests that the source names; None if not known.

    A failed update is a reason until another one succeeds, or until the failed one is withdrawn. While the newest
    release for this device is one that it refused, that is a reason too, whatever happened since.
    """
    failure = failure_of(state, offered)
    return dict(source) if failure is None else {**source, "update_failed": failure}


def failure_of(state: StoreState, offered: Collection[str] | None) -> str | None:
    """Return the message about the update that failed; None if none did, as in `update_reasons`."""
    outcome, refused, latest = state.last_outcome, _refused_offer(state), state.latest
    if outcome is not None and not outcome.ok and (offered is None or outcome.sha256 in offered):
        return f"{outcome.name} {outcome.version or outcome.sha256[:12]}: {outcome.words}"
    if refused is not None and latest is not None:
        return f"{latest.name} {latest.version}: refused on {refused.at:%Y-%m-%d}: {refused.why}"
    return None


def last_update_of(state: StoreState) -> LastUpdate | None:
    """Return how the last update ended; the newest release for this device counts as the last if it is refused."""
    outcome, refused, latest = state.last_outcome, _refused_offer(state), state.latest
    if refused is not None and latest is not None:
        return LastUpdate(latest.release, refused.sha256, ok=False, code=refused.code, at=refused.at)
    if outcome is None:
        return None
    return LastUpdate(outcome.release, outcome.sha256, ok=outcome.ok, code=outcome.code, at=outcome.at)


def _refused_offer(state: StoreState) -> Refused | None:
    """Return the refusal of the newest release for this device. None: it is not refused."""
    latest = state.latest
    if latest is None or latest.sha256 is None or not state.refuses(latest.sha256, latest.release):
        return None
    return state.refusal_of(latest.sha256)
