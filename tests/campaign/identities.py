"""Campaign `identities`: whole daemons that must not be taken for each other, and two that are.

    .venv/bin/python tests/campaign/identities.py --cycles 3 --state .campaign/identities.json

`one_host`: three daemons with default names, two by their state folders alone and one by its instance; `two_hosts`:
two of one host name in namespaces of their own, as two fresh Pis (root only). None may ever be evicted. `twins`: a
second daemon is given the same `device`; `insistent`: a foreign client takes the client id and comes back at once.
Then `duplicate_device` must be in health within 60 s, and the name must not change hands more than 12 times a
minute. Resumable by case. One JSON line; 1 when a limit was broken.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.support.broker.mosquitto import Mosquitto, running
from tests.support.broker.witness import Witness
from tests.support.daemon.running import RunningDaemon
from tests.support.network import another_host
from tests.support.present import present
from tests.support.truth.bright_squares import write_clip, write_model
from tests.support.waiting.until import wait_until
from vedette.errors import BrokerError
from vedette.mqtt.connection import Connection

NAMED_WITHIN_S = 60.0
CONNECTS_PER_MINUTE = 12


def write_config(folder: Path, broker: Mosquitto, device: str | None = None) -> Path:
    """Return a configuration in the folder, which is also the home of one daemon."""
    folder.mkdir()
    path = folder / "config.yaml"
    path.write_text(f"device: {device or 'null'}\nmqtt: {{port: {broker.port}}}\nhealth: {{interval_s: 1}}\n"
                    f"detector: {{model: '{write_model(folder)}', threads: 1}}\n"
                    f"camera: {{source: '{write_clip(folder)}', loop: true}}\n")
    return path


def name_of(daemon: RunningDaemon) -> str:
    assert daemon.waits_for_log("connected to"), daemon.log
    return present(re.search(r"device (\S+), run", daemon.log))[1]


def undisturbed(broker: Mosquitto, daemons: list[RunningDaemon], watch_s: float) -> dict[str, object]:
    """Watch daemons that are independent of each other."""
    names = [name_of(daemon) for daemon in daemons]
    with ExitStack() as stack:
        witnesses = [stack.enter_context(Witness(broker.client(), name)) for name in names]
        threading.Event().wait(watch_s)
        availabilities = [[payload for _, payload in witness.availabilities] for witness in witnesses]
        named = any("duplicate_device" in witness.first_named for witness in witnesses)
        reconnects = [witness.health["mqtt"]["reconnects"] for witness in witnesses]
    right = len(set(names)) == len(names) and not named and not any(reconnects) \
        and availabilities == [["online"]] * len(names)
    return {"right": right, "names": names, "words": availabilities, "reconnects": reconnects, "watched_s": watch_s}


def one_host(folder: Path, watch_s: float) -> dict[str, object]:
    with running(folder) as broker, ExitStack() as stack:
        instances = {"a": {}, "b": {}, "c": {"VEDETTE_INSTANCE": "front"}}
        daemons = [stack.enter_context(RunningDaemon(folder / home, "--config", write_config(folder / home, broker),
                                                     env=env)) for home, env in instances.items()]
        return undisturbed(broker, daemons, watch_s)


def two_hosts(folder: Path, watch_s: float) -> dict[str, object]:
    if not another_host.possible():
        return {"right": True, "skipped": "namespaces need root"}
    with running(folder) as broker, ExitStack() as stack:
        daemons = [stack.enter_context(RunningDaemon(
            folder / home, "raspberrypi", machine_id, "run", "--config", write_config(folder / home, broker),
            program=another_host.PROGRAM)) for home, machine_id in (("a", "0a1b" * 8), ("b", "4e5f" * 8))]
        return undisturbed(broker, daemons, watch_s)


def taken_over(folder: Path, watch_s: float,
               rival: Callable[[Path, Mosquitto], AbstractContextManager[object]]) -> dict[str, object]:
    """Let a rival take the name of a daemon; returns when health reported it, and how often the name changed hands."""
    with running(folder) as broker, Witness(broker.client(), "gate") as witness, \
            RunningDaemon(folder / "a", "--config", write_config(folder / "a", broker, "gate")) as daemon:
        assert daemon.waits_for_log("connected to"), daemon.log
        began_s = time.monotonic()
        with rival(folder, broker):
            named = wait_until(lambda: "duplicate_device" in witness.first_named, max(watch_s, 2 * NAMED_WITHIN_S))
            threading.Event().wait(max(0, began_s + watch_s - time.monotonic()))
            minutes = (time.monotonic() - began_s) / 60
            connects = broker.log.count("as vedette-gate ")
    named_s = witness.first_named["duplicate_device"] - began_s if named else None
    right = named_s is not None and named_s <= NAMED_WITHIN_S and connects <= CONNECTS_PER_MINUTE * max(1, minutes)
    return {"right": right, "named_s": named_s, "connects": connects, "minutes": round(minutes, 2)}


@contextmanager
def twin(folder: Path, broker: Mosquitto) -> Iterator[None]:
    """A second daemon with the same device."""
    with RunningDaemon(folder / "b", "--config", write_config(folder / "b", broker, "gate")):
        yield


@contextmanager
def insistent(_folder: Path, broker: Mosquitto) -> Iterator[None]:
    """A client that takes the device's id, and takes it again as often as it loses it."""
    stopping = threading.Event()

    def insist() -> None:
        while not stopping.wait(0.5):
            connection = Connection(broker.client(), "vedette-gate")
            try:
                while not stopping.is_set():
                    connection.poll(0.1)
            except BrokerError:
                continue
            finally:
                connection.close()

    thread = threading.Thread(target=insist)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(10)


CASES: dict[str, Callable[[Path, float], dict[str, object]]] = {
    "one_host": one_host,
    "two_hosts": two_hosts,
    "twins": lambda folder, watch_s: taken_over(folder, watch_s, twin),
    "insistent": lambda folder, watch_s: taken_over(folder, watch_s, insistent),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=3)
    parser.add_argument("--watch-s", type=float, default=60, help="how long each case is watched")
    parser.add_argument("--case", choices=CASES, action="append", help="only this one; may be repeated")
    parser.add_argument("--state", type=Path, default=Path(".campaign/identities.json"))
    parser.add_argument("--at-once", type=int, default=len(CASES), help="cases at a time; they mostly wait")
    args = parser.parse_args()
    done: dict[str, list[dict[str, Any]]] = json.loads(args.state.read_text()) if args.state.exists() else {}
    args.state.parent.mkdir(parents=True, exist_ok=True)
    saving = threading.Lock()

    def run(name: str) -> None:
        while len(done[name]) < args.cycles:
            with tempfile.TemporaryDirectory() as folder:
                one = CASES[name](Path(folder), args.watch_s)
            with saving:
                done[name].append(one)
                args.state.write_text(json.dumps(done))
                print(f"{name} {len(done[name])}/{args.cycles}: {one}", file=sys.stderr, flush=True)

    wanted = args.case or list(CASES)
    done = {name: done.get(name, []) for name in (*done, *wanted)}
    with ThreadPoolExecutor(args.at_once) as pool:
        list(pool.map(run, wanted))
    broken = [f"{name}: {one}" for name, each in done.items() for one in each if not one["right"]]
    print(json.dumps({"campaign": "identities", **done, "broken": broken}))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
