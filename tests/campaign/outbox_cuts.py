"""Campaign `outbox_cuts`: the results that reach a subscriber through cuts, restarts and kills, and the bytes on disk.

    .venv/bin/python tests/campaign/outbox_cuts.py --state .campaign/outbox_cuts.json

Four parts, each with a state folder of its own, real daemons, a real broker and a proxy between them that cuts:
`cuts`: clean restarts, and network cuts of every kind (reset, away, silent; short, and long enough for the disk): no
result may be missing, each category (live, backfilled) must come in order, and each run must say how far the one before
was acknowledged. `kills`: SIGKILL while online, away or silent: what is missing at the end must be younger than 5 s at
its kill. `small`: an outbox that is too small over an outage and a restart: what is missing must be what was counted.
`writes`: bytes that an hour's outage at 5 results a second, and an hour online, make the kernel write (/proc/self/io).
Resumable by part. One JSON line; 1 when a limit was broken.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.support.broker.cutting_proxy import CuttingProxy
from tests.support.broker.mosquitto import Mosquitto, running
from tests.support.broker.subscriber import Subscriber, listening
from tests.support.daemon.running import RunningDaemon
from tests.support.fakes import FakeClock, make_frame, make_result
from tests.support.truth.bright_squares import write_clip, write_model
from tests.support.waiting.until import wait_until
from vedette._lib.double_buffered_file import DoubleBufferedFile
from vedette.messages import payloads
from vedette.mqtt.backfill import SAVE_AFTER_S
from vedette.mqtt.checkpoint import Checkpoint
from vedette.mqtt.reconnect_policy import SHORT_CONNECTION_S, SHORT_CONNECTIONS
from vedette.mqtt.spool import Moment, SavedMessage, Spool
from vedette.mqtt.spool_worker import CHECKPOINT_EVERY_S, POLL_S
from vedette.types import Acknowledged, Box, Detection, Message

LOST_WITHIN_S = 5.0
OUTAGE_MB, ONLINE_MB = 20.0, 2.0
KINDS = ("reset", "reset", "reset", "away", "silent")
LONG_EVERY = 8
"""One cut of so many lasts long enough for the disk."""
QUICK = SHORT_CONNECTIONS - 1
"""So many connections in a row may be cut young without being taken for another client of the same name."""
FPS = 60
LABELS = ("person", "car", "bicycle")


@dataclass
class Received:
    """The messages of one subscriber: `order` of the first arrivals, and the first health of each run."""

    order: list[tuple[int, int, bool]] = field(default_factory=list)
    repeated: int = 0
    health: dict[str, Any] = field(default_factory=dict)
    first_health: dict[int, dict[str, Any]] = field(default_factory=dict)
    seen: set[tuple[int, int]] = field(default_factory=set)

    def take(self, topic: str, payload: bytes) -> None:
        message = json.loads(payload) if payload.startswith(b"{") else {}
        if topic.endswith("/health"):
            self.health = message
            self.first_health.setdefault(message["run"], message)
        elif topic.endswith("/detections"):
            key = message["run"], message["seq"]
            self.repeated += key in self.seen
            if key not in self.seen:
                self.seen.add(key)
                self.order.append((*key, message["backfilled"]))

    def disorder(self) -> int:
        """First arrivals that came behind a newer one of their category."""
        return sum(later <= earlier for late in (False, True) for earlier, later in itertools.pairwise(
            [(run, seq) for run, seq, backfilled in self.order if backfilled == late]))


class Scene:
    """A broker, a network before it, a subscriber behind it, and the configuration of a daemon."""

    def __init__(self, folder: Path, broker: Mosquitto, proxy: CuttingProxy, mqtt: str) -> None:
        self.proxy = proxy
        self.received = Received()
        self.runs: dict[int, list[float]] = {}
        """Run -> capture time of each result, in seconds since 1970."""
        self.folder = folder
        self.broker = broker
        self._taken = 0
        config = folder / "config.yaml"
        config.write_text(
            f"device: gate\nmqtt: {{port: {proxy.port}, keepalive_s: 5, {mqtt}}}\n"
            "publish: {results: all, max_per_s: 1000000}\nhealth: {interval_s: 1}\n"
            f"detector: {{model: '{write_model(folder)}', threads: 1}}\n"
            f"camera: {{source: '{write_clip(folder, 600, fps=FPS)}', loop: true, fps: {FPS}}}\n")
        self._config = config

    @contextmanager
    def life(self, **env: str) -> Iterator[RunningDaemon]:
        """One daemon from its first result to its end; whoever uses it has ended it."""
        with self.start(**env) as daemon:
            assert daemon.waits_for_results(1, 60), daemon.log
            yield daemon
            assert daemon.ends() in (0, -signal.SIGKILL), daemon.log
        self.note(daemon.results)

    def start(self, **env: str) -> RunningDaemon:
        return RunningDaemon(self.folder, "--config", self._config, "--print", env=env)

    def note(self, results: list[dict[str, Any]]) -> None:
        """Record the results that one daemon printed."""
        if results:
            self.runs[results[0]["run"]] = [
                datetime.fromisoformat(result["frame"]["captured_at"]).timestamp() for result in results]

    def is_connected_again(self, before: int) -> bool:
        """Wait for more connections than there were before."""
        return wait_until(lambda: self.proxy.connections > before)

    def goodbye(self, subscriber: Subscriber) -> None:
        """Wait for the daemon's last message, and record all before it."""
        assert wait_until(lambda: subscriber.received[-1].payload == b"offline"), subscriber.received[-1]
        self.listen(subscriber)

    def listen(self, subscriber: Subscriber) -> None:
        """Record the messages that the subscriber received since the last call."""
        received = subscriber.received
        while self._taken < len(received):
            message = received[self._taken]
            self._taken += 1
            self.received.take(message.topic, message.payload)

    def missing(self) -> list[tuple[int, int]]:
        return [(run, seq) for run, results in self.runs.items() for seq in range(1, len(results) + 1)
                if (run, seq) not in self.received.seen]

    def drains(self, subscriber: Subscriber) -> bool:
        """Wait until a new health message reports that nothing waits on disk."""
        self.listen(subscriber)
        self.received.health = {}

        def says_so() -> bool:
            self.listen(subscriber)
            mqtt = self.received.health.get("mqtt", {})
            return bool(mqtt) and mqtt["connected"] and mqtt["spooled"] == 0

        return wait_until(says_so, 120)


