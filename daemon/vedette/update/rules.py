"""Rules of updates: which release a device chooses, what it refuses before a try, and which time it trusts.

Invariants: no I/O; a rule accepts or raises, and the caller decides what a refusal means; every refusal begins with
its rule.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from pathlib import Path

from vedette.errors import (
    ModelBadlyQuantised,
    ModelDamaged,
    ModelMismatched,
    ModelTooSlow,
    ModelUnproven,
    ModelUnreadable,
    ModelUnsupported,
    RuntimeMissing,
    UpdateRefused,
    VedetteError,
)
from vedette.store.release import Kind, Target
from vedette.store.state import StoreState
from vedette.types import Receiver, UpdateCode

SET_CLOCK = datetime(2026, 11, 1, tzinfo=UTC)
"""No device ran before this day, so an earlier clock was never set."""
_LABELS = "labels:"


def choose(targets: Iterable[Target], *, device: str, receiver: Receiver, any_bucket: bool,
           state: StoreState, kind: Kind = "model") -> Target | None:
    """Return the target of this kind with the highest release that is for this device, or None.

    Refused digests are left out. While an operator's rollback holds, every release up to `state.held` is left out too.
    `any_bucket`: the source is a folder.
    """
    ours = (target for target in targets
            if target.release.kind == kind and target.release.is_for(device, receiver, any_bucket=any_bucket)
            and not state.refuses(target.sha256, target.release.release)
            and (state.held is None or target.release.release > state.held))
    return max(ours, key=lambda target: (target.release.release, target.path), default=None)


def admit(sha256: str, known: Iterable[Target], *, state: StoreState, device_class: str, require_signed: bool,
          pinned: Path | None, force: bool = False) -> Target | None:
    """Accept an operator's bundle before it is tried; returns the target that names it, None for an unsigned one.

    `known`: the targets of trusted metadata; `pinned`: `detector.model`; `force` overrides only an earlier refusal.
    Raises: UpdateRefused.
    """
    admit_unpinned(pinned)
    refused = state.refusal_of(sha256)
    named = [target for target in known if target.sha256 == sha256 and target.release.kind == "model"]
    newest = max((target.release.release for target in named), default=0)
    if refused is not None and state.refuses(sha256, newest) and not force:
        raise UpdateRefused(f"refused before: {sha256[:12]} failed on this device on {refused.at:%Y-%m-%d} "
                            f"({refused.why}); --force tries it again")
    fitting = [target for target in named if device_class in target.release.device_classes]
    if named and not fitting:
        classes = sorted({each for target in named for each in target.release.device_classes})
        raise UpdateRefused(f"wrong class: {sha256[:12]} is released for {', '.join(classes)}; "
                            f"this device is {device_class}")
    if not fitting and require_signed:
        raise UpdateRefused(f"unsigned: no trusted metadata names {sha256[:12]}, and update.require_signed is true")
    return max(fitting, key=lambda target: (target.release.release, target.path), default=None)


def admit_unpinned(pinned: Path | None) -> None:
    """Accept updates in general. Raises: UpdateRefused if `detector.model` names the model that runs."""
    if pinned is not None:
        raise UpdateRefused(f"pinned: detector.model is {pinned}; remove that line to let updates choose the model")


def admit_labels(labels: Collection[str], wanted: Iterable[str]) -> None:
    """Accept a model's labels. `wanted`: the labels that `detector.labels` names. Raises: UpdateRefused."""
    lacking = [label for label in wanted if label not in labels]
    if lacking:
        raise UpdateRefused(f"{_LABELS} the model lacks {', '.join(lacking)}, which detector.labels names; "
                            f"it has {len(labels)} others")


def admit_latency(name: str, invoke_ms: float, budget_ms: float | None) -> None:
    """Accept the time that a model takes for a frame; without a budget, accept any. Raises: ModelTooSlow."""
    if budget_ms is not None and invoke_ms > budget_ms:
        raise ModelTooSlow(f"latency: {name} takes {invoke_ms:.1f} ms for a frame; expected at most {budget_ms:g} "
                           "(update.latency_budget_ms)")


def code_of(error: VedetteError) -> UpdateCode:
    """Return the code of what keeps a model from being tried."""
    codes: tuple[tuple[type[VedetteError], UpdateCode], ...] = (
        (ModelUnproven, "not_tried"), (RuntimeMissing, "not_tried"), (ModelDamaged, "damaged"),
        (ModelUnreadable, "damaged"), (ModelUnsupported, "unsupported"), (ModelBadlyQuantised, "unsupported"),
        (ModelMismatched, "golden_frames"), (ModelTooSlow, "latency"), (UpdateRefused, "refused"))
    if isinstance(error, UpdateRefused) and str(error).startswith(_LABELS):
        return "labels"
    return next((code for kind, code in codes if isinstance(error, kind)), "unknown")


def reference_time(clock_utc: datetime, *, synced: bool, persisted: datetime | None) -> datetime | None:
    """Return the time with which expiry is checked; None: no check, because the clock of this device was never set.

    `persisted` is the newest time trusted so far: a Pi without a clock of its own starts in the past. Save the result
    only after metadata was accepted with it, so that a clock in the future locks nothing out for long.
    """
    clock = [clock_utc] if synced or clock_utc >= SET_CLOCK else []
    return max([*clock, *([persisted] if persisted is not None else [])], default=None)
