"""Keep-latest with a slow consumer: does capture keep its rate, are frames fresh, do the counts add up?

    .venv/bin/python bench/keep_latest.py VIDEO [--seconds 20] [--takes-per-s 4]

VIDEO plays in real time, again and again. The bench prints one JSON line: the capture rate, the age of frames when they
are taken, the counts (captured = taken + dropped + pending), and the peak memory of the capture child.
"""

import argparse
import json
import statistics
import threading
import time
from pathlib import Path

from vedette.camera.open import open_camera
from vedette.camera.remote import RemoteCamera
from vedette.config.models import CameraConfig


def consume(camera: RemoteCamera, seconds: float, takes_per_s: float) -> tuple[list[float], float]:
    """Take frames and hold each as long as a detector would. Return the ages in ms and the child's peak memory."""
    ages_ms, holding = [], threading.Event()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        frame = camera.take(1.0)
        if frame is None:
            continue
        ages_ms.append((time.monotonic_ns() - frame.captured_ns) / 1e6)
        holding.wait(1 / takes_per_s)
        camera.release(frame)
    status = Path(f"/proc/{camera.child_pid}/status").read_text()
    peak_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    return ages_ms, peak_kb / 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--takes-per-s", type=float, default=4)
    arguments = parser.parse_args()
    camera = open_camera(CameraConfig(source=arguments.video, fps=30, loop=True))
    camera.start()
    ages_ms, peak_mb = consume(camera, arguments.seconds, arguments.takes_per_s)
    fps = camera.status().fps
    camera.close()
    status = camera.status()
    print(json.dumps({
        "capture_fps": fps and round(fps, 2), "taken": len(ages_ms),
        "age_ms_median": round(statistics.median(ages_ms), 1),
        "age_ms_max": round(max(ages_ms), 1), "captured": status.captured, "dropped": dict(status.dropped),
        "pending": status.pending, "child_peak_mb": round(peak_mb, 1),
        "exact": status.captured == len(ages_ms) + sum(status.dropped.values()) + status.pending}))


if __name__ == "__main__":
    main()
