"""Which operations of a network do not fit the device, where they stand in the source, and what the way out is.

Invariants: the file is read, never run, and no tool is needed; any bytes yield an answer or `ModelUnreadable`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vedette.workshop.unfit.found import Unfit as Unfit
from vedette.workshop.unfit.onnx import unfit_in_onnx
from vedette.workshop.unfit.tflite import unfit_in_tflite

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

READERS: Mapping[str, Callable[[Path], tuple[Unfit, ...]]] = {
    ".onnx": unfit_in_onnx, ".tflite": unfit_in_tflite, ".lite": unfit_in_tflite,
}
"""By the suffix of the file."""


def unfit_in(path: Path) -> tuple[Unfit, ...]:
    """Return what does not fit in a network; empty where all fits, or where its format is known to its tool only.

    Raises: ModelUnreadable (missing, damaged, or not what its suffix says).
    """
    reader = READERS.get(path.suffix.lower())
    return reader(path) if reader is not None else ()
