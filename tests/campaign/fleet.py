"""Campaign `fleet`: releases end to end, over mosquitto and a plain web server, on devices that see the drawn street.

    .venv/bin/python tests/campaign/fleet.py --count 1 --state .campaign/fleet.json

One story: the first release to everybody; a second to buckets 0-3999, in shadow and on trial; to everybody; withdrawn;
keys replaced and everything renewed; a third; taken back by the operator on two devices, by command and over MQTT; a
fourth. After each step the devices hear one nudge and nothing else (they ask by themselves once an hour), and exactly
those whose bucket says so move, as `fleet watch` and `<base>/model` tell. Between the steps every daemon is started
anew, since a nudge counts once in ten minutes. `--short`: only the first two steps. Resumable by story. One JSON line;
1 when something moved that should not, or did not.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.support.broker.mosquitto import Mosquitto, running
from tests.support.broker.subscriber import Subscriber, listening, send
from tests.support.daemon.running import RunningDaemon, vedette
from tests.support.network.http_server import WebServer, serving_folder
from tests.support.network.operators_desk import Fleet, FleetWatch
from tests.support.waiting.until import wait_until
from vedette.store.release import bucket_of

MODEL = Path(__file__).parents[2] / "models/vedette-street.tflite"
FIRST_SHARE = 4000
TRIAL = "frames=20,minutes=0.05,max_latency_ratio=100"
SHADOW = "frames=5,minutes=0.05,max_latency_ratio=100,publish=true"
"""Whether a model is slow is not asked here: the machine is shared by all these devices."""
MOVED_WITHIN_S = 240.0


class FleetDevice:
    """One device of the fleet."""

    def __init__(self, folder: Path, name: str, broker: Mosquitto, server: WebServer, fleet: Fleet) -> None:
        self.name = name
        self.daemon: RunningDaemon | None = None
        self.folder = folder / name
        (self.folder / "state").mkdir(parents=True)
        self.config = self.folder / "config.yaml"
        self.config.write_text(
            f"device: {name}\nmqtt: {{port: {broker.port}}}\ncommands: {{allow: [update, rollback]}}\n"
            "health: {interval_s: 2}\ncamera: {source: synthetic, width: 384, height: 216, fps: 4}\n"
            "detector: {threads: 1}\n"
            f"update: {{source: '{server.url}', root: '{fleet.root}', poll_minutes: 60}}\n")

    def start(self) -> None:
        self.daemon = RunningDaemon(self.folder, "--config", self.config)

    def stop(self) -> None:
        if self.daemon is not None:
            with self.daemon:
                self.daemon.signal(signal.SIGTERM)
                assert self.daemon.ends(60) == 0, self.daemon.log
            self.daemon = None


class Story:
    """A fleet and its devices; `moves` has for each step the number of devices that moved and the time of the last one.
    """

    def __init__(self, folder: Path, count: int, stack: ExitStack) -> None:
        self.broker = stack.enter_context(running(folder))
        self.fleet = Fleet(folder)
        self.server = stack.enter_context(serving_folder(self.fleet.www))
        self.watch = stack.enter_context(FleetWatch(folder, self.broker))
        self.subscriber: Subscriber = stack.enter_context(
            listening(self.broker.client(), "vedette/+/model", "vedette/+/shadow"))
        self.bundles = [self._bundle(folder, number) for number in range(1, 5)]
        self.devices = [FleetDevice(folder, name, self.broker, self.server, self.fleet) for name in self._names(count)]
        for device in self.devices:
            stack.callback(device.stop)
        self.moves: list[dict[str, Any]] = []

    @property
    def first(self) -> set[str]:
        """The devices whose bucket is in the first share."""
        return {device.name for device in self.devices if bucket_of(self.fleet.salt, device.name) < FIRST_SHARE}

    @property
    def all(self) -> set[str]:
        return {device.name for device in self.devices}

    def begin(self) -> None:
        self.fleet.release(self.bundles[0], "--trial", TRIAL)
        began_s = time.monotonic()
        self.restart()
        self._expect("first release", dict.fromkeys(self.all, 1), began_s)

    def step(self, name: str, releases: dict[str, int], act: Callable[[], object]) -> None:
        """Act and nudge; every device must get that release, or stay where it is."""
        self.restart()
        act()
        before = self.server.polls
        began_s = time.monotonic()
        send(self.broker.client(), "vedette/fleet/update", b"{}", name="operator")
        assert wait_until(lambda: self.server.polls >= before + len(self.devices), 120), (name, self.logs())
        self._expect(name, releases, began_s)

    def restart(self) -> None:
        """Restart every daemon, and wait until each has asked the source and found nothing new."""
        for device in self.devices:
            device.stop()
        before = self.server.polls
        for device in self.devices:
            device.start()
        assert wait_until(lambda: self.server.polls >= before + len(self.devices), 120), self.logs()

    def model_of(self, name: str) -> dict[str, Any]:
        message = self.subscriber.last(f"vedette/{name}/model")
        return {} if message is None else json.loads(message.payload)

    def logs(self) -> str:
        return "\n".join(f"{device.name}: {device.daemon.log[-1500:] if device.daemon else None}"
                         for device in self.devices)

    def _expect(self, name: str, releases: dict[str, int], began_s: float) -> None:
        def is_so(rows: dict[str, dict[str, Any]]) -> bool:
            return all((row := rows.get(device, {})).get("release") == release and row["state"] == "good"
                       and row["online"] and self.model_of(device).get("release") == release
                       for device, release in releases.items())
        assert self.watch.waits_for(is_so, MOVED_WITHIN_S), (name, releases, self.watch.rows, self.logs())
        before = self.moves[-1]["releases"] if self.moves else {}
        self.moves.append({"step": name, "moved": sum(before.get(each) != releases[each] for each in releases),
                           "seconds": round(time.monotonic() - began_s, 1), "releases": releases})
        print(json.dumps(self.moves[-1]), file=sys.stderr, flush=True)

    def _names(self, count: int) -> list[str]:
        """Names of which two in five are in the first share."""
        wanted = {True: -(-2 * count // 5), False: count - -(-2 * count // 5)}
        names: list[str] = []
        number = 0
        while len(names) < count:
            number += 1
            inside = bucket_of(self.fleet.salt, f"gate-{number:02}") < FIRST_SHARE
            if wanted[inside]:
                wanted[inside] -= 1
                names.append(f"gate-{number:02}")
        return names

    @staticmethod
    def _bundle(folder: Path, number: int) -> Path:
        path = folder / f"street-{number}.tflite"
        done = vedette("model", "pack", MODEL, "--version", str(number), "--score-threshold", f"{0.34 + number / 100}",
                       "-o", path, folder=folder, timeout_s=120)
        assert done.returncode == 0, done.stderr
        return path


def run_story(folder: Path, count: int, *, short: bool) -> list[dict[str, Any]]:
    """Run it; returns each step. Raises: AssertionError at the first step that goes wrong."""
    with ExitStack() as stack:
        story = Story(folder, count, stack)
        fleet, bundles, everybody = story.fleet, story.bundles, story.all
        story.begin()
        story.step("second release to 0-3999", {name: 2 if name in story.first else 1 for name in everybody},
                  lambda: fleet.release(bundles[1], "--buckets", f"0-{FIRST_SHARE - 1}", "--salt", "common",
                                        "--shadow", SHADOW, "--trial", TRIAL))
        in_shadow = {topic.split("/")[1] for topic in story.subscriber.topics() if topic.endswith("/shadow")}
        assert in_shadow == story.first, in_shadow
        if not short:
            finish(story)
        return story.moves


def finish(story: Story) -> None:
    fleet, bundles, everybody = story.fleet, story.bundles, story.all
    story.step("to everybody", dict.fromkeys(everybody, 2), lambda: publish(fleet, "release", "--release", "2",
                                                                           "--buckets", "0-9999"))
    story.step("withdrawn", dict.fromkeys(everybody, 1), lambda: publish(fleet, "withdraw", "2"))
    story.step("keys replaced, renewed", dict.fromkeys(everybody, 1), lambda: replace_keys(fleet))
    story.step("third release", dict.fromkeys(everybody, 3), lambda: fleet.release(bundles[2], "--trial", TRIAL))
    held = sorted(everybody)[:2]
    releases = {name: 1 if name in held else 3 for name in everybody}
    roll_back(story, held)
    story.step("taken back by the operator on two", releases, fleet.publish)
    story.step("and held", releases, lambda: publish(fleet, "renew"))
    story.step("fourth release", dict.fromkeys(everybody, 4), lambda: fleet.release(bundles[3], "--trial", TRIAL))


def publish(fleet: Fleet, *words: str) -> None:
    fleet.run(*words)
    fleet.publish()


def replace_keys(fleet: Fleet) -> None:
    publish(fleet, "rotate-keys", "timestamp", "snapshot", "targets", "root")
    publish(fleet, "renew", "--days", "120")


def roll_back(story: Story, names: list[str]) -> None:
    """The first by command on the device, the second over MQTT."""
    by_command = next(device for device in story.devices if device.name == names[0])
    done = vedette("model", "rollback", "--config", by_command.config, folder=by_command.folder, timeout_s=120)
    assert done.returncode == 0, done.stderr
    assert "until a release above 3" in done.stdout
    with listening(story.broker.client(), f"vedette/{names[1]}/reply/rollback", name="asker") as replies:
        send(story.broker.client(), f"vedette/{names[1]}/cmd/rollback", b"{}", name="operator")
        assert replies.waits_for(lambda message: json.loads(message.payload)["status"] == "ok", 60), replies.received


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1, help="stories")
    parser.add_argument("--devices", type=int, default=5)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--state", type=Path, default=Path(".campaign/fleet.json"))
    args = parser.parse_args()
    stories = json.loads(args.state.read_text()) if args.state.exists() else []
    args.state.parent.mkdir(parents=True, exist_ok=True)
    while len(stories) < args.count:
        with tempfile.TemporaryDirectory() as folder:
            stories.append(run_story(Path(folder), args.devices, short=args.short))
        args.state.write_text(json.dumps(stories))
    print(json.dumps({"devices": args.devices, "stories": stories}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
