"""Campaign `ingest`: results of devices through mosquitto into PostgreSQL, while each of the three ends now and then.

    .venv/bin/python tests/campaign/ingest.py --state .campaign/ingest.json

`once`: ten devices publish 20,000 results with the daemon's own publisher. The program of contrib/ingest is killed and
started again five times, the broker restarts, and the database crashes; among the results are messages that are none.
Afterwards each result is one row, and each of the others is aside. `queue`: 20,000 results while the program is away,
with the broker's default of `max_queued_messages` and with 0; the bytes that each needs there; how fast they are
written. `share`: how many of 1,000 results are lost that come after a restart of the broker and before its programs,
with a shared subscription and without. `killed`: how many of 2,000 results are left that a broker kept when it was
killed, by when it saves them, and how fast it took them. `cluster`: 4,000 results through three nodes of RabbitMQ to
the program with MQTT 3.1.1; it is killed, and then one of the nodes. Resumable by part. One JSON line; 1 when a row is
missing or there twice.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.support.broker import rabbitmq
from tests.support.broker.mosquitto import Mosquitto, configuration, running
from tests.support.fakes import FakeClock, make_frame, make_result
from tests.support.network import postgres
from tests.support.network.ingest import PASSWORD, RunningIngest, ingesting, kill
from tests.support.network.postgres import Postgres
from tests.support.waiting.until import wait_until
from vedette._lib.clock import SystemClock
from vedette.config.models import MqttConfig
from vedette.messages import payloads
from vedette.mqtt.publisher import MqttPublisher
from vedette.types import Box, Detection, Message

PARTS = ("once", "queue", "share", "killed", "cluster")
DEVICES = 10
PER_S = 100
"""Results of each device."""
BAD = (b"{", b"", b"\xff\xfe", b'{"schema": "vedette.detections/1", "device": "stranger", "run": 1, "seq": 1}')
KEEPING = "allow_anonymous true\npersistence true\npersistence_location FOLDER/\n"
AWAY, GAP, KEPT, CLUSTERED = 20_000, 1000, 2000, 4000


def pause(seconds: float) -> None:
    threading.Event().wait(seconds)


class Device:
    """Publishes results with the daemon's publisher, at an even rate."""

    def __init__(self, mqtt: MqttConfig, name: str) -> None:
        self.name = name
        self.publisher = MqttPublisher(configuration(mqtt), name, SystemClock())
        self.publisher.start()
        self._frame = make_frame(FakeClock())
        self._found = tuple(Detection(label, number, 0.71, Box(0.1234, 0.2345, 0.3456, 0.7654), number)
                            for number, label in enumerate(("person", "car", "bicycle")))

    def publish(self, first: int, count: int, per_s: float = 0) -> None:
        for seq in range(first, first + count):
            self.publisher.publish(Message("detections", self._payload(seq), seq=seq))
            if per_s:
                pause(1 / per_s)
            if per_s and seq % 500 == 0:
                for bad in BAD:
                    self.publisher.publish(Message("detections", bad))

    def ends(self) -> None:
        assert self.publisher.flush(600), self.publisher.status()
        assert self.publisher.status().outbox_dropped == 0
        self.publisher.stop(30)

    def _payload(self, seq: int) -> bytes:
        message = payloads.detections(make_result(self._frame, self._found), device=self.name, run=7, seq=seq,
                                      dropped={"replaced": 12_345, "stale": 3}, clock_synced=True)
        message["frame"]["captured_at"] = payloads.timestamp(datetime.now(UTC))
        return payloads.encode(message)


def client(broker: Mosquitto) -> MqttConfig:
    return broker.client(outbox_messages=100_000)


@contextmanager
def scene(settings: str = "max_queued_messages 0") -> Iterator[tuple[Path, Mosquitto, Postgres]]:
    """A broker and a database server, which writes to the disk as it does by default."""
    with tempfile.TemporaryDirectory() as name, postgres.running(postgres.needed()) as server, \
            running(Path(name), KEEPING.replace("FOLDER", name) + settings) as broker:
        yield Path(name), broker, server


def rows(server: Postgres) -> int:
    if not server.query("SELECT to_regclass('results')")[0][0]:
        return 0
    return int(server.query("SELECT count(*) FROM results")[0][0])


