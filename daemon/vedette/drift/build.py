"""Puts together what watches for drift."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vedette.detect.open_model import chosen
from vedette.drift.bundled import bundled_scores
from vedette.drift.ledger import FILE, Ledger
from vedette.drift.watch import DriftWatch

if TYPE_CHECKING:
    from vedette._lib.worker import Worker
    from vedette.config.models import Config
    from vedette.ports import Camera, Clock
    from vedette.store.model_store import ModelStore


def build_drift(folder: Path, camera: Camera, clock: Clock, boot_id: str, *, config: Callable[[], Config],
                store: ModelStore, on_end: Callable[[Worker], None]) -> DriftWatch:
    """Return it, with what is kept in the state folder."""
    def bundled() -> Mapping[str, float]:
        choice = chosen(config(), store)
        return {} if choice is None else bundled_scores(choice.path, config().detector)
    return DriftWatch(Ledger(folder / FILE, clock, boot_id), camera, config, bundled=bundled, on_end=on_end)
