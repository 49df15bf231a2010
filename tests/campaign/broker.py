"""Campaign `broker`: the cost of a broker that is away, restarted, refusing or frozen, and the time of recovery.

    python tests/campaign/broker.py --rounds 2 --state .campaign/broker.json

Each round runs a loop that works and publishes like the detect thread, in turns with a well and an ill broker; `rate`
is the loop's rate while ill over that while well, each by its median iteration, since a busy neighbour stretches some
iterations and not the typical one. `right_again_s` counts from the broker's return until a new
subscriber finds `online` and the latest state. Resumable: rounds that are in the state file are not run again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.broker.mosquitto import Mosquitto, configuration
from tests.support.broker.subscriber import listening
from tests.support.waiting.until import wait_until
from vedette._lib.clock import SystemClock
from vedette.device.identity import SYSTEM_STATE, default_name
from vedette.mqtt.publisher import MqttPublisher
from vedette.mqtt.reconnect_policy import PROOF_CONNECTIONS, SHORT_CONNECTIONS
from vedette.types import Message

BASE = "vedette/gate-01"
LIMIT = 200
TURN_S = 2.0
WORK = bytes(range(256)) * 400
RESULT = b"x" * 600


class Detecting:
    """A thread that works about 4 ms and publishes, over and over, and takes the time."""

    def __init__(self, publisher: MqttPublisher) -> None:
        self._iterations_ns: list[int] = []
        self.longest_publish_ms = 0.0
        self._publisher = publisher
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def rate(self, seconds: float) -> float:
        """Typical iterations per second over so long from now."""
        before = len(self._iterations_ns)
        self._stopping.wait(seconds)
        return 1e9 / statistics.median(self._iterations_ns[before:])

    def close(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            began_ns = time.perf_counter_ns()
            for _ in range(40):
                WORK.count(b"\xff\x01")
            worked_ns = time.perf_counter_ns()
            self._publisher.publish(Message("detections", RESULT))
            ended_ns = time.perf_counter_ns()
            self.longest_publish_ms = max(self.longest_publish_ms, (ended_ns - worked_ns) / 1e6)
            self._iterations_ns.append(ended_ns - began_ns)


class Scene:
    """A broker that asks for a password, a device, and a detect loop."""

    def __init__(self, folder: Path) -> None:
        self._secret = folder / "secret"
        passwords = folder / "passwords"
        passwords.touch(mode=0o600)
        subprocess.run(["mosquitto_passwd", "-b", str(passwords), "gate", "right"], check=True, capture_output=True)
        self.password("right")
        self.broker = Mosquitto(folder, f"allow_anonymous false\npassword_file {passwords}")
        self.mqtt = self.broker.client(username="gate", password_file=self._secret, outbox_messages=LIMIT)

    def password(self, word: str) -> None:
        self._secret.write_text(word)

    def publisher(self, device: str = "gate-01") -> MqttPublisher:
        publisher = MqttPublisher(configuration(self.mqtt), device, SystemClock())
        publisher.start()
        return publisher

    def is_right(self, marker: bytes, within_s: float) -> bool:
        """Whether a new subscriber finds `online` and the marker."""
        with listening(self.mqtt, f"{BASE}/availability", f"{BASE}/health") as subscriber:
            return wait_until(
                lambda: {b"online", marker} <= {message.payload for message in tuple(subscriber.received)}, within_s)


Fault = Callable[[Scene], tuple[Callable[[], None], Callable[[], None]]]
"""Gives what makes the broker ill, and what makes it well."""


def away(scene: Scene) -> tuple[Callable[[], None], Callable[[], None]]:
    return scene.broker.stop, scene.broker.start


def frozen(scene: Scene) -> tuple[Callable[[], None], Callable[[], None]]:
    return scene.broker.freeze, scene.broker.thaw


def refusing(scene: Scene) -> tuple[Callable[[], None], Callable[[], None]]:
    def refuse() -> None:
        scene.password("wrong")
        scene.broker.stop()
        scene.broker.start()

    return refuse, lambda: scene.password("right")


def failing_broker(scene: Scene, fault: Fault) -> dict[str, object]:
    """One turn with a working broker, one with a failing one, one with a working one again."""
    begin, end = fault(scene)
    scene.broker.start()
    publisher = scene.publisher()
    loop = Detecting(publisher)
    assert wait_until(lambda: publisher.status().connected)
    try:
        well_before = loop.rate(TURN_S)
        begin()
        ill = loop.rate(TURN_S)
        assert wait_until(lambda: not publisher.status().connected, 20)
        cause, depth = publisher.reasons(), publisher.status().outbox_depth
        marker = str(time.monotonic_ns()).encode()
        publisher.publish(Message("health", marker, retain=True))
        end()
        returned_s = time.monotonic()
        right = scene_is_right(scene, publisher, marker)
        right_again_s = time.monotonic() - returned_s
        well_after = loop.rate(TURN_S)
    finally:
        loop.close()
        publisher.stop(10)
        scene.broker.stop()
    return {"rate": ill / statistics.mean((well_before, well_after)), "right": right, "right_again_s": right_again_s,
            "outbox_bounded": depth <= LIMIT + 30, "named": cause, "longest_publish_ms": loop.longest_publish_ms}


def scene_is_right(scene: Scene, publisher: MqttPublisher, marker: bytes) -> bool:
    return wait_until(lambda: publisher.status().connected, 10) and scene.is_right(marker, 5)


def away_at_start(scene: Scene) -> dict[str, object]:
    """The broker comes only after the device."""
    publisher = scene.publisher()
    loop = Detecting(publisher)
    try:
        ill = loop.rate(TURN_S)
        marker = str(time.monotonic_ns()).encode()
        publisher.publish(Message("health", marker, retain=True))
        depth, cause = publisher.status().outbox_depth, publisher.reasons()
        scene.broker.start()
        returned_s = time.monotonic()
        right = scene_is_right(scene, publisher, marker)
        right_again_s = time.monotonic() - returned_s
        well = loop.rate(TURN_S)
    finally:
        loop.close()
        publisher.stop(10)
        scene.broker.stop()
    return {"rate": ill / well, "right": right, "right_again_s": right_again_s, "outbox_bounded": depth <= LIMIT + 30,
            "named": cause, "longest_publish_ms": loop.longest_publish_ms}


def default_names(scene: Scene) -> dict[str, object]:
    """Two devices with default names on one host, and a third on another host of the same name."""
    names = {default_name("raspberrypi", "", "0a1b2c3d", SYSTEM_STATE),
             default_name("raspberrypi", "front", "0a1b2c3d", Path(f"{SYSTEM_STATE}-front")),
             default_name("raspberrypi", "", "4e5f6071", SYSTEM_STATE)}
    scene.broker.start()
    publishers = [scene.publisher(name) for name in names]
    threading.Event().wait(5)
    statuses = [publisher.status() for publisher in publishers]
    for publisher in publishers:
        publisher.stop(10)
    scene.broker.stop()
    return {"names": len(names), "right": len(names) == 3 and all(
        status.connected and status.reconnects == 0 for status in statuses)}


def takeover(scene: Scene) -> dict[str, object]:
    """Two devices of one name."""
    scene.broker.start()
    publishers = [scene.publisher(), scene.publisher()]
    began_s = time.monotonic()
    named = wait_until(lambda: any("duplicate_device" in one.reasons() for one in publishers), 15)
    named_s = time.monotonic() - began_s
    threading.Event().wait(10)
    statuses = [one.status() for one in publishers]
    evictions = sum(status.reconnects for status in statuses)
    for publisher in publishers:
        publisher.stop(10)
    scene.broker.stop()
    settled = any(status.connected for status in statuses) and evictions < 2 * (SHORT_CONNECTIONS + PROOF_CONNECTIONS)
    return {"right": named and settled, "named_s": named_s, "evictions": evictions}


CASES: dict[str, Callable[[Scene], dict[str, object]]] = {
    "away_at_start": away_at_start,
    "restarted": lambda scene: failing_broker(scene, away),
    "refusing": lambda scene: failing_broker(scene, refusing),
    "frozen": lambda scene: failing_broker(scene, frozen),
    "default_names": default_names,
    "takeover": takeover,
}


def campaign(rounds: int, state: Path) -> dict[str, list[dict[str, object]]]:
    done: dict[str, list[dict[str, object]]] = json.loads(state.read_text()) if state.exists() else {}
    for name, case in CASES.items():
        while len(done.setdefault(name, [])) < rounds:
            with tempfile.TemporaryDirectory() as folder:
                done[name].append(case(Scene(Path(folder))))
            state.parent.mkdir(parents=True, exist_ok=True)
            state.write_text(json.dumps(done))
            print(f"{name} {len(done[name])}/{rounds}: {done[name][-1]}", file=sys.stderr)
    return done


def figures(done: dict[str, list[dict[str, object]]]) -> dict[str, dict[str, object]]:
    """The worst of each figure over the rounds, and the median rate."""
    summary: dict[str, dict[str, object]] = {}
    for name, rounds in done.items():
        summary[name] = {"rounds": len(rounds), "all_right": all(one["right"] for one in rounds)}
        for key in ("right_again_s", "longest_publish_ms", "named_s", "evictions"):
            if key in rounds[0]:
                summary[name][f"worst_{key}"] = round(max(float(str(one[key])) for one in rounds), 2)
        if "rate" in rounds[0]:
            summary[name]["median_rate"] = round(statistics.median(float(str(one["rate"])) for one in rounds), 3)
            summary[name]["outbox_bounded"] = all(one["outbox_bounded"] for one in rounds)
    return summary


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--state", type=Path, default=Path(".campaign/broker.json"))
    args = parser.parse_args()
    summary = figures(campaign(args.rounds, args.state))
    print(json.dumps(summary))
    passed = all(case["all_right"] and float(str(case.get("worst_right_again_s", 0))) <= 5 for case in summary.values())
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