def reaches(server: Postgres, count: int) -> None:
    assert wait_until(lambda: rows(server) >= count), f"{rows(server)} rows of {count}"


def begins(program: RunningIngest, times: int = 1) -> None:
    """Wait for so many connections of this name."""
    assert wait_until(lambda: program.log.count(": connected") >= times), program.log


def once(results: int, kills: int) -> dict[str, Any]:
    """All three end in turn while results come."""
    with scene() as (folder, broker, server), ExitStack() as stack:
        program = stack.enter_context(ingesting(folder, broker.port, server))
        begins(program)
        devices = [Device(client(broker), f"gate-{number:02}") for number in range(DEVICES)]
        threads = [threading.Thread(target=each.publish, args=(1, results // DEVICES, PER_S)) for each in devices]
        for thread in threads:
            thread.start()
        turns = ["kill"] * kills
        turns[kills // 2:kills // 2] = ["broker", "database"]
        for number, turn in enumerate(turns, 1):
            reaches(server, results * number // (len(turns) + 2))
            if turn == "kill":
                kill(program)
                pause(0.5)
                program = stack.enter_context(ingesting(folder, broker.port, server))
            elif turn == "broker":
                broker.stop()
                pause(1)
                broker.start()
            else:
                server.stop(signal.SIGQUIT)
                pause(2)
                server.start()
            print(f"  {turn}: {rows(server)} rows", file=sys.stderr, flush=True)
        for thread in threads:
            thread.join()
        for device in devices:
            device.ends()
        whole = results // DEVICES * DEVICES
        wait_until(lambda: rows(server) >= whole, 120)
        distinct = server.query("SELECT count(DISTINCT (device, run, seq)) FROM results")[0][0]
        return {"results": whole, "rows": rows(server), "distinct": distinct, "kills": kills,
                "bytes": server.query("SELECT avg(length(message::text))::int FROM results")[0][0],
                "row_bytes": _row_bytes(server, whole),
                "aside": server.query("SELECT count(DISTINCT payload) FROM rejected")[0][0],
                "wrong": [] if rows(server) == distinct == whole else program.log.splitlines()[-20:]}


def queue(results: int) -> dict[str, Any]:
    """The program comes back to what the broker has kept."""
    figures: dict[str, Any] = {"results": results}
    for name, settings in (("default", ""), ("0", "max_queued_messages 0")):
        with scene(settings) as (folder, broker, server):
            with ingesting(folder, broker.port, server) as program:
                begins(program)
            before = broker.resident_bytes
            device = Device(client(broker), "gate-01")
            device.publish(1, results)
            device.ends()
            kept = broker.resident_bytes - before
            began_s = time.monotonic()
            with ingesting(folder, broker.port, server) as program:
                begins(program, 2)
                wait_until(lambda: rows(server) >= results, 60 if settings else 5)
                took_s = time.monotonic() - began_s
            figures[name] = {"rows": rows(server)}
            if settings:
                figures[name] |= {"queue_bytes_each": round(kept / results), "seconds": round(took_s, 2)}
    return {**figures, "wrong": [] if figures["0"]["rows"] == results else ["lost with max_queued_messages 0"]}


def share(results: int) -> dict[str, Any]:
    """The broker comes back before the program, and devices publish."""
    figures: dict[str, Any] = {"results": results}
    for name, options in (("shared", ("--share", "site")), ("plain", ())):
        with scene() as (folder, broker, server):
            with ingesting(folder, broker.port, server, "postgres", *options) as program:
                begins(program)
            broker.stop()
            broker.start()
            device = Device(client(broker), "gate-01")
            device.publish(1, results)
            device.ends()
            with ingesting(folder, broker.port, server, "postgres", *options) as program:
                begins(program, 2)
                wait_until(lambda: rows(server) >= results, 5 if options else 60)
            figures[name] = {"lost": results - rows(server)}
    return {**figures, "wrong": [] if figures["plain"]["lost"] == 0 else ["lost without a shared subscription"]}


def killed(results: int) -> dict[str, Any]:
    """The broker is killed while it keeps results for the program."""
    figures: dict[str, Any] = {"results": results, "wrong": []}
    for name, saving in (("default", ""), ("on_changes", "\nautosave_interval 1\nautosave_on_changes true")):
        with scene(f"max_queued_messages 0{saving}") as (folder, broker, server):
            with ingesting(folder, broker.port, server) as program:
                begins(program)
            device = Device(client(broker), "gate-01")
            began_s = time.monotonic()
            device.publish(1, results)
            device.ends()
            took_s = time.monotonic() - began_s
            broker.stop(signal.SIGKILL)
            broker.start()
            with ingesting(folder, broker.port, server) as program:
                begins(program, 2)
                wait_until(lambda: rows(server) >= results, 60 if saving else 5)
            figures[name] = {"rows": rows(server), "taken_per_s": round(results / took_s)}
    return figures


def cluster(results: int) -> dict[str, Any]:
    """RabbitMQ keeps the session on all nodes. The device is at one node, the program at another, and a third dies."""
    if said := rabbitmq.missing():
        return {"skipped": said, "wrong": []}
    figures: dict[str, Any] = {"results": results, "wrong": []}
    for name, settings in (("default", ""), ("prefetch_500", "mqtt.prefetch = 500\n")):
        with tempfile.TemporaryDirectory() as folder, postgres.running(postgres.needed()) as server:
            for node in rabbitmq.NODES:
                place = Path(folder) / str(node) / "conf.d"
                place.mkdir(parents=True)
                (place / "30-ingest.conf").write_text(settings)
            with rabbitmq.running(Path(folder)) as nodes:
                figures[name] = _through_cluster(results, Path(folder), nodes, server)
        if set(figures[name]["rows"]) != {results}:
            figures["wrong"].append(name)
    return figures


def _through_cluster(results: int, folder: Path, nodes: rabbitmq.Cluster, server: Postgres) -> dict[str, Any]:
    here, there, dying = rabbitmq.NODES
    options = ("--host", rabbitmq.address(here), "--protocol", "3.1.1", "--username", "guest")
    secret = folder / "secret"
    secret.write_text(PASSWORD)
    with ingesting(folder, nodes.port, server, "postgres", *options) as program:
        begins(program)
        device = Device(MqttConfig(host=rabbitmq.address(there), port=nodes.port, protocol="3.1.1", username="guest",
                                   password_file=secret, outbox_messages=100_000), "gate-01")
        device.publish(1, results // 2)
        reaches(server, 100)
        kill(program)
    left = results - rows(server)
    device.publish(results // 2 + 1, results // 2)
    nodes.kill(dying)
    device.ends()
    began_s = time.monotonic()
    with ingesting(folder, nodes.port, server, "postgres", *options):
        wait_until(lambda: rows(server) >= results, 120)
        took_s = time.monotonic() - began_s
    [[distinct]] = server.query("SELECT count(DISTINCT (device, run, seq)) FROM results")
    return {"rows": [rows(server), distinct], "left": left, "seconds": round(took_s, 1)}


def _row_bytes(server: Postgres, count: int) -> int:
    [[size]] = server.query("SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits "
                            "WHERE inhparent = 'results'::regclass")
    return round(int(size) / count)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=int, default=20_000, metavar="N")
    parser.add_argument("--kills", type=int, default=5, metavar="N")
    parser.add_argument("--part", action="append", choices=PARTS, help="default: all")
    parser.add_argument("--state", type=Path, default=Path(".campaign/ingest.json"))
    args = parser.parse_args()
    if postgres.programs() is None:
        print(json.dumps({"campaign": "ingest", "skipped": "PostgreSQL's server is missing"}))
        return 0
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "once": lambda: once(args.results, args.kills), "queue": lambda: queue(AWAY), "share": lambda: share(GAP),
        "killed": lambda: killed(KEPT), "cluster": lambda: cluster(CLUSTERED)}
    state: dict[str, Any] = json.loads(args.state.read_text()) if args.state.exists() else {}
    args.state.parent.mkdir(parents=True, exist_ok=True)
    for name in args.part or parts:
        if name not in state:
            state[name] = parts[name]()
            args.state.write_text(json.dumps(state))
    print(json.dumps({"campaign": "ingest", **state}))
    return int(any(part["wrong"] for part in state.values()))


if __name__ == "__main__":
    sys.exit(main())
