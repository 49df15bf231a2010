"""`vedette detect`: runs a model on image files.

Invariants: one result for each image that can be used, in the order of the command line; an image that cannot be used
is named on standard error, and the others are still done; no input file is ever overwritten.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vedette.cli.arguments import file_path
from vedette.cli.detector_arguments import add_detector_arguments, detector_of
from vedette.cli.image_folder import ImageFolder
from vedette.errors import DetectError, SourceInvalid
from vedette.messages import payloads

if TYPE_CHECKING:
    from vedette.types import DetectionResult

EXAMPLE = """example:
  vedette detect --model street.tflite --json --out pictures/ porch.jpg gate.jpg

exit codes:
   0  Every image is done.
  65  The model or an image cannot be used. The other images are still done.
  69  No TFLite runtime is installed."""

DEVICE = "detect"
"""The device name in a result: an image file has no device."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("images", nargs="+", type=file_path, metavar="IMAGE", help="an image file")
    parser.add_argument("--model", type=file_path, required=True, metavar="M", help="a .tflite file")
    add_detector_arguments(parser)
    parser.add_argument("--json", action="store_true",
                        help="print one JSON object per line: the file name and a result as in detections/1")
    parser.add_argument("--out", type=file_path, metavar="DIR",
                        help="folder for copies of the images that show the boxes")


def run(args: argparse.Namespace) -> int:
    """Detect in every image; returns 0, or 65 when an image cannot be used."""
    from vedette.vision import images
    from vedette.vision.open import open_detector
    folder = ImageFolder(args.out) if args.out else None
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
            print(_json(path, result, seq) if args.json else _text(path, result), flush=True)
            if folder:
                folder.write(f"{path.stem}-detections", images.draw_boxes(pixels, result.detections))
    finally:
        detector.close()
    return SourceInvalid.exit_code if failed else 0


def _json(path: Path, result: DetectionResult, seq: int) -> str:
    payload = payloads.detections(result, device=DEVICE, run=0, seq=seq, dropped={}, clock_synced=False)
    return payloads.encode({"file": str(path), **payload}).decode()


def _text(path: Path, result: DetectionResult) -> str:
    frame = result.frame
    lines = [f"{path}: {len(result.detections)} detections, invoke {result.timing.invoke_ms:.1f} ms"]
    for found in result.detections:
        left, top = round(found.box.xmin * frame.width), round(found.box.ymin * frame.height)
        right, bottom = round(found.box.xmax * frame.width), round(found.box.ymax * frame.height)
        lines.append(f"  {found.label} {found.score:.3f} at x {left}-{right}, y {top}-{bottom}")
    return "\n".join(lines)
