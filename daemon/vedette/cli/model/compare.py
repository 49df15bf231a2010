"""`vedette model compare`: runs steps of any kind on the same pictures and shows where they differ, and why.

Invariants: all steps run on each picture, one directly after the other, so their latencies can be compared; each model
runs with the settings in its file. A bundle with a wrong digest is compared too, with a warning: the effect of the
damage is worth seeing.
"""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from vedette.cli.arguments import file_path
from vedette.cli.detector_arguments import add_runtime_argument, add_threads_argument
from vedette.cli.image_folder import ImageFolder
from vedette.cli.model.frame_source import add_synthetic_arguments, spread, synthetic_frames, with_progress
from vedette.cli.out_file import check_folder, write_file
from vedette.config.files import expanded
from vedette.errors import SourceInvalid, UsageError
from vedette.messages.payloads import rounded

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from vedette.validate.agreement import Agreement
    from vedette.validate.average_precision import Truth
    from vedette.workshop.comparison import Compared, Comparison
    from vedette.workshop.step import Picture, Step

EXAMPLE = """example:
  vedette model compare street-3.tflite street-4.tflite porch.jpg gate.jpg
  vedette model compare float.tflite int8.tflite --images pictures/ --coco val2017/ --html report.html
  vedette model compare float.tflite street.tflite http://127.0.0.1:8801 --images pictures/
  vedette model compare street-3.tflite street-4.tflite --source synthetic --frames 200 --out differences/

A step is one of these:
  a .tflite file, an .onnx file, a torch program (.pt2), TorchScript, or a checkpoint of Ultralytics (.pt); what runs
  them is installed in environments of its own, once; a .pt file runs the code in it
  http://DEVICE:8801, where `vedette serve` runs the model of the device
  a folder of results, or one file of them, as `vedette detect --json` prints them
Each one is compared with A, the first. The agreement is F1: twice the number of common
detections, divided by the number of all detections. A common detection has the same label in both steps and an IoU of
0.5 or more. The report names the step at which it breaks, and the likely cause.
In the images of --out, A is on the left and the step that differs most is on the right.

exit codes:
   0  The steps are compared.
  64  The command line is wrong.
  65  A model, an image or a result cannot be used.
  69  A runtime or an environment is missing, or a device gives no usable answer."""

STREET_FRAMES, FOLDER_FRAMES = 500, 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("a", type=expanded, metavar="A", help="the step that the others are compared with")
    parser.add_argument("b", type=expanded, metavar="B", help="another step")
    parser.add_argument("more", nargs="*", type=expanded, metavar="…",
                        help="more steps, and image files in place of --images and --source")
    parser.add_argument("--images", type=file_path, metavar="DIR", help="folder of images")
    parser.add_argument("--coco", type=file_path, metavar="DIR",
                        help="COCO folder: the things in the images, and without --images also the images")
    add_synthetic_arguments(parser)
    parser.set_defaults(frames=None)
    add_runtime_argument(parser, "auto")
    add_threads_argument(parser, 1)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--token-file", type=file_path, metavar="F", help="file with the bearer token of a device")
    parser.add_argument("--html", type=file_path, metavar="FILE",
                        help="write the report with pictures and curves as one file")
    parser.add_argument("--out", type=file_path, metavar="DIR",
                        help="folder for images of the pictures with the largest differences")


def run(args: argparse.Namespace) -> int:
    """Print the comparison; returns 0.

    Raises: ModelError, DetectError, SourceInvalid, RuntimeMissing, ExtraMissing, UsageError.
    """
    from vedette.validate.average_precision import Truth
    from vedette.workshop.comparison import compare
    arguments, paths = _sorted([args.a, args.b, *args.more])
    if sum(map(bool, (paths, args.source, args.images or args.coco))) != 1:
        raise UsageError("expected either image files or --source, or else --images or --coco")
    check_folder(args.html, "--html")
    folder = ImageFolder(args.out) if args.out else None
    truth = Truth.of_folder(args.coco) if args.coco else None
    with ExitStack() as stack:
        steps = _open(arguments, args, stack)
        comparison = compare(steps, _pictures(args, paths, truth), truth)
    if not comparison.frames:
        raise SourceInvalid("there is no frame to compare")
    print(json.dumps(_plain(comparison)) if args.json else "\n".join(_text(comparison)))
    if folder:
        _write_differences(folder, comparison)
    if args.html:
        from vedette.workshop.report import html
        write_file(args.html, html(comparison).encode(), "--html")
    return 0


def _sorted(arguments: Sequence[str]) -> tuple[list[str], list[Path]]:
    """Return the steps and the image files among the arguments. The first two are steps."""
    from vedette.vision import images
    known, more = images.suffixes(), arguments[2:]
    pictures = [argument for argument in more if Path(argument).suffix.lower() in known]
    return [*arguments[:2], *(argument for argument in more if argument not in pictures)], list(map(Path, pictures))


def _open(arguments: Sequence[str], args: argparse.Namespace, stack: ExitStack) -> list[Step]:
    """Open the steps. Those that state no labels get the labels of the first file that does, wherever it stands."""
    from vedette.workshop.steps import StepOptions, open_step, settings_of
    options = StepOptions(args.runtime, args.threads, args.token_file, _show)
    steps: list[Step] = []
    stated = settings_of(arguments)
    for argument in arguments:
        step = open_step(argument, stated or next((step.spec for step in steps if step.spec), None), options)
        stack.callback(step.close)
        for note in step.notes:
            print(f"vedette: warning: {note}", file=sys.stderr)
        steps.append(step)
    return steps


