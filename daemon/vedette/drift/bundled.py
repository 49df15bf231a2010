"""The mean scores that a bundle states from its training, if the device's scores can be compared with them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from vedette.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from vedette.config.models import DetectorConfig
    from vedette.detect.open_model import ModelChoice

log = logging.getLogger(__name__)


class ModelChooser(Protocol):
    """Knows which model is to run."""

    def choose(self) -> ModelChoice | None:
        """Return the model that is to run now, None where there is none."""


class BundledScores:
    """Reads the bundle of the model that is to run."""

    def __init__(self, chooser: ModelChooser) -> None:
        self._chooser = chooser

    def __call__(self, detector: DetectorConfig) -> Mapping[str, float]:
        """As `bundled_scores`; nothing where no model is to run."""
        choice = self._chooser.choose()
        return {} if choice is None else bundled_scores(choice.path, detector)


def bundled_scores(path: Path, detector: DetectorConfig) -> dict[str, float]:
    """Return the mean score by label. A label for which the device uses another threshold is left out."""
    from vedette.tflite.file import read_model
    from vedette.vision.bundle import baseline_of  # imported late: most devices compare with learnt means
    from vedette.vision.model_spec import limits_of
    try:
        model = read_model(path, pictures=False)
        baseline, limits = baseline_of(model), limits_of(model, detector)
    except ModelError as error:
        log.warning("the bundle's mean scores cannot be used: %s", error)
        return {}
    return {} if baseline is None else {
        label: each.score_mean for label, each in baseline.labels.items()
        if each.score_mean and limits.threshold_of(label) == each.score_threshold}
