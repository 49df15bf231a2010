"""What a runtime and a processor make of models and pictures, as one JSON object.

    python -m tests.support.arm.answers [--plain] [--verify BUNDLE ...] [--models MODEL ... --pictures PICTURE ...]

It runs in an emulated root and on this machine alike, in one process, and needs no package that a device lacks. It says
which bytes scaling gives, whether bundles verify, and of each model and picture the digest of the input and the
detections, or why the model is refused.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tests.support.models.scalings import SCALINGS, scaled
from vedette.config.models import DetectorConfig
from vedette.errors import VedetteError
from vedette.types import WHOLE
from vedette.validate.verify import verify
from vedette.vision import images, xnnpack
from vedette.vision.open import open_detector

SCORE = 0.1
"""Low, so that there are many boxes to compare."""


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def of_model(model: Path, pictures: list[Path]) -> dict[str, Any]:
    """Detect in each picture; the input is read before invoke, which may use its memory again."""
    try:
        detector = open_detector(DetectorConfig(model=model, threads=1, score_threshold=SCORE))
        try:
            found = {}
            for picture in pictures:
                frame = images.frame_of(images.read(picture))
                detector._write(frame, WHOLE)
                prepared = digest(detector._interpreter.input(0).tobytes())
                result = detector.detect(frame)
                found[picture.name] = {"input": prepared, "detections": [
                    [each.label, each.score, each.box.xmin, each.box.ymin, each.box.xmax, each.box.ymax]
                    for each in result.detections]}
            facts = detector.facts
            return {"runtime": facts.runtime, "runtime_version": facts.runtime_version,
                    "xnnpack_share": facts.xnnpack_share, "pictures": found}
        finally:
            detector.close()
    except VedetteError as refusal:
        return {"refused": type(refusal).__name__}


def verified(bundle: Path) -> dict[str, Any]:
    verification = verify(bundle)
    judgement = verification.judgement
    return {"passed": verification.passed, "cause": verification.cause, "family": judgement and judgement.family,
            "distance": judgement and judgement.distance,
            "failed": [f"{check.name}: {check.message}" for check in verification.checks if check.state != "passed"]}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--verify", type=Path, nargs="*", default=[])
    parser.add_argument("--models", type=Path, nargs="*", default=[])
    parser.add_argument("--pictures", type=Path, nargs="*", default=[])
    parser.add_argument("--plain", action="store_true", help="tflite-runtime without XNNPACK, as for armhf")
    args = parser.parse_args()
    if args.plain:
        xnnpack.VERSION = "none"
    print(json.dumps({
        "machine": platform.machine(), "python": platform.python_version(), "numpy": np.__version__,
        "opencv": cv2.__version__, "scaled": {name: digest(scaled(name)) for name in SCALINGS},
        "verified": {path.name: verified(path) for path in args.verify},
        "models": {path.name: of_model(path, args.pictures) for path in args.models}}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
