"""Campaign `home_assistant`: a real daemon with a real Home Assistant, over a real broker.

    .venv/bin/python tests/campaign/home_assistant.py --state .campaign/home_assistant.json

Home Assistant is set up once in the folder `--root`, from apt and PyPI. The daemon watches the drawn street, with two
zones, pictures and every command. In turn: each entity has the state that MQTT says; `snapshot` and the best pictures
give the published JPEG; the switch and `pause` make every count unknown; a label that is not chosen any more goes, and
one that is chosen comes; Home Assistant starts again and gets the message again; messages come with every null that
they may have; the daemon is killed, and every entity is unavailable; it starts with `enabled: false`, and every entity
is gone. Home Assistant's log must have no warning and no error but those of its own installation. It needs root,
debootstrap and the network. One JSON line; 1 when anything was wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.support.broker.mosquitto import Mosquitto, running
from tests.support.broker.subscriber import Subscriber, listening, send
from tests.support.daemon.running import RunningDaemon
from tests.support.network.home_assistant import HomeAssistant, Json, install
from tests.support.waiting.until import eventually, wait_until
from vedette.messages import topics

DEVICE = "gate"
BASE = f"vedette/{DEVICE}"
TOPIC = f"homeassistant/device/{DEVICE}/config"
COMMANDS = "update, rollback, snapshot, pause, resume, restart, feedback, relearn, detection"
CONFIG = f"""
device: {DEVICE}
camera: {{source: synthetic, fps: 2, width: 640, height: 360}}
mqtt: {{port: PORT}}
health: {{interval_s: 5}}
events: {{pictures: true, best_after_s: 1}}
zones:
  road: {{points: [[0, 0.5], [1, 0.5], [1, 1], [0, 1]]}}
  back yard: {{points: [[0, 0], [1, 0], [1, 0.5], [0, 0.5]], labels: [person]}}
