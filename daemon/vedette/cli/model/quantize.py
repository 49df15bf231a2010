"""`vedette model quantize`: makes an INT8 bundle of a float model, calibrated with pictures as the device sees them.

Invariants: the output is complete or does not exist. Pictures whose light was measured to cost accuracy are refused,
and so is a new model that does not detect what the float model detects, unless forced.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from vedette.cli.arguments import add_config_argument, file_path
from vedette.cli.detector_arguments import (
    add_feeding_arguments,
    add_labels_argument,
    add_threshold_arguments,
    detector_of,
)
from vedette.cli.json_file import read_json, read_json_lines
from vedette.cli.model.frame_source import spread
from vedette.cli.out_file import check_folder, write_file
from vedette.errors import UsageError

if TYPE_CHECKING:
    import argparse

    from vedette.config.models import CameraConfig, DetectorConfig
    from vedette.tflite.file import ModelFile
    from vedette.validate.agreement import Agreement
    from vedette.vision.model_spec import ModelSpec
    from vedette.workshop.bundling import Made, Order
    from vedette.workshop.coverage import Spread
    from vedette.workshop.quantizer import Recipe

EXAMPLE = """example:
  vedette model quantize yolov8n-float.tflite --images pictures/ -o street.tflite
  vedette model quantize street-float.tflite --images pictures/ --labels labels.txt --config config.yaml \\
    --health health.json --metrics training.json -o street.tflite

It needs the optional packages `vedette[workshop]`, and runs on a workstation.

exit codes:
   0  The bundle is written.
  64  The command line is wrong, or the labels are missing.
  65  The model or an image cannot be used, or the pictures or the new model are not good enough. Nothing is written.
  69  The runtime or the optional packages are missing.
  78  The configuration cannot be used."""

_SCHEMES = ("per-tensor", "dynamic-range", "weight-only", "float16")
PICTURES_MAX = 500
"""More pictures do not make a calibration better. Of a larger folder, so many are taken."""
_SHOWN = 12
_VERSION = "1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("model", type=file_path, metavar="FLOAT", help="a float .tflite file")
    add_options(parser)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what `model convert` takes as well."""
    parser.add_argument("--images", type=file_path, required=True, metavar="DIR",
                        help="folder of 100 to 500 pictures of the camera, or like those; of more, 500 are taken")
    parser.add_argument("-o", "--out", type=file_path, required=True, metavar="OUT", help="the bundle to write")
    parser.add_argument("--name", help="name of the model (default: the name in the file, else the file name)")
    parser.add_argument("--version", help="version of the model (default: the version in the file, else 1)")
    add_labels_argument(parser)
    add_feeding_arguments(parser)
    add_threshold_arguments(parser)
    add_config_argument(parser)
    parser.add_argument("--keep-float", default="auto", metavar="auto|none|NAME,…",
                        help="what stays float: what pays (auto), nothing, or these blocks")
    scheme = parser.add_mutually_exclusive_group()
    for name in _SCHEMES:
        scheme.add_argument(f"--{name}", dest="scheme", action="store_const", const=name, default="static",
                            help=f"{name} in place of static INT8 per channel, for comparison")
    parser.add_argument("--uint8", action="store_true",
                        help="INT8 input and outputs as uint8, which MediaPipe and the TFLite Task Library take")
    parser.add_argument("--force", action="store_true", help="write the bundle whatever the pictures and the model are")
    parser.add_argument("--metrics", type=file_path, metavar="FILE",
                        help="JSON file of the training: metrics, configuration, weights_sha256")
    parser.add_argument("--health", type=file_path, metavar="FILE",
                        help="health messages of the device, one a line: what it sees is held against the pictures")
    parser.add_argument("--html", type=file_path, metavar="FILE",
                        help="write the comparison with the float model as one HTML file, with pictures")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Write the bundle; returns 0. Raises: ModelError, SourceInvalid, UsageError, ConfigError, RuntimeMissing,
    ExtraMissing.
    """
    from vedette.workshop.bundling import compared, make
    check_folders(args)
    order, progress = _order(args), _Progress()
    try:
        made = make(order, progress)
    finally:
        progress("")
    write_file(args.out, made.content, "--out")
    if args.html:
        from vedette.workshop.report import html
        write_file(args.html, html(compared(order, args.out)).encode(), "--html")
    for warning in made.warnings:
        print(f"vedette: warning: {warning}", file=sys.stderr)
    if args.json:
        print(json.dumps(_plain(args, order, made)))
    else:
        for line in _lines(args, order, made):
            print("".join(letter if letter.isprintable() else "?" for letter in line))   # names come out of the file
    return 0


def check_folders(args: argparse.Namespace) -> None:
    """Say before minutes of work that a file cannot be written. Raises: UsageError."""
    check_folder(args.out, "--out")
    check_folder(args.html, "--html")


class _Progress:
    """Shows on a terminal what is being done, in one line."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()

    def __call__(self, text: str) -> None:
        if self._shown:
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def _order(args: argparse.Namespace) -> Order:
    from vedette.tflite.file import read_model
    from vedette.types import WHOLE, Box
    from vedette.vision.baseline import parse_training
    from vedette.workshop.bundling import Order
    from vedette.workshop.collection import are_collected
    from vedette.workshop.coverage import seen_by
    from vedette.workshop.prepared import Pictures, picture_files
    training = args.metrics and parse_training(read_json(args.metrics, "--metrics"), f"--metrics {args.metrics}")
    seen = args.health and seen_by(read_json_lines(args.health, "--health"), f"--health {args.health}")
    camera, detector = _configured(args)
    model = read_model(args.model)
    spec = _spec(model, detector)
    paths = spread(picture_files(args.images), PICTURES_MAX)
    collected = are_collected(paths)        # by `vedette collect`: masks and region are in them
    return Order(model, spec, args.name or spec.name, args.version or spec.version or _VERSION,
                 Pictures(paths, () if collected else camera.masks), _recipe(args),
                 roi=Box(*camera.roi) if camera.roi and not collected else WHOLE, training=training, seen=seen,
                 forced=args.force)


