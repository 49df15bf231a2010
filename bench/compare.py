"""Two states of the code side by side: memory, start, frame over invoke, and published over bare.

    git worktree add /tmp/before 58ed18b
    .venv/bin/python bench/compare.py /tmp/before . [--rounds 5] [--seconds 8] [--models A.tflite B.tflite]

Every round measures each tree once, one after the other, with this Python and its libraries. The table has the medians
over the rounds. The load at the beginning and at the end stands below it; the figures need a quiet machine.

    memory           of the daemon and of its capture child, in MB, after `--seconds` on a drawn film, and of the child
                     that draws the street. PSS shares what both processes map; private is what nobody else maps.
    first result     seconds from the start of the process, with an empty state folder, to its first line of `--print`
    frame/invoke     `vedette bench` on the film, one thread
    published/bare   `bench/daemon.py` of that tree: results at a subscriber over invokes without anything between them
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MODEL = Path(__file__).parents[1] / "models" / "vedette-street.tflite"
SIZES = {"360p": (640, 360), "720p": (1280, 720)}
FILM_FRAMES, FPS = 150, 30.0
KINDS = {"PSS": ("Pss",), "RSS": ("Rss",), "private": ("Private_Clean", "Private_Dirty")}
Figures = dict[str, float]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trees", type=Path, nargs="+", help="checkouts, the oldest first")
    parser.add_argument("--models", type=Path, nargs="*", default=[], help="besides the model in the box")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8.0)
    args = parser.parse_args()
    trees = [tree.resolve() for tree in args.trees]
    found: dict[str, dict[Path, list[float]]] = defaultdict(lambda: defaultdict(list))
    load = os.getloadavg()
    with tempfile.TemporaryDirectory() as name, running_broker(Path(name)) as port:
        films = {size: Path(name, f"{size}.mp4") for size in SIZES}
        for size, film in films.items():    # this process must not map OpenCV: it would count as shared
            drawing = multiprocessing.get_context("spawn").Process(target=draw_film, args=(film, *SIZES[size]))
            drawing.start()
            drawing.join()
        for _ in range(args.rounds):
            for tree in trees:
                figures = Tree(tree, port, args.seconds).measure(films, [MODEL, *args.models])
                for label, value in figures.items():
                    found[label][tree].append(value)
    print(f"| median of {args.rounds} | {' | '.join(map(str, trees))} |\n|---|{'--:|' * len(trees)}")
    for label, values in found.items():
        print(f"| {label} | {' | '.join(f'{statistics.median(values[tree]):.3f}' for tree in trees)} |")
    print(f"\nload: {load[0]:.2f} before, {os.getloadavg()[0]:.2f} after")


@contextmanager
def running_broker(folder: Path) -> Iterator[int]:
    """Run a mosquitto on a free port of the loopback, and give its port."""
    with socket.create_server(("127.0.0.1", 0)) as place:
        port = int(place.getsockname()[1])
    config = folder / "mosquitto.conf"
    config.write_text(f"user root\nlistener {port} 127.0.0.1\nallow_anonymous true\n")
    broker = subprocess.Popen([shutil.which("mosquitto") or "/usr/sbin/mosquitto", "-c", config],
                              stderr=subprocess.DEVNULL)
    try:
        yield port
    finally:
        broker.terminate()
        broker.wait()


def draw_film(path: Path, width: int, height: int) -> None:
    """Draw the street into a film."""
    import cv2
    import numpy as np

    from vedette.camera.street.scene import Scene
    film = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, (width, height))
    scene, picture = Scene(7, width, height, FPS), np.empty((height, width, 3), np.uint8)
    for number in range(FILM_FRAMES):
        scene.render(number, picture)
        film.write(picture)
    film.release()


class Tree:
    """One checkout, run with this Python."""

    def __init__(self, root: Path, port: int, seconds: float) -> None:
        self._port, self._seconds = port, seconds
        self._root = root
        self._environ = {**os.environ, "PYTHONPATH": f"{root}:{root / 'daemon'}"}

    def measure(self, films: dict[str, Path], models: list[Path]) -> Figures:
        """Return every figure of one round, by its label."""
        figures = {"first result s": self.first_result_s(films["360p"])}
        for size, film in films.items():
            figures |= self.memory(size, f"{{source: {film}, loop: true}}")
        figures |= {label: value for label, value in self.memory("drawn 720p", "{source: synthetic}").items()
                    if label.startswith("child")}
        for model in models:
            film = films["720p"]
            figures[f"frame/invoke {model.stem}"] = self._json(
                "-m", "vedette", "bench", "--model", model, "--source", film, "--threads", 1, "--json")["ratio"]
            figures[f"published/bare {model.stem}"] = self._json(
                self._root / "bench" / "daemon.py", "--model", model, "--source", film, "--rounds", 1,
                "--seconds", self._seconds)["ratio"]
        return figures

    def first_result_s(self, film: Path) -> float:
        """Return the seconds to the first result. Nothing is known about the model before."""
        with tempfile.TemporaryDirectory() as state:
            began = time.perf_counter()
            with self._popen(state, "--source", film, "--model", MODEL, "--print", stdout=subprocess.PIPE) as daemon:
                assert daemon.stdout is not None
                daemon.stdout.readline()
                seconds = time.perf_counter() - began
                daemon.send_signal(signal.SIGTERM)
                daemon.stdout.read()
        return seconds

    def memory(self, name: str, camera: str) -> Figures:
        """Return what daemon and child map after a while."""
        with tempfile.TemporaryDirectory() as state:
            config = Path(state, "config.yaml")
            config.write_text(f"camera: {camera}\ndetector: {{model: {MODEL}, threads: 1}}\n"
                              f"mqtt: {{port: {self._port}}}\n")
            with self._popen(state, "--config", config) as daemon:
                time.sleep(self._seconds)
                child = max(_children(daemon.pid), key=lambda pid: _mapped(pid)["Rss"])
                figures = {f"{who} {kind} MB, {name}": sum(mapped[key] for key in KINDS[kind])
                           for who, mapped in (("daemon", _mapped(daemon.pid)), ("child", _mapped(child)))
                           for kind in KINDS}
                daemon.send_signal(signal.SIGTERM)
        return figures

    def _popen(self, state: str, *args: object, stdout: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", "vedette", "run", *map(str, args)], stdout=stdout,
                                stderr=subprocess.DEVNULL, env={**self._environ, "STATE_DIRECTORY": state})

    def _json(self, *args: object) -> dict[str, Any]:
        text = subprocess.run([sys.executable, *map(str, args)], env=self._environ, capture_output=True, text=True,
                              check=True).stdout
        return dict(json.loads(text.splitlines()[-1]))


def _children(pid: int) -> list[int]:
    return [int(child) for task in Path(f"/proc/{pid}/task").glob("*/children") for child in task.read_text().split()]


def _mapped(pid: int) -> Figures:
    """Return the sums of a process' mappings in MB, by the kernel's names."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {name.rstrip(":"): int(kilobytes) / 1024 for name, kilobytes, _ in map(str.split, lines)}


if __name__ == "__main__":
    main()
