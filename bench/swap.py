"""Hot swaps under load: is every frame counted, how long is the gap in the results, does memory stay constant?

    .venv/bin/python bench/swap.py A.tflite B.tflite --source VIDEO [--swaps 200]

The detector takes every frame of VIDEO, again and again, as fast as it can. Another thread opens the other model and
offers it, in turn. A gap is the time between two results that overlaps a swap. The bound for the longest gap is the
load time of the new model + 1.5 x the slower model's frame + 20 ms. The load time is the median of ten constructors
and allocations, in a warm process with nothing else running. Memory is the resident memory from the 50th swap to the
last. The bench prints one JSON object. The exit code is 1 when a bound is missed.
"""

from __future__ import annotations

import argparse
import bisect
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

from vedette._lib.clock import SystemClock
from vedette._lib.worker import Worker
from vedette.camera.open import open_camera
from vedette.config.models import CameraConfig, Config, DetectorConfig
from vedette.detect.open_model import DetectorOpener, ModelChoice
from vedette.detect.opening_count import OpeningCount
from vedette.detect.pipeline import Pipeline
from vedette.store.model_store import ModelStore
from vedette.types import DetectionResult
from vedette.vision.interpreter import Interpreter

LOADS = 10
FLAT_AFTER = 50
OFFER_WITHIN_S = 10.0
ALLOWED_MS = 20.0
ALLOWED_MB = 5.0


class Results:
    """The time of each result, and of each model's frame. The detect thread writes; read it after that thread ended."""

    def __init__(self) -> None:
        self.at_ns: list[int] = []
        self.frame_ms: dict[str, list[float]] = defaultdict(list)

    def take(self, result: DetectionResult) -> None:
        """Note one result."""
        self.at_ns.append(time.monotonic_ns())
        timing = result.timing
        assert result.model
        self.frame_ms[result.model.sha256].append(timing.prepare_ms + timing.invoke_ms + timing.decode_ms)

    def longest_gap_ms(self, begin_ns: int, end_ns: int) -> float:
        """Return the longest time between two results that overlaps the two times."""
        first = max(0, bisect.bisect_left(self.at_ns, begin_ns) - 1)
        last = bisect.bisect_right(self.at_ns, end_ns) + 1
        times = self.at_ns[first:last]
        return max((after - before for before, after in itertools.pairwise(times)), default=0) / 1e6


def load_ms(path: Path, threads: int) -> float:
    """Return the median time of constructor and allocation, in milliseconds."""
    took = []
    for _ in range(LOADS + 1):
        start = time.perf_counter()
        interpreter = Interpreter(path, "auto", threads)
        took.append((time.perf_counter() - start) * 1e3)
        interpreter.close()
    return statistics.median(took[1:])


def resident_mb() -> float:
    """Return the resident memory of this process."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs=2)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--swaps", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    choices = [ModelChoice(path.resolve()) for path in args.models]
    loads_ms = [load_ms(choice.path, args.threads) for choice in choices]
    results, clock = Results(), SystemClock()
    settings = CameraConfig(source=str(args.source.resolve()), every_frame=True, loop=True, max_frame_age_ms=60_000)
    camera = open_camera(settings, clock)
    swaps: list[tuple[int, int, int]] = []      # which model came, begin, end
    with tempfile.TemporaryDirectory() as folder:
        config = Config(camera=settings, detector=DetectorConfig(threads=args.threads))
        opener = DetectorOpener(config, ModelStore(Path(folder, "models")), Path(folder, "proofs.json"),
                                OpeningCount(Path(folder), died=False))
        shas = [opened.facts.model.sha256 for choice in choices if (opened := opener.open(choice))]
        pipeline = Pipeline(camera, partial(opener.open, choices[0]), clock, settings)
        pipeline.subscribe(results.take)
        worker = Worker("detect", pipeline.run)
        camera.start()
        worker.start()
        resident = []
        for number in range(args.swaps):
            while len(results.at_ns) < 8 * (number + 1) and worker.alive:
                time.sleep(0.005)
            begin_ns = time.monotonic_ns()
            if not pipeline.offer(opener.open(choices[(number + 1) % 2]), OFFER_WITHIN_S):
                sys.exit("an offer was not taken")
            swaps.append(((number + 1) % 2, begin_ns, time.monotonic_ns()))
            resident.append(resident_mb())
        seen = len(results.at_ns)
        while len(results.at_ns) < seen + 8 and worker.alive:
            time.sleep(0.005)
        worker.stop(10)
        camera.close()
    frame_ms = [statistics.median(results.frame_ms[sha256]) for sha256 in shas]
    status, done = camera.status(), pipeline.status()
    figures: dict[str, Any] = {
        "models": [path.name for path in args.models], "swaps": len(swaps), "results": len(results.at_ns),
        "frame_ms": _rounded(frame_ms), "load_ms": _rounded(loads_ms),
        "swap_ms_median": round(statistics.median((end - begin) / 1e6 for _, begin, end in swaps), 1),
        "gap_ms_longest": [], "gap_ms_bound": [], "gap_ms_median": [],
        "exact": status.captured == done.detected + sum(done.dropped.values()) + sum(status.dropped.values())
        + status.pending,
        "dropped": {**status.dropped, **done.dropped},
        "grown_mb": round(resident[-1] - resident[min(FLAT_AFTER, len(resident) - 1)], 2),
        "rss_mb": round(resident[-1], 1)}
    for to in (0, 1):
        gaps = [results.longest_gap_ms(begin, end) for which, begin, end in swaps if which == to]
        figures["gap_ms_longest"].append(round(max(gaps), 1))
        figures["gap_ms_median"].append(round(statistics.median(gaps), 1))
        figures["gap_ms_bound"].append(round(loads_ms[to] + 1.5 * max(frame_ms) + ALLOWED_MS, 1))
    print(json.dumps(figures))
    kept = all(gap <= bound for gap, bound in zip(figures["gap_ms_longest"], figures["gap_ms_bound"], strict=True))
    return 0 if kept and figures["exact"] and figures["grown_mb"] <= ALLOWED_MB else 1


def _rounded(values: list[float]) -> list[float]:
    return [round(value, 2) for value in values]


if __name__ == "__main__":
    sys.exit(main())
