"""`vedette model eval`: measures how accurate a model is, on the drawn street or on a COCO folder, and how fast.

Invariants: every frame goes through the product's own detector; every detection with a score of 0.001 or more counts,
as COCO defines its figures; the truth is only compared with the detections and never reaches model or tracker. With
`--tracking`, the tracker gets the detections at the model's own thresholds, as in the daemon.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from vedette.cli.arguments import between, file_path
from vedette.cli.detector_arguments import add_runtime_argument, add_threads_argument, detector_of
from vedette.cli.model.frame_source import add_synthetic_arguments, synthetic_frames, with_progress
from vedette.cli.out_file import write_file
from vedette.config.models import DetectorConfig
from vedette.config.scene import EventsConfig
from vedette.detect.box_model import BOX_MODEL
from vedette.errors import UsageError
from vedette.events.tracker import Tracker
from vedette.types import WHOLE
from vedette.validate.average_precision import Truth, average_precision
from vedette.validate.tracking_metrics import Seen, TrackedFrame, event_figures, tracking_figures

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from vedette.camera.street.stills import Still
    from vedette.types import Detection, DetectorFacts, Frame
    from vedette.validate.average_precision import Precision
    from vedette.vision.local import LocalDetector

EXAMPLE = """example:
  vedette model eval --model street.tflite --source synthetic --frames 500
  vedette model eval --model yolov8n.tflite --coco val2017/ --json
  vedette model eval --source 'synthetic?seed=9' --rate 5 --frames 900 --tracking

A COCO folder has annotations.json and images/. The command needs the optional packages `vedette[eval]`.

exit codes:
   0  The figures are printed.
  64  The command line is wrong.
  65  The model or an image cannot be used.
  69  The runtime, the optional packages or the COCO folder is missing."""

LEAST_SCORE = 0.001
DETECTIONS_MAX = 300


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--model", type=file_path, default=BOX_MODEL, metavar="M",
                        help="a .tflite file (default: the model in the box)")
    add_synthetic_arguments(parser)
    parser.add_argument("--coco", type=file_path, metavar="DIR", help="COCO folder; use it in place of --source")
    parser.add_argument("--iou-threshold", type=between(float, 0, 1), default=0.7, metavar="Y",
                        help="IoU threshold of NMS (0.7)")
    add_runtime_argument(parser)
    add_threads_argument(parser, 1)
    parser.add_argument("--baseline-out", type=file_path, metavar="FILE",
                        help="write a baseline for `model pack --baseline`, measured with the model's own thresholds")
    parser.add_argument("--tracking", action="store_true",
                        help="with --rate: measure also how well things are followed, and the events they give")
    parser.add_argument("--json", action="store_true", help="print one JSON object; invoke_ms is the median")


def run(args: argparse.Namespace) -> int:
    """Print the figures; returns 0. Raises: ModelError, DetectError, SourceError, RuntimeMissing, ExtraMissing."""
    if (args.source is None) == (args.coco is None):
        raise UsageError("expected either --source or --coco")
    if args.tracking and (args.rate is None or args.coco):
        raise UsageError("--tracking: expected --source synthetic and --rate")
    from vedette.vision.open import open_detector
    detector = open_detector(detector_of(args))
    try:
        evaluation = _Evaluation(detector, args)
        precision = _on_coco(args, evaluation) if args.coco else _on_synthetic(args, evaluation)
    finally:
        detector.close()
    if args.baseline_out:
        baseline = evaluation.baseline.read()
        write_file(args.baseline_out, f"{baseline.model_dump_json(indent=1)}\n".encode(), "--baseline-out")
    invokes_ms = evaluation.invokes_ms
    figures = _plain(detector.facts, args, precision, invokes_ms)
    if args.tracking:
        figures |= _tracking(evaluation.tracked)
    print(json.dumps(figures) if args.json else _text(figures))
    return 0


class _Evaluation:
    """Runs the detector on frames: with all scores for COCO's figures, with its own thresholds for the baseline."""

    def __init__(self, detector: LocalDetector, args: argparse.Namespace) -> None:
        from vedette.vision.baseline import BaselineMeter
        from vedette.vision.limits import Limits
        self._detector = detector
        self._everything = Limits(LEAST_SCORE, args.iou_threshold, DETECTIONS_MAX, {}, frozenset(), frozenset())
        detector.reload(DetectorConfig(model=args.model), WHOLE)   # the thresholds of the file, not of the arguments
        self.baseline = BaselineMeter(detector.spec.labels, detector.limits)
        self._wants_baseline = args.baseline_out is not None
        self._tracker = Tracker(EventsConfig().keep_s) if args.tracking else None
        self.tracked: list[TrackedFrame] = []
        self.invokes_ms: list[float] = []

    def track(self, still: Still) -> None:
        """Follow the things in a frame of a moving street."""
        if self._tracker is None:
            return
        self._detector.limits = self.baseline.limits
        at_s = still.frame.captured_ns / 1e9
        detections = self._detector.detect(still.frame).detections
        tracks = self._tracker.update(detections, at_s)
        self.tracked.append(TrackedFrame(
            at_s, [Seen(thing.id, thing.label, thing.box) for thing in still.truth],
            [Seen(str(track.id), track.label, detection.box)
             for detection, track in zip(detections, tracks, strict=True)
             if track is not None and track.confirmed_s is not None]))

    def detections(self, frame: Frame) -> tuple[Detection, ...]:
        """Return every detection in a frame."""
        if self._wants_baseline:
            from vedette.camera.brightness import light_of
            self._detector.limits = self.baseline.limits
            self.baseline.add(self._detector.detect(frame).detections, *light_of(frame.pixels))
        self._detector.limits = self._everything
        result = self._detector.detect(frame)
        self.invokes_ms.append(result.timing.invoke_ms)
        return result.detections


