"""Campaign `silence`: with the cloud off, a device in trouble sends not one packet to anything but its broker.

    .venv/bin/python tests/campaign/silence.py --minutes 10 --state .campaign/silence.json

A daemon runs in a closed network in which every packet is recorded, loopback included (closed_network.py; as root),
through every local fault in turn: a camera that dies, hangs, stalls, freezes, goes black or lies; a model that
raises, hangs, is slow, is damaged, or is not there; motion as a fallback; a disk that is full; a broker that goes
away, a cable that is cut. Only packets to its broker may be recorded: no request for a name, a time or any other
host. First the campaign leaks packets of every kind on purpose, and they must be recorded. Every result is compared
with the truth of its frame (truth.py). Resumable by life. One JSON line; 1 when another packet or a lie was found.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.broker.mosquitto import Mosquitto, running
from tests.support.broker.witness import Witness
from tests.support.daemon.faulty import PROGRAM, give
from tests.support.daemon.running import RunningDaemon
from tests.support.models import lamps
from tests.support.network.another_host import CLONE_NEWNS, MS_PRIVATE, MS_REC, checked, mount, unshare
from tests.support.network.closed_network import DEVICE6, US, ClosedNetwork, missing
from tests.support.truth.truth import Noted, TruthChecker
from tests.support.waiting.until import wait_until

WITHIN_S = 60.0
AS_A_SERVICE = {"NOTIFY_SOCKET": "/run/nobody-listens-here"}
"""Then a daemon whose model cannot be used stays."""
STATE_BYTES = 4 << 20
LEAKS = f"""
import socket
def attempt(kind, family, address, connect=False):
    with socket.socket(family, kind) as one:
        one.settimeout(0.2)
        try:
            one.connect(address) if connect else one.sendto(b"x" * 48, address)
        except OSError:
            pass
attempt(socket.SOCK_DGRAM, socket.AF_INET, ("192.0.2.53", 53))
attempt(socket.SOCK_DGRAM, socket.AF_INET, ("192.0.2.1", 123))
attempt(socket.SOCK_DGRAM, socket.AF_INET, ("224.0.0.251", 5353))
attempt(socket.SOCK_DGRAM, socket.AF_INET, ("127.0.0.53", 53))
attempt(socket.SOCK_STREAM, socket.AF_INET, ("192.0.2.1", 443), connect=True)
attempt(socket.SOCK_STREAM, socket.AF_INET, ("{US}", 443), connect=True)
attempt(socket.SOCK_DGRAM, socket.AF_INET, ("10.231.0.77", 9))
attempt(socket.SOCK_DGRAM, socket.AF_INET6, ("{DEVICE6}77", 9))
try:
    socket.getaddrinfo("name.example", 443)
except OSError:
    pass
"""
LEAKED = {"192.0.2.53 udp 53", "192.0.2.1 udp 123", "224.0.0.251 udp 5353", "loopback: 127.0.0.53 udp 53",
          "192.0.2.1 tcp 443", f"{US} tcp 443", "who has 10.231.0.77"}


@dataclass(frozen=True)
class Life:
    """One daemon: its model, its other settings, and the faults that it gets in turn."""

    model: Callable[[Path], Path | None]
    faults: tuple[str, ...]
    more: str = ""
    max_frame_age_ms: int = 1000
    reasons: frozenset[str] = frozenset()
    """What health must name at some time: or the fault was none."""


def good(folder: Path) -> Path:
    return lamps.write(folder, "1")


def damaged(folder: Path) -> Path:
    path = folder / "damaged.tflite"
    path.write_bytes(lamps.write(folder, "1").read_bytes()[:900])
    return path


CAMERA = ("kill", "stop", "hang in read", "crash", "fail", "stall", "black", "frozen", "slow", "wrong shape", "smaller",
          "absent", "exit", "hang in close")
LIVES = {
    "camera": Life(good, CAMERA, reasons=frozenset({"camera_offline"})),
    "broker": Life(good, ("broker away", "cable cut", "broker frozen"), reasons=frozenset({"mqtt_offline"})),
    "disk": Life(good, ("disk full", "disk full and broker away", "fail"),
                 reasons=frozenset({"disk_low"})),
    "raising": Life(lambda folder: lamps.raising(folder, "1"), ("", "black", "fail", "broker away"),
                    reasons=frozenset({"detector_failing"})),
    "raising with motion": Life(lambda folder: lamps.raising(folder, "1"), ("", "stall", "broker away"),
                                "fallback: {motion: true}\n", reasons=frozenset({"fallback_motion"})),
    "slow": Life(lambda folder: lamps.slow(folder, "1"), ("", "fail"), max_frame_age_ms=5),
    "no model": Life(lambda folder: None, ("", "fail", "broker away"), reasons=frozenset({"no_model"})),
    "damaged model": Life(damaged, ("", "stall"), reasons=frozenset({"model_refused"})),
    "hung invoke": Life(good, ("", "hang in detect"), reasons=frozenset({"worker_hung"})),
}
SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


class Trouble:
    """Causes faults and ends them."""

    def __init__(self, folder: Path, network: ClosedNetwork, broker: Mosquitto, daemon: RunningDaemon) -> None:
        self._order = folder / "order"
        self._filler = folder / "state" / "filler"
        self._network = network
        self._broker = broker
        self._daemon = daemon

    def cause(self, fault: str) -> None:
        if fault in SIGNALS:
            os.kill(self._daemon.child_pid(), SIGNALS[fault])
        elif fault == "cable cut":
            self._network.plug(in_=False)
        elif fault == "broker frozen":
            self._broker.freeze()
        elif fault.startswith("disk full"):
            with suppress(OSError), self._filler.open("wb", buffering=0) as filler:
                while filler.write(bytes(4096)):
                    pass
        else:
            give(self._order, "" if fault == "broker away" else fault)
        if fault.endswith("broker away"):
            self._broker.stop()

    def end(self, fault: str) -> None:
        if fault == "cable cut":
            self._network.plug(in_=True)
        elif fault == "broker frozen":
            self._broker.thaw()
        self._filler.unlink(missing_ok=True)
        if fault.endswith("broker away"):
            self._broker.start()
        give(self._order, "")


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Put the state folder on a disk that is soon full. It goes with this process's mounts."""
    (folder / "state").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={STATE_BYTES}", "none", folder / "state"], check=True,
                   timeout=WITHIN_S)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder / "state"], check=True, timeout=WITHIN_S)