def _show(line: str) -> None:
    print(f"vedette: {line}", file=sys.stderr)


def _pictures(args: argparse.Namespace, paths: Sequence[Path], truth: Truth | None) -> Iterator[Picture]:
    from vedette.workshop.prepared import picture_files
    from vedette.workshop.step import Picture, read_pictures
    if args.source:
        args.frames = args.frames or STREET_FRAMES
        for still in with_progress(synthetic_frames(args), args.frames):
            yield Picture(f"frame-{still.frame.seq}", still.frame)
        return
    if args.images:
        paths = spread(picture_files(args.images), args.frames or FOLDER_FRAMES)
    elif truth:
        names = spread(list(truth.images.values()), args.frames or FOLDER_FRAMES)
        paths = [args.coco / "images" / name for name in names]
    yield from with_progress(read_pictures(paths), len(paths))


def _write_differences(folder: ImageFolder, comparison: Comparison) -> None:
    from vedette.vision import images
    for place, worst in enumerate(comparison.worst, 1):
        other = max(range(1, len(worst.agreements)), key=[each.distance for each in worst.agreements].__getitem__)
        folder.write(f"{place}-{worst.name}",
                     images.draw_side_by_side(worst.pixels, worst.detections[0], worst.detections[other]))


def _plain(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison for JSON. Two steps have further keys, as before there were more."""
    figures = comparison.plain()
    if len(comparison.steps) != 2:
        return figures
    a, b = comparison.steps
    ratios = [y / x for x, y in zip(a.invokes_ms, b.invokes_ms, strict=False)]
    return {
        "a": _model(a), "b": _model(b), "frames": comparison.frames, **_agreement(b.agreement),
        "labels": {label: _agreement(b.agreement.for_label(label)) for label in sorted(b.agreement.labels)},
        "latency_ratio": rounded(median(ratios), 4) if ratios else None,
        "worst": [{"frame": each.name, **_agreement(each.agreements[1])} for each in comparison.worst], **figures}


def _model(step: Compared) -> dict[str, Any]:
    return {"name": step.title, "version": step.version, "sha256": step.sha256,
            "runtime": step.runtime and step.runtime.split()[0], "invoke_ms": rounded(step.invoke_ms, 4)}


def _agreement(of: Agreement) -> dict[str, Any]:
    return {"agreement": rounded(of.f1, 4), "both": len(of.pairs), "only_a": len(of.only_one),
            "only_b": len(of.only_other), "score_shift": rounded(of.score_shift, 4), "iou": rounded(of.mean_iou, 4)}


def _text(comparison: Comparison) -> Iterator[str]:
    if len(comparison.steps) == 2:
        yield from _pair_text(_plain(comparison))
    yield from _steps_text(comparison)


def _pair_text(figures: dict[str, Any]) -> Iterator[str]:
    a, b = figures["a"], figures["b"]
    yield (f"A {a['name']} {a['version'] or ''}".rstrip() + f", B {b['name']} {b['version'] or ''}".rstrip()
           + f" on {figures['frames']} frames: agreement {figures['agreement']:.4f}")
    yield f"  invoke A {a['invoke_ms']} ms, B {b['invoke_ms']} ms, B/A {figures['latency_ratio']}"
    yield f"  {'label':20} {'agreement':>9} {'both':>6} {'only A':>6} {'only B':>6} {'score B-A':>9} {'IoU':>6}"
    for label, each in {"all": figures, **figures["labels"]}.items():
        yield (f"  {label:20} {each['agreement']:9.4f} {each['both']:6} {each['only_a']:6} {each['only_b']:6} "
               f"{_cell(each['score_shift'], 9)} {_cell(each['iou'], 6)}")
    for each in figures["worst"]:
        yield (f"  differs most: {each['frame']} (both {each['both']}, only A {each['only_a']}, "
               f"only B {each['only_b']})")


def _steps_text(comparison: Comparison) -> Iterator[str]:
    from vedette.workshop.comparison import hold
    figures = comparison.plain()
    yield f"{'step':34} {'found':>6} {'F1':>7} {'box px':>8} {'score':>7} {'AP':>7} {'ms':>8}"
    for step in figures["steps"]:
        yield (f"{step['step'] + ' ' + step['name']:34} {step['detections']:6} {_cell(step['f1'], 7)} "
               f"{_cell(step['box_px'], 8)} {_cell(step['score_difference'], 7)} {_cell(step['ap'], 7)} "
               f"{_cell(step['invoke_ms'], 8)}")
    for step in figures["steps"]:
        if step["first_values"]:
            yield f"{step['step']} first values: {' '.join(format(value, '.4f') for value in step['first_values'])}"
    yield from hold(comparison)
    for step in figures["steps"]:
        if step["breaks"]:
            yield f"{step['step']} breaks: {step['cause'] or 'no cause found'}"
    yield f"breaks at {figures['breaks_at']}" if figures["breaks_at"] else "every step agrees with A"


def _cell(value: float | None, width: int) -> str:
    return f"{'-' if value is None else format(value, '.4f'):>{width}}"
