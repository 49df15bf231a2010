"""The cost of a shadow for the active model's frames.

    .venv/bin/python bench/shadow.py ACTIVE.tflite CANDIDATE.tflite [--source VIDEO] [--pairs 12] [--block-s 5]

The active model takes every frame of VIDEO (default: the drawn street), again and again, as fast as it can on one
thread. In every other block of time the update's own parts (the tap, the candidate's child) show the candidate one
frame a second, in the order on, off, off, on. In the other blocks the child waits. A frame's time is prepare + invoke +
decode. `period` is the whole time from one result to the next. The bench prints one JSON object. The exit code is 1
when the ratio of the medians is above 1.03, that of the 99th percentiles is above 1.15, or fewer frames than one a
second were shown.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

from vedette._lib.clock import SystemClock
from vedette._lib.worker import Worker
from vedette.camera.open import open_camera
from vedette.camera.street.options import is_synthetic
from vedette.config.models import CameraConfig, DetectorConfig
from vedette.detect.pipeline import Pipeline
from vedette.store.release import ShadowRequirement
from vedette.types import DetectionResult
from vedette.update.verdicts import ShadowTally
from vedette.validate.candidate import Candidate
from vedette.validate.frame_tap import FrameTap
from vedette.vision.open import open_detector

SHOW_EVERY_S = 1.0
SETTLE_S = 3.0
MEDIAN_MAX, P99_MAX = 1.03, 1.15


class Results:
    """The times of the results and of their frames. The detect thread writes; read it after that thread ended."""

    def __init__(self) -> None:
        self.taken: list[tuple[int, float]] = []

    def take(self, result: DetectionResult) -> None:
        """Note one result."""
        timing = result.timing
        self.taken.append((time.monotonic_ns(), timing.prepare_ms + timing.invoke_ms + timing.decode_ms))

    def within(self, blocks: list[tuple[int, int]]) -> tuple[list[float], list[float]]:
        """Return the frame times and the periods of the results in these blocks of time."""
        frames: list[float] = []
        periods: list[float] = []
        for begin_ns, end_ns in blocks:
            block = [(at_ns, ms) for at_ns, ms in self.taken if begin_ns <= at_ns < end_ns]
            frames += [ms for _, ms in block]
            periods += [(after - before) / 1e6 for (before, _), (after, _) in itertools.pairwise(block)]
        return frames, periods


def show(candidate: Candidate, tap: FrameTap, tally: ShadowTally, until_ns: int) -> int:
    """Show the candidate one frame a second. Return how many it saw."""
    shown, pause = 0, threading.Event()
    next_ns = time.monotonic_ns()
    while (now_ns := time.monotonic_ns()) < until_ns:
        if now_ns < next_ns:
            pause.wait(min(next_ns, until_ns) / 1e9 - now_ns / 1e9)
            continue
        next_ns += int(SHOW_EVERY_S * 1e9)
        tap.request()
        tapped = tap.wait(SHOW_EVERY_S)
        if tapped is not None:
            comparison = candidate.compare(tapped)
            tally.add(tapped.detections, comparison.detections, tapped.timing.invoke_ms, comparison.invoke_ms)
            shown += 1
    return shown


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Run the blocks. Return the figures."""
    results, tap, tally, clock = Results(), FrameTap(), ShadowTally(ShadowRequirement()), SystemClock()
    source = args.source if is_synthetic(args.source) else str(Path(args.source).resolve())
    detector = DetectorConfig(model=args.active.resolve(), threads=1)
    settings = CameraConfig(source=source, every_frame=True, loop=True, max_frame_age_ms=60_000)
    camera = open_camera(settings, clock)
    pipeline = Pipeline(camera, partial(open_detector, detector), clock, settings)
    pipeline.subscribe(tap)
    pipeline.subscribe(results.take)
    worker = Worker("detect", pipeline.run)
    camera.start()
    worker.start()
    blocks: dict[str, list[tuple[int, int]]] = {"on": [], "off": []}
    shown, pause = 0, threading.Event()
    with Candidate(args.candidate.resolve(), DetectorConfig(threads=1)) as candidate:
        candidate.probe()
        show(candidate, tap, tally, time.monotonic_ns() + int(SETTLE_S * 1e9))
        for number in range(2 * args.pairs):
            which = "on" if number % 4 in (0, 3) else "off"
            begin_ns = time.monotonic_ns()
            end_ns = begin_ns + int(args.block_s * 1e9)
            if which == "on":
                shown += show(candidate, tap, tally, end_ns)
            pause.wait(max(0.0, (end_ns - time.monotonic_ns()) / 1e9))
            blocks[which].append((begin_ns, end_ns))
    tap.close()
    worker.stop(10)
    camera.close()
    if worker.failure is not None:
        raise worker.failure
    return figures(results, blocks) | {
        "models": [args.active.name, args.candidate.name], "seconds_on": args.pairs * args.block_s, "shown": shown,
        "latency_ratio_told": round(tally.figures.latency_ratio or 0.0, 3), "load": round(os.getloadavg()[0], 2)}


def figures(results: Results, blocks: dict[str, list[tuple[int, int]]]) -> dict[str, object]:
    """Return medians and 99th percentiles, with and without the shadow, and their ratios."""
    measured: dict[str, Any] = {}
    (on_frames, on_periods), (off_frames, off_periods) = results.within(blocks["on"]), results.within(blocks["off"])
    for name, on, off in (("frame", on_frames, off_frames), ("period", on_periods, off_periods)):
        for measure_of, of in (("median", statistics.median), ("p99", p99)):
            measured[f"{name}_ms_{measure_of}"] = {"on": round(of(on), 3), "off": round(of(off), 3)}
            measured[f"{name}_{measure_of}_ratio"] = round(of(on) / of(off), 4)
    return measured | {"frames": {"on": len(on_frames), "off": len(off_frames)}}


def p99(values: list[float]) -> float:
    """Return the 99th percentile."""
    return statistics.quantiles(values, n=100, method="inclusive")[98]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("active", type=Path)
    parser.add_argument("candidate", type=Path)
    parser.add_argument("--source", default="synthetic")
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--block-s", type=float, default=5.0)
    measured = measure(args := parser.parse_args())
    print(json.dumps(measured))
    kept = measured["frame_median_ratio"] <= MEDIAN_MAX and measured["frame_p99_ratio"] <= P99_MAX
    return 0 if kept and measured["shown"] >= int(args.pairs * args.block_s) else 1


if __name__ == "__main__":
    sys.exit(main())
