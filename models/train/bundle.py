"""The file around the graph: labels and settings in the appended ZIP, where the product looks for them.

Invariants: the same graph gives the same bytes (fixed times in the ZIP); thresholds are those the card states.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile

from vedette.camera.street.objects import LABELS

NAME, VERSION = "vedette-street", "1"
SCORE_THRESHOLD, IOU_THRESHOLD = 0.35, 0.6
_WRITTEN = (2026, 11, 21, 0, 0, 0)


def bundled(flatbuffer: bytes) -> bytes:
    """Return the whole `.tflite` file."""
    settings = {"name": NAME, "version": VERSION, "sha256": hashlib.sha256(flatbuffer).hexdigest(), "decoder": "ltrb",
                "color": "rgb", "resize": "letterbox",
                "thresholds": {"score": SCORE_THRESHOLD, "iou": IOU_THRESHOLD}}
    whole = io.BytesIO()
    whole.write(flatbuffer)
    with zipfile.ZipFile(whole, "a") as archive:
        for name, text in (("labels.txt", "\n".join(LABELS) + "\n"), ("vedette.json", json.dumps(settings, indent=1))):
            archive.writestr(zipfile.ZipInfo(name, _WRITTEN), text)
    return whole.getvalue()