commands: {{allow: [{COMMANDS}]}}
homeassistant: {{enabled: ENABLED, labels: [LABELS]}}
"""
LABELS = "person, car, bus, traffic light"
STATES = {topics.COUNTS, topics.ZONES, topics.HEALTH, topics.CAMERA, topics.MODEL}
STEADY_S = 1.0
"""A state is compared if its message is that old, and none came while the states were read."""
AT_LEAST = 20
UNKNOWN = "unknown"


class Wrong(Exception):
    """A step did not go as it must."""


class Watched:
    """The newest message of each topic of the device, as Home Assistant must show it."""

    def __init__(self, subscriber: Subscriber) -> None:
        self._subscriber = subscriber

    def newest(self) -> dict[str, bytes]:
        """Every topic below the base, without it, and its newest payload."""
        return {message.topic.removeprefix(f"{BASE}/"): message.payload for message in tuple(self._subscriber.received)}

    def announced(self) -> Json:
        """The newest message for Home Assistant."""
        message = self._subscriber.last(TOPIC)
        found: Json = json.loads(message.payload) if message is not None and message.payload else {}
        return found

    def times_announced(self) -> int:
        return self._subscriber.topics().count(TOPIC)

    def entities(self) -> dict[str, tuple[str, Json]]:
        """The entities of the message: name in Home Assistant -> key and component."""
        message = self.announced()
        return {f"{message['device']['name']} {component['name']}": (key, component)
                for key, component in message["components"].items() if len(component) > 1}


def expected(key: str, newest: dict[str, bytes], labels: list[str]) -> str:
    """The state that MQTT says, without a look at the templates."""
    def said(topic: str) -> Json:
        found: Json = json.loads(newest[topic])
        return found
    place, _, what = key.rpartition("/")
    if place.startswith("label-"):
        counts = said(topics.COUNTS)["counts"]
        return counted(None if counts is None else counts.get(named(place[6:], labels), 0), what)
    if place.startswith("zone-"):
        zone, _, label = place[5:].partition("/")
        zones = said(topics.ZONES)["zones"]
        here = None if zones is None else zones.get(named(zone, ["road", "back yard"]))
        number = None if here is None else here.get(named(label, labels), 0) if label else sum(here.values())
        return counted(number, what)
    health = said(topics.HEALTH)
    values: dict[str, Callable[[], object]] = {
        "problem": lambda: "off" if health["state"] == "ok" else "on",
        "camera": lambda: said(topics.CAMERA)["state"],
        "rate": lambda: health["capture"]["fps"],
        "age": lambda: health["capture"]["age_ms"]["p50"] if health["capture"]["age_ms"] else UNKNOWN,
        "temperature": lambda: UNKNOWN if (value := health["board"]["temperature_c"]) is None else value,
        "detection": lambda: "off" if any(each["code"] == "paused" for each in health["reasons"]) else "on",
        "model": lambda: "off" if said(topics.MODEL)["installed_version"] else UNKNOWN,
    }
    return str(values[key]())


def counted(number: int | None, what: str) -> str:
    if number is None:
        return UNKNOWN
    return str(number) if what == "count" else "on" if number else "off"


def named(level: str, names: list[str]) -> str:
    """The name whose level this is, in these simple ones."""
    return next(name for name in names if name.replace(" ", "%20") == level)


def is_same(state: str, wanted: str) -> bool:
    try:
        return abs(float(state) - float(wanted)) < 0.005
    except ValueError:
        return state == wanted


class Campaign:
    """All steps, in order, with what they share."""

    def __init__(self, folder: Path, ha: HomeAssistant, watched: Watched, broker: Mosquitto) -> None:
        self.folder = folder
        self.ha = ha
        self.watched = watched
        self.broker = broker
        self.figures: dict[str, object] = {}

    def configure(self, labels: str = LABELS, enabled: str = "true") -> Path:
        path = self.folder / "config.yaml"
        text = CONFIG.replace("PORT", str(self.broker.port)).replace("LABELS", labels)
        path.write_text(text.replace("ENABLED", enabled))
        return path

    def shown(self) -> dict[str, str]:
        """Every announced entity that Home Assistant has, and its state."""
        states, names = self.ha.states(), self.watched.entities()
        return {names[name][0]: state["state"] for name, state in states.items() if name in names}

    def entity(self, key: str) -> Json:
        name = next(name for name, (other, _) in self.watched.entities().items() if other == key)
        return self.ha.states()[name]

    def equal(self, labels: str = LABELS) -> None:
        """Every entity has the state that MQTT says, at each look at a steady message."""
        right: set[str] = set()
        compared = {key for key, component in self.watched.entities().values()
                    if component["platform"] not in ("button", "image", "event")}
        wrong: list[str] = []

        def looked() -> bool:
            before = self.watched.newest()
            threading.Event().wait(STEADY_S)
            shown, after = self.shown(), self.watched.newest()
            for key in compared & shown.keys():
                wanted = expected(key, before, labels.split(", "))
                if wanted == expected(key, after, labels.split(", ")):
                    same = is_same(shown[key], wanted)
                    right.update({key} if same else ())
                    wrong.extend(() if same else (f"{key}: {shown[key]}, not {wanted}",))
            return right == compared
        if not wait_until(looked) or wrong:
            raise Wrong(f"states differ: {sorted(compared - right)} {wrong}")
        self.figures["entities"] = max(len(self.shown()), int(str(self.figures.get("entities", 0))))
        self.figures["compared"] = len(compared)
        if len(self.shown()) < AT_LEAST:
            raise Wrong(f"only {len(self.shown())} entities")

    def pictures(self) -> None:
        """The pictures in Home Assistant are those that were published."""
        before = self.entity("snapshot")["state"]
        self.ha.call("button.press", self.entity("command/snapshot"))
        eventually(lambda: self.entity("snapshot")["state"] != before)
        snapshot = self.ha.picture(self.entity("snapshot"))
        best = eventually(lambda: [key for key in self.shown() if key.startswith("best/")
                                   and self.entity(key)["state"] not in (UNKNOWN, "unavailable")])[0]
        for topic, picture in ((topics.SNAPSHOT, lambda: snapshot),
                               (best, lambda: self.ha.picture(self.entity(best)))):
            if not wait_until(lambda topic=topic, picture=picture: picture() == self.watched.newest().get(topic)):  # type: ignore[misc]
                raise Wrong(f"{topic}: another picture than the published one")
        self.figures["snapshot_bytes"] = len(snapshot)
        if snapshot[:2] != b"\xff\xd8":
            raise Wrong("the snapshot is no JPEG")

    def events(self) -> None:
        """The event entity follows the events."""
        event = eventually(lambda: e if (e := self.entity("event"))["state"] != UNKNOWN else None)
        if event["attributes"]["event_type"] not in ("start", "update", "end") or not event["attributes"]["label"]:
            raise Wrong(f"event {event['attributes']}")

    def unknown_while(self, off: tuple[str, str], on: tuple[str, str]) -> None:
        """Between these two calls every count and every occupancy is unknown, and afterwards known again."""
        def numbers() -> set[str]:
            return {state for key, state in self.shown().items() if key.startswith(("label-", "zone-"))}
        self.ha.call(off[0], self.entity(off[1]))
        if not wait_until(lambda: numbers() == {UNKNOWN} and self.shown()["detection"] == "off"):
            raise Wrong(f"{off}: {self.shown()}")
        self.equal()
        self.ha.call(on[0], self.entity(on[1]))
        if not wait_until(lambda: UNKNOWN not in numbers() and self.shown()["detection"] == "on"):
            raise Wrong(f"{on}: {self.shown()}")

    def other_labels(self, daemon: RunningDaemon) -> None:
        """Entities of a label that is not chosen any more go, and come back."""
        car = f"Vedette {DEVICE} Car count"
        for labels, there in (("person, dog", False), (LABELS, True)):
            self.configure(labels)
            daemon.signal(signal.SIGHUP)
            if not wait_until(lambda there=there: (car in self.ha.states()) is there):     # type: ignore[misc]
                raise Wrong(f"{labels}: car is {'not there' if there else 'there'}")
            self.equal(labels)

    def another_start(self) -> None:
        """Home Assistant says that it has started, and is told again."""
        self.ha.stop()
        before = self.watched.times_announced()
        self.ha.start()
        eventually(lambda: self.watched.times_announced() > before)
        self.equal()

    def nulls(self) -> None:
        """Messages with every null that they may have, and health in its brief form, cost no warning."""
        health = json.loads(self.watched.newest()[topics.HEALTH])
        health["capture"]["age_ms"] = None
        del health["board"]
        model = json.loads(self.watched.newest()[topics.MODEL])
        model |= dict.fromkeys(("title", "installed_version", "latest_version", "update_percentage"))
        for topic, content in ((topics.MODEL, model), (topics.HEALTH, health)):
            send(self.broker.client(), f"{BASE}/{topic}", json.dumps(content).encode())
        if not wait_until(lambda: (self.shown()["age"], self.shown()["temperature"]) == (UNKNOWN, UNKNOWN)):
            raise Wrong(f"nulls: {self.shown()}")

    def unavailable(self) -> None:
        """The broker has published the daemon's will."""
        if not wait_until(lambda: set(self.shown().values()) == {"unavailable"}):
            raise Wrong(f"killed: {self.shown()}")

    def gone(self, entities: Iterable[str]) -> None:
        """Home Assistant has forgotten the device."""
        names = set(entities)
        if not wait_until(lambda: not self.ha.states().keys() & names):
            raise Wrong(f"switched off: {sorted(self.ha.states().keys() & names)}")


