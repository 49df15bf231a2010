"""What is told of the updates: the model message's content, and the health reasons.

Invariants: pure; says what runs, not what should: until the pipeline has the model that is to run, that one is staged.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from vedette.store.state import StoreState
from vedette.types import DetectorFacts, ModelState, ModelStatus


def model_status(facts: DetectorFacts | None, state: StoreState, *, pinned: bool, downloaded: float | None,
                 compared: float | None, reasons: Mapping[str, str]) -> ModelStatus:
    """Say where models stand while `facts` run. `downloaded` and `compared` are progress, 0 to 1, or None."""
    model = facts.model if facts else None
    active = state.active if model and state.active and model.sha256 == state.active.sha256 else None
    if model is not None and active is not None:
        model = replace(model, name=active.name, version=active.version)
    is_changing = model is not None and not pinned and state.active is not None and active is None
    coming: ModelState | None = ("downloading" if downloaded is not None else "shadow" if compared is not None else
                                 "staged" if state.candidate is not None or is_changing else None)
    stands: ModelState = ("none" if model is None else "pinned" if pinned else "box" if active is None else
                          "trial" if state.trial is not None else "good")
    progress = compared if downloaded is None else downloaded
    outcome = state.last_outcome
    return ModelStatus(
        coming or stands, model, active.release if active else None, state.latest.version if state.latest else None,
        in_progress=coming is not None, percentage=None if progress is None else 100 * progress,
        last_outcome=f"{outcome.name} {outcome.version or outcome.sha256[:12]}: {outcome.words}" if outcome else None,
        reasons=reasons)


def update_reasons(state: StoreState, source: Mapping[str, str], offered: Collection[str] | None,
                   store_trouble: str | None) -> dict[str, str]:
    """Return the reasons that hold. `offered`: digests that the source names, None where that is not known.

    A failed update is a reason until another succeeds, or what failed is withdrawn.
    """
    reasons = dict(source)
    outcome = state.last_outcome
    if outcome is not None and not outcome.ok and (offered is None or outcome.sha256 in offered):
        reasons["update_failed"] = f"{outcome.name} {outcome.version or outcome.sha256[:12]}: {outcome.words}"
    if store_trouble is not None:
        reasons["store_failed"] = store_trouble
    return reasons
