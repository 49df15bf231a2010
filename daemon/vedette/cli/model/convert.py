"""`vedette model convert`: from a trained network to an INT8 bundle, each step compared with the one before.

Invariants: OUT is complete or does not exist; what was converted once is not converted again.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from vedette.cli.arguments import file_path
from vedette.errors import ModelUnsupported, ToolMissing

EXAMPLE = """examples:
  vedette model convert street.onnx --images pictures -o street.tflite
  vedette model convert best.pt --images pictures -o best.tflite --size 416x416

exit codes:
   0  The bundle is written and compared.
  64  The command line is wrong.
  65  The network cannot be converted or quantized, or a picture cannot be used.
  69  A tool or the Python that it needs is missing and cannot be installed."""


RUN_BY_THEIR_OWN = ("onnx", "exported-program", "module", "ultralytics")
"""Kinds of networks that the comparison runs in ONNX Runtime or torch, as the first step."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments: those of `model quantize`, and the size of an open input."""
    from vedette.cli.model.quantize import add_options
    parser.add_argument("network", type=file_path, metavar="IN",
                        help=".onnx, .pt2, .pt, .keras, .h5, a SavedModel folder, or a float .tflite")
    parser.add_argument("--size", type=_size, metavar="WIDTHxHEIGHT",
                        help="input of a network that does not state its own, such as 320x320")
    parser.add_argument("--cut", type=_names, default=(), metavar="NAME,…",
                        help="end an ONNX network or a .tflite at these tensors; what does not fit is named with them")
    add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Convert, quantize and compare; returns 0.

    Raises: ModelError, SourceInvalid, UsageError, ConfigError, ToolMissing, ExtraMissing, RuntimeMissing.
    """
    from vedette.cli.model import quantize
    from vedette.workshop.convert import Options, dressed, to_float
    from vedette.workshop.inputs import source_of
    from vedette.workshop.prepared import picture_files
    quantize.check_folders(args)
    picture_files(args.images)
    source = source_of(args.network)
    html, args.html = args.html, None
    args.model = to_float(source, _progress, Options(args.size, args.cut))
    quantize.run(args)
    args.html = html
    with TemporaryDirectory() as folder:
        floating = Path(folder, f"float-{args.model.name}")
        floating.write_bytes(dressed(args.model, args.out))
        if source.kind in RUN_BY_THEIR_OWN and not args.cut:
            try:
                return _compare(args, args.network, floating, args.out)
            except (ModelUnsupported, ToolMissing) as error:        # OUT is made and proven without it
                _progress(f"warning: the comparison begins with the float model: {error}")
        return _compare(args, floating, args.out)


def _compare(args: argparse.Namespace, *steps: Path) -> int:
    from vedette.cli import parser_of
    options = [*(["--html", args.html] if args.html else []), *(["--json"] if args.json else [])]
    parser, compare = parser_of("model compare")
    return int(compare.run(parser.parse_intermixed_args(list(map(str, [*steps, "--images", args.images, *options])))))


def _progress(line: str) -> None:
    print(f"vedette: {line}", file=sys.stderr, flush=True)


def _size(text: str) -> str:
    if not re.fullmatch(r"[1-9]\d{0,3}x[1-9]\d{0,3}", text):
        raise argparse.ArgumentTypeError(f"{text!r}; expected WIDTHxHEIGHT, as in 320x320")
    return text


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))