def run(folder: Path, root: Path) -> dict[str, object]:
    """Go through all steps; returns figures, and what was wrong."""
    ha = HomeAssistant(root, "vedette")
    with running(folder) as broker, listening(broker.client(), f"{BASE}/#", TOPIC) as subscriber:
        campaign = Campaign(folder, ha, Watched(subscriber), broker)
        try:
            ha.start()
            ha.set_up(broker.port)
            with RunningDaemon(folder, "--config", campaign.configure()) as daemon:
                eventually(campaign.watched.announced)
                eventually(lambda: len(campaign.shown()) == len(campaign.watched.entities()))
                eventually(lambda: campaign.watched.newest().keys() >= STATES)
                campaign.figures["message_bytes"] = len(subscriber.last(TOPIC).payload)     # type: ignore[union-attr]
                campaign.equal()
                campaign.pictures()
                campaign.events()
                campaign.unknown_while(("switch.turn_off", "detection"), ("switch.turn_on", "detection"))
                campaign.unknown_while(("button.press", "command/pause"), ("button.press", "command/resume"))
                campaign.other_labels(daemon)
                campaign.another_start()
                campaign.nulls()
                daemon.signal(signal.SIGKILL)
                campaign.unavailable()
            entities = campaign.watched.entities()
            with RunningDaemon(folder, "--config", campaign.configure(enabled="false")):
                campaign.gone(entities)
            wrong: list[str] = []
        except (Wrong, AssertionError) as error:
            wrong = [str(error)[:2000]]
        finally:
            ha.stop()
        return {**campaign.figures, "wrong": wrong + ha.complaints()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path(".campaign/roots/home-assistant"))
    parser.add_argument("--state", type=Path, default=Path(".campaign/home_assistant.json"))
    args = parser.parse_args()
    if os.geteuid() or not shutil.which("debootstrap"):
        print("it needs root and debootstrap", file=sys.stderr)
        return 69
    args.state.parent.mkdir(parents=True, exist_ok=True)
    root = args.root.absolute()
    root.parent.mkdir(parents=True, exist_ok=True)
    install(root, args.state.with_suffix(".log"))
    with tempfile.TemporaryDirectory() as folder:
        done = run(Path(folder), root)
    args.state.write_text(json.dumps(done))
    print(json.dumps({"campaign": "home_assistant", **done}))
    return 1 if done["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
