"""Where the model in the box lies. `open_model` decides when it runs.

Invariants: the file is part of the package, so it is found wherever the package is, installed or not (in the source
tree it is a link to `models/`).
"""

from __future__ import annotations

from pathlib import Path

BOX_MODEL = Path(__file__).parents[1] / "vedette-street.tflite"