def _configured(args: argparse.Namespace) -> tuple[CameraConfig, DetectorConfig]:
    """Return the camera of the configuration, and how the model is fed: the arguments go before the configuration."""
    from vedette.config.load import read
    config = read(args.config, environ={}, elsewhere=True).config     # of the device, not of this machine
    stated = {key: getattr(config.detector, key) for key in ("decoder", "color", "resize", "mean", "std", "labels_file")
              if args.config and key in config.detector.model_fields_set}
    given = {key: value for key, value in vars(args).items() if key in stated and value is not None}
    return config.camera, detector_of(args, **{**stated, **given})


def _spec(model: ModelFile, detector: DetectorConfig) -> ModelSpec:
    from vedette.vision.limits import PLACEHOLDERS
    from vedette.vision.model_spec import resolve
    from vedette.vision.probe import prove
    spec = resolve(model, detector)
    if spec.guessed:
        spec = resolve(model, detector, prove(model.path, sha256=model.sha256).doubts)
    if PLACEHOLDERS.issuperset(spec.labels):
        raise UsageError("--labels: the model has no labels; expected a file with one label a line")
    return spec


def _recipe(args: argparse.Namespace) -> Recipe:
    from vedette.workshop.quantizer import CALIBRATED, Recipe
    kept = args.keep_float
    if args.uint8 and args.scheme not in CALIBRATED:
        raise UsageError(f"--uint8: with --{args.scheme} the input is float; expected it without that argument")
    if kept in {"auto", "none"}:
        return Recipe(args.scheme, kept, args.uint8)
    names = tuple(filter(None, (name.strip() for name in kept.split(","))))
    if not names:
        raise UsageError(f"--keep-float {kept!r}: expected auto, none, or names with commas between them")
    return Recipe(args.scheme, names, args.uint8)


