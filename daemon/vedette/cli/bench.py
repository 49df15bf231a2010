"""`vedette bench`: measures how fast a model runs on this machine, in the same way as in the daemon.

Invariants: the time of a frame starts when it is taken from the camera's shared memory and ends when its result is
ready, and the invoke time is part of it; each row of a table runs in its own process and has its own peak memory.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from vedette._lib.patience import Patience
from vedette.cli.arguments import between, file_path
from vedette.cli.detector_arguments import add_runtime_argument
from vedette.config.models import DetectorConfig
from vedette.errors import SourceMissing

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from vedette.ports import Camera, Detector
    from vedette.types import Frame

FRAME_S = 15.0
"""The first bound of the wait for a frame. It grows, because a slow board is not a camera without frames."""

EXAMPLE = """examples:
  vedette bench --model street.tflite --source street.mp4 --threads 1 --json
  vedette bench --model float.tflite --model int8.tflite
  vedette bench --ops

exit codes:
   0  The model is measured.
  65  The model or the source cannot be used.
  69  The source gives no frames, no TFLite runtime is installed, or it cannot measure its operations."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--model", type=file_path, action="append", metavar="M", dest="models",
                        help="a .tflite file (default: the model in the box); give several to compare them")
    parser.add_argument("--source", default="synthetic", metavar="S",
                        help="source of the frames, as in camera.source; a file or a folder starts again when it ends "
                             "(synthetic)")
    parser.add_argument("--ops", action="store_true",
                        help="show how long each type of operation takes inside the graph, with the file's size and "
                             "the peak memory")
    parser.add_argument("--threads", type=between(int, 1, 16), metavar="N",
                        help="threads of the interpreter (default: measure 1, 2, … up to the number of cores; with "
                             "--ops or several models: as in detector.threads)")
    add_runtime_argument(parser, "auto")
    parser.add_argument("--warmup-runs", type=between(int, 0, 10**6), default=10, metavar="N",
                        help="frames before the measurement (10)")
    parser.add_argument("--num-runs", type=between(int, 1, 10**6), default=200, metavar="N",
                        help="frames to measure (200)")
    parser.add_argument("--json", action="store_true", help="print a JSON object for each number of threads, or model")


def run(args: argparse.Namespace) -> int:
    """Measure and print; returns 0, or the exit code of the first model that could not be measured."""
    from vedette.detect.box_model import BOX_MODEL
    models = args.models or [BOX_MODEL]
    if args.ops or len(models) > 1:
        from vedette.cli.bench_models import side_by_side
        threads = args.threads or DetectorConfig().threads
        commands = [(path, _command(args, path, threads, "--json")) for path in models]
        return side_by_side(commands, args.num_runs if args.ops else 0, as_json=args.json)
    if args.threads is None:
        return _sweep(args, models[0])
    figures = _measure(args, models[0])
    print(json.dumps(figures) if args.json else _row(figures))
    return 0


def _command(args: argparse.Namespace, model: Path, threads: int, *more: str) -> list[str]:
    """Return the command that measures a single row in a process of its own."""
    return [sys.executable, "-m", "vedette", "bench", "--model", str(model), "--source", args.source,
            "--threads", str(threads), "--runtime", args.runtime, "--warmup-runs", str(args.warmup_runs),
            "--num-runs", str(args.num_runs), *more]


def _sweep(args: argparse.Namespace, model: Path) -> int:
    if not args.json:
        print(f"{'threads':>7} {'invoke ms (median p95 p99)':>28} {'frame ms (median p95 p99)':>28} "
              f"{'ratio':>6} {'xnnpack':>8} {'init ms':>8} {'peak MB':>8}", flush=True)
    for threads in range(1, (os.cpu_count() or 1) + 1):
        code = subprocess.run(_command(args, model, threads, *["--json"] * args.json), check=False).returncode
        if code:
            return code
    return 0


def _measure(args: argparse.Namespace, model: Path) -> dict[str, Any]:
    from vedette.camera.open import open_camera
    from vedette.config.load import load
    camera_keys = {"camera.source": args.source, "camera.every_frame": True, "camera.loop": True,
                   "detector.model": model, "detector.runtime": args.runtime, "detector.threads": args.threads}
    config = load(None, overrides=camera_keys)
    camera = open_camera(config.camera)
    camera.start()
    try:
        from vedette.vision import local  # noqa: F401 - the time for imports is no part of `init_ms`
        from vedette.vision.open import open_detector
        started = time.perf_counter()
        detector = open_detector(config.detector, config.camera.roi, None)
        init_ms = (time.perf_counter() - started) * 1e3
        try:
            invoke_ms, frame_ms = _time_frames(camera, detector, args.warmup_runs, args.num_runs)
        finally:
            detector.close()
    finally:
        camera.close()
    facts = detector.facts
    return {
        "runtime": facts.runtime, "runtime_version": facts.runtime_version, "runtime_choice": facts.runtime_choice,
        "threads": args.threads,
        "xnnpack_share": round(facts.xnnpack_share, 4), "init_ms": round(init_ms, 2),
        "invoke_ms": _percentiles(invoke_ms), "frame_ms": _percentiles(frame_ms),
        "ratio": round(statistics.median(f / i for f, i in zip(frame_ms, invoke_ms, strict=True)), 4),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def _time_frames(camera: Camera, detector: Detector, warmup: int, count: int) -> tuple[list[float], list[float]]:
    invoke_ms: list[float] = []
    frame_ms: list[float] = []
    scaling, patience = None, Patience()
    for index in range(-warmup, count):
        frame = patience.until_success(FRAME_S, partial(_take, camera), SourceMissing)
        started_ns = time.perf_counter_ns()
        result = detector.detect(frame)
        ended_ns = time.perf_counter_ns()
        camera.release(frame)
        if detector.scaling != scaling:
            scaling = detector.scaling
            camera.scale_to(scaling)
        if index >= 0:
            invoke_ms.append(result.timing.invoke_ms)
            frame_ms.append((ended_ns - started_ns) / 1e6)
    return invoke_ms, frame_ms


def _take(camera: Camera, bound_s: float) -> Frame:
    frame = camera.take(bound_s)
    if frame is None:
        raise SourceMissing(f"{camera.status().source}: no frame within {bound_s:g} s ({camera.status().cause})")
    return frame


def _percentiles(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    last = len(ordered) - 1
    return {"median": round(statistics.median(ordered), 3), "p95": round(ordered[round(0.95 * last)], 3),
            "p99": round(ordered[round(0.99 * last)], 3)}


def _row(figures: dict[str, Any]) -> str:
    def triple(name: str) -> str:
        return " ".join(f"{value:8.2f}" for value in figures[name].values())
    return (f"{figures['threads']:>7} {triple('invoke_ms'):>28} {triple('frame_ms'):>28} {figures['ratio']:>6} "
            f"{figures['xnnpack_share']:>8} {figures['init_ms']:>8} {figures['peak_rss_mb']:>8}")