def _on_coco(args: argparse.Namespace, evaluation: _Evaluation) -> Precision:
    truth = Truth.of_folder(args.coco)
    frames = _frames_of(args.coco / "images", truth)
    return _precision(evaluation, truth, with_progress(frames, len(truth.images)))


def _frames_of(folder: Path, truth: Truth) -> Iterator[tuple[int, Frame]]:
    from vedette.vision import images
    for seq, (image_id, name) in enumerate(truth.images.items(), 1):
        yield image_id, images.frame_of(images.read(folder / name), seq)


def _on_synthetic(args: argparse.Namespace, evaluation: _Evaluation) -> Precision:
    from vedette.camera.street.objects import LABELS
    truth = Truth.of_labels(LABELS)

    def frames() -> Iterator[tuple[int, Frame]]:
        for still in with_progress(synthetic_frames(args), args.frames):
            frame = still.frame
            truth.add(frame.seq, frame.width, frame.height, ((thing.label, thing.box) for thing in still.truth))
            evaluation.track(still)
            yield frame.seq, frame
    return _precision(evaluation, truth, frames())


def _precision(evaluation: _Evaluation, truth: Truth, frames: Iterator[tuple[int, Frame]]) -> Precision:
    rows: list[dict[str, Any]] = []
    for image_id, frame in frames:
        rows += truth.rows(image_id, frame.width, frame.height, evaluation.detections(frame))
    return average_precision(truth, rows)


def _plain(facts: DetectorFacts, args: argparse.Namespace, precision: Precision,
           invokes_ms: list[float]) -> dict[str, Any]:
    return {
        "model": asdict(facts.model), "runtime": facts.runtime, "runtime_version": facts.runtime_version,
        "xnnpack_share": round(facts.xnnpack_share, 4), "threads": facts.threads,
        "source": str(args.coco) if args.coco else args.source, "frames": len(invokes_ms),
        "ap": round(precision.ap, 4), "ap50": round(precision.ap50, 4),
        "labels": {label: {"ap": round(each.ap, 4), "ap50": round(each.ap50, 4), "things": each.things}
                   for label, each in precision.labels.items()},
        "invoke_ms": round(median(invokes_ms), 3) if invokes_ms else None}


def _tracking(frames: list[TrackedFrame]) -> dict[str, Any]:
    figures = asdict(tracking_figures(frames)) | asdict(event_figures(frames))
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in figures.items()}


def _text(figures: dict[str, Any]) -> str:
    lines = [f"{figures['model']['name']}: AP {figures['ap']:.4f}, AP50 {figures['ap50']:.4f}",
             f"  {figures['frames']} frames of {figures['source']}",
             f"  invoke {figures['invoke_ms']} ms on {figures['runtime']} with threads={figures['threads']}",
             f"  {'label':20} {'AP':>7} {'AP50':>7} {'things':>7}"]
    lines += [f"  {label:20} {each['ap']:7.4f} {each['ap50']:7.4f} {each['things']:7}"
              for label, each in figures["labels"].items()]
    if "hota" in figures:
        lines += [f"HOTA {figures['hota']:.4f}, IDF1 {figures['idf1']:.4f}, {figures['switches']} switches",
                  f"  {figures['things']} things, caught {figures['caught']}, start after {figures['start_delay_s']} s",
                  f"  {figures['events']} events, each thing {figures['events_each']}, {figures['false_events']} false"]
    return "\n".join(lines)
