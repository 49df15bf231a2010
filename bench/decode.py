"""The processor time and memory of decoding a film: every picture, only its keyframes, and PyAV's way to keyframes.

    .venv/bin/python bench/decode.py FILM [--fps 15] [--rounds 7]

The sources of the capture child read FILM as fast as they can, each in a process of its own, in turn. `all` grabs every
picture and reads `fps` of them a second. `pyav` runs only where PyAV is installed (`pip install av`). The bench prints
one JSON object: milliseconds of processor time per second of film, peak memory in MB with all imports, and the ratio of
the medians to `all`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from vedette.camera.child.cadence import Decimation
from vedette.camera.child.film import Film
from vedette.camera.settings import ENVIRON, CaptureSettings
from vedette.errors import SourceEnded


def play(source: Path, fps: float, *, keyframes: bool) -> tuple[int, int]:
    """Play a film as the capture child does. Return how many frames were read, and the position of the last (ns)."""
    film = Film(CaptureSettings(str(source), 7680, 4320, fps, 0, (), 60.0, every_frame=True, loop=False,
                                credentials_file=None, decode="keyframes" if keyframes else "all"))
    wanted, frames, position_ns = Decimation(fps), 0, 0
    try:
        while True:
            position_ns = film.grab()
            if wanted.keep(position_ns):
                film.read(None)
                frames += 1
    except SourceEnded:
        return frames, position_ns


def play_by_pyav(source: Path) -> tuple[int, int]:
    """Do the same with PyAV, keyframes only."""
    import av
    frames, position_s = 0, 0.0
    with av.open(str(source)) as container:
        stream = container.streams.video[0]
        stream.codec_context.skip_frame = "NONKEY"
        stream.codec_context.thread_count = 1
        for frame in container.decode(stream):
            frame.to_ndarray(format="bgr24")
            frames, position_s = frames + 1, frame.time
    return frames, int(position_s * 1e9)


def measure(way: str, film: Path, fps: float) -> None:
    """Play the film in this process, and print what it took."""
    began_s = time.process_time()
    frames, _ = play_by_pyav(film) if way == "pyav" else play(film, fps, keyframes=way == "keyframes")
    print(json.dumps({"frames": frames, "cpu_s": time.process_time() - began_s,
                      "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def main() -> None:
    """Measure every way in turn, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("film", type=Path)
    parser.add_argument("--fps", type=float, default=15)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.way:
        measure(args.way, args.film, args.fps)
        return
    _, length_ns = play(args.film, 1.0, keyframes=False)
    ways = ["all", "keyframes"] + ["pyav"] * (importlib.util.find_spec("av") is not None)
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for _ in range(args.rounds):
        for way in ways:
            command = [sys.executable, __file__, str(args.film), "--fps", str(args.fps), "--way", way]
            runs[way].append(json.loads(subprocess.run(command, env=ENVIRON, check=True, capture_output=True).stdout))
    cpu = {way: statistics.median(run["cpu_s"] for run in done) * 1e12 / length_ns for way, done in runs.items()}
    print(json.dumps({way: {
        "frames": runs[way][0]["frames"], "ms_per_s": round(cpu[way], 2), "ratio": round(cpu[way] / cpu["all"], 3),
        "peak_mb": round(statistics.median(run["peak_mb"] for run in runs[way]), 1)} for way in ways}))


if __name__ == "__main__":
    main()
