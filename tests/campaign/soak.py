"""Campaign `soak`: a million frames through one daemon that is never left in peace, and nothing may grow.

    .venv/bin/python tests/campaign/soak.py --frames 1000000 --state .campaign/soak.json

Unpaced: a film rendered beforehand, every frame of it, a model of a hundredth of a millisecond, every result published
to a real broker through a proxy that cuts. In turn: models swapped and installed (on trial, beside the model before in
its child), the network cut, snapshots, pauses, reloads (good ones, bad ones, one that makes frames stale); and, over
the first half of the frames, the capture child killed. Judged afterwards: the memory of the daemon and of the capture
child (RssAnon and RssShmem at every health message, least squares over the frames after the first 100,000; the child's
over its last life), descriptors and threads, what Python holds (objects by type, items of containers) between a quiet
moment early and one at the end, and every count: captured = detected + dropped + pending, results = detected, and a
subscriber has each of them but those that were counted as dropped. One process, so only a finished run is not repeated.
One JSON line; 1 when a limit was broken.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from tests.support.broker.cutting_proxy import CuttingProxy
from tests.support.broker.mosquitto import Mosquitto, running
from tests.support.broker.subscriber import send
from tests.support.broker.witness import Witness
from tests.support.daemon import counted
from tests.support.daemon.running import RunningDaemon, vedette
from tests.support.daemon.update_device import LIMIT_BYTES
from tests.support.models import lamps
from tests.support.present import present
from tests.support.truth.bright_squares import write_clip
from tests.support.truth.truth import TruthChecker
from tests.support.waiting.until import wait_until
from vedette.config.models import MqttConfig
from vedette.mqtt.command_filter import Incoming
from vedette.mqtt.reconnect_policy import SHORT_CONNECTION_S, SHORT_CONNECTIONS
from vedette.store.inbox import Request, RequestClient, Response, new_id
from vedette.store.model_store import ModelStore
from vedette.store.state import Installed

DEVICE = "gate"
SLOPE_MB = 1.0
"""Per 100,000 frames."""
WARM_FRAMES, LEAST_FRAMES = 100_000, 300_000
"""Until everything has happened a few times; a slope over fewer frames after that is only told, since memory grows by
a megabyte at a time."""
WARM_SHARE = 0.1
"""Of the rounds, and of the frames where there are few."""
ACTS = ("swap", "cut", "snapshot", "reload", "kill", "install", "long_cut", "pause", "age")
WITHIN_S = 90.0
FILM_FRAMES, FPS = 3000, 30
GROWTH_SHARE = 0.3
"""Of the rounds between two quiet moments: what is kept once a round, or once a kill, grows by more."""
NOISE = 4
"""Frames in their places, messages on their way."""
FILLING = 6000
"""Items (and the blocks they take) by which windows of a fixed size may fill, and small objects that come and go."""
WINDOWS_FULL = 250
"""Results after which the windows of the local socket, of results and of messages, hold as many as they ever do."""
QUICK = SHORT_CONNECTIONS - 1
"""So many connections in a row may be cut young without being taken for another client of the same name."""
PAUSE_S = 600
DRAINED_WITHIN_S = 300.0


@dataclass(frozen=True)
class Sample:
    """What the kernel says of one process after so many frames."""

    frames: int
    pid: int
    mb: float
    fds: int
    threads: int


class Watcher(Witness):
    """Besides what a Witness notes: samples at each health message, snapshots, and which model runs."""

    def __init__(self, mqtt: MqttConfig, device: str, checker: TruthChecker | None = None) -> None:
        super().__init__(mqtt, device, checker)
        self.pids: Callable[[], tuple[int, ...]] = tuple
        self.samples: list[Sample] = []
        self.snapshots = 0
        self.model: dict[str, Any] = {}

    @property
    def capture(self) -> dict[str, Any]:
        return dict(self.health.get("capture", {"detected": 0, "dropped": {}, "children_replaced": 0}))

    def _take(self, message: Incoming) -> None:
        super()._take(message)
        topic = message.topic.rpartition("/")[2]
        self.snapshots += topic == "snapshot"
        if topic == "model":
            self.model = json.loads(message.payload)
        elif topic == "health":
            self.samples += [one for pid in self.pids() if (one := sample(pid, self.capture["detected"]))]


def sample(pid: int, frames: int) -> Sample | None:
    """Measure a process; None if it has just ended."""
    process = Path(f"/proc/{pid}")
    try:
        status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        kb = sum(int(status[key].split()[0]) for key in ("RssAnon", "RssShmem"))
        return Sample(frames, pid, kb / 1e3, len(list((process / "fd").iterdir())), int(status["Threads"]))
    except (OSError, KeyError):
        return None


class Soak:
    """A daemon on its film, its broker behind a proxy, and what is done to it."""

    def __init__(self, folder: Path, broker: Mosquitto, proxy: CuttingProxy, watcher: Watcher, *, paced: bool) -> None:
        self.done: dict[str, int] = {}
        self._folder = folder
        self._broker = broker
        self._proxy = proxy
        self._watcher = watcher
        self._config = folder / "config.yaml"
        self._counts = folder / "counts.json"
        self._film = write_clip(folder, FILM_FRAMES, fps=FPS)
        self._pace = f"fps: {FPS}" if paced else "every_frame: true"
        self._versions = itertools.count(1)
        self._connected_s = 0.0
        self._store = ModelStore(folder / "state" / "models")
        (folder / "state").mkdir()
        self._configure()
        self._begin()
        self._daemon = RunningDaemon(folder, "--config", self._config, program=counted.program(self._counts))

    def __enter__(self) -> Self:
        self._daemon.__enter__()
        self._wait("first frames", lambda: self._watcher.capture["detected"] > 0)
        self._watcher.pids = self._pids
        return self

    def __exit__(self, *_: object) -> None:
        self._daemon.__exit__()

    @property
    def samples(self) -> list[Sample]:
        return self._watcher.samples

    @property
    def progress(self) -> str:
        """One line for the terminal."""
        seen = self._watcher
        return f"{seen.capture['detected']} detected, {len(seen.seqs)} received, {seen.samples[-2:]}"

    def held(self) -> dict[str, int]:
        """Make a quiet moment, and return what the daemon holds then."""
        self._swap()        # ends a trial, and with it the child that runs the model before
        self._command("pause", seconds=PAUSE_S)
        self._wait("a quiet moment", self._is_quiet, DRAINED_WITHIN_S)
        before_s = self._watcher.health["uptime_s"]      # what had been on its way then has arrived two messages later
        self._wait("another one", lambda: self._watcher.health["uptime_s"] > before_s + 1.5 and self._is_quiet())
        self._counts.unlink(missing_ok=True)
        self._daemon.signal(signal.SIGUSR2)
        self._wait("its counts", self._counts.exists)
        self._command("resume")
        self._wait_for_results("after the quiet moment")
        return dict(json.loads(self._counts.read_text()))

    def passes(self, frames: int) -> None:
        """Wait until so many frames have been detected."""
        self._wait(f"{frames} frames", lambda: self._watcher.capture["detected"] >= frames, 3600)

    def ends(self) -> dict[str, object]:
        """End the daemon; returns its own counts and those of the subscriber."""
        self._wait("what waits on disk", lambda: self._watcher.health["mqtt"]["spooled"] == 0,
                   DRAINED_WITHIN_S)
        self._daemon.signal(signal.SIGTERM)
        code = self._daemon.ends(60)
        seen = self._watcher
        self._wait("its farewell", lambda: seen.availability == "offline", alive=False)
        mqtt = seen.health["mqtt"]
        return {"exit_code": code, "capture": seen.capture, "received": len(seen.seqs), "repeated": seen.repeated,
                "last_seq": max(seen.seqs), "dropped_of_outbox": mqtt["dropped_ever"], "spooled": mqtt["spooled"],
                "refused": mqtt["refused"], "reconnects": mqtt["reconnects"], "logged": len(self._daemon.errors),
                "errors": seen.health["inference"]["errors"]}

    def act(self, name: str) -> None:
        getattr(self, f"_{name}")()
        self.done[name] = self.done.get(name, 0) + 1

    def _begin(self) -> None:
        """Have two models that are good, the second active."""
        self._store.recover()
        for _ in range(2):
            path = self._new_model()
            sha256, size = self._store.stage(path, None, limit_bytes=LIMIT_BYTES)
            model = Installed(sha256=sha256, size=size, name="lamps", version=path.stem.partition("-")[2])
            self._store.change(self._store.state.activated(model, datetime.now(UTC), on_trial=False))

    def _new_model(self) -> Path:
        return lamps.write(self._folder, str(next(self._versions)))

    def _configure(self, detector: str = "threads: 1", camera: str = "", extra: str = "") -> None:
        self._config.write_text(
            f"device: {DEVICE}\nmqtt: {{port: {self._proxy.port}, replay_per_s: 2000, keepalive_s: 5, "
            "outbox_messages: 20000}\n"
            "publish: {results: all, max_per_s: 1000000}\nhealth: {interval_s: 1}\nupdate: {require_signed: false}\n"
            f"commands: {{allow: [snapshot, pause, resume]}}\ndetector: {{{detector}}}\n"
            f"camera: {{source: '{self._film}', loop: true, {self._pace}{camera}}}\n{extra}")

    def _swap(self) -> None:
        """Activate the model before."""
        state = self._store.read()
        if state.previous is None:
            self._install()
            state = self._store.read()
        wanted = present(state.previous)
        answer = RequestClient(self._folder / "state").send(
            Request(id=new_id(), kind="activate", sha256=wanted.sha256, force=True), WITHIN_S)
        assert isinstance(answer, Response), "the daemon has ended"
        assert answer.ok, answer
        self._wait("the swap", lambda: self._watcher.model["sha256"] == wanted.sha256)

    def _install(self) -> None:
        """Install a new model beside the daemon: it is probed, and on trial then."""
        model = self._new_model()
        done = vedette("model", "install", model, "--config", self._config, folder=self._folder, timeout_s=WITHIN_S)
        assert done.returncode == 0, done.stderr
        version = model.stem.partition("-")[2]
        self._wait("the new model", lambda: self._watcher.model["installed_version"] == version)
        model.unlink()

    def _cut(self) -> None:
        self._cut_for("reset", 0)

    def _long_cut(self) -> None:
        """Stay away, or silent, for long enough that results go to disk."""
        self._cut_for(("away", "silent")[self.done.get("long_cut", 0) % 2], 4.0)

    def _cut_for(self, kind: str, seconds: float) -> None:
        if self._proxy.connections % (QUICK + 1) == 0:
            time_passes(self._connected_s + SHORT_CONNECTION_S + 0.5 - time.monotonic())
        before = self._proxy.connections
        self._proxy.swallowing, self._proxy.refusing = kind == "silent", kind == "away"
        if kind != "silent":
            self._proxy.cut()
        time_passes(seconds)
        self._proxy.cut()
        self._proxy.swallowing = self._proxy.refusing = False
        self._wait("a reconnect", lambda: self._proxy.connections > before and self._watcher.availability == "online")
        uptime_s = self._watcher.health["uptime_s"]
        self._wait("health after a cut", lambda: self._watcher.health["uptime_s"] > uptime_s)
        self._connected_s = time.monotonic()

    def _snapshot(self) -> None:
        before = self._watcher.snapshots
        self._command("snapshot")
        self._wait("a snapshot", lambda: self._watcher.snapshots > before)

    def _pause(self) -> None:
        """Pause until frames were dropped for it, and resume."""
        before = self._dropped("paused")
        self._command("pause", seconds=PAUSE_S)
        self._wait("a pause", lambda: self._dropped("paused") > before)
        self._command("resume")
        self._wait_for_results("after a pause")

    def _reload(self) -> None:
        """Reload a bad configuration, which changes nothing, and then a good one."""
        self._configure(extra="nonsense: 1\n")
        self._hang_up()
        self._wait("a refused reload", lambda: "config_rejected" in self._watcher.reasons)
        self._configure(f"threads: 1, score_threshold: 0.{5 + self.done.get('reload', 0) % 2}")
        self._hang_up()
        self._wait("a reload", lambda: "config_rejected" not in self._watcher.reasons)

    def _age(self) -> None:
        """Have every frame be too old for a moment."""
        before = self._dropped("stale")
        self._configure(camera=", max_frame_age_ms: 0.01")
        self._hang_up()
        self._wait("stale frames", lambda: self._dropped("stale") > before)
        self._configure()
        self._hang_up()
        self._wait_for_results("that are fresh again")

    def _kill(self) -> None:
        before = self._watcher.capture["children_replaced"]
        os.kill(self._child(), signal.SIGKILL)
        self._wait("another child", lambda: self._watcher.capture["children_replaced"] > before)
        self._wait_for_results("of another child")

    def _command(self, name: str, **arguments: object) -> None:
        content = {**arguments, "transaction": new_id()}
        send(self._broker.client(), f"vedette/{DEVICE}/cmd/{name}", json.dumps(content).encode())

    def _hang_up(self) -> None:
        self._daemon.signal(signal.SIGHUP)

    def _dropped(self, cause: str) -> int:
        return int(self._watcher.capture["dropped"].get(cause, 0))

    def _wait_for_results(self, what: str) -> None:
        before = self._watcher.results
        self._wait(f"results {what}", lambda: self._watcher.results > before + 10)

    def _is_quiet(self) -> bool:
        mqtt = self._watcher.health["mqtt"]
        return "paused" in self._watcher.reasons and mqtt["connected"] and len(self._children()) == 1 and \
            mqtt["spooled"] == mqtt["outbox_depth"] == 0

    def _child(self) -> int:
        return next(pid for pid, name in self._children().items() if "camera.child" in name)

    def _children(self) -> dict[int, str]:
        found = {}
        for task in Path(f"/proc/{self._daemon.process.pid}/task").glob("*/children"):
            for pid in map(int, task.read_text().split()):
                found[pid] = Path(f"/proc/{pid}/cmdline").read_text()
        return found

    def _pids(self) -> tuple[int, ...]:
        try:
            return (self._daemon.process.pid, self._child())
        except (OSError, StopIteration):
            return ()

    def _wait(self, what: str, holds: Callable[[], bool], within_s: float = WITHIN_S, *, alive: bool = True) -> None:
        dead = self._daemon.process.poll
        assert wait_until(lambda: holds() or (alive and dead() is not None), within_s), \
            (what, self._watcher.health, self._watcher.availability, self._daemon.log[-4000:])
        assert not alive or dead() is None, (what, dead(), self._daemon.log[-4000:])


@contextmanager
def soaking(*, paced: bool = False) -> Iterator[Soak]:
    with tempfile.TemporaryDirectory() as name, running(
            folder := Path(name), "allow_anonymous true\nmax_queued_messages 0") as broker, \
            CuttingProxy(broker.port) as proxy, Watcher(broker.client(), DEVICE) as watcher, \
            Soak(folder, broker, proxy, watcher, paced=paced) as soak:
        yield soak


def run(frames: int, rounds: int, acts: Sequence[str], *, paced: bool) -> dict[str, object]:
    """Soak, so many rounds evenly over the frames; returns everything that was seen."""
    began_s = time.monotonic()
    with soaking(paced=paced) as soak:
        early: dict[str, int] = {}
        early_round = max(1, int(WARM_SHARE * rounds))
        for number in range(rounds):
            for place, act in enumerate(acts, 1):
                if act != "kill" or number < rounds / 2 or frames < LEAST_FRAMES:
                    soak.act(act)
                soak.passes(int(frames * (number + place / len(acts)) / rounds))
            if number + 1 == early_round:
                soak.passes(WINDOWS_FULL)
                early = soak.held()
            print(f"  round {number + 1}/{rounds}: {soak.progress}", file=sys.stderr, flush=True)
        late = soak.held()
        ended = soak.ends()
        return {"frames": frames, "seconds": round(time.monotonic() - began_s), "acts": soak.done,
                "rounds_between": rounds - early_round, **ended, **slopes(soak.samples, frames),
                "grown": {name: [early.get(name, 0), count] for name, count in late.items()
                          if count > early.get(name, 0)}}


def slopes(samples: list[Sample], frames: int) -> dict[str, object]:
    """Slopes of the daemon and of its last child, in MB per 100,000 frames, and the least of what must be flat."""
    warm = WARM_FRAMES if frames >= WARM_FRAMES + LEAST_FRAMES else WARM_SHARE * frames
    daemon = [one for one in samples if one.pid == samples[0].pid and one.frames >= warm]
    last_child = next(one.pid for one in reversed(samples) if one.pid != samples[0].pid)
    child = [one for one in samples if one.pid == last_child]
    child = [one for one in child if one.frames >= child[0].frames + WARM_SHARE * frames]
    return {"daemon": figures(daemon), "child": figures(child)}


def figures(samples: list[Sample]) -> dict[str, object]:
    if len(samples) < 3:
        return {"samples": len(samples)}
    tenth = -(-len(samples) // 10)
    first, last = samples[:tenth], samples[-tenth:]
    slope, _ = statistics.linear_regression([one.frames / 1e5 for one in samples], [one.mb for one in samples])
    return {"samples": len(samples), "frames": samples[-1].frames - samples[0].frames, "mb_per_100k": round(slope, 3),
            "mb": [round(statistics.median(one.mb for one in part), 1) for part in (first, last)],
            "fds": [min(one.fds for one in part) for part in (first, last)],
            "threads": [min(one.threads for one in part) for part in (first, last)]}


def broken_limits(seen: dict[str, Any]) -> list[str]:
    """Name the broken limits."""
    capture = seen["capture"]
    lost = seen["dropped_of_outbox"].get("detections", 0)
    kept = {
        "exit code": seen["exit_code"] == 0,
        "captured = detected + dropped + pending":
            capture["captured"] == capture["detected"] + sum(capture["dropped"].values()) + capture["pending"],
        "detected": capture["detected"] >= seen["frames"],
        "results = detected": lost > 0 or seen["last_seq"] == capture["detected"],
        "received = results but for those counted": seen["received"] + lost == capture["detected"],
        "errors, refused, spooled": not (seen["errors"] or seen["refused"] or seen["spooled"]),
    }
    for name in ("daemon", "child"):
        one = seen[name]
        if one.get("frames", 0) >= LEAST_FRAMES and seen["frames"] >= WARM_FRAMES + LEAST_FRAMES:
            kept[f"{name}: memory"] = one["mb_per_100k"] <= SLOPE_MB
        if "fds" in one:
            kept[f"{name}: descriptors"] = one["fds"][1] <= one["fds"][0]
            kept[f"{name}: threads"] = one["threads"][1] <= one["threads"][0]
    for name, (early, late) in seen["grown"].items():
        filling = FILLING if counted.is_filling(name) else 0
        kept[f"grows: {name}"] = late - early <= max(NOISE, GROWTH_SHARE * seen["rounds_between"]) + filling
    return [name for name, right in kept.items() if not right]


def time_passes(seconds: float) -> None:
    threading.Event().wait(max(0.0, seconds))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=40, help="each does everything once")
    parser.add_argument("--act", choices=ACTS, action="append", help="only this; may be given again")
    parser.add_argument("--paced", action="store_true", help=f"{FPS} frames a second, to spare the machine")
    parser.add_argument("--state", type=Path, default=Path(".campaign/soak.json"))
    args = parser.parse_args()
    args.state.parent.mkdir(parents=True, exist_ok=True)
    if not args.state.exists():
        args.state.write_text(json.dumps(run(args.frames, args.rounds, args.act or ACTS, paced=args.paced)))
    seen = json.loads(args.state.read_text())
    broken = broken_limits(seen)
    print(json.dumps({"campaign": "soak", **seen, "broken": broken}))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
