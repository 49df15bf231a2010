"""`vedette model pack`: make a bundle, one file that carries its labels, settings and golden frames.

Invariants: the output is whole or is not there; the model's own bytes are never changed.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vedette.cli.arguments import between
from vedette.cli.model_arguments import detector_of
from vedette.errors import ModelUnsupported, UsageError

if TYPE_CHECKING:
    from vedette.validate.packing import Picture
    from vedette.vision.baseline import Baseline

EXAMPLE = """example:
  vedette model pack street-int8.tflite --labels labels.txt --name street --version 3 \\
    --golden porch.jpg gate.jpg -o street.tflite

exit codes: 0; 64 when something is not stated; 65 when the model or an image cannot be used; 69 without a runtime"""

_BASELINE_BYTES_MAX = 1 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("model", type=Path, metavar="M", help="a .tflite file, a bundle or not")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="OUT", help="the bundle")
    parser.add_argument("--name", help="default: what the model says, else its file name")
    parser.add_argument("--version", help="needed where the model states none")
    parser.add_argument("--labels", dest="labels_file", type=Path, metavar="F",
                        help="one label a line, in place of the model's own")
    parser.add_argument("--decoder", help="as detector.decoder")
    parser.add_argument("--color", choices=("rgb", "bgr"))
    parser.add_argument("--resize", choices=("letterbox", "stretch"))
    parser.add_argument("--mean", type=float, nargs="+", metavar="X", help="one number, or one a channel")
    parser.add_argument("--std", type=float, nargs="+", metavar="X")
    parser.add_argument("--score-threshold", type=between(float, 0, 1), metavar="X", help="0-1")
    parser.add_argument("--iou-threshold", type=between(float, 0, 1), metavar="Y", help="0-1")
    parser.add_argument("--label-threshold", type=_label_threshold, action="append", default=[], metavar="LABEL=X",
                        help="score threshold of one label; may be repeated")
    parser.add_argument("--golden", type=Path, nargs="+", default=[], metavar="IMAGE",
                        help="frames to run the model over; without, those the model carries")
    parser.add_argument("--baseline", type=Path, metavar="FILE",
                        help="what `vedette model eval --baseline-out FILE` wrote")


def run(args: argparse.Namespace) -> int:
    """Write the bundle. Raises: ModelError, SourceInvalid, UsageError, RuntimeMissing."""
    from vedette._lib.durable import replace_file
    from vedette.tflite.file import read_model
    from vedette.validate.packing import pack
    from vedette.vision.limits import PLACEHOLDERS
    from vedette.vision.model_spec import resolve
    model = read_model(args.model)
    spec = resolve(model, detector_of(args, labels=dict(args.label_threshold) or None))
    version = args.version or spec.version
    if version is None:
        raise UsageError("--version: nothing in the model states one; expected a label such as 1 or 2026-11")
    if PLACEHOLDERS.issuperset(spec.labels):
        raise UsageError("--labels: nothing in the model names its classes; expected a file with one label a line")
    packed = pack(model, spec, name=args.name or spec.name, version=version, pictures=_pictures(args.golden),
                  baseline=_baseline(args.baseline))
    for warning in packed.warnings:
        print(f"vedette: warning: {warning}", file=sys.stderr)
    try:
        replace_file(args.out, packed.content, mode=0o644)
    except OSError as error:
        raise UsageError(f"--out {args.out}: {error.strerror}; expected a name in a folder that is there") from error
    frames = packed.golden
    families = ", ".join(frames.families) if frames else ""
    print(f"{args.out}: {len(packed.content):,} bytes, {len(frames.frames) if frames else 0} golden frames"
          f"{f' for {families}' if families else ''}")
    return 0


def _pictures(paths: list[Path]) -> tuple[Picture, ...]:
    from vedette.validate.packing import Picture
    from vedette.vision import images
    return tuple(Picture(path.stem, images.read(path)) for path in paths)


def _baseline(path: Path | None) -> Baseline | None:
    if path is None:
        return None
    from vedette._lib.whole_file import read_whole
    from vedette.vision.baseline import parse
    try:
        content = json.loads(read_whole(path, _BASELINE_BYTES_MAX))
    except OSError as error:
        raise UsageError(f"--baseline {path}: {error.strerror}; expected a JSON file") from error
    except (ValueError, RecursionError) as error:
        raise ModelUnsupported(f"--baseline {path}: {error}; expected a JSON file") from error
    return parse(content, f"--baseline {path}")


def _label_threshold(text: str) -> tuple[str, float]:
    label, mark, number = text.rpartition("=")
    if not mark or not label:
        raise argparse.ArgumentTypeError(f"{text!r}; expected LABEL=X, as in person=0.6")
    return label, between(float, 0, 1)(number)
