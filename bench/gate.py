"""What the motion gate saves, and what it loses, against a detector that gets every frame.

    .venv/bin/python bench/gate.py [--minutes 15] [--seeds 401 402 403 404] [--videos FOLDER --model COCO.tflite]

Each scene is shown to the gate, at five frames a second, or at the rate of the video. The detector sees every frame.
Its results go to the events twice: all of them, and only those of the frames that the gate, the tracks and a due
result would let through. Times are those of the frames, so a slow machine gives the same figures.

    moved       share of the frames that the gate alone lets through
    looked      share of the frames that the detector got
    boxes lost  boxes of frames that it did not get, and which the newest frame that it got did not show: no box of this
                label with an IoU of 0.5. On the street only boxes count that show a thing which is there.
    events lost events of the whole for which there was none in the rest

The bench prints a row for each scene, then the cost of the gate beside what the capture process does anyway with a
frame of an MJPEG film: processor time in milliseconds, medians.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np

from tests.support.daemon.cameras import make_settings
from tests.support.fakes import IDENTITY, StatusCamera
from vedette._lib.clock import SystemClock
from vedette.camera.child.gate import MotionGate
from vedette.camera.child.open_source import open_source
from vedette.camera.child.shape import Shaper
from vedette.camera.child.watch import PictureWatch
from vedette.camera.street.options import parse_synthetic
from vedette.camera.street.scene import TruthBox
from vedette.camera.street.stills import Still, moving
from vedette.config.models import Config, DetectorConfig
from vedette.config.scene import GateConfig
from vedette.detect.box_model import BOX_MODEL
from vedette.events.reporter import Draft, EventReporter
from vedette.events.results import ResultTracker
from vedette.messages.publish_rules import PublishRule
from vedette.types import Box, Detection, DetectionResult, Frame, Scaling
from vedette.vision.local import LocalDetector
from vedette.vision.open import open_detector

PER_S = 5.0
IOU = 0.5
COST_FRAMES = 120


@dataclass
class Figures:
    """What one scene gave."""

    frames: int = 0
    moved: int = 0
    looked: int = 0
    boxes: int = 0
    lost: int = 0
    events: int = 0
    events_lost: int = 0

    def row(self, name: str) -> str:
        """Return the line of the table."""
        share = self.lost / self.boxes if self.boxes else 0.0
        return (f"{name:40} {self.frames:7} {self.moved / self.frames:7.1%} {self.looked / self.frames:7.1%} "
                f"{self.boxes:7} {self.lost:5} {share:7.2%} {self.events:7} {self.events_lost:5}")

    def __add__(self, other: Figures) -> Figures:
        return Figures(*(ours + theirs for ours, theirs in zip(astuple(self), astuple(other), strict=True)))


class Side:
    """The tracker and the events that get some of the results."""

    def __init__(self) -> None:
        config = Config()
        self.tracker = ResultTracker(config, SystemClock(), StatusCamera([]))
        self.tracker.events = self.events = EventReporter(config, IDENTITY, put=_ignored, clock_synced=lambda: True,
                                                          wants_picture=lambda _: False)

    def follow(self, result: DetectionResult) -> tuple[Detection, ...]:
        """Return the detections with their tracks."""
        return self.tracker.follow(result).detections


def _ignored(_: Draft) -> None:
    """Nobody reads the events."""


def measured(stills: Iterable[Still], detector: LocalDetector, *, has_truth: bool) -> Figures:
    """Show a scene to both sides."""
    figures, gate = Figures(), MotionGate(GateConfig().every_s)
    whole, rest, rule = Side(), Side(), PublishRule(Config().publish)
    newest: tuple[Detection, ...] = ()
    events: set[int] = set()
    found: set[int] = set()
    rests = False
    for still in stills:
        frame = still.frame
        result = detector.detect(frame)
        tracked = whole.follow(result)
        events |= {each.track for each in tracked if each.track is not None}
        counted = [each for each in result.detections if not has_truth or shown(each.label, each.box, still.truth)]
        moves = not gate.is_still(np.asarray(frame.pixels), frame.captured_ns)
        figures.frames += 1
        figures.moved += moves
        figures.boxes += len(counted)
        if moves or rest.tracker.follows() or rule.is_due(frame.captured_ns):
            figures.looked += 1
            if not moves:
                gate.keeps_back(frame.captured_ns, is_open=True)
            again = rest.follow(replace(result, frame=replace(frame, after_still=rests)))
            rule.should_publish(again, frame.captured_ns)
            found |= {one.track for one, other in zip(tracked, again, strict=True)
                      if one.track is not None and other.track is not None}
            newest, rests = result.detections, False
        else:
            rests = True
            figures.lost += sum(not shown(each.label, each.box, newest) for each in counted)
    figures.events, figures.events_lost = len(events), len(events - found)
    return figures


def shown(label: str, box: Box, among: Iterable[Detection | TruthBox]) -> bool:
    """Whether one of them has this label and this place."""
    return any(each.label == label and overlap(each.box, box) >= IOU for each in among)


def overlap(one: Box, other: Box) -> float:
    """Return the IoU of two boxes."""
    width = min(one.xmax, other.xmax) - max(one.xmin, other.xmin)
    height = min(one.ymax, other.ymax) - max(one.ymin, other.ymin)
    both = max(0.0, width) * max(0.0, height)
    areas = sum((box.xmax - box.xmin) * (box.ymax - box.ymin) for box in (one, other))
    return both / (areas - both) if both else 0.0


def film(path: Path) -> Iterator[Still]:
    """Yield the frames of a video, by its own times."""
    video = cv2.VideoCapture(str(path))
    per_s, seq = video.get(cv2.CAP_PROP_FPS), 0
    while True:
        got, picture = video.read()
        if not got:
            return
        seq += 1
        at_ns = round(seq * 1e9 / per_s)
        pixels = np.ascontiguousarray(picture).data
        yield Still(Frame(seq, pixels, at_ns, datetime.fromtimestamp(at_ns / 1e9, UTC), at_ns), ())


def streets(options: str, seeds: Iterable[int], minutes: float, detector: LocalDetector) -> None:
    """Print the row of each street, and that of all."""
    total = Figures()
    for seed in seeds:
        source = f"synthetic?seed={seed}{options}"
        stills = moving(parse_synthetic(source), round(minutes * 60 * PER_S), PER_S)
        shifted = (replace(each, frame=replace(each.frame, captured_ns=each.frame.captured_ns + 1)) for each in stills)
        figures = measured(shifted, detector, has_truth=True)
        print(figures.row(source), flush=True)
        total += figures
    print(total.row(f"  all of synthetic?{options.removeprefix('&')}"), flush=True)


def cost(width: int, height: int) -> None:
    """Print the processor time of the gate, and of all else that the capture process does with a frame."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "street.avi")
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), PER_S, (width, height))
        for still in moving(parse_synthetic("synthetic?seed=1"), COST_FRAMES, PER_S):
            writer.write(cv2.resize(np.asarray(still.frame.pixels), (width, height)))
        writer.release()
        settings = make_settings(path, width=width, height=height, every_frame=True)
        source, shaper, watch, gate = open_source(settings), Shaper(settings), PictureWatch(60), MotionGate(10)
        slots = [np.empty(settings.slot_bytes, np.uint8) for _ in range(2)]
        part = Scaling(0, 0, width, height, 320, 180)
        others_ms, gates_ms = [], []
        before = None
        for number in range(COST_FRAMES - 1):
            begun_ns = time.thread_time_ns()
            stamp_ns = source.grab()
            picture = shaper.read(source, slots[number % 2])
            shaper.scale(picture, slots[number % 2], part)
            watch.check(picture, before, stamp_ns)
            others_ms.append((time.thread_time_ns() - begun_ns) / 1e6)
            before = picture
            begun_ns = time.thread_time_ns()
            gate.is_still(picture, stamp_ns)
            gates_ms.append((time.thread_time_ns() - begun_ns) / 1e6)
        source.close()
    ours, others = statistics.median(gates_ms), statistics.median(others_ms)
    print(f"{width} x {height}: gate {ours:.2f} ms, all else {others:.2f} ms, ratio {ours / others:.2f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--seeds", type=int, nargs="+", default=[401, 402, 403, 404])
    parser.add_argument("--videos", type=Path)
    parser.add_argument("--model", type=Path)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    print(f"{'scene':40} {'frames':>7} {'moved':>7} {'looked':>7} {'boxes':>7} {'lost':>5} {'':7} {'events':>7} "
          f"{'lost':>5}")
    detector = open_detector(DetectorConfig(model=BOX_MODEL))
    for options in ("&quiet=1&hour=12", "&quiet=1&hour=0", "&quiet=1"):
        streets(options, args.seeds, args.minutes, detector)
    streets("", args.seeds, min(args.minutes, 3), detector)
    detector.close()
    if args.videos is not None:
        detector = open_detector(DetectorConfig(model=args.model))
        for path in sorted(args.videos.glob("*.mp4")):
            print(measured(film(path), detector, has_truth=False).row(path.name), flush=True)
        detector.close()
    for size in ((1280, 720), (640, 360)):
        cost(*size)


if __name__ == "__main__":
    main()