def run_life(name: str, network: ClosedNetwork, seconds: float) -> dict[str, Any]:
    """Run a daemon through its faults for so long, and at least once through each."""
    life = LIVES[name]
    with tempfile.TemporaryDirectory() as at, small_disk(Path(at)), \
            running(Path(at), "allow_anonymous true\n") as broker:
        folder = Path(at)
        broker.configure(f"allow_anonymous true\nlistener {broker.port} {US}")
        broker.stop()
        broker.start()
        give(folder / "order", "")
        model = life.model(folder)
        config = folder / "config.yaml"
        config.write_text(
            f"device: gate\nmqtt: {{host: {US}, port: {broker.port}, outbox_messages: 10, keepalive_s: 5}}\n"
            f"publish: {{results: all, max_per_s: 100}}\nhealth: {{interval_s: 1}}\n"
            f"detector: {{model: {json.dumps(model and str(model))}, threads: 1}}\n"
            f"camera: {{source: 'tcp://{folder / 'order'}', fps: 30, frozen_after_s: 1, "
            f"max_frame_age_ms: {life.max_frame_age_ms}}}\n{life.more}")
        network.sent.clear()
        checker = TruthChecker(Noted(folder / "order"))
        with Witness(broker.client(), "gate", checker) as witness, \
                RunningDaemon(folder, config, program=(*network.program, *PROGRAM), env=AS_A_SERVICE) as daemon:
            assert wait_until(lambda: bool(witness.health), WITHIN_S), daemon.log
            trouble, until_s = Trouble(folder, network, broker, daemon), time.monotonic() + seconds
            each_s = max(seconds / len(life.faults) / 2, 1.0)
            for turn, fault in enumerate(itertools.cycle(life.faults)):
                if turn >= len(life.faults) and time.monotonic() > until_s:
                    break
                trouble.cause(fault)
                threading.Event().wait(min(each_s, 8.0))
                trouble.end(fault)
                if turn < len(life.faults) or time.monotonic() < until_s:
                    threading.Event().wait(min(each_s / 2, 3.0))
            assert wait_until(lambda: life.reasons <= witness.first_named.keys(), WITHIN_S), \
                (witness.first_named, daemon.log)
            assert daemon.process.poll() is None, daemon.log
            sent, elsewhere = sum(network.sent.values()), network.elsewhere(broker.port)
            results = witness.results
    return {"life": name, "turns": turn, "seconds": round(seconds), "to the broker": sent - sum(elsewhere.values()),
            "elsewhere": elsewhere, "results": results, "judged": checker.checked, "lies": checker.lies,
            "named": sorted(witness.first_named)}


def leak_on_purpose(network: ClosedNetwork) -> None:
    """Send packets elsewhere on purpose: without a find the listener does not work."""
    network.sent.clear()
    subprocess.run([sys.executable, *network.program, "-c", LEAKS], check=True, timeout=WITHIN_S)
    assert wait_until(lambda: network.sent.keys() >= LEAKED, WITHIN_S), \
        (LEAKED - network.sent.keys(), network.sent)


def figures(done: list[dict[str, Any]]) -> dict[str, Any]:
    return {"campaign": "silence", "minutes": round(sum(each["seconds"] for each in done) / 60, 1),
            "lives": {each["life"]: each["named"] for each in done},
            "to_the_broker": sum(each["to the broker"] for each in done),
            "elsewhere": [each["elsewhere"] for each in done if each["elsewhere"]],
            "results": sum(each["results"] for each in done), "judged": sum(each["judged"] for each in done),
            "lies": [lie for each in done for lie in each["lies"]]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10, help="for all lives together, evenly")
    parser.add_argument("--life", choices=LIVES, action="append", help="only this one; may be repeated")
    parser.add_argument("--state", type=Path, default=Path(".campaign/silence.json"))
    args = parser.parse_args()
    if why := missing():
        print(json.dumps({"campaign": "silence", "skipped": why}))
        return 0
    done = json.loads(args.state.read_text()) if args.state.exists() else []
    args.state.parent.mkdir(parents=True, exist_ok=True)
    checked(unshare(CLONE_NEWNS))
    mount(b"none", "/", None, MS_REC | MS_PRIVATE)
    lives = args.life or list(LIVES)
    with ClosedNetwork() as network:
        leak_on_purpose(network)
        for name in lives:
            if name not in [each["life"] for each in done]:
                done.append(run_life(name, network, args.minutes * 60 / len(lives)))
                print(done[-1], file=sys.stderr, flush=True)
                args.state.write_text(json.dumps(done))
    summary = figures(done)
    print(json.dumps(summary))
    return 1 if summary["elsewhere"] or summary["lies"] or not summary["to_the_broker"] else 0


if __name__ == "__main__":
    sys.exit(main())