@contextmanager
def scene(mqtt: str, settings: Callable[[Path], str] = lambda _: "") -> Iterator[tuple[Scene, Subscriber]]:
    """Put together what `Scene` needs; `settings` of the broker may name files that they make in the folder."""
    with tempfile.TemporaryDirectory() as folder, running(
            Path(folder), f"allow_anonymous true\nmax_queued_messages 0\n{settings(Path(folder))}") as broker, \
            CuttingProxy(broker.port) as proxy, \
            listening(broker.client(keepalive_s=300), "vedette/gate/#") as subscriber:
        yield Scene(Path(folder), broker, proxy, mqtt), subscriber


def disturb(proxy: CuttingProxy, kind: str, seconds: float) -> None:
    """Cut once; for `seconds` no client gets through, or no data."""
    if kind == "silent":
        proxy.swallowing = True
        time_passes(seconds)
        proxy.cut()
        proxy.swallowing = False
        return
    proxy.refusing = kind == "away"
    proxy.cut()
    if kind == "away":
        time_passes(seconds)
        proxy.refusing = False


def time_passes(seconds: float) -> None:
    threading.Event().wait(seconds)


def cuts(lives: int, cuts_total: int, results: int) -> dict[str, object]:
    """Restart cleanly again and again, and cut in between; at the end let everything come."""
    chance = random.Random(4)
    per_life = results // lives
    done = 0
    with scene("outbox_messages: 10000, replay_per_s: 400, clock_wait_s: 0") as (here, subscriber):
        for life in range(lives):
            before = here.proxy.connections
            with here.life() as daemon:
                while done * lives < cuts_total * (life + 1):
                    assert here.is_connected_again(before), daemon.log
                    before = here.proxy.connections
                    time_passes(chance.uniform(0.05, 0.6) + (0 if done % (QUICK + 1) else SHORT_CONNECTION_S))
                    is_long = done % LONG_EVERY == LONG_EVERY - 1
                    disturb(here.proxy, chance.choice(KINDS[3:] if is_long else KINDS),
                            chance.uniform(4, 6) if is_long else chance.uniform(0.1, 1.0))
                    done += 1
                assert daemon.waits_for_results(per_life, 120), daemon.log
                if life == lives - 1:
                    assert here.drains(subscriber), f"{here.received.health} {daemon.log}"
                daemon.signal(signal.SIGTERM)
            print(f"  life {life + 1}/{lives}: {len(daemon.lines)} results, {done} cuts", file=sys.stderr, flush=True)
        here.goodbye(subscriber)
        message = [(run, health["mqtt"]["acknowledged_before"]) for run, health in here.received.first_health.items()]
        said = sum(before is not None and before["run"] < run
                   and 0 < before["seq"] <= len(here.runs[before["run"]]) for run, before in message if run > 1)
        return {"results": sum(map(len, here.runs.values())), "restarts": lives - 1, "cuts": done,
                "connections": here.proxy.connections, "missing": len(here.missing()),
                "first_missing": here.missing()[:10],
                "repeated": here.received.repeated, "disorder": here.received.disorder(),
                "backfilled": sum(late for _, _, late in here.received.order),
                "runs_that_said_how_far": [said, lives - 1], "dropped": here.received.health["mqtt"]["dropped_ever"]}


