"""Campaign `configure`: one command changes the configuration of many devices, and bad ones are taken back.

    .venv/bin/python tests/campaign/configure.py --devices 500 --daemons 3 --state .campaign/configure.json

The devices are simulated without cameras: the chooser, the verified download over a real web server, the durable file,
the loader, the reload and the trial are the product's own. One in ten lets its own keys win, and one in ten is of
another class. In four steps `vedette fleet configure` changes all of them; changes them again; signs one with which
detection fails; and refuses a wrong file, which is then signed all the same by other means. After each step every
device has exactly the values that it should, also when it is started anew from its files, and `fleet status` counts
the outcomes. `--daemons` real daemons see the drawn street beside them, and roll the bad one back because they see
nothing any more. One JSON line; 1 when a device or a count is wrong.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, cast

from tests.support.broker.many_devices import publish_all
from tests.support.broker.mosquitto import Mosquitto, running
from tests.support.broker.subscriber import Subscriber, listening
from tests.support.daemon.running import RunningDaemon, vedette
from tests.support.fakes import FakeClock, Frames, NoComparison
from tests.support.network.http_server import serving_folder
from tests.support.network.operators import Operator
from tests.support.network.operators_desk import Fleet
from tests.support.waiting.until import wait_until
from vedette.config.load import Loaded, read
from vedette.config.models import Config
from vedette.config.reload import Reloader
from vedette.config.signed import Signed
from vedette.detect.pipeline import Pipeline
from vedette.messages import payloads, updates
from vedette.store.configurations import ConfigurationStore
from vedette.store.model_store import ModelStore
from vedette.types import LastUpdate, ModelStatus, RunIdentity
from vedette.update.build import downloaded
from vedette.update.configuration import ConfigurationUpdater
from vedette.update.configuration_trial import ConfigurationTrial
from vedette.update.fetch import open_source
from vedette.update.live_configuration import LiveConfiguration, configuration_at_start
from vedette.update.old_configuration import OldConfiguration
from vedette.update.verdicts import LEAST_ERRORS

FIRST, SECOND, BLIND = 0.3, 0.4, 0.99
OWN = 0.6
"""The threshold that some devices state themselves."""
TRIAL = "frames=20,minutes=0.05"
HIDDEN = "hunter2"
WORKERS = 4
WITHIN_S = 300.0
TRIAL_FRAMES = 30


class Device:
    """One simulated device. `number` decides of which kind it is."""

    def __init__(self, folder: Path, number: int, url: str, root: Path) -> None:
        self.name = f"gate-{number:04}"
        self.is_local, self.is_other = number % 10 == 3, number % 10 == 7
        self._folder = folder / self.name
        self._folder.mkdir()
        self.file = self._folder / "config.yaml"
        wins = f", configuration: local}}\ndetector: {{score_threshold: {OWN}" if self.is_local else ""
        self.file.write_text(f"update: {{source: '{url}', root: '{root}', device_class: "
                              f"{'other' if self.is_other else 'default'}{wins}}}\n")
        self._models = ModelStore(self._folder / "models")
        self._models.recover()
        self.restart()

    def restart(self) -> None:
        """Do what a new daemon does first."""
        self._orders: list[Callable[[], None]] = []
        self._clock = FakeClock()
        self._frames = Frames()
        self._store = ConfigurationStore(self._folder)
        loaded = configuration_at_start(self._store, self._load(), self._load, boot_id="boot",
                                        now=self._clock.utc_now())
        self._update = loaded.config.update
        self._reloader = Reloader(loaded, self._load_now)
        live = LiveConfiguration(self._store, self._reloader, self._load, self._clock, self._orders.append)
        trial = ConfigurationTrial(self._store, self._clock, cast(Pipeline, self._frames),
                                   cast(OldConfiguration, NoComparison()), throttled=bool, governed=bool)
        self._live = live
        self._updater = ConfigurationUpdater(
            self._store, self._update, self._clock, RunIdentity(self.name, 1, "boot"), live=live, trial=trial,
            download=partial(downloaded, self._update, self._models))

    def follow(self) -> None:
        """Ask the source, take what it offers, and go through the trial."""
        source = open_source(self._update, self._models)
        self._updater.offer(source.refresh({}, datetime.now(UTC)).targets)
        self._settle()
        for _ in range(3):
            self._clock.advance(60)
            self._frames.invoked += TRIAL_FRAMES
            self._frames.errors += LEAST_ERRORS * (self.config.detector.score_threshold == BLIND)
            self._settle()

    @property
    def config(self) -> Config:
        return self._reloader.config

    @property
    def place(self) -> str | None:
        return self._reloader.places.get("detector.score_threshold")

    def messages(self) -> Iterator[tuple[str, bytes]]:
        """What it has retained on a broker."""
        status = ModelStatus("none", receiver=self._update.receiver, configuration=self._updater.status())
        yield f"vedette/{self.name}/availability", b"online"
        yield f"vedette/{self.name}/model", payloads.encode(updates.model(status))

    @property
    def last(self) -> LastUpdate | None:
        return self._updater.status().last_update

    def _settle(self) -> None:
        def is_settled() -> bool:
            self._updater.step(free=True)
            while self._orders:
                self._orders.pop(0)()
            return self._updater._under_way is None and self._live.is_matched
        assert wait_until(is_settled, WITHIN_S), self.name
        self._updater.step(free=True)

    def _load(self, signed: Signed | None = None) -> Loaded:
        return read(self.file, environ={}, signed=signed)

    def _load_now(self) -> Loaded:
        return self._load(self._store.signed)


class Street:
    """A real daemon at the drawn street."""

    def __init__(self, folder: Path, number: int, broker: Mosquitto, url: str, root: Path) -> None:
        self.name = f"street-{number}"
        (folder / self.name).mkdir()
        config = folder / self.name / "config.yaml"
        config.write_text(
            f"device: {self.name}\nmqtt: {{port: {broker.port}}}\nhealth: {{interval_s: 2}}\n"
            "camera: {source: synthetic, width: 384, height: 216, fps: 4}\ndetector: {threads: 1}\n"
            f"update: {{source: '{url}', root: '{root}', poll_minutes: 0.05}}\n")
        self.daemon = RunningDaemon(folder / self.name, "--config", config)

    def stop(self) -> None:
        with self.daemon:
            self.daemon.signal(signal.SIGTERM)
            self.daemon.ends(60)


class Campaign:
    """A fleet, its devices, and what was found wrong."""

    def __init__(self, folder: Path, count: int, daemons: int, stack: ExitStack) -> None:
        self.folder = folder
        self.broker = stack.enter_context(running(folder))
        self.fleet = Fleet(folder)
        url = stack.enter_context(serving_folder(self.fleet.www)).url
        self.fleet.publish()
        self.subscriber: Subscriber = stack.enter_context(
            listening(self.broker.client(), "vedette/+/model", "vedette/+/info"))
        self.devices = [Device(folder, number, url, self.fleet.root) for number in range(count)]
        self.streets = [Street(folder, number, self.broker, url, self.fleet.root) for number in range(daemons)]
        for street in self.streets:
            stack.callback(street.stop)
        self.wrong: list[Any] = []
        self.steps: list[dict[str, Any]] = []

    def change(self, name: str, number: int, threshold: float) -> None:
        """Sign by one command, and let every device follow."""
        file = self.folder / f"{name}.yaml"
        file.write_text(f"detector: {{score_threshold: {threshold}}}\ncamera: {{roi: [0, 0, 1, 0.9]}}\n"
                        f"publish: {{max_per_s: {number}}}\n")
        self.fleet.run("configure", file, "--trial", TRIAL)
        self.fleet.publish()
        self.follow(name)

    def follow(self, name: str) -> None:
        began_s = time.monotonic()
        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(Device.follow, self.devices))
        self.steps.append({"step": name, "seconds": round(time.monotonic() - began_s, 1)})
        print(json.dumps(self.steps[-1]), file=sys.stderr, flush=True)

    def expect(self, name: str, threshold: float, *, release: int, code: str) -> None:
        """Hold each device and the counts against what they should be."""
        number = min(release, 2)        # in effect: the third is rolled back, and the fourth refused
        self._expect_devices(name, number, threshold, release=release, code=code)
        for device in self.devices[::2]:
            device.restart()
        self._expect_devices(f"{name}, started anew", number, threshold, release=release, code=code)
        publish_all(self.broker.client(), (each for device in self.devices for each in device.messages()))
        self._expect_streets(name, number, release=release, code=code)
        self._expect_status(name, release, code)

    def _expect_devices(self, name: str, number: int, threshold: float, *, release: int, code: str) -> None:
        for device in self.devices:
            config, last = device.config, device.last
            seen = (config.detector.score_threshold, config.publish.max_per_s, config.camera.roi, device.place,
                    last and (last.release, last.code))
            wanted: tuple[object, ...] = (threshold, number, (0, 0, 1, 0.9), f"signed configuration {number}",
                                          (release, code))
            if device.is_other:
                wanted = (Config().detector.score_threshold, Config().publish.max_per_s, None, None, None)
            elif device.is_local:       # its own threshold wins, so nothing fails with the bad one
                wanted = (OWN, min(release, 3), (0, 0, 1, 0.9), f"{device.file}:2",
                          (release, "good" if code == "errors" else code))
            if seen != wanted:
                self.wrong.append({"step": name, "device": device.name, "seen": seen, "wanted": wanted})

    def _expect_streets(self, name: str, number: int, *, release: int, code: str) -> None:
        code = "blind" if code == "errors" else code

        def shown(street: Street) -> dict[str, Any]:
            model = self.subscriber.last(f"vedette/{street.name}/model")
            info = self.subscriber.last(f"vedette/{street.name}/info")
            found = json.loads(model.payload).get("configuration") if model else None
            last = (found or {}).get("last_update") or {}
            return {"release": (found or {}).get("release"), "last": [last.get("release"), last.get("code")],
                    "place": json.loads(info.payload)["places"].get("detector.score_threshold") if info else None}
        wanted = {"release": number, "last": [release, code], "place": f"signed configuration {number}"}
        began_s = time.monotonic()
        for street in self.streets:
            if not wait_until(lambda street=street: shown(street) == wanted, WITHIN_S):   # type: ignore[misc]
                self.wrong.append({"step": name, "device": street.name, "seen": shown(street), "wanted": wanted,
                                   "log": street.daemon.log[-2000:]})
        self.steps[-1]["daemons_s"] = round(time.monotonic() - began_s, 1)

    def _expect_status(self, name: str, release: int, code: str) -> None:
        done = vedette("fleet", "status", self.folder / "fleet", "--host", "127.0.0.1", "--port",
                       str(self.broker.port), "--once", "1", "--json", folder=self.folder, timeout_s=120)
        found = next(each for each in json.loads(done.stdout)["releases"] if each["release"] == release)["devices"]
        takers = [device for device in self.devices if not device.is_other]
        failed = [device for device in takers if not (code == "errors" and device.is_local)] if code != "good" else []
        counts = {"errors": {"errors": len(failed), "blind": len(self.streets)},
                  "invalid": {"invalid": len(failed) + len(self.streets)}}.get(code, {})
        wanted = {"expected": len(takers) + len(self.streets), "good": len(takers) - len(failed)
                  + (len(self.streets) if code == "good" else 0),
                  "failed": {key: value for key, value in counts.items() if value}}
        seen = {key: found[key] for key in wanted}
        if seen != wanted:
            self.wrong.append({"step": name, "status": seen, "wanted": wanted})
        self.steps[-1] |= seen

    def refuse(self) -> None:
        """A wrong file is named and not signed; signed all the same, every device refuses it whole."""
        file = self.folder / "wrong.yaml"
        file.write_text(f"detector: {{score_threshold: 0.5}}\nmqtt: {{password_file: {HIDDEN}}}\n")
        done = vedette("fleet", "configure", self.folder / "fleet", file, folder=self.folder)
        if done.returncode != 78 or "mqtt.password_file" not in done.stderr or HIDDEN in done.stdout + done.stderr:
            self.wrong.append({"step": "refused", "code": done.returncode, "stderr": done.stderr})
        operator = Operator.existing(self.folder)
        operator.served = self.fleet.www
        operator.release(b'{"detector": {"score_threshold": 0.5}, "mqtt": {"host": "elsewhere"}}', "9",
                         kind="configuration")
        operator.publish()
        self.follow("invalid")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=500, metavar="N")
    parser.add_argument("--daemons", type=int, default=3, metavar="N")
    parser.add_argument("--state", type=Path, required=True, help="where the figures are written")
    args = parser.parse_args()
    logging.disable()       # each device says what it does
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        campaign = Campaign(Path(name), args.devices, args.daemons, stack)
        campaign.change("first", 1, FIRST)
        campaign.expect("first", FIRST, release=1, code="good")
        campaign.change("second", 2, SECOND)
        campaign.expect("second", SECOND, release=2, code="good")
        campaign.change("bad", 3, BLIND)
        campaign.expect("bad", SECOND, release=3, code="errors")
        campaign.refuse()
        campaign.expect("invalid", SECOND, release=4, code="invalid")
    figures = {"devices": args.devices, "daemons": args.daemons, "steps": campaign.steps, "wrong": campaign.wrong[:10]}
    args.state.write_text(json.dumps(figures))
    print(json.dumps(figures))
    return int(bool(campaign.wrong))


if __name__ == "__main__":
    sys.exit(main())
