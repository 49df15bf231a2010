"""Which model is to run, and detectors of it, opened as the configuration says now, whichever thread asks.

Invariants: `detector.model` pins; else the store's active model runs, else the model in the box where the street is
watched, else none. A reload reaches every detector in use, and one that comes while a detector is being opened is not
lost; a model whose digest is known is opened only as the file of that digest.
"""

from __future__ import annotations

import logging
import threading
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vedette.camera.street.options import is_synthetic
from vedette.detect.box_model import BOX_MODEL

if TYPE_CHECKING:
    from pathlib import Path

    from vedette.config.models import Config, DetectorConfig
    from vedette.store.model_store import ModelStore
    from vedette.vision.local import LocalDetector
    from vedette.vision.probe import Proof

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A model that is to run: its file, the digest it must have if known, the label of an A/B release.

    `pinned`: by the configuration, so that nothing takes its place.
    """

    path: Path
    sha256: str | None = None
    variant: str | None = None
    pinned: bool = False


def chosen(config: Config, store: ModelStore) -> ModelChoice | None:
    """Return the model that is to run now, None where there is none. Any thread."""
    active = store.state.active
    if config.detector.model is not None:
        return ModelChoice(config.detector.model, pinned=True)
    if active is not None:
        return ModelChoice(store.path_of(active.sha256), active.sha256, active.variant)
    return ModelChoice(BOX_MODEL) if is_synthetic(config.camera.source) else None


class DetectorOpener:
    """Any thread."""

    def __init__(self, detector: DetectorConfig, roi: tuple[float, float, float, float] | None, proofs: Path) -> None:
        self._detector = detector
        self._roi = roi
        self._proofs = proofs
        self._lock = threading.Lock()
        self._opened: weakref.WeakSet[LocalDetector] = weakref.WeakSet()

    def open(self, choice: ModelChoice) -> LocalDetector:
        """Return a detector that has looked once already. Raises: ModelError (every leaf), RuntimeMissing."""
        from vedette.vision.local import open_detector  # late: the capture child starts meanwhile
        from vedette.vision.probe import ProofStore
        wanted = self._detector.model_copy(update={"model": choice.path})
        opened = open_detector(wanted, self._roi, ProofStore(self._proofs), sha256=choice.sha256,
                               variant=choice.variant)
        with self._lock:
            self._opened.add(opened)
            opened.reload(self._detector)       # as it is by now
        for warning in opened.facts.warnings:
            log.warning("%s", warning)
        return opened

    def remember(self, proof: Proof) -> None:
        """Spare the next opening of this model the child: it was proven in one just now."""
        from vedette.vision.probe import ProofStore
        ProofStore(self._proofs).remember(proof)

    def reload(self, detector: DetectorConfig) -> None:
        """Have every detector judge by the live keys of a configuration read again."""
        with self._lock:
            self._detector = detector
            for opened in self._opened:
                opened.reload(detector)
