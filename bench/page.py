"""What viewers of the page cost: processor time and memory of the daemon and of the page, with 0, 1 and 4 viewers.

    .venv/bin/python bench/page.py [--source video.mp4 --model M.tflite] [--rounds 3] [--seconds 15]

Each round measures no viewer, one and four, so that they can be compared on a noisy machine. A viewer asks for the next
picture as soon as it has one, as a browser does. Its own time does not count. The detector has one thread. CPU is that
of the process and all its children, in percent of one core. Memory is what belongs to the processes alone (Private_* of
smaps_rollup), in MB: of the page, and of the daemon without its capture child. `results_per_s` are the daemon's
results. The bench prints one JSON object. Every figure is the median over the rounds. `extra_…` are medians of the
differences to no viewer.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

VIEWERS = (0, 1, 4)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default="synthetic")
    parser.add_argument("--model")
    parser.add_argument("--every-frame", action="store_true", help="as fast as the detector can: what a viewer takes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15.0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        daemon, page, port = start(args, Path(folder))
        try:
            rounds = [{viewers: measured(daemon.pid, page.pid, port, viewers, args.seconds) for viewers in VIEWERS}
                      for _ in range(args.rounds)]
        finally:
            for process in (page, daemon):
                process.send_signal(signal.SIGTERM)
                process.wait(20)
    print(json.dumps({f"viewers_{viewers}": medians([one[viewers] for one in rounds], [one[0] for one in rounds])
                      for viewers in VIEWERS}, indent=1))


def start(args: argparse.Namespace, folder: Path) -> tuple[subprocess.Popen[bytes], subprocess.Popen[bytes], int]:
    """Start a daemon without a broker, and its page. Return both and the page's port."""
    config = folder / "config.yaml"
    model = f", model: {Path(args.model).resolve()}" if args.model else ""
    source = args.source if args.source.startswith("synthetic") else Path(args.source).resolve()
    config.write_text(f"device: bench\ncamera: {{source: '{source}', width: 1280, height: 720, loop: true, "
                      f"every_frame: {str(args.every_frame).lower()}}}\n"
                      f"detector: {{threads: 1{model}}}\nmqtt: {{port: 9, spool_mb: 0}}\n"
                      f"page: {{daemons: [{folder}/vedette/socket]}}\n")
    environ = {**os.environ, "XDG_STATE_HOME": str(folder)}
    command = [sys.executable, "-m", "vedette"]
    daemon = subprocess.Popen([*command, "run", "--config", str(config)], env=environ, stderr=subprocess.DEVNULL)
    page = subprocess.Popen([*command, "page", "--config", str(config), "--listen", "127.0.0.1:0"], env=environ,
                            stderr=subprocess.PIPE)
    assert page.stderr is not None
    line = next(line for line in iter(page.stderr.readline, b"") if line.startswith(b"page on "))
    port = int(line.split(b":")[-1].strip(b"/\n"))
    threading.Thread(target=page.stderr.read, daemon=True).start()
    until_s = time.monotonic() + 60
    while time.monotonic() < until_s and not get(port, "/frame.jpg?wait=5")[1]:
        time.sleep(0.2)
    time.sleep(5)      # the first seconds of a process are not its usual ones
    return daemon, page, port


def measured(daemon: int, page: int, port: int, viewers: int, seconds: float) -> dict[str, float]:
    """Return the figures of one time with so many viewers."""
    command = [sys.executable, __file__, "--view", str(port), str(seconds)]
    before, began_s = (cpu_s(daemon), cpu_s(page), results(port)), time.monotonic()
    views = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(viewers)]
    time.sleep(seconds)
    elapsed_s = time.monotonic() - began_s
    after = cpu_s(daemon), cpu_s(page), results(port)
    figures = {"daemon_cpu": (after[0] - before[0]) / elapsed_s * 100,
               "page_cpu": (after[1] - before[1]) / elapsed_s * 100,
               "results_per_s": (after[2] - before[2]) / elapsed_s,
               "daemon_private_mb": private_mb(daemon), "page_private_mb": private_mb(page)}
    seen = [int(view.communicate()[0]) for view in views]
    return figures | {"cpu": figures["daemon_cpu"] + figures["page_cpu"],
                      "pictures_per_s": statistics.fmean(seen) / seconds if seen else 0.0}


def medians(figures: list[dict[str, float]], without: list[dict[str, float]]) -> dict[str, float]:
    """Return the median of each figure, and of what it is more than without a viewer."""
    found = {name: statistics.median(one[name] for one in figures) for name in figures[0]}
    extra = {f"extra_{name}": statistics.median(one[name] - base[name]
                                                for one, base in zip(figures, without, strict=True))
             for name in ("cpu", "daemon_private_mb")}
    return {name: round(value, 2) for name, value in (found | extra).items()}


def get(port: int, target: str) -> tuple[int, bytes]:
    """Return status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=40)
    try:
        connection.request("GET", target)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except OSError:
        return 0, b""
    finally:
        connection.close()


def view(port: int, seconds: float) -> int:
    """View as a browser does. Return the number of pictures."""
    until_s, after, count = time.monotonic() + seconds, "", 0
    while time.monotonic() < until_s:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=40)
        connection.request("GET", f"/frame.jpg?wait=2{after}")
        answer = connection.getresponse()
        answer.read()
        if answer.status == http.HTTPStatus.OK:
            count, after = count + 1, f"&after={answer.headers['Vedette-Seq']}"
        connection.close()
    return count


def results(port: int) -> int:
    """Return how many frames the daemon has detected in, as its last results number them."""
    last: list[dict[str, Any]] = json.loads(get(port, "/api/results")[1])["results"]
    return int(last[-1]["seq"])


def cpu_s(pid: int) -> float:
    """Return the processor seconds of a process and its children, with those of threads that have ended."""
    children = [int(child) for task in Path(f"/proc/{pid}/task").glob("*/children")
                for child in task.read_text().split()]
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK") + sum(map(cpu_s, children))


def private_mb(pid: int) -> float:
    """Return the memory that belongs to this process alone, in MB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


if __name__ == "__main__":
    if sys.argv[1:2] == ["--view"]:
        print(view(int(sys.argv[2]), float(sys.argv[3])))
    else:
        main()
