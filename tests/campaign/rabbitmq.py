"""Campaign `rabbitmq`: a node of a RabbitMQ cluster is killed under load, and its devices go on at another node.

    .venv/bin/python tests/campaign/rabbitmq.py --kills 3 --state .campaign/rabbitmq.json

Three real nodes run with the files of contrib/rabbitmq. Each device is the product's own publisher. The broker's name
has the addresses of all nodes, in a /etc/hosts of the devices' own, so this needs root. A subscriber with a kept
session counts each result by (device, run, seq). The nodes are killed in turn, and started again. Each is killed when
no queue would lose its majority. After each kill every device must be back in time with all that it asks of a broker,
and must get a command. At the end no result may be missing. One JSON line; 1 when a limit was broken.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

from tests.support.broker.mosquitto import configuration
from tests.support.broker.rabbitmq import NODES, Cluster, address, running
from tests.support.full_payload import full
from tests.support.network.another_host import use_hosts
from tests.support.waiting.in_thread import InThread
from tests.support.waiting.until import wait_until
from vedette._lib.clock import SystemClock
from vedette.config.models import MqttConfig
from vedette.errors import BrokerError
from vedette.messages import payloads
from vedette.messages.shapes import DetectionsPayload
from vedette.mqtt.connection import Connection
from vedette.mqtt.publisher import MqttPublisher
from vedette.mqtt.terms import Start, Terms
from vedette.types import Message

LOOK_S = 0.1
STEADY_S = 5.0
"""Devices are back when all were online for so long."""
USER, SECRET = "guest", "guest"
"""RabbitMQ makes this user, for clients of its own machine."""
_SPAWN = multiprocessing.get_context("spawn")


def login(folder: Path, host: str, port: int) -> MqttConfig:
    """Return what docs/brokers.md says about `mqtt` in the configuration of a device."""
    return MqttConfig(host=host, port=port, protocol="3.1.1", username=USER, password_file=folder / "secret")


def hosts() -> str:
    """Return /etc/hosts with one name for each node; each has all addresses, and another one first."""
    lines = [f"{address(NODES[(place + turn) % len(NODES)])} brokers-{first}"
             for place, first in enumerate(NODES) for turn in range(len(NODES))]
    return "\n".join(["127.0.0.1 localhost", *lines, ""])


class Fleet:
    """The devices, in a process of their own. They publish the same `seq` at the same time."""

    def __init__(self, folder: Path, port: int, count: int) -> None:
        self._commands = [0] * count
        self.seq = 0
        self._devices = [self._device(login(folder, f"brokers-{NODES[number % len(NODES)]}", port), number)
                         for number in range(count)]
        self._result: Any = full(DetectionsPayload)

    def publish(self) -> None:
        self.seq += 1
        for number, device in enumerate(self._devices):
            result = self._result | {"device": name(number), "run": 1, "seq": self.seq}
            device.publish(Message("detections", payloads.encode(result)))

    def answer(self, question: str) -> Any:
        if question == "online":
            return sum(device.status().connected for device in self._devices)
        if question == "commanded":
            return min(self._commands)
        if question == "limited":
            return sum("mqtt_limited" in device.reasons() for device in self._devices)
        for device in self._devices:
            device.flush(60)
        return self.seq, sum(device.status().outbox_dropped for device in self._devices)

    def close(self) -> None:
        for device in self._devices:
            device.worker.stopping.set()
        for device in self._devices:
            device.stop(60)

    def _device(self, mqtt: MqttConfig, number: int) -> MqttPublisher:
        def count(_command: object) -> None:
            self._commands[number] += 1

        device = MqttPublisher(configuration(mqtt, ["resume"]), name(number), SystemClock())
        device.subscribe(count)
        device.start()
        return device


def name(number: int) -> str:
    return f"gate-{number:05}"


def fleet(folder: Path, port: int, count: int, per_s: float, pipe: Pipe) -> None:
    """Process: devices that publish, until "flush" ends that and "end" ends them."""
    own = folder / "hosts"
    own.write_text(hosts())
    use_hosts(own)
    devices = Fleet(folder, port, count)
    next_s, question = time.monotonic(), ""
    while question != "end":
        if question == "flush" or pipe.poll(max(0.0, next_s - time.monotonic())):
            question = pipe.recv()
            pipe.send(devices.answer(question) if question != "end" else None)
        else:
            devices.publish()
            next_s += 1 / per_s
    devices.close()


class Sink(InThread):
    """A subscriber with a kept session, which goes to the next node when its own is gone."""

    def __init__(self, folder: Path, port: int) -> None:
        super().__init__()
        self.rows: Counter[tuple[str, int, int]] = Counter()
        self.connects = 0
        self._folder, self._port = folder, port

    def _run(self) -> None:
        turn = 0
        while not self._stopping.is_set():
            with suppress(BrokerError):
                self._listen(address(NODES[turn % len(NODES)]))
            turn += 1
            self._stopping.wait(LOOK_S)

    def _listen(self, host: str) -> None:
        mqtt = login(self._folder, host, self._port)
        connection = Connection(mqtt, "campaign.sink", Start(Terms(is_v5=False), clean=False),
                                filters=["vedette/+/detections"])
        was_connected = False
        try:
            while not self._stopping.is_set():
                for message in connection.poll(LOOK_S):
                    result = json.loads(message.payload)
                    self.rows[result["device"], result["run"], result["seq"]] += 1
                self.connects += connection.connected and not was_connected
                was_connected = connection.connected
        finally:
            connection.close()


def command_all(mqtt: MqttConfig, count: int) -> None:
    """Send a command to each device. Raises: BrokerError."""
    connection = Connection(mqtt, "campaign.operator", Start(Terms(is_v5=False)))
    try:
        for number in range(count):
            while not connection.has_room:
                connection.poll(LOOK_S)
            connection.publish(f"vedette/{name(number)}/cmd/resume", b"", qos=1)
        while not connection.is_idle:
            connection.poll(LOOK_S)
    finally:
        connection.close(send_disconnect=True)


class Scene:
    """A cluster with its fleet and its sink."""

    def __init__(self, folder: Path, cluster: Cluster, sink: Sink, pipe: Pipe, count: int) -> None:
        self._folder, self._cluster, self._sink, self._pipe, self._count = folder, cluster, sink, pipe, count
        self._commanded = 0

    def ask(self, question: str) -> Any:
        self._pipe.send(question)
        return self._pipe.recv()

    def are_online(self) -> bool:
        return bool(self.ask("online") == self._count)

    def kill(self, node: int) -> dict[str, object]:
        """Kill a node that the cluster can do without, see how long its devices are away, command them, start it again.
        """
        assert wait_until(lambda: self._cluster.may_lose(node)), f"a queue would lose its majority without node {node}"
        self._cluster.kill(node)
        began_s = last_away_s = time.monotonic()
        fewest = self._count
        while (now_s := time.monotonic()) - last_away_s < STEADY_S and now_s - began_s < 300:
            online = self.ask("online")
            fewest = min(fewest, online)
            last_away_s = time.monotonic() if online < self._count else last_away_s
            threading.Event().wait(LOOK_S)
        self._commanded += 1
        other = next(one for one in NODES if one != node)
        command_all(login(self._folder, address(other), self._cluster.port), self._count)
        commanded = wait_until(lambda: self.ask("commanded") >= self._commanded, 30)
        self._cluster.start_node(node)
        return {"node": node, "away": self._count - fewest, "back_s": round(last_away_s - began_s, 1),
                "online": self.ask("online"), "commanded": commanded, "limited": self.ask("limited")}

    def counts(self) -> dict[str, object]:
        """End the load, and compare what was published with what arrived."""
        seq, dropped = self.ask("flush")
        published = {(name(number), 1, one) for number in range(self._count) for one in range(1, seq + 1)}
        wait_until(lambda: len(self._sink.rows) >= len(published), 60)
        return {"published": len(published), "dropped": dropped, "lost": len(published - self._sink.rows.keys()),
                "foreign": len(self._sink.rows.keys() - published),
                "repeats": self._sink.rows.total() - len(self._sink.rows), "sink_connects": self._sink.connects}


def campaign(folder: Path, count: int, per_s: float, kills: int) -> dict[str, Any]:
    (folder / "secret").write_text(SECRET)
    began_s = time.monotonic()
    with running(folder) as cluster, Sink(folder, cluster.port) as sink:
        started_s = time.monotonic() - began_s
        assert wait_until(lambda: sink.connects)
        pipe, far = _SPAWN.Pipe()
        child = _SPAWN.Process(target=fleet, args=(folder, cluster.port, count, per_s, far), daemon=True)
        child.start()
        try:
            scene = Scene(folder, cluster, sink, pipe, count)
            began_s = time.monotonic()
            assert wait_until(scene.are_online), f"{scene.ask('online')} are online"
            first_s = time.monotonic() - began_s
            lives = []
            for turn in range(kills):
                threading.Event().wait(STEADY_S)
                lives.append(scene.kill(NODES[turn % len(NODES)]))
                print(lives[-1], file=sys.stderr, flush=True)
            counts = scene.counts()
            scene.ask("end")
            child.join(60)
        finally:
            child.kill()
            child.join()
            if keep := os.environ.get("VEDETTE_KEEP_LOGS"):
                for node in NODES:
                    (Path(keep) / f"node-{node}.log").write_text(cluster.log(node))
    return {"devices": count, "per_s": per_s, "cluster_s": round(started_s, 1), "first_s": round(first_s, 1),
            "kills": lives, **counts}


def broken(figures: dict[str, Any], within_s: float) -> list[str]:
    """Return the limits that were broken."""
    kills = [f"node {kill['node']}: {kill}" for kill in figures["kills"]
             if kill["back_s"] > within_s or kill["limited"] or not kill["commanded"]
             or kill["online"] != figures["devices"]]
    return kills + [f"{what}: {figures[what]}" for what in ("dropped", "lost", "foreign") if figures[what]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=50, metavar="N")
    parser.add_argument("--per-s", type=float, default=4.0, metavar="RATE", help="results a second of each device")
    parser.add_argument("--kills", type=int, default=3, metavar="N")
    parser.add_argument("--within-s", type=float, default=60.0, metavar="S")
    parser.add_argument("--slack-s", type=float, default=0.0, metavar="S", help="added to the limit")
    parser.add_argument("--state", type=Path, required=True, help="where the figures are written")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = campaign(Path(folder), args.devices, args.per_s, args.kills)
    figures["broken"] = broken(figures, args.within_s + args.slack_s)
    args.state.write_text(json.dumps(figures))
    print(json.dumps({"campaign": "rabbitmq", **figures}))
    return 1 if figures["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
