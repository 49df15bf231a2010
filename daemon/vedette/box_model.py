"""The model in the box: where it lies, and what it runs for.

Invariants: the file is part of the package, so it is found wherever the package is, installed or not (in the source
tree it is a link to `models/`); it runs for the drawn street alone, and never stands in for a field model.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vedette.camera.street.options import is_synthetic

if TYPE_CHECKING:
    from vedette.config.models import Config

BOX_MODEL = Path(__file__).with_name("vedette-street.tflite")


def with_box_model(config: Config) -> Config:
    """Return the configuration with the model that runs: the named one, or the box's where the street is watched."""
    if config.detector.model is not None or not is_synthetic(config.camera.source):
        return config
    return config.model_copy(update={"detector": config.detector.model_copy(update={"model": BOX_MODEL})})
