"""Campaign `event_cuts`: every event starts once and ends once for a subscriber, through kills and power cuts.

    .venv/bin/python tests/campaign/event_cuts.py --state .campaign/event_cuts.json

`kills`: the device's side of events and MQTT as a process, a real broker, a proxy between them that is away now and
then. The process is killed again and again; a last run brings what is left. `power`: the power fails at a random step
of the disk, on a disk that forgets what was not synced, and the next run gets any content that may be left. In both,
each start must have exactly one end, and each message that was on its way or durable must come; repeats with the same
(device, run, seq) count once. Resumable by part. One JSON line; 1 when an event is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, cast

from tests.support.broker.cutting_proxy import CuttingProxy
from tests.support.broker.mosquitto import configuration, running
from tests.support.broker.subscriber import Subscriber, listening
from tests.support.faults.forgetful_disk import ForgetfulDisk, PowerCut
from tests.support.waiting.until import wait_until
from vedette._lib.clock import SystemClock
from vedette._lib.durable import Files
from vedette.config.models import MqttConfig
from vedette.events.journal import EventJournal
from vedette.events.reporter import Draft
from vedette.messages import payloads
from vedette.messages.event_shapes import EventPayload, EventType
from vedette.mqtt.outbox import Outbox
from vedette.mqtt.publisher import MqttPublisher
from vedette.mqtt.spool_worker import SpoolWorker
from vedette.types import BrokerStatus, Message, RunIdentity

PROGRAM = "tests.campaign.event_cuts"
OPEN_MAX = 6


def drafts(run: int, count: int, chance: random.Random) -> Iterator[Draft]:
    """Events of a run that overlap: each starts, some change or are remembered, and all but the last few end."""
    going_on: list[str] = []
    started = 0
    while started < count:
        kind = chance.choice(("start", "start", "update", "end", "end", "remember"))
        if kind == "start" and len(going_on) < OPEN_MAX:
            started += 1
            going_on.append(f"{run}-{started}")
            yield draft("start", run, going_on[-1])
        elif kind == "end" and going_on:
            yield draft("end", run, going_on.pop(chance.randrange(len(going_on))))
        elif going_on:
            yield draft("update", run, chance.choice(going_on), publish=kind == "update")


def draft(kind: EventType, run: int, event: str, *, publish: bool = True) -> Draft:
    now = datetime.now(UTC)
    content = {"schema": "vedette.events/1", "device": "gate-01", "run": run, "seq": 0, "type": kind, "id": event,
               "label": "car", "began": payloads.timestamp(now), "interrupted": False, "backfilled": False,
               "ended": payloads.timestamp(now) if kind == "end" else None}
    return Draft(cast("EventPayload", content), now, None, publish)


class Device:
    """One run of the device's side of events, with a real connection or with `publisher`."""

    def __init__(self, state: Path, run: int, publisher: Any = None, port: int = 0,
                 files: Files = os, *, memory_only: bool = False) -> None:
        clock, identity = SystemClock(), RunIdentity("gate-01", run, "boot")
        mqtt = MqttConfig(host="127.0.0.1", port=port or 1883)
        self.spool = SpoolWorker(Outbox(1000), mqtt, state, identity, clock, clock_synced=lambda: True)
        self.publisher = publisher or MqttPublisher(configuration(mqtt), "gate-01", clock, spool=self.spool)
        self.journal = EventJournal(self.spool, self.publisher, state, identity, clock, files=files,
                                    memory_only=memory_only)


def child(state: Path, run: int, port: int, count: int) -> None:
    """Make events until killed, and print how many are on their way; or bring what is left, for no events."""
    device = Device(state, run, port=port)
    device.spool.start()
    device.publisher.start()
    for number, each in enumerate(drafts(run, count, random.Random(run)), 1):
        device.journal.put(each)
        if number % 3 == 0:
            device.journal.settle(60)
            print(number, flush=True)
    device.journal.settle(60)
    print("all", flush=True)
    threading.Event().wait()


def kills(events: int, count: int) -> dict[str, object]:
    chance = random.Random(7)
    per_life = events // count
    made: list[Draft] = []
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as broker, CuttingProxy(broker.port) as proxy, \
            listening(broker.client(keepalive_s=300), "vedette/gate-01/events") as subscriber:
        for life in range(1, count + 2):
            last = life == count + 1
            command = [sys.executable, "-m", PROGRAM, "--child", folder, str(life), str(proxy.port),
                       str(0 if last else 10 * per_life)]
            proxy.refusing = not last and chance.random() < 0.3
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
                assert process.stdout is not None
                settled = 0
                until = chance.randint(per_life * 2, per_life * 4)      # a start has 2 to 4 messages
                while (line := process.stdout.readline().strip()) and line != "all":
                    settled = int(line)
                    if settled >= until:
                        break
                    if chance.random() < 0.02:
                        proxy.cut()
                if last:
                    wait_until(partial(is_right, subscriber, made), 60)
                threading.Event().wait(chance.uniform(0, 0.05))
                process.send_signal(signal.SIGKILL)
            made += [each for number, each in enumerate(drafts(life, 10 * per_life, random.Random(life)), 1)
                     if number <= settled]
            proxy.cut()
        received = keyed(subscriber.received)
        return {"kills": count, "wrong": wrong(received, made), **figures(received, len(subscriber.received))}


