"""Campaign `rolls`: bundles rolled out to five real daemons, good and bad ones, with nobody near them.

    .venv/bin/python tests/campaign/rolls.py --state .campaign/rolls.json

Five daemons that see a lamp, kept alive as by systemd, follow one fleet over HTTP and report over mosquitto. Then
`vedette fleet roll` runs once for each bundle, and nothing else acts: a good one, a blind one, a slow one, one under
which the process crashes three times, and a good one again. A good one must end on all five. A bad one must end on
none, and only the one device of the first step may ever have run it.. One JSON line; 1 when a
bundle ended elsewhere.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from tests.support.broker.mosquitto import running
from tests.support.broker.subscriber import listening
from tests.support.daemon.kept_alive import KeptAlive
from tests.support.daemon.running import RunningDaemon, environment
from tests.support.models import lamps
from tests.support.network.http_server import serving_folder
from tests.support.network.operators_desk import Fleet
from tests.support.truth.bright_squares import write_clip
from tests.support.waiting.until import wait_until

TRIAL = "frames=20,minutes=0.05"
LONG_TRIAL = "frames=1000000,minutes=1000"
ROLL = ("--steps", "20,60,100", "--soak", "5s", "--max-failed", "20%", "--min", "1", "--silent-after", "20s",
        "--within", "10m")
WITHIN_S = 600.0
CASES: dict[str, tuple[Callable[[Path, str], Path], bool]] = {
    "good": (lamps.write, True), "blind": (lamps.blind, False), "slow": (lamps.slow, False),
    "crashing": (lamps.write, False), "good again": (lamps.write, True)}
STOPPED = 65


class Street:
    """Five devices, the fleet that they follow, and what they publish."""

    def __init__(self, folder: Path, count: int, stack: ExitStack) -> None:
        self.folder = folder
        self.broker = stack.enter_context(running(folder))
        self.fleet = Fleet(folder)
        server = stack.enter_context(serving_folder(self.fleet.www))
        self.subscriber = stack.enter_context(listening(self.broker.client(), "vedette/+/model"))
        self.names = [f"gate-{number}" for number in range(1, count + 1)]
        self.kept: dict[str, KeptAlive] = {}
        clip = write_clip(folder)
        for name in self.names:
            place = folder / name
            (place / "state").mkdir(parents=True)
            (place / "config.yaml").write_text(
                f"device: {name}\nmqtt: {{port: {self.broker.port}}}\nhealth: {{interval_s: 2}}\n"
                f"camera: {{source: '{clip}', loop: true, fps: 5}}\ndetector: {{threads: 1}}\n"
                f"update: {{source: '{server.url}', root: '{self.fleet.root}', poll_minutes: 0.03}}\n")

    def start(self, stack: ExitStack) -> None:
        for name in self.names:
            place = self.folder / name
            self.kept[name] = stack.enter_context(
                KeptAlive(partial(RunningDaemon, place, "--config", place / "config.yaml")))

    def models(self) -> dict[str, dict[str, Any]]:
        last = {name: self.subscriber.last(f"vedette/{name}/model") for name in self.names}
        return {name: json.loads(message.payload) for name, message in last.items() if message is not None}

    def all_run(self, version: str) -> bool:
        models = self.models()
        return len(models) == len(self.names) and all(
            (one["installed_version"], one["state"]) == (version, "good") for one in models.values())

    def touched(self, version: str) -> list[str]:
        """The devices that ever ran this version."""
        return [name for name in self.names
                if any(json.loads(message.payload)["installed_version"] == version
                       for message in self.subscriber.received if message.topic == f"vedette/{name}/model")]

    def crash(self, version: str) -> None:
        """End each daemon that has this version on trial, as a fault in its code would."""
        for name, model in self.models().items():
            if (model["installed_version"], model["state"]) == (version, "trial"):
                ended = len(self.kept[name].ends)
                if self.kept[name].signal(signal.SIGSEGV):
                    assert self.kept[name].waits_for_ends(ended + 1), self.kept[name].log


def roll(street: Street, case: str, version: str, good: str) -> dict[str, Any]:
    """Roll the bundle of a case out; returns how that ended. `good`: the version that runs before."""
    make, is_good = CASES[case]
    bundle = make(street.folder, version)
    street.fleet.run("add", bundle, "--allow-unproven")
    began_s = time.monotonic()
    with (street.folder / f"roll-{version}.txt").open("w+b") as output, subprocess.Popen(
            [sys.executable, "-m", "vedette", "fleet", "roll", street.fleet.folder, f"lamps:{version}",
             street.fleet.www, "--host", "127.0.0.1", "--port", str(street.broker.port), *ROLL,
             "--trial", LONG_TRIAL if case == "crashing" else TRIAL],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=street.folder,
            env=environment(street.folder)) as process:
        try:
            def is_over() -> bool:
                if case == "crashing":
                    street.crash(version)
                return process.poll() is not None
            over = wait_until(is_over, WITHIN_S)
            took_s = time.monotonic() - began_s
        finally:
            process.kill()
        within_s = WITHIN_S if process.returncode == (0 if is_good else STOPPED) else 0
        ends_as_it_should = wait_until(partial(street.all_run, version if is_good else good), within_s)
        output.seek(0)
        said = output.read().decode()
    touched = street.touched(version)
    right = (over and ends_as_it_should and process.returncode == (0 if is_good else STOPPED)
             and len(touched) == (len(street.names) if is_good else 1))
    return {"case": case, "right": right, "seconds": round(took_s, 1), "exit": process.returncode,
            "touched": len(touched), "last": said.strip().splitlines()[-1:],
            **({} if right else {"said": said[-4000:], "models": street.models()})}


def rolled(folder: Path, cases: list[str], count: int) -> list[dict[str, Any]]:
    """Roll these bundles out, one after another; returns how each ended."""
    with ExitStack() as stack:
        street = Street(folder, count, stack)
        street.fleet.release(lamps.write(folder, "1"), "--trial", TRIAL)
        street.start(stack)
        assert wait_until(partial(street.all_run, "1"), WITHIN_S), street.models()
        good, done = "1", []
        for number, case in enumerate(cases, 2):
            done.append(roll(street, case, str(number), good))
            print(json.dumps(done[-1]), file=sys.stderr, flush=True)
            good = str(number) if CASES[case][1] else good
        return done


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES, action="append", help="only this one; may be repeated")
    parser.add_argument("--devices", type=int, default=5, metavar="N")
    parser.add_argument("--state", type=Path, required=True, help="where the figures are written")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        done = rolled(Path(name), args.case or [*CASES], args.devices)
    figures = {"cases": done, "wrong": [one["case"] for one in done if not one["right"]]}
    args.state.write_text(json.dumps(figures))
    print(json.dumps(figures))
    return int(bool(figures["wrong"]))


if __name__ == "__main__":
    sys.exit(main())
