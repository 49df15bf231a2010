"""Which operations of a network do not fit the device, where they stand in the source, and what the way out is.

Invariants: the file is read, never run, and no tool is needed; any bytes yield an answer or `ModelUnreadable`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vedette.workshop.unfit.found import Unfit as Unfit
from vedette.workshop.unfit.keras import unfit_in_keras
from vedette.workshop.unfit.onnx import unfit_in_onnx
from vedette.workshop.unfit.saved_model import unfit_in_saved_model
from vedette.workshop.unfit.tflite import unfit_in_tflite
from vedette.workshop.unfit.torch import unfit_in_torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

READERS: Mapping[str, Callable[[Path], tuple[Unfit, ...]]] = {
    ".onnx": unfit_in_onnx, ".tflite": unfit_in_tflite, ".lite": unfit_in_tflite, ".pt2": unfit_in_torch,
    ".keras": unfit_in_keras,
}
"""By the suffix of the file."""


def unfit_in(path: Path) -> tuple[Unfit, ...]:
    """Return what does not fit in a file, or in the folder of a SavedModel.

    It is empty where all fits, and where only the network's own code can read the file (.pt, .h5).
    Raises: ModelUnreadable (missing, damaged, or not what its suffix says).
    """
    if path.is_dir():
        return unfit_in_saved_model(path)
    reader = READERS.get(path.suffix.lower())
    return reader(path) if reader is not None else ()
