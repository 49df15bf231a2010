"""`vedette model compare`: runs two models on the same frames and shows where they differ.

Invariants: both models run on each frame, one directly after the other, so their latencies can be compared; each model
runs with the settings in its file. A bundle with a wrong digest is compared too, with a warning: the effect of the
damage is worth seeing.
"""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from vedette.cli.arguments import file_path
from vedette.cli.detector_arguments import add_runtime_argument, add_threads_argument
from vedette.cli.image_folder import ImageFolder
from vedette.cli.model.frame_source import add_synthetic_arguments, synthetic_frames, with_progress
from vedette.config.models import DetectorConfig
from vedette.errors import ModelDamaged, SourceInvalid, UsageError
from vedette.messages.payloads import rounded

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from vedette.types import DetectionResult, Frame
    from vedette.validate.agreement import Agreement
    from vedette.vision.local import LocalDetector

EXAMPLE = """example:
  vedette model compare street-3.tflite street-4.tflite porch.jpg gate.jpg
  vedette model compare street-3.tflite street-4.tflite --source synthetic --frames 200 --out pictures/

The agreement is F1: twice the number of common detections, divided by the number of all detections.
A common detection has the same label in both models and an IoU of 0.5 or more.
In the images of --out, A is on the left and B is on the right.

exit codes:
   0  The models are compared.
  64  The command line is wrong.
  65  A model or an image cannot be used.
  69  No TFLite runtime is installed."""

SHOWN = 5
"""How many of the frames with the largest differences are shown."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One frame, what each model detects in it, and how far both agree."""

    name: str
    pixels: memoryview
    a: DetectionResult
    b: DetectionResult
    agreement: Agreement


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("a", type=file_path, metavar="A", help="a .tflite file")
    parser.add_argument("b", type=file_path, metavar="B", help="another .tflite file")
    parser.add_argument("images", nargs="*", type=file_path, metavar="IMAGE",
                        help="image files; use them in place of --source")
    add_synthetic_arguments(parser)
    add_runtime_argument(parser, "auto")
    add_threads_argument(parser, 1)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--out", type=file_path, metavar="DIR",
                        help="folder for images of the frames with the largest differences")


def run(args: argparse.Namespace) -> int:
    """Print the comparison; returns 0. Raises: ModelError, DetectError, SourceInvalid, RuntimeMissing."""
    if bool(args.images) == (args.source is not None):
        raise UsageError("expected either image files or --source")
    folder = ImageFolder(args.out) if args.out else None
    with ExitStack() as stack:
        a, b = (_open(path, args, stack) for path in (args.a, args.b))
        tally = _Tally()
        for name, frame in _frames(args):
            tally.add(name, frame, a.detect(frame), b.detect(frame))
        figures = tally.figures(a, b)
    if not tally.agreements:
        raise SourceInvalid("there is no frame to compare")
    print(json.dumps(figures) if args.json else _text(figures))
    if folder:
        from vedette.vision import images
        for place, worst in enumerate(tally.worst, 1):
            folder.write(f"{place}-{worst.name}",
                         images.draw_side_by_side(worst.pixels, worst.a.detections, worst.b.detections))
    return 0


class _Tally:
    """Sums up the frames and keeps those with the largest differences."""

    def __init__(self) -> None:
        self.agreements: list[Agreement] = []
        self.worst: list[Comparison] = []
        self._invokes_ms: list[tuple[float, float]] = []

    def add(self, name: str, frame: Frame, a: DetectionResult, b: DetectionResult) -> None:
        """Compare one frame."""
        from vedette.validate.agreement import match
        agreement = match(a.detections, b.detections)
        self.agreements.append(agreement)
        self._invokes_ms.append((a.timing.invoke_ms, b.timing.invoke_ms))
        if agreement.distance > 0:
            self.worst.append(Comparison(name, frame.pixels, a, b, agreement))
            self.worst.sort(key=attrgetter("agreement.distance"), reverse=True)
            del self.worst[SHOWN:]

    def figures(self, a: LocalDetector, b: LocalDetector) -> dict[str, Any]:
        """Return the comparison as a value for JSON."""
        from vedette.validate.agreement import total
        whole = total(self.agreements)
        a_ms, b_ms = ([times[side] for times in self._invokes_ms] for side in (0, 1))
        return {
            "a": _model(a, a_ms), "b": _model(b, b_ms), "frames": len(self.agreements), **_agreement(whole),
            "labels": {label: _agreement(whole.for_label(label)) for label in sorted(whole.labels)},
            "latency_ratio": rounded(median(y / x for x, y in self._invokes_ms), 4) if self._invokes_ms else None,
            "worst": [{"frame": each.name, **_agreement(each.agreement)} for each in self.worst]}


def _open(path: Path, args: argparse.Namespace, stack: ExitStack) -> LocalDetector:
    from vedette.tflite.file import read_model
    from vedette.validate.runner import Runner
    from vedette.vision.bundle import with_matching_digest
    from vedette.vision.model_spec import resolve
    model = read_model(path)
    config = DetectorConfig(model=path)
    try:
        resolve(model, config)
    except ModelDamaged as damage:
        print(f"vedette: warning: {damage}; it is compared as it is", file=sys.stderr)
        model = with_matching_digest(model)
    runner = stack.enter_context(Runner(model, args.runtime, args.threads))
    return runner.detector(resolve(model, config, runner.proof.doubts))


def _frames(args: argparse.Namespace) -> Iterator[tuple[str, Frame]]:
    if args.source:
        for still in with_progress(synthetic_frames(args), args.frames):
            yield f"frame-{still.frame.seq}", still.frame
        return
    from vedette.vision import images
    for seq, path in enumerate(with_progress(args.images, len(args.images)), 1):
        yield path.stem, images.frame_of(images.read(path), seq)


def _model(detector: LocalDetector, invokes_ms: list[float]) -> dict[str, Any]:
    facts = detector.facts
    return {"name": facts.model.name, "version": facts.model.version, "sha256": facts.model.sha256,
            "runtime": facts.runtime, "invoke_ms": rounded(median(invokes_ms), 4) if invokes_ms else None}


def _agreement(of: Agreement) -> dict[str, Any]:
    return {"agreement": rounded(of.f1, 4), "both": len(of.pairs), "only_a": len(of.only_one),
            "only_b": len(of.only_other), "score_shift": rounded(of.score_shift, 4), "iou": rounded(of.mean_iou, 4)}


def _text(figures: dict[str, Any]) -> str:
    a, b = figures["a"], figures["b"]
    lines = [f"A {a['name']} {a['version'] or ''}".rstrip() + f", B {b['name']} {b['version'] or ''}".rstrip()
             + f" on {figures['frames']} frames: agreement {figures['agreement']:.4f}",
             f"  invoke A {a['invoke_ms']} ms, B {b['invoke_ms']} ms, B/A {figures['latency_ratio']}",
             f"  {'label':20} {'agreement':>9} {'both':>6} {'only A':>6} {'only B':>6} {'score B-A':>9} {'IoU':>6}"]
    rows = {"all": figures, **figures["labels"]}
    lines += [f"  {label:20} {each['agreement']:9.4f} {each['both']:6} {each['only_a']:6} {each['only_b']:6} "
              f"{_cell(each['score_shift'], 9)} {_cell(each['iou'], 6)}" for label, each in rows.items()]
    lines += [f"  differs most: {each['frame']} (both {each['both']}, only A {each['only_a']}, only B {each['only_b']})"
              for each in figures["worst"]]
    return "\n".join(lines)


def _cell(value: float | None, width: int) -> str:
    return f"{'-' if value is None else format(value, '.4f'):>{width}}"
