"""What events cost: time for each frame, results per second, and memory.

    .venv/bin/python bench/events.py [--part cost] [--model M.tflite] [--source VIDEO] [--rounds 5] [--minutes 10]

    cost     20 things that come, walk about and go, three zones and two lines: the milliseconds of each result in the
             bare tracker, and in all that makes tracks, events and zones of it; and of the NMS that gave the boxes
    rate     `vedette run` with and without events, and the floor of bench/daemon.py, in turn: results per second
    memory   `vedette run` with and without events, side by side on the drawn street: proportional set sizes in MB

The bench prints one JSON object for each part. Every figure is a median: of the frames, of the rounds,
of the samples of the last minute.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.daemon import daemon_per_s, floor_per_s
from tests.support.broker.mosquitto import running
from tests.support.fakes import IDENTITY, MODEL, FakePublisher, StatusCamera
from vedette._lib.clock import SystemClock
from vedette.config.models import Config
from vedette.events.reporter import Draft, EventReporter
from vedette.events.results import ResultTracker
from vedette.events.tracker import Tracker
from vedette.events.zone_reporter import ZoneReporter
from vedette.types import Box, Detection, DetectionResult, Frame, Timing
from vedette.vision.nms import Candidate, suppress

STREET = Path(__file__).parents[1] / "models" / "vedette-street.tflite"
THINGS, FRAMES, STEP_S = 20, 3000, 0.2
SCENE = {
    "zones": {"drive": {"points": [[0, .5], [1, .5], [1, 1], [0, 1]], "loiter_s": 30},
              "yard": {"points": [[.1, .1], [.5, .2], [.6, .6], [.3, .5], [.2, .7]]},
              "door": {"points": [[.4, .3], [.6, .3], [.65, .7], [.35, .7]], "labels": ["person"]}},
    "lines": {"gate": {"from": [.1, .5], "to": [.9, .5]}, "side": {"from": [.5, 0], "to": [.5, 1]}},
}
ON = "events: {enabled: true}\n" + "".join(f"{name}: {json.dumps(part)}\n" for name, part in SCENE.items())
OFF = "events: {enabled: false}\n"


def walks(chance: random.Random) -> list[tuple[Detection, ...]]:
    """Return the detections of frames in which things walk through the picture, each again and again."""
    things = [[chance.uniform(0, 0.9), chance.uniform(0, 0.8), chance.choice((-1, 1)) * chance.uniform(0.005, 0.02)]
              for _ in range(THINGS)]
    frames = []
    for _ in range(FRAMES):
        for thing in things:
            thing[0] = (thing[0] + thing[2]) % 0.9
        frames.append(tuple(
            Detection("person", 0, chance.uniform(0.5, 0.95), Box(
                max(0.0, left + chance.gauss(0, 0.003)), top, left + 0.1, top + 0.2 + chance.gauss(0, 0.003)))
            for left, top, _ in things))
    return frames


def cost() -> dict[str, float]:
    """Measure one result after the other, each in every way."""
    frames = walks(random.Random(7))  # noqa: S311 - the same walks each time
    clock, config = SystemClock(), Config.model_validate(SCENE)
    drafts: list[Draft] = []
    bare, whole = Tracker(config.events.keep_s), ResultTracker(config, clock, StatusCamera([]))
    whole.events = EventReporter(config, IDENTITY, put=drafts.append, clock_synced=lambda: True,
                                 wants_picture=lambda _: False)
    whole.zones = ZoneReporter(FakePublisher(), clock, clock_synced=lambda: True)
    took_ms: dict[str, list[float]] = {"nms_ms": [], "bare_ms": [], "events_ms": []}
    began = datetime(2026, 1, 1, tzinfo=UTC)
    pixels = memoryview(bytearray(3)).cast("B", (1, 1, 3))
    for seq, detections in enumerate(frames, 1):
        at_ns = int(seq * STEP_S * 1e9)
        frame = Frame(seq, pixels, at_ns, began + timedelta(seconds=seq * STEP_S), at_ns)
        result = DetectionResult(frame, detections, MODEL, "local", Timing(1.0, 0.2, 3.0, 0.1), 4.5)
        candidates = [Candidate(each.score or 0.0, each.class_id or 0, each.box) for each in detections]
        times_ns = [time.perf_counter_ns()]
        list(suppress(candidates, 0.6, 100))
        times_ns.append(time.perf_counter_ns())
        bare.update(detections, at_ns / 1e9)
        times_ns.append(time.perf_counter_ns())
        whole.follow(result)
        times_ns.append(time.perf_counter_ns())
        for name, before, after in zip(took_ms, times_ns, times_ns[1:], strict=False):
            took_ms[name].append((after - before) / 1e6)
    medians = {name: statistics.median(each) for name, each in took_ms.items()}
    return {"boxes": THINGS, "messages": len(drafts), **medians,
            "ratio": medians["events_ms"] / medians["bare_ms"]}


def rate(args: argparse.Namespace, folder: Path, port: int) -> dict[str, float]:
    """Measure the floor, the daemon with events, and without them, in turn."""
    rounds = [{"floor_per_s": floor_per_s(args), "on_per_s": daemon_per_s(args, port, folder, ON)[0],
               "off_per_s": daemon_per_s(args, port, folder, OFF)[0]} for _ in range(args.rounds)]
    return {**{name: statistics.median(one[name] for one in rounds) for name in rounds[0]},
            "on_to_floor": statistics.median(one["on_per_s"] / one["floor_per_s"] for one in rounds),
            "off_to_floor": statistics.median(one["off_per_s"] / one["floor_per_s"] for one in rounds),
            "on_to_off": statistics.median(one["on_per_s"] / one["off_per_s"] for one in rounds)}


def memory(minutes: float, model: Path, folder: Path, port: int) -> dict[str, float]:
    """Run both daemons for some minutes, and measure the last one of them."""
    daemons: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, more in (("on", ON), ("off", OFF)):
            place = folder / name
            place.mkdir()
            (place / "config.yaml").write_text(
                f"device: bench-{name}\nmqtt: {{port: {port}}}\ncamera: {{source: 'synthetic?seed=301', fps: 5}}\n"
                f"detector: {{model: {model}, threads: 1}}\n{more}")
            with (place / "log").open("wb") as log:
                daemons[name] = subprocess.Popen(
                    [sys.executable, "-m", "vedette", "run", "--config", str(place / "config.yaml")],
                    env={"STATE_DIRECTORY": str(place / "state")}, stderr=log)
        time.sleep(max(0.0, 60 * minutes - 60))
        samples: dict[str, list[float]] = {name: [] for name in daemons}
        for _ in range(30):
            time.sleep(2)
            for name, daemon in daemons.items():
                assert daemon.poll() is None, (folder / name / "log").read_text()
                samples[name].append(pss_mb(daemon.pid))
    finally:
        for daemon in daemons.values():
            daemon.send_signal(signal.SIGTERM)
        for daemon in daemons.values():
            daemon.wait(20)
    medians = {name: statistics.median(each) for name, each in samples.items()}
    return {"on_mb": medians["on"], "off_mb": medians["off"], "more_mb": medians["on"] - medians["off"]}


def pss_mb(pid: int) -> float:
    """Return the proportional set size of a process in MB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def main() -> None:
    """Measure the parts that are asked for, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("cost", "rate", "memory"), action="append", help="may be repeated")
    parser.add_argument("--model", type=lambda text: Path(text).resolve(), default=STREET)
    parser.add_argument("--source", type=lambda text: Path(text).resolve(), help="a film; rate needs it")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement of a rate")
    parser.add_argument("--minutes", type=float, default=10.0)
    args = parser.parse_args()
    parts = args.part or ["cost", "memory"] + ["rate"] * (args.source is not None)
    if "rate" in parts and args.source is None:
        parser.error("rate needs --source VIDEO")
    with tempfile.TemporaryDirectory() as name, running(Path(name)) as broker:
        for part in parts:
            figures = cost() if part == "cost" else rate(args, Path(name), broker.port) if part == "rate" \
                else memory(args.minutes, args.model, Path(name), broker.port)
            print(json.dumps({"part": part, **{key: round(value, 4) for key, value in figures.items()}}), flush=True)


if __name__ == "__main__":
    main()