def kills(count: int) -> dict[str, object]:
    """Kill while online, away or silent; one more life brings what is on disk."""
    chance = random.Random(5)
    killed_at: dict[int, float] = {}
    with scene("outbox_messages: 10000, replay_per_s: 400, clock_wait_s: 0") as (here, subscriber):
        for number in range(count + 1):
            with here.life() as daemon:
                run = daemon.results[0]["run"]
                if number == count:
                    assert here.drains(subscriber), f"{here.received.health} {daemon.log}"
                    daemon.signal(signal.SIGTERM)
                    continue
                kind = ("online", "away", "silent")[number % 3]
                time_passes(chance.uniform(1, 3))
                if kind == "silent":
                    here.proxy.swallowing = True
                elif kind == "away":
                    here.proxy.refusing = True
                    here.proxy.cut()
                time_passes(chance.uniform(3, 9) if kind != "online" else 0)
                killed_at[run] = time.time()
                daemon.signal(signal.SIGKILL)
                daemon.process.wait(60)
                here.proxy.cut()
                here.proxy.swallowing = here.proxy.refusing = False
        here.goodbye(subscriber)
        lost_s = {run: [killed_at[run] - here.runs[run][seq - 1] for gone, seq in here.missing() if gone == run]
                  for run in here.runs if run in killed_at}
        befores = {run: health["mqtt"]["acknowledged_before"] for run, health in here.received.first_health.items()}
        overstated = [run for run, before in befores.items()
                      if before and (before["run"], before["seq"]) not in here.received.seen]
        return {"kills": count, "results": sum(map(len, here.runs.values())), "disorder": here.received.disorder(),
                "lost_of_the_last_run": len([1 for run, _ in here.missing() if run not in killed_at]),
                "worst_lost_s": round(max((max(ages, default=0) for ages in lost_s.values()), default=0), 2),
                "median_lost_s": round(statistics.median(max(ages, default=0) for ages in lost_s.values()), 2),
                "overstated": overstated}


def small(results: int) -> dict[str, object]:
    """Let an outage overflow the disk over a restart, and the broker come at the end."""
    with scene("outbox_messages: 200, replay_per_s: 400, clock_wait_s: 0, spool_mb: 0.02") as (here, subscriber):
        here.proxy.refusing = True
        for life in range(2):
            with here.life() as daemon:
                assert daemon.waits_for_results(results // 2, 240), daemon.log
                if life == 1:
                    here.proxy.refusing = False
                    assert here.drains(subscriber), f"{here.received.health} {daemon.log}"
                daemon.signal(signal.SIGTERM)
        here.goodbye(subscriber)
        return {"results": sum(map(len, here.runs.values())), "missing": len(here.missing()),
                "counted": here.received.health["mqtt"]["dropped_ever"].get("detections", 0),
                "disorder": here.received.disorder()}


def writes(folder_on_disk: Path) -> dict[str, object]:
    """Write what an hour's outage writes, and what an hour online does, and ask the kernel."""
    with tempfile.TemporaryDirectory(dir=folder_on_disk) as folder:
        before = kernel_written()
        spool = Spool(Path(folder) / "outbox", 64_000_000)
        spool.recover()
        slots = DoubleBufferedFile(Path(folder) / "mark")
        messages, ends_s = list(results_of_an_hour()), 3600.0
        next_mark_s, at, every_s = 0.0, 0, SAVE_AFTER_S + POLL_S
        for number in range(math.ceil(ends_s / every_s)):
            now_s = min(ends_s, (number + 1) * every_s)
            upto = int(now_s * 5)
            spool.append([messages[at:upto]], 1, Moment("boot", int(now_s * 1e9), datetime.now(UTC), True))
            at = upto
            if now_s >= next_mark_s:
                slots.write(Checkpoint(Acknowledged(1, number)).encode())
                next_mark_s = now_s + CHECKPOINT_EVERY_S
        outage, kept = kernel_written() - before, len(spool)
        before = kernel_written()
        for number in range(int(ends_s / CHECKPOINT_EVERY_S)):
            slots.write(Checkpoint(Acknowledged(2, number)).encode())
        online = kernel_written() - before
        return {"messages": kept, "payload_bytes": round(statistics.mean(len(one.message.payload) for one in messages)),
                "outage_mb": round(outage / 1e6, 2), "file_mb": round(spool.size / 1e6, 2),
                "online_mb": round(online / 1e6, 2), "per_message": round(outage / kept)}


def kernel_written() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("write_bytes")).split()[1])


