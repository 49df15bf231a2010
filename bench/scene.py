"""The cost of drawing a frame of the street, and of detecting the same frame with the box model.

    .venv/bin/python bench/scene.py [--width 640 --height 360 --frames 300]

The figures are the CPU time of one thread, median and 95th percentile. Frames come in the order of the camera.
"""

from __future__ import annotations

import argparse
import json
import time
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np

from vedette.camera.street.scene import Scene
from vedette.config.models import DetectorConfig
from vedette.types import Frame
from vedette.vision.open import open_detector

MODEL = Path(__file__).parents[1] / "models" / "vedette-street.tflite"
WARM_UP = 60


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=360)
    parser.add_argument("--frames", type=int, default=300)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    scene = Scene(5, args.width, args.height, 30.0)
    detector = open_detector(DetectorConfig(model=args.model, threads=1))
    picture = np.empty((args.height, args.width, 3), np.uint8)
    spent_ms: dict[str, list[float]] = {"render_ms": [], "detect_ms": []}
    for number in range(WARM_UP + args.frames):
        times_ns = [time.process_time_ns()]
        scene.render(number, picture)
        times_ns.append(time.process_time_ns())
        detector.detect(Frame(number, picture.data, 0, datetime.now(UTC), 0))
        times_ns.append(time.process_time_ns())
        if number >= WARM_UP:
            for name, ns in zip(spent_ms, np.diff(times_ns), strict=True):
                spent_ms[name].append(ns / 1e6)
    print(json.dumps({name: {"median": round(float(np.median(ms)), 2), "p95": round(float(np.percentile(ms, 95)), 2)}
                      for name, ms in spent_ms.items()}))


if __name__ == "__main__":
    main()