def _plain(args: argparse.Namespace, order: Order, made: Made) -> dict[str, Any]:
    verification, quantized = made.verification, made.quantized
    return {
        "out": str(args.out), "name": order.name, "version": order.version, "bytes": len(made.content),
        "sha256": verification.model.sha256 if verification.model else None,
        "float": {"file": str(order.model.path), "bytes": order.model.size, "sha256": order.model.sha256},
        "scheme": order.recipe.scheme, "coverage": made.coverage.plain(),
        "kept_float": list(quantized.kept_float), "cures": list(quantized.cures), "notes": list(quantized.notes),
        "sensitivity": [{"block": cost.block, "sqnr_db": cost.sqnr_db, "bytes_float": cost.bytes_float}
                        for cost in quantized.sensitivity],
        "agreement": {**_agreement(made.agreement), "labels": {
            label: _agreement(made.agreement.for_label(label)) for label in sorted(made.agreement.labels)}},
        "invoke_ms": {"float": round(made.invoke_ms[0], 3), "new": round(made.invoke_ms[1], 3)},
        "xnnpack_share": verification.proof.xnnpack_share if verification.proof else None,
        "verified": verification.passed,
        "checks": [{"name": check.name, "state": check.state, "words": check.message} for check in verification.checks],
        "golden": list(made.golden), "baseline": made.baseline.model_dump(), "others": made.others,
        "warnings": list(made.warnings)}


def _agreement(agreement: Agreement) -> dict[str, Any]:
    shift, overlap = agreement.score_shift, agreement.mean_iou
    return {"f1": round(agreement.f1, 4), "pairs": len(agreement.pairs), "only_float": len(agreement.only_one),
            "only_new": len(agreement.only_other), "score_shift": None if shift is None else round(shift, 4),
            "iou": None if overlap is None else round(overlap, 4)}


def _lines(args: argparse.Namespace, order: Order, made: Made) -> Iterator[str]:
    coverage, quantized, whole = made.coverage, made.quantized, made.agreement
    yield (f"{args.out}: {order.name} {order.version}, {order.recipe.scheme}, {len(made.content):,} bytes "
           f"(float: {order.model.size:,})")
    yield f"  pictures      {coverage.pictures}"
    yield f"  brightness    {_spread(coverage.brightness)}"
    yield f"  contrast      {_spread(coverage.contrast)}"
    yield f"  similarity    {coverage.similarity:.2f}, of neighbouring pixels"
    yield f"  they show     {_shown(coverage.labels)}"
    for cost in sorted(quantized.sensitivity, key=_sqnr_db)[:_SHOWN]:
        yield f"  INT8 alone    {cost.block:40} {cost.sqnr_db:6.1f} dB  {cost.bytes_float:11,} bytes as float"
    for word, texts in (("kept float", quantized.kept_float), ("cured", quantized.cures), ("note", quantized.notes)):
        for text in texts:
            yield f"  {word:13} {text}"
    overlap = "" if whole.mean_iou is None else f", boxes overlap {whole.mean_iou:.3f}"
    shift = "" if whole.score_shift is None else f", scores {whole.score_shift:+.3f}"
    yield (f"  agreement     F1 {whole.f1:.3f} with the float model{overlap}{shift}; {len(whole.only_one)} only float, "
           f"{len(whole.only_other)} only new")
    yield f"  invoke        {made.invoke_ms[1]:.2f} ms (float: {made.invoke_ms[0]:.2f} ms), median, one thread"
    for check in made.verification.checks:
        yield f"  {check.state:13} {check.name}: {check.message}"
    yield f"  golden frames {', '.join(made.golden) or 'none'}"
    yield f"  others        {made.others}"


def _sqnr_db(cost: Any) -> float:
    return float(cost.sqnr_db)


def _spread(spread: Spread) -> str:
    low, middle, high = (spread.deciles[place] for place in (1, 5, 9))
    return (f"{spread.mean:.0f} ± {spread.std:.0f}; lowest {spread.deciles[0]:.0f}, deciles {low:.0f}, {middle:.0f}, "
            f"{high:.0f}, highest {spread.deciles[-1]:.0f}")


def _shown(labels: Any) -> str:
    seen = sorted(((count, label) for label, count in labels.items() if count), reverse=True)
    listed = ", ".join(f"{label} in {count}" for count, label in seen[:_SHOWN]) or "nothing that the model knows"
    unseen = sum(not count for count in labels.values())
    return f"{listed}{', …' if len(seen) > _SHOWN else ''}{f'; {unseen} labels in none' if unseen else ''}"
