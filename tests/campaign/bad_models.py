"""Campaign `bad_models`: releases that pass the probe and fail on trial, and good ones through dusk and power cuts.

    .venv/bin/python tests/campaign/bad_models.py --cycles 3 --state .campaign/bad_models.json

A real daemon, kept alive as by systemd, follows a fleet over HTTP. A model that raises, goes blind or is slow, or
under which the process crashes three times: the model before must detect again within 90 s of the trial's begin (of
the last crash), by itself, with the cause on `<base>/model`, and every result is true of its frame; the bad one is not
fetched again, and a newer release is taken. `flickers`: three power cuts within the trial (SIGKILL, and then another
boot id; root only). `dusk`: a trial from the drawn street's afternoon into its night; `darkness`: most of it black.
Those fail no good model. Resumable by case. One JSON line; 1 when a limit was broken.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.daemon.kept_alive import KeptAlive
from tests.support.daemon.running import RunningDaemon, vedette
from tests.support.daemon.update_device import DEVICE, Device, device_in
from tests.support.faults import another_boot
from tests.support.models import lamps
from tests.support.network import another_host
from tests.support.network.http_server import WebServer, serving_folder
from tests.support.network.operators_desk import Fleet
from tests.support.present import present
from tests.support.truth.truth import TruthChecker, lit_clip
from tests.support.waiting.until import wait_until
from vedette.camera.street.scene import DAY_S, FIRST_HOUR
from vedette.store.state import CRASHES_MAX

STREET = Path(__file__).parents[2] / "models/vedette-street.tflite"
BACK_WITHIN_S = 90.0
WITHIN_S = 150.0
TRIAL = "frames=20,minutes=0.05"
LONG_TRIAL = "frames=1000000,minutes=1000"
TRIAL_INTO_THE_NIGHT = "frames=100,minutes=1.2,max_latency_ratio=100"
LATE_AFTERNOON = (16.0, 17.5)
AGAIN = 3
"""Polls in which a refused model is not fetched."""


class Street:
    """One device, the fleet that it follows, and the messages of the device."""

    def __init__(self, device: Device, fleet: Fleet, server: WebServer) -> None:
        self.device, self.fleet, self.server = device, fleet, server
        self.program: Callable[[], Sequence[str]] = lambda: ("-m", "vedette", "run")
        self.camera(None)

    def camera(self, source: str | None) -> None:
        self.device.configure(source=source, update=f"{{source: '{self.server.url}', root: '{self.fleet.root}', "
                                                    "poll_minutes: 0.02}")
        if source is not None:
            config = self.device.config.read_text()
            self.device.config.write_text(config.replace("camera: {", "camera: {width: 384, height: 216, fps: 5, "))

    def start(self) -> RunningDaemon:
        return RunningDaemon(self.device.folder, "--config", self.device.config, program=self.program())

    def last(self, topic: str) -> dict[str, Any]:
        message = self.device.subscriber.last(f"vedette/{DEVICE}/{topic}")
        return {} if message is None else json.loads(message.payload)

    def waits_for(self, version: str, state: str) -> bool:
        """Wait until this version runs, in that state, and gives results."""
        return wait_until(lambda: (summary := self.last("model")).get("state") == state
                          and summary["installed_version"] == version, WITHIN_S) and self.waits_for_results_of(version)

    def waits_for_results_of(self, version: str, within_s: float = WITHIN_S) -> bool:
        since = len(self.device.subscriber.received)
        return wait_until(lambda: len(self.device.subscriber.received) > since
                          and self.last("detections").get("model", {}).get("version") == version, within_s)


@contextmanager
def street() -> Iterator[Street]:
    with tempfile.TemporaryDirectory() as name, device_in(Path(name)) as device:
        fleet = Fleet(device.folder)
        with serving_folder(fleet.www) as server:
            yield Street(device, fleet, server)


def fails_on_trial(make: Callable[[Path, str], Path], why: str, *, crashes: int = 0) -> dict[str, Any]:
    """Release a good model, the bad one, and a good one; returns how long the second was active."""
    with street() as one:
        folder, fleet = one.device.folder, one.fleet
        fleet.release(lamps.write(folder, "1"), "--trial", TRIAL)
        with KeptAlive(one.start) as kept:
            assert one.waits_for("1", "good"), kept.log
            bad = make(folder, "2")
            fleet.release(bad, "--trial", LONG_TRIAL if crashes else TRIAL)
            assert wait_until(lambda: one.last("model")["installed_version"] == "2", WITHIN_S), kept.log
            began_s = last_s = time.monotonic()
            for number in range(crashes):
                assert one.waits_for_results_of("2"), kept.log
                last_s = time.monotonic()
                assert kept.signal(signal.SIGSEGV)
                assert kept.waits_for_ends(number + 1)
            assert one.waits_for_results_of("1"), kept.log
            summary: dict[str, Any] = {"back_s": round(time.monotonic() - last_s, 1),
                                    "endured_s": round(time.monotonic() - began_s, 1)}
            assert one.waits_for("1", "good"), kept.log
            outcome = one.last("model")["last_outcome"]
            stays_away(one, hashlib.sha256(bad.read_bytes()).hexdigest(), kept)
            fleet.release(lamps.write(folder, "3"), "--trial", TRIAL)
            assert one.waits_for("3", "good"), kept.log
        ends = kept.ends
        checker = TruthChecker(lit_clip(), blind={"2"} if make is lamps.blind else ())
        summary |= {"lies": checker.check_all(one.device.subscriber.received), "judged": checker.checked}
    right = summary["back_s"] <= BACK_WITHIN_S and why in outcome and ends == crashes * [-signal.SIGSEGV] + [0]
    right = right and checker.checked > 0 and not summary["lies"]
    return {**summary, "outcome": outcome, "ends": ends, "right": right}


def stays_away(one: Street, sha256: str, kept: KeptAlive) -> None:
    """Wait for a few more polls: the model is not fetched again."""
    fetched, polls = one.server.count(sha256), one.server.polls
    assert wait_until(lambda: one.server.polls >= polls + AGAIN, WITHIN_S), kept.log
    assert one.server.count(sha256) == fetched, one.server.asked
    assert one.last("model")["installed_version"] == "1"
    assert one.device.state.refusal_of(sha256)


def flickers() -> dict[str, Any]:
    if not another_host.possible():
        return {"right": True, "skipped": "namespaces need root"}
    with street() as one:
        folder, fleet = one.device.folder, one.fleet
        one.program = lambda: (*another_boot.PROGRAM, str(uuid.uuid4()), "run")
        fleet.release(lamps.write(folder, "1"), "--trial", TRIAL)
        with KeptAlive(one.start) as kept:
            assert one.waits_for("1", "good"), kept.log
            fleet.release(lamps.write(folder, "2"), "--trial", "frames=100,minutes=0.2")
            for number in range(CRASHES_MAX):
                assert one.waits_for("2", "trial"), kept.log
                assert kept.signal(signal.SIGKILL)
                assert kept.waits_for_ends(number + 1)
                one.device.subscriber.received.clear()       # or the next round counts this daemon's messages
            assert one.waits_for("2", "trial"), kept.log
            trial = present(one.device.state.trial)
            good = one.waits_for("2", "good")
            assert good, kept.log
    right = (trial.other_ends, trial.crashes) == (CRASHES_MAX, 0)
    return {"right": right, "other_ends": trial.other_ends, "crashes": trial.crashes,
            "outcome": one.last("model")["last_outcome"]}


def dusk() -> dict[str, Any]:
    return in_the_street("synthetic", *LATE_AFTERNOON)


def darkness() -> dict[str, Any]:
    return in_the_street("synthetic?misbehave=dark:10:20", 0, 24)


def in_the_street(source: str, earliest: float, latest: float) -> dict[str, Any]:
    """Prove the model in the box at some hour of the drawn day against itself with a higher threshold."""
    with street() as one:
        one.camera(source)
        one.fleet.release(bundle(one.device.folder, "1", 0.35), "--trial", "frames=5,minutes=0.02")
        with KeptAlive(one.start) as kept:
            assert one.waits_for("1", "good"), kept.log
            new = bundle(one.device.folder, "2", 0.4)
            assert wait_until(lambda: earliest <= hour() <= latest, DAY_S + 10)
            one.fleet.release(new, "--trial", TRIAL_INTO_THE_NIGHT)
            assert wait_until(lambda: one.last("model").get("state") == "trial", WITHIN_S), kept.log
            hours = [round(hour(), 1)]
            ended = wait_until(lambda: one.last("model")["state"] != "trial", 2 * WITHIN_S)
            hours.append(round(hour(), 1))
            summary = one.last("model")
            assert ended, kept.log
    return {"right": (summary["state"], summary["installed_version"]) == ("good", "2"), "hours": hours,
            "outcome": summary["last_outcome"]}


def hour() -> float:
    """The hour in the drawn street."""
    return (FIRST_HOUR + time.monotonic() / DAY_S * 24) % 24


def bundle(folder: Path, version: str, threshold: float) -> Path:
    path = folder / f"street-{version}.tflite"
    done = vedette("model", "pack", STREET, "--version", version, "--score-threshold", str(threshold), "-o", path,
                   folder=folder, timeout_s=120)
    assert done.returncode == 0, done.stderr
    return path


CASES: dict[str, Callable[[], dict[str, Any]]] = {
    "raises": lambda: fails_on_trial(lamps.raising, "detection failed"),
    "blind": lambda: fails_on_trial(lamps.blind, "blind"),
    "slow": lambda: fails_on_trial(lamps.slow, "slow"),
    "crashes": lambda: fails_on_trial(lamps.write, f"{CRASHES_MAX} crashes", crashes=CRASHES_MAX),
    "flickers": flickers,
    "dusk": dusk,
    "darkness": darkness,
}


def figures(done: list[dict[str, Any]]) -> dict[str, Any]:
    cases = {name: [one for one in done if one["case"] == name] for name in CASES}
    return {"cases": {name: len(ones) for name, ones in cases.items() if ones},
            "worst_back_s": {name: max(one["back_s"] for one in ones) for name, ones in cases.items()
                             if ones and "back_s" in ones[0]},
            "worst_endured_s": {name: max(one["endured_s"] for one in ones) for name, ones in cases.items()
                                if ones and "endured_s" in ones[0]},
            "hours": {name: [one["hours"] for one in ones if "hours" in one] for name, ones in cases.items()
                      if ones and "hours" in ones[0]},
            "wrong": [one for one in done if not one["right"]]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=3)
    parser.add_argument("--case", choices=CASES, action="append", help="only this one; may be repeated")
    parser.add_argument("--state", type=Path, default=Path(".campaign/bad_models.json"))
    args = parser.parse_args()
    done = json.loads(args.state.read_text()) if args.state.exists() else []
    args.state.parent.mkdir(parents=True, exist_ok=True)
    for name in [name for _ in range(args.cycles) for name in args.case or CASES][len(done):]:
        done.append({"case": name, **CASES[name]()})
        print(f"{len(done)} {done[-1]}", file=sys.stderr, flush=True)
        args.state.write_text(json.dumps(done))
    summary = figures(done)
    print(json.dumps(summary))
    return 1 if summary["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
