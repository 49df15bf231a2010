"""The running daemon compared with the bare interpreter: results published per second, start-up, memory.

    .venv/bin/python bench/daemon.py --model M.tflite --source video.mp4 [--rounds 5] [--seconds 8]

Each round measures the floor and then the daemon, so that their ratio is valid on a noisy machine:

    floor    the same capture child runs and its frames are taken, but nothing else happens between two invokes
    daemon   `vedette run`, every frame, all results, a real mosquitto on loopback, counted by a subscriber

The time between two results is split into the means of prepare, invoke and decode, as the results state them, and the
rest. An invoke that takes longer than 1 / floor is slowed down by what runs beside it.

First result: the time from the start of the process to its first line of `--print`. Memory: VmHWM of the daemon and of
its capture child at the end of a round. The bench prints one JSON object. Every figure is the median over the rounds.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tests.support.broker.mosquitto import running
from vedette.camera.open import open_camera
from vedette.config.load import load
from vedette.vision.interpreter import Interpreter

DEVICE = "bench"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=_absolute, required=True)
    parser.add_argument("--source", type=_absolute, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8.0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as broker:
        rounds = [one_round(args, broker.port, Path(folder)) for _ in range(args.rounds)]
    medians = {key: round(statistics.median(one[key] for one in rounds), 4) for key in rounds[0]}
    print(json.dumps({"model": args.model.name, "rounds": len(rounds), **medians}))


def _absolute(text: str) -> Path:
    return Path(text).resolve()


def one_round(args: argparse.Namespace, port: int, folder: Path) -> dict[str, float]:
    """Measure the floor, then the daemon. Return the figures of this round."""
    floor = floor_per_s(args)
    daemon, first_result_s, daemon_mb, child_mb, stages_ms = daemon_per_s(args, port, folder)
    return {"floor_per_s": floor, "daemon_per_s": daemon, "ratio": daemon / floor, "first_result_s": first_result_s,
            "daemon_peak_mb": daemon_mb, "child_peak_mb": child_mb, "floor_ms": 1e3 / floor, **stages_ms,
            "rest_ms": 1e3 / daemon - sum(stages_ms.values())}


def floor_per_s(args: argparse.Namespace) -> float:
    """Return invokes per second while the capture child delivers a frame for each."""
    config = load(None, overrides={"camera.source": str(args.source), "camera.every_frame": True, "camera.loop": True})
    camera = open_camera(config.camera)
    camera.start()
    try:
        interpreter = Interpreter(args.model, "auto", 1)
        count, started = 0, 0.0
        while not started or time.perf_counter() - started < args.seconds:
            frame = camera.take(10.0)
            assert frame is not None, camera.status().cause
            camera.release(frame)
            interpreter.invoke()
            count += 1
            if not started and count == 20:   # warm
                count, started = 0, time.perf_counter()
        return count / (time.perf_counter() - started)
    finally:
        camera.close()


def daemon_per_s(args: argparse.Namespace, port: int, folder: Path,
                 more: str = "") -> tuple[float, float, float, float, dict[str, float]]:
    """Return results per second at a subscriber, time to the first result, peak memory of daemon and child, and the
    mean time of each stage. `more` is added to the configuration.
    """
    config = folder / "config.yaml"
    config.write_text(f"""
device: {DEVICE}
camera: {{source: {args.source}, every_frame: true, loop: true}}
detector: {{model: {args.model}, threads: 1}}
publish: {{results: all, max_per_s: 1000000}}
mqtt: {{port: {port}}}
{more}""")
    command = [sys.executable, "-m", "vedette", "run", "--config", str(config)]
    environ = {"STATE_DIRECTORY": str(folder / "state")}
    first_result_s = time_to_first_line([*command, "--print"], environ)
    arrivals = Arrivals(port)
    process = subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL)
    try:
        rate = arrivals.per_s(args.seconds)
        children = [int(pid) for task in Path(f"/proc/{process.pid}/task").glob("*/children")
                    for pid in task.read_text().split()]
        figures = rate, first_result_s, peak_mb(process.pid), max(map(peak_mb, children)), arrivals.stages_ms()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
        arrivals.close()
    return figures


def time_to_first_line(command: list[str], environ: dict[str, str]) -> float:
    """Return the seconds from the start of the daemon to the first result it prints."""
    started = time.perf_counter()
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        process.stdout.readline()
        seconds = time.perf_counter() - started
        process.terminate()
        process.stdout.read()
    return seconds


def peak_mb(pid: int) -> float:
    """Return VmHWM of a process in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


class Arrivals:
    """A subscriber that counts results."""

    def __init__(self, port: int) -> None:
        self._results: list[bytes] = []
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port)
        self._client.subscribe(f"vedette/{DEVICE}/detections", qos=0)
        self._client.loop_start()

    def _on_message(self, _client: object, _data: object, message: paho.MQTTMessage) -> None:
        self._results.append(bytes(message.payload))

    def per_s(self, seconds: float) -> float:
        """Wait until results flow, then count them for `seconds`."""
        deadline = time.monotonic() + 30
        while len(self._results) < 30:
            assert time.monotonic() < deadline, "no results arrive"
            time.sleep(0.05)
        self._results.clear()
        started = time.perf_counter()
        time.sleep(seconds)
        return len(self._results) / (time.perf_counter() - started)

    def stages_ms(self) -> dict[str, float]:
        """Return the mean time of each stage of the results that were counted."""
        timings = [json.loads(result)["timing_ms"] for result in self._results]
        return {f"{stage}_ms": statistics.fmean(timing[stage] for timing in timings)
                for stage in ("prepare", "invoke", "decode")}

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()


if __name__ == "__main__":
    main()