def results_of_an_hour() -> Iterator[SavedMessage]:
    """18,000 results as a street gives them: a few objects, every digit of their boxes and scores another."""
    chance, clock = random.Random(6), FakeClock()
    for seq in range(1, 18_001):
        clock.advance(0.2)
        seen = tuple(Detection(label, number, chance.uniform(0.5, 1), Box(*sorted(chance.random() for _ in range(4))))
                     for number, label in enumerate(chance.choices(LABELS, k=chance.randint(0, 5))))
        payload = payloads.detections(make_result(make_frame(clock, seq, age_ms=chance.uniform(20, 60)), seen),
                                      device="gate-01-6f1c", run=1, seq=seq, clock_synced=True,
                                      dropped={"replaced": seq * 2, "stale": 0})
        yield SavedMessage(seq, Message("detections", payloads.encode(payload), seq=seq))


def broken_limits(done: dict[str, dict[str, Any]], slack_s: float) -> list[str]:
    """Name the broken limits."""
    through, killed, full, disk = (done[part] for part in ("cuts", "kills", "small", "writes"))
    kept = {
        "cuts: missing": through["missing"] == 0,
        "cuts: disorder": through["disorder"] == 0,
        "cuts: dropped": not sum(through["dropped"].values()),
        "cuts: said how far": len(set(through["runs_that_said_how_far"])) == 1,
        "cuts: by way of the disk": through["backfilled"] > 0 or through["cuts"] < LONG_EVERY,
        "kills: lost": killed["worst_lost_s"] <= LOST_WITHIN_S + slack_s and killed["lost_of_the_last_run"] == 0,
        "kills: disorder": killed["disorder"] == 0,
        "kills: overstated": not killed["overstated"],
        "small: missing is counted": full["missing"] == full["counted"] > 0,
        "small: disorder": full["disorder"] == 0,
        "writes: an outage": disk["outage_mb"] <= OUTAGE_MB and disk["messages"] == 18_000,
        "writes: online": disk["online_mb"] <= ONLINE_MB,
    }
    return [name for name, right in kept.items() if not right]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--restarts", type=int, default=20)
    parser.add_argument("--cuts", type=int, default=100)
    parser.add_argument("--results", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--small", type=int, default=4_000, help="results through the outbox that is too small")
    parser.add_argument("--state", type=Path, default=Path(".campaign/outbox_cuts.json"))
    parser.add_argument("--slack-s", type=float, default=0, help="added to each limit of time, on a starved machine")
    args = parser.parse_args()
    done: dict[str, dict[str, Any]] = json.loads(args.state.read_text()) if args.state.exists() else {}
    args.state.parent.mkdir(parents=True, exist_ok=True)
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "writes": lambda: writes(args.state.parent),
        "cuts": lambda: cuts(args.restarts + 1, args.cuts, args.results),
        "small": lambda: small(args.small), "kills": lambda: kills(args.kills)}
    for name, part in parts.items():
        if name not in done:
            done[name] = part()
            args.state.write_text(json.dumps(done))
            print(f"{name}: {done[name]}", file=sys.stderr, flush=True)
    broken = broken_limits(done, args.slack_s)
    print(json.dumps({"campaign": "outbox_cuts", **done, "broken": broken}))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
