"""Campaign `standing`: a thing that stands still for minutes is one event, whatever happens to the daemon meanwhile.

    .venv/bin/python tests/campaign/standing.py --minutes 10 --state .campaign/standing.json

A real daemon watches a lamp through a camera with noise. Meanwhile the capture child is killed, a pause is commanded,
heat lowers the rate and cooling raises it, and another build of the model is installed. A subscriber must get one
start, at most one update, that the thing is stationary, and one end, when SIGTERM ends the daemon. One process, so only
a finished run is not repeated. One JSON line; 1 when there is another message.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from tests.support.broker.mosquitto import Mosquitto, running
from tests.support.broker.subscriber import Payload, Subscriber, listening, send
from tests.support.daemon.board import PROGRAM, PlantedBoard
from tests.support.daemon.config import DEVICE, write_config
from tests.support.daemon.running import RunningDaemon, vedette
from tests.support.models import lamps
from tests.support.waiting.until import wait_until

FPS, FRAMES = 15, 60
NOISE = 12
"""Standard deviation of a pixel, of 255."""
HOT, COOL = 90, 45


def write_noisy_clip(folder: Path) -> Path:
    """Write a video of one lamp that stands still, with the noise of a camera in every frame; returns its path."""
    path = folder / "standing.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (128, 128))
    chance = np.random.default_rng(7)
    picture = np.full((128, 128, 3), 30.0)
    picture[32:96, 32:64] = 225
    for _ in range(FRAMES):
        writer.write((picture + chance.normal(0, NOISE, picture.shape)).clip(0, 255).astype(np.uint8))
    writer.release()
    return path


class Watch:
    """A daemon that watches the lamp, and what is done to it."""

    def __init__(self, folder: Path, broker: Mosquitto, seen: Subscriber, keep_s: float) -> None:
        self._folder = folder
        self._broker = broker
        self._seen = seen
        self._board = PlantedBoard(folder / "root")
        self._config = write_config(
            folder, broker.port, detector="{threads: 1}", commands="{allow: [pause]}", update="{require_signed: false}",
            events=f"{{keep_s: {keep_s}}}",
            camera=f"{{source: '{write_noisy_clip(folder)}', loop: true, fps: {FPS}}}")
        (folder / "state").mkdir()
        self._install("1")
        self.daemon = RunningDaemon(folder, self._board.root, "--config", self._config, program=PROGRAM)

    @property
    def messages(self) -> list[Payload]:
        """What a subscriber gets of events."""
        return self._seen.published("events")

    def wait(self, what: str, holds: Callable[[], object]) -> None:
        """Wait until this holds. Raises: AssertionError, with the daemon's log."""
        assert wait_until(holds), f"{what}: {self.daemon.log}"

    def goes_on(self) -> None:
        """Wait for a second of results."""
        before = len(self._seen.results)
        self.wait("results", lambda: len(self._seen.results) > before + FPS)

    def kill(self) -> None:
        """Kill the capture child, and wait for another one."""
        before = self._seen.health["capture"]["children_replaced"]
        os.kill(self.daemon.child_pid(), signal.SIGKILL)
        self.wait("another child", lambda: self._seen.health["capture"]["children_replaced"] > before)

    def pause(self, seconds: float) -> None:
        """Pause by a command, and wait until that is over."""
        send(self._broker.client(), f"vedette/{DEVICE}/cmd/pause", json.dumps({"seconds": seconds}).encode())
        self.wait("the pause", lambda: "paused" in self._seen.reasons)
        self.wait("the end of the pause", lambda: "paused" not in self._seen.reasons)

    def heat(self) -> None:
        """Have heat lower the rate, and wait until cooling has raised it again."""
        self._board.temperature(HOT)
        self.wait("a lower rate", lambda: self._seen.health["governor"]["step"] > 0)
        self._board.temperature(COOL)
        self.wait("the full rate", lambda: self._seen.health["governor"]["step"] == 0)

    def swap(self) -> None:
        """Install another build of the model, and wait until it detects."""
        self._install("2")
        self.wait("the other model", lambda: self._seen.results[-1]["model"]["version"] == "2")

    def _install(self, version: str) -> None:
        done = vedette("model", "install", lamps.write(self._folder, version), "--config", self._config,
                       folder=self._folder)
        assert done.returncode == 0, done.stderr


def stand(folder: Path, broker: Mosquitto, seen: Subscriber, *, seconds: float, pause_s: float) -> list[Payload]:
    """Watch a thing that stands still for so long at least; returns the messages about it.

    The pause is longer than `events.keep_s`.
    """
    watch = Watch(folder, broker, seen, pause_s / 2)
    with watch.daemon as daemon:
        watch.wait("a start", lambda: watch.messages)
        for act in (watch.kill, lambda: watch.pause(pause_s), watch.heat, watch.swap):
            watch.goes_on()
            act()
            until_s = time.monotonic() + seconds / 4
            while time.monotonic() < until_s:
                watch.goes_on()
        watch.goes_on()
        watch.wait("an update", lambda: len(watch.messages) > 1)
        daemon.signal(signal.SIGTERM)
        assert daemon.ends() == 0, daemon.log
    watch.wait("an end", lambda: watch.messages[-1]["type"] == "end")
    return watch.messages


def wrong(messages: list[Payload]) -> list[str]:
    """Say what a person was told too often, or not."""
    told = [(message["type"], message["stationary"]) for message in messages]
    return [] if told == [("start", False), ("update", True), ("end", True)] \
        and len({message["id"] for message in messages}) == 1 else [f"messages: {told}"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--pause-s", type=float, default=5)
    parser.add_argument("--state", type=Path, default=Path(".campaign/standing.json"))
    args = parser.parse_args()
    args.state.parent.mkdir(parents=True, exist_ok=True)
    if not args.state.exists():
        with tempfile.TemporaryDirectory() as name, running(Path(name)) as broker, \
                listening(broker.client(), "vedette/#") as seen:
            messages = stand(Path(name), broker, seen, seconds=60 * args.minutes, pause_s=args.pause_s)
            args.state.write_text(json.dumps({"results": len(seen.results), "messages": messages}))
    done = json.loads(args.state.read_text())
    broken = wrong(done["messages"])
    print(json.dumps({"campaign": "standing", **done, "broken": broken}))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
