"""`vedette detect`: run a model over image files.

Invariants: one result for each image that could be looked at, in the order given; one that could not be is named on
standard error and the others are still done; nothing given as input is ever overwritten.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vedette.cli.arguments import between
from vedette.cli.model_arguments import detector_of
from vedette.cli.pictures import Pictures
from vedette.errors import DetectError, SourceInvalid
from vedette.messages import payloads

if TYPE_CHECKING:
    from vedette.types import DetectionResult

EXAMPLE = """example:
  vedette detect --model street.tflite --json --out pictures/ porch.jpg gate.jpg

exit codes: 0; 65 when an image or the model cannot be used (the other images are still done); 69 without a runtime"""

DEVICE = "detect"
"""Stands where a result names its device: an image file has none."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    parser.add_argument("--model", type=Path, required=True, metavar="M", help="a .tflite file")
    parser.add_argument("--labels", dest="labels_file", type=Path, metavar="F",
                        help="one label a line, in place of the model's own")
    parser.add_argument("--score-threshold", type=between(float, 0, 1), metavar="X", help="0-1")
    parser.add_argument("--iou-threshold", type=between(float, 0, 1), metavar="Y", help="0-1")
    parser.add_argument("--max-detections", type=between(int, 1, 1000), metavar="N", help="of one image")
    parser.add_argument("--runtime", choices=("auto", "litert", "tflite-runtime"))
    parser.add_argument("--threads", type=between(int, 1, 16), metavar="N")
    parser.add_argument("--json", action="store_true", help="one JSON object a line: file, and a detections/1 result")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write pictures with boxes there")


def run(args: argparse.Namespace) -> int:
    """Detect in every image; returns 0, or 65 when one could not be looked at."""
    from vedette.vision import images
    from vedette.vision.local import open_detector
    pictures = Pictures(args.out) if args.out else None
    detector = open_detector(detector_of(args))
    failed = 0
    try:
        for warning in detector.facts.warnings:
            print(f"vedette: warning: {warning}", file=sys.stderr)
        for seq, path in enumerate(args.images, start=1):
            try:
                pixels = images.read(path)
                result = detector.detect(images.frame_of(pixels, seq))
            except (SourceInvalid, DetectError) as error:
                print(f"vedette: {error}", file=sys.stderr)
                failed += 1
                continue
            print(_json(path, result, seq) if args.json else _words(path, result), flush=True)
            if pictures:
                pictures.write(f"{path.stem}-detections", images.with_boxes(pixels, result.detections))
    finally:
        detector.close()
    return SourceInvalid.exit_code if failed else 0


def _json(path: Path, result: DetectionResult, seq: int) -> str:
    payload = payloads.detections(result, device=DEVICE, run=0, seq=seq, dropped={}, clock_synced=False)
    return payloads.encode({"file": str(path), **payload}).decode()


def _words(path: Path, result: DetectionResult) -> str:
    frame = result.frame
    lines = [f"{path}: {len(result.detections)} detections, invoke {result.timing.invoke_ms:.1f} ms"]
    for found in result.detections:
        left, top = round(found.box.xmin * frame.width), round(found.box.ymin * frame.height)
        right, bottom = round(found.box.xmax * frame.width), round(found.box.ymax * frame.height)
        lines.append(f"  {found.label} {found.score:.3f} at x {left}-{right}, y {top}-{bottom}")
    return "\n".join(lines)
