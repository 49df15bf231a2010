"""`vedette model pack`: makes a bundle, one file that carries its labels, settings and golden frames.

Invariants: the output is complete or does not exist; the model's graph and weights are never changed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vedette.cli.arguments import between, file_path
from vedette.cli.detector_arguments import (
    add_feeding_arguments,
    add_labels_argument,
    add_threshold_arguments,
    detector_of,
)
from vedette.cli.json_file import read_json
from vedette.cli.out_file import write_file
from vedette.errors import UsageError

if TYPE_CHECKING:
    from vedette.validate.golden import Golden
    from vedette.validate.packing import Picture
    from vedette.vision.baseline import Baseline

EXAMPLE = """example:
  vedette model pack street-int8.tflite --labels labels.txt --name street --version 3 \\
    --golden porch.jpg gate.jpg -o street.tflite

exit codes:
   0  The bundle is written.
  64  The command line is wrong, or the version or the labels are missing.
  65  The model, an image or the baseline cannot be used.
  69  No TFLite runtime is installed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("model", type=file_path, metavar="M", help="a .tflite file; it may be a bundle already")
    parser.add_argument("-o", "--out", type=file_path, required=True, metavar="OUT", help="the bundle to write")
    parser.add_argument("--name", help="name of the model (default: the name in the file, else the file name)")
    parser.add_argument("--version",
                        help="version of the model (default: the version in the file; needed if there is none)")
    add_labels_argument(parser)
    add_feeding_arguments(parser)
    add_threshold_arguments(parser)
    parser.add_argument("--label-threshold", type=_label_threshold, action="append", default=[], metavar="LABEL=X",
                        help="score threshold of one label; repeat it for more labels")
    parser.add_argument("--golden", type=file_path, nargs="+", default=[], metavar="IMAGE",
                        help="images for the golden frames (default: the golden frames in the file)")
    parser.add_argument("--baseline", type=file_path, metavar="FILE",
                        help="file that `vedette model eval --baseline-out FILE` has written")
    parser.add_argument("--no-metadata", dest="metadata", action="store_false",
                        help="do not add TFLite Metadata: the bytes of the flatbuffer stay as they are")


def run(args: argparse.Namespace) -> int:
    """Write the bundle. Raises: ModelError, SourceInvalid, UsageError, RuntimeMissing."""
    from vedette.tflite.file import read_model
    from vedette.validate.packing import pack
    from vedette.vision.limits import PLACEHOLDERS
    from vedette.vision.model_spec import resolve
    from vedette.vision.probe import prove
    model = read_model(args.model)
    detector = detector_of(args, labels=dict(args.label_threshold) or None)
    spec = resolve(model, detector)
    if spec.guessed:
        spec = resolve(model, detector, prove(args.model, sha256=model.sha256).doubts)
    version = args.version or spec.version
    if version is None:
        raise UsageError("--version: the model has no version; expected one, such as 1 or 2026-11")
    if PLACEHOLDERS.issuperset(spec.labels):
        raise UsageError("--labels: the model has no labels; expected a file with one label a line")
    packed = pack(model, spec, name=args.name or spec.name, version=version, pictures=_pictures(args.golden),
                  baseline=_baseline(args.baseline), metadata=args.metadata)
    for warning in packed.warnings:
        print(f"vedette: warning: {warning}", file=sys.stderr)
    write_file(args.out, packed.content, "--out")
    print(f"{args.out}: {len(packed.content):,} bytes, {_golden_text(packed.golden)}")
    print(packed.others)
    return 0


def _golden_text(golden: Golden | None) -> str:
    if golden is None:
        return "0 golden frames"
    families = f" for {', '.join(golden.families)}" if golden.families else ""
    return f"{len(golden.frames)} golden frames{families}"


def _pictures(paths: list[Path]) -> tuple[Picture, ...]:
    from vedette.validate.packing import Picture
    from vedette.vision import images
    return tuple(Picture(path.stem, images.read(path)) for path in paths)


def _baseline(path: Path | None) -> Baseline | None:
    if path is None:
        return None
    from vedette.vision.baseline import parse
    return parse(read_json(path, "--baseline"), f"--baseline {path}")


def _label_threshold(text: str) -> tuple[str, float]:
    label, mark, number = text.rpartition("=")
    if not mark or not label:
        raise argparse.ArgumentTypeError(f"{text!r}; expected LABEL=X, as in person=0.6")
    return label, between(float, 0, 1)(number)
