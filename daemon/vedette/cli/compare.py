"""`vedette model compare`: two models on the same frames, and where they differ.

Invariants: both see every frame, one right after the other, so that latencies compare; each is run as its file says. A
bundle whose digest differs is compared all the same, with a warning: what damage does is worth seeing.
"""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from vedette.cli.arguments import between
from vedette.cli.pictures import Pictures
from vedette.cli.stills import add_synthetic_arguments, synthetic_stills, with_progress
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

Agreement is F1: twice the detections that both have (one label, IoU from 0.5) over all. --out shows A left, B right.
exit codes: 0; 65 when a model or an image cannot be used; 69 without a runtime"""

SHOWN = 5
"""Pictures of the frames that differ most."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One frame, what each model detects in it, and how far they agree."""

    name: str
    pixels: memoryview
    a: DetectionResult
    b: DetectionResult
    agreement: Agreement


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("a", type=Path, metavar="A", help="a .tflite file")
    parser.add_argument("b", type=Path, metavar="B", help="another one")
    parser.add_argument("images", nargs="*", type=Path, metavar="IMAGE", help="in place of --source")
    add_synthetic_arguments(parser)
    parser.add_argument("--runtime", choices=("auto", "litert", "tflite-runtime"), default="auto")
    parser.add_argument("--threads", type=between(int, 1, 16), default=1, metavar="N")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write pictures of where they differ most there")


def run(args: argparse.Namespace) -> int:
    """Print how they compare; returns 0. Raises: ModelError, DetectError, SourceInvalid, RuntimeMissing."""
    if bool(args.images) == (args.source is not None):
        raise UsageError("expected images, or --source synthetic")
    pictures = Pictures(args.out) if args.out else None
    with ExitStack() as stack:
        a, b = (_open(path, args, stack) for path in (args.a, args.b))
        tally = _Tally()
        for name, frame in _frames(args):
            tally.add(name, frame, a.detect(frame), b.detect(frame))
        figures = tally.figures(a, b)
    if not tally.agreements:
        raise SourceInvalid("no frame to compare on")
    print(json.dumps(figures) if args.json else _words(figures))
    if pictures:
        from vedette.vision import images
        for place, worst in enumerate(tally.worst, 1):
            pictures.write(f"{place}-{worst.name}",
                           images.side_by_side(worst.pixels, worst.a.detections, worst.b.detections))
    return 0


class _Tally:
    """Adds up frames, and keeps those that differ most."""

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
            self.worst.sort(key=lambda each: -each.agreement.distance)
            del self.worst[SHOWN:]

    def figures(self, a: LocalDetector, b: LocalDetector) -> dict[str, Any]:
        """Return everything as JSON takes it."""
        from vedette.validate.agreement import total
        whole = total(self.agreements)
        a_ms, b_ms = ([times[side] for times in self._invokes_ms] for side in (0, 1))
        return {
            "a": _model(a, a_ms), "b": _model(b, b_ms), "frames": len(self.agreements), **_agreement(whole),
            "labels": {label: _agreement(whole.of(label)) for label in sorted(whole.labels)},
            "latency_ratio": rounded(median(y / x for x, y in self._invokes_ms), 4) if self._invokes_ms else None,
            "worst": [{"frame": each.name, **_agreement(each.agreement)} for each in self.worst]}


def _open(path: Path, args: argparse.Namespace, stack: ExitStack) -> LocalDetector:
    from vedette.tflite.file import read_model
    from vedette.validate.runner import Runner
    from vedette.vision.bundle import resealed
    from vedette.vision.model_spec import resolve
    model = read_model(path)
    config = DetectorConfig(model=path)
    try:
        spec = resolve(model, config)
    except ModelDamaged as damage:
        print(f"vedette: warning: {damage}; compared as it is", file=sys.stderr)
        model = resealed(model)
        spec = resolve(model, config)
    return stack.enter_context(Runner(model, args.runtime, args.threads)).detector(spec)


def _frames(args: argparse.Namespace) -> Iterator[tuple[str, Frame]]:
    if args.source:
        for still in with_progress(synthetic_stills(args), args.frames):
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


def _words(figures: dict[str, Any]) -> str:
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