class Broker:
    """A publisher that takes everything at once, and acknowledges a share of it."""

    def __init__(self, chance: random.Random) -> None:
        self.received: list[Message] = []
        self.connected = True
        self.acknowledges = 0.8
        self._chance = chance

    def publish(self, message: Message) -> None:
        self.received.append(message)
        if message.on_done and self._chance.random() < self.acknowledges:
            message.on_done()

    def status(self) -> BrokerStatus:
        return BrokerStatus(self.connected, None)


def power(events: int, count: int, disk: type[ForgetfulDisk] = ForgetfulDisk) -> dict[str, object]:
    """Cut the power `count` times at random steps; the next run begins with what may be left."""
    chance = random.Random(8)
    broker = Broker(chance)
    received: list[Message] = []
    content: dict[str, bytes | None] = {}
    made: list[Draft] = []
    for life in range(1, count + 2):
        last = life == count + 1
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            forgetful = disk(root, None)
            restore(forgetful, root, content)
            forgetful.stop_at = None if last else forgetful.steps + chance.randint(1, 12 * events // count)
            broker.connected = last or chance.random() < 0.7
            broker.acknowledges = 1 if last else 0.8
            device = Device(root, life, broker, files=forgetful)
            try:
                device.journal.round(False)
                for each in drafts(life, 0 if last else 10 * events // count, random.Random(life)):
                    device.journal.put(each)
                    device.journal.round(False)
                    made.append(each)
                for _ in range(100 if last else 0):
                    device.journal.round(False)
            except PowerCut:
                pass
            received, broker.received = received + broker.received, []
            content = chance.choice(list(forgetful.after_the_cut()))
    by_key = keyed(received)
    return {"cuts": count, "wrong": wrong(by_key, made), **figures(by_key, len(received))}


def restore(disk: ForgetfulDisk, root: Path, content: dict[str, bytes | None]) -> None:
    """Put what a power cut has left on a new disk, durably."""
    for name, data in content.items():
        if data is not None and not name.startswith("."):
            path = str(root / name)
            descriptor = disk.open(path, 0o101)     # O_WRONLY | O_CREAT
            written = 0
            while written < len(data):
                written += disk.write(descriptor, data[written:])
            disk.fsync(descriptor)
            disk.close(descriptor)
    disk.sync_names(str(root))


def keyed(received: Any) -> dict[tuple[int, int], dict[str, Any]]:
    """The messages without repeats. A repeat must say the same."""
    found: dict[tuple[int, int], dict[str, Any]] = {}
    for message in tuple(received):
        content = json.loads(message.payload)
        before = found.setdefault((content["run"], content["seq"]), content)
        assert {**before, "backfilled": None} == {**content, "backfilled": None}, (before, content)
    return found


def wrong(received: dict[tuple[int, int], dict[str, Any]], made: list[Draft]) -> list[str]:
    """What is missing or too many: starts without an end, ends without a start, and messages that were made."""
    counts = Counter((content["id"], content["type"]) for content in received.values() if content["type"] != "update")
    ids = {event for event, _ in counts} | {each.payload["id"] for each in made if each.payload["type"] != "update"}
    bad = [f"{event}: {counts[event, 'start']} starts, {counts[event, 'end']} ends" for event in sorted(ids)
           if (counts[event, "start"], counts[event, "end"]) != (1, 1)]
    ended = {content["id"]: content["interrupted"] for content in received.values() if content["type"] == "end"}
    return bad + [f"{each.payload['id']}: its end is lost" for each in made
                  if each.payload["type"] == "end" and ended.get(each.payload["id"])]


def is_right(subscriber: Subscriber, made: list[Draft]) -> bool:
    return not wrong(keyed(subscriber.received), made)


def figures(received: dict[tuple[int, int], dict[str, Any]], total: int) -> dict[str, int]:
    ends = [content for content in received.values() if content["type"] == "end"]
    return {"events": len(ends), "interrupted": sum(end["interrupted"] for end in ends),
            "repeats": total - len(received)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1000)
    parser.add_argument("--cuts", type=int, default=50)
    parser.add_argument("--state", type=Path, default=Path(".campaign/event_cuts.json"))
    parser.add_argument("--child", nargs=4, metavar=("STATE", "RUN", "PORT", "COUNT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(Path(args.child[0]), *map(int, args.child[1:]))
    done: dict[str, dict[str, Any]] = json.loads(args.state.read_text()) if args.state.exists() else {}
    args.state.parent.mkdir(parents=True, exist_ok=True)
    parts: dict[str, Callable[[int, int], dict[str, Any]]] = {"power": power, "kills": kills}
    for name, part in parts.items():
        if name not in done:
            done[name] = part(args.events, args.cuts)
            args.state.write_text(json.dumps(done))
            print(f"{name}: {done[name]}", file=sys.stderr, flush=True)
    print(json.dumps({"campaign": "event_cuts", **done}))
    return 1 if any(figures["wrong"] for figures in done.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
