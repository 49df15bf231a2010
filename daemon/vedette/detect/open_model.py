"""Chooses the model that is to run, and opens a detector for it.

Invariants: `detector.model` pins the model. Otherwise the store's active model runs, or the model in the box if the
source is the drawn street, or none. A reload reaches every open detector, also one that is being opened. A model whose
digest is known is opened only if the file has that digest.
"""

from __future__ import annotations

import logging
import threading
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vedette._lib.patience import Patience
from vedette.camera.street.options import is_synthetic
from vedette.config.camera_values import region_of
from vedette.detect.box_model import BOX_MODEL
from vedette.errors import ModelTimedOut
from vedette.vision.model_child import TIMEOUT_S

if TYPE_CHECKING:
    from pathlib import Path

    from vedette.config.models import Config
    from vedette.detect.opening_count import OpeningCount
    from vedette.store.model_store import ModelStore
    from vedette.vision.limits import Limits
    from vedette.vision.local import LocalDetector
    from vedette.vision.probe import Proof

log = logging.getLogger(__name__)

LOAD_WITHIN_S = 30.0
"""What else an opening takes: imports, reading and building the model, its first invoke."""


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A model that is to run: its file, the digest that it must have if known, the label of an A/B release.

    `pinned`: the configuration names it, so nothing replaces it.
    """

    path: Path
    sha256: str | None = None
    variant: str | None = None
    pinned: bool = False


def choose_model(config: Config, store: ModelStore) -> ModelChoice | None:
    """Return the model that is to run now; None if there is none. Any thread."""
    active = store.state.active
    if config.detector.model is not None:
        return ModelChoice(config.detector.model, pinned=True)
    if active is not None:
        return ModelChoice(store.path_of(active.sha256), active.sha256, active.variant)
    return ModelChoice(BOX_MODEL) if is_synthetic(config.camera.source) else None


class DetectorOpener:
    """Chooses the model that is to run, and opens detectors. `proofs`: the file of the models' proofs. Any thread.

    `openings` counts the openings of `open_chosen`, which one thread calls. `probe_s`: the bound of the first proof.
    """

    def __init__(self, config: Config, store: ModelStore, proofs: Path, openings: OpeningCount, *,
                 probe_s: float = TIMEOUT_S) -> None:
        self._config = config
        self._store = store
        self._proofs = proofs
        self._openings = openings
        self._patience = Patience()
        self._probe_s = probe_s
        self._lock = threading.Lock()
        self._opened: weakref.WeakKeyDictionary[LocalDetector, Path] = weakref.WeakKeyDictionary()

    def choose(self) -> ModelChoice | None:
        """Return the model that is to run now; None if there is none."""
        return choose_model(self._config, self._store)

    def read_files(self) -> tuple[tuple[int, ...] | None, ...]:
        """Return what identifies the files that a detector is opened from: a changed file gives another value."""
        choice, labels = self.choose(), self._config.detector.labels_file
        return _identity(None if choice is None else choice.path), _identity(labels)

    def limits(self) -> Limits | None:
        """Return what counts as a detection of that model, as it is open now; None while it is not."""
        choice = self.choose()
        with self._lock:
            return next((each.limits for each, path in self._opened.items() if choice and path == choice.path), None)

    def detector_of(self, sha256: str) -> LocalDetector | None:
        """Return the detector of the model with this digest that was opened last; None if it is not open any more."""
        with self._lock:
            fitting = [each for each in self._opened if each.facts.model.sha256 == sha256]
        return fitting[-1] if fitting else None

    @property
    def within_s(self) -> float:
        """The seconds that the next opening may take: one child chooses the runtime, and two may prove the model."""
        return 3 * self._patience.bound_s(self._probe_s) + LOAD_WITHIN_S

    def open_chosen(self) -> LocalDetector | None:
        """Open a detector of that model; None if there is none. Raises: as `open`."""
        choice = self.choose()
        if choice is None:
            return None
        with self._openings.counted(choice.path, self.read_files()):
            return self.open(choice)

    def open(self, choice: ModelChoice) -> LocalDetector:
        """Return a detector that has run once already. Raises: ModelError (every leaf), RuntimeMissing."""
        from vedette.vision.open import open_detector  # late: the capture child starts meanwhile
        from vedette.vision.probe import ProofStore
        wanted = self._config.detector.model_copy(update={"model": choice.path})
        try:
            opened = open_detector(wanted, self._config.camera.roi, ProofStore(self._proofs), sha256=choice.sha256,
                                   variant=choice.variant, probe_s=self._patience.bound_s(self._probe_s))
        except ModelTimedOut:
            self._patience.ran_out()
            raise
        self._patience.worked()
        with self._lock:
            self._opened[opened] = choice.path
            self._apply(opened)     # the configuration may have been reloaded meanwhile
        if opened.facts.runtime_choice:
            log.info("%s runs on %s: %s", choice.path, opened.facts.runtime, opened.facts.runtime_choice)
        for warning in opened.facts.warnings:
            log.warning("%s", warning)
        return opened

    def remember(self, proof: Proof) -> None:
        """Save the proof of a model, so that its next opening needs no child."""
        from vedette.vision.probe import ProofStore
        ProofStore(self._proofs).remember(proof)

    def reload(self, config: Config) -> None:
        """Apply the live keys of a configuration to every open detector."""
        with self._lock:
            self._config = config
            for opened in self._opened:
                self._apply(opened)

    def _apply(self, opened: LocalDetector) -> None:
        opened.reload(self._config.detector, region_of(self._config.camera.roi))


def _identity(path: Path | None) -> tuple[int, ...] | None:
    try:
        found = path.stat() if path is not None else None
    except OSError:
        return None
    return None if found is None else (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
