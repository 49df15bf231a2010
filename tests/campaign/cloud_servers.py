"""Campaign `cloud_servers`: a real daemon whose model fails now and then, and clouds of every kind (bad_clouds.py).

    .venv/bin/python tests/campaign/cloud_servers.py --state .campaign/cloud_servers.json

The film is dark for a second and lit for two: the daemon's model can look at dark pictures only, so that it works
again in the middle of calls. Of each cloud: no call lasts longer than its deadline and a tenth, seen at the server; a
failing one gets three calls, or one, and then a pause; results of lit frames are the cloud's, of dark ones the
model's; of dark frames no larger share goes unseen while a call is under way. Outages: a cloud that fails for
`--outage-s` gets ten calls at most, and is used again within five minutes of its recovery. Resumable by cloud. Times
are limited by the fair clock and printed by the other. One JSON line; 1 when a limit was broken.
"""

from __future__ import annotations

import argparse
import json
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tests.support.broker.mosquitto import Mosquitto, running
from tests.support.broker.subscriber import listening
from tests.support.daemon.running import RunningDaemon
from tests.support.models import lamps
from tests.support.network.bad_clouds import CLOUDS, Call, Cloud, Open, hang, opened, sized, status
from tests.support.network.clouds import ANSWER, PERSON, TOKEN
from tests.support.network.rude_server import certify
from tests.support.waiting.until import wait_until

FPS, DARK, LIT = 10, 10, 20
DEADLINE_S, INTERVAL_S = 2.0, 0.5
LONGEST_CALL_S = 1.1 * DEADLINE_S
MORE_UNSEEN, MORE_UNSEEN_IN_ALL = 0.5, 0.1
"""So much larger may the share of unseen dark frames be while a call is under way, of one cloud and of all: where calls
held the model up it would be nearly all of them, and a machine is never quite even."""
QUIET_S = 2.0
CALLS_IN_TEN_MINUTES, USED_AGAIN_S = 10, 300.0
OUTAGES = {"500": status(b"500 Internal Server Error"), "hangs": hang}


def write_film(folder: Path, dark: int = DARK) -> Path:
    """Dark, then a lamp that wanders; 128 x 128."""
    path = folder / f"film-{dark}.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (128, 128))
    for number in range(dark + LIT):
        picture = np.full((128, 128, 3), 8 + number % 5, np.uint8)
        if number >= dark:
            picture[32:64, 32 * (number // 4 % 4):][:, :32] = 255
        writer.write(picture)
    writer.release()
    return path


class Scene:
    """One daemon of its own name at a cloud; all scenes share a broker."""

    def __init__(self, folder: Path, broker: Mosquitto, number: int, cloud: Open, authority: Path,
                 dark: int = DARK) -> None:
        folder.mkdir()
        self.name = f"gate-{number}"
        self.cloud = cloud
        self._dark = dark
        (folder / "token").write_text(TOKEN)
        (folder / "token").chmod(0o600)
        self.config = folder / "config.yaml"
        self.config.write_text(
            f"device: {self.name}\nmqtt: {{port: {broker.port}}}\npublish: {{results: all, max_per_s: 100}}\n"
            f"health: {{interval_s: 1}}\ncamera: {{source: '{write_film(folder, dark)}', loop: true, fps: {FPS}}}\n"
            f"detector: {{model: '{lamps.raising(folder, '1')}', threads: 1}}\n"
            f"cloud: {{enabled: true, url: '{cloud.url}', token_file: '{folder}/token', ca_file: '{authority}', "
            f"deadline_s: {DEADLINE_S}, interval_s: {INTERVAL_S}, per_hour: 7200}}\n")
        self.folder = folder
        self.broker = broker

    def watched(self, enough: Callable[[dict[str, Any]], bool], quiet_s: float,
                within_s: float = 90) -> tuple[list[dict[str, Any]], dict[str, Any], int]:
        """Run a daemon until `enough` of its cloud's figures, and so long after; returns results, health, peak kB."""
        with listening(self.broker.client(), f"vedette/{self.name}/#", name=self.name) as subscriber, \
                RunningDaemon(self.folder, "--config", self.config) as daemon:
            def is_enough() -> bool:
                section = subscriber.published("health")
                seen = not self._dark or bool(subscriber.results_from("local"))
                return bool(section) and seen and enough(section[-1]["fallback"]["cloud"])
            assert wait_until(is_enough, within_s), f"{subscriber.health}\n{daemon.log}"
            threading.Event().wait(quiet_s)
            peak = Path(f"/proc/{daemon.process.pid}/status").read_text().split("VmHWM:")[1].split()[0]
            daemon.signal(signal.SIGTERM)
            assert daemon.ends(60) == 0, daemon.log
            assert wait_until(lambda: subscriber.received[-1].payload == b"offline", 10)
            return subscriber.results, subscriber.health, int(peak)

    def is_lit(self, result: dict[str, Any]) -> bool:
        return bool((result["frame"]["seq"] - 1) % (self._dark + LIT) >= self._dark)


def unseen_dark(local: list[dict[str, Any]], calls: list[Call]) -> dict[bool, tuple[int, int]]:
    """Count dark frames, those beside a call and the others: (not detected on, all)."""
    counted = {True: (0, 0), False: (0, 0)}
    seqs = {each["frame"]["seq"]: captured_s(each) for each in local}
    first = min(seqs)
    for seq in range(first, max(seqs) + 1):
        if (seq - 1) % (DARK + LIT) < DARK:
            at_s = seqs.get(seq, seqs[first] + (seq - first) / FPS)
            beside = any(at_s in call for call in calls)
            unseen, every = counted[beside]
            counted[beside] = unseen + (seq not in seqs), every + 1
    return counted


def captured_s(result: dict[str, Any]) -> float:
    return datetime.fromisoformat(result["frame"]["captured_at"]).timestamp()


def share(counted: Sequence[int]) -> float:
    part, whole = counted
    return part / max(1, whole)


def longest_s(calls: list[Call]) -> float:
    return round(max(call.ended_s - call.began_s for call in calls), 3)


def figures_of(scene: Scene, cloud: Cloud, results: list[dict[str, Any]], health: dict[str, Any],
               peak_kb: int) -> dict[str, Any]:
    """Compute the figures of a scene, and name every fault."""
    calls = scene.cloud.calls
    local = [each for each in results if each["source"] == "local"]
    theirs = [each for each in results if each["source"] == "cloud"]
    dark = unseen_dark(local, calls)
    section = health["fallback"]["cloud"]
    figures = {"calls": len(calls), "longest_call_s": longest_s(calls), "results": len(theirs), "local": len(local),
               "oldest_local_ms": max(each["age_ms"] for each in local),
               "dark_unseen_beside_a_call": dark[True],
               "dark_unseen_otherwise": dark[False], "cause": section["cause"], "peak_mb": round(peak_kb / 1024)}
    right = {
        "a call was too long": all(call.fair_s <= LONGEST_CALL_S for call in calls),
        "the accounts": section["calls"] == section["results"] + section["late"] + section["failed"],
        "calls that never came": len(calls) >= section["calls"] or "refuses this token" in section["cause"],
        "who looked": all((each["source"] == "cloud") == scene.is_lit(each) for each in results),
        "what was seen": all([found["label"] for found in each["detections"]] == [PERSON["label"]] for each in theirs),
        "dark frames beside a call": share(dark[True]) <= share(dark[False]) + MORE_UNSEEN,
        "results": bool(theirs) == (cloud.calls is None) and len(theirs) == section["results"],
        "a failure of one that works": cloud.calls is not None or section["failed"] == 0,
        "too many calls": cloud.calls is None or len(calls) == cloud.calls,
    }
    return {**figures, "wrong": [name for name, kept in right.items() if not kept]}


def one(name: str, folder: Path, broker: Mosquitto, number: int, certificate: tuple[Path, Path]) -> dict[str, Any]:
    cloud = CLOUDS[name]
    with opened(cloud, certificate) as there:
        scene = Scene(folder / str(number), broker, number, there, certificate[0])

        def is_enough(section: dict[str, Any]) -> bool:
            return bool(section["results"] >= 3 if cloud.calls is None else section["failed"] >= cloud.calls)

        figures = figures_of(scene, cloud, *scene.watched(is_enough, 0 if cloud.calls is None else QUIET_S))
    print(f"  {name}: {figures}", file=sys.stderr, flush=True)
    return figures


def outage(kind: str, seconds: float, folder: Path, broker: Mosquitto, number: int,
           certificate: tuple[Path, Path]) -> dict[str, Any]:
    """A cloud that fails, then works. The model flickers beside the 500, and never works beside the other."""
    works, fails = sized(json.dumps(ANSWER).encode()), OUTAGES[kind]
    recovers_s = float("inf")

    def behave(connection: socket.socket, gone: threading.Event) -> None:
        (fails if time.time() < recovers_s else works)(connection, gone)

    with opened(Cloud(behave), certificate) as there:
        scene = Scene(folder / str(number), broker, number, there, certificate[0], DARK if kind == "500" else 0)

        def is_back(section: dict[str, Any]) -> bool:
            nonlocal recovers_s
            if there.calls and recovers_s == float("inf"):
                recovers_s = there.calls[0].began_s + seconds
            return bool(section["results"] >= 3)

        results, health, _ = scene.watched(is_back, 0, seconds + USED_AGAIN_S + 60)
    before = [call for call in there.calls if call.began_s < recovers_s]
    again_s = next(call.began_s for call in there.calls if call.began_s >= recovers_s) - recovers_s
    section = health["fallback"]["cloud"]
    figures = {"outage_s": seconds, "calls": len(before), "used_again_after_s": round(again_s, 1),
               "at_s": [round(call.began_s - there.calls[0].began_s) for call in before],
               "longest_call_s": longest_s(before)}
    right = {"too many calls": len(before) <= CALLS_IN_TEN_MINUTES, "used again late": again_s <= USED_AGAIN_S,
             "a call was too long": all(call.fair_s <= LONGEST_CALL_S for call in before),
             "who looked": all((each["source"] == "cloud") == scene.is_lit(each) for each in results),
             "results": section["results"] == sum(each["source"] == "cloud" for each in results)}
    print(f"  outage, {kind}: {figures}", file=sys.stderr, flush=True)
    return {**figures, "wrong": [name for name, kept in right.items() if not kept]}


Job = Callable[[Path, Mosquitto, int, tuple[Path, Path]], dict[str, Any]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--cloud", action="append", choices=list(CLOUDS), help="only this one; may be repeated")
    parser.add_argument("--at-once", type=int, default=3, help="daemons at a time")
    parser.add_argument("--outage-s", type=float, default=600, help="0: no outage")
    arguments = parser.parse_args()
    arguments.state.parent.mkdir(parents=True, exist_ok=True)
    done = json.loads(arguments.state.read_text()) if arguments.state.exists() else {}
    jobs: dict[str, Job] = {name: partial(one, name) for name in arguments.cloud or CLOUDS}
    if arguments.outage_s:
        jobs |= {f"outage, {kind}": partial(outage, kind, arguments.outage_s) for kind in OUTAGES}
    jobs = {name: job for name, job in jobs.items() if name not in done}
    with tempfile.TemporaryDirectory() as place, running(Path(place)) as broker, \
            ThreadPoolExecutor(arguments.at_once) as pool:
        folder = Path(place)
        certificate = certify(folder)
        submitted = {pool.submit(job, folder, broker, number, certificate): name
                     for number, (name, job) in enumerate(jobs.items())}
        for each in as_completed(submitted):
            failure = each.exception()
            done[submitted[each]] = {"wrong": [repr(failure)]} if failure else each.result()
            arguments.state.write_text(json.dumps({name: each for name, each in done.items() if not each["wrong"]}))
    unseen = {when: [sum(each.get(f"dark_unseen_{when}", (0, 0))[part] for each in done.values()) for part in (0, 1)]
              for when in ("beside_a_call", "otherwise")}
    wrong = {name: figures["wrong"] for name, figures in done.items() if figures["wrong"]}
    if share(unseen["beside_a_call"]) > share(unseen["otherwise"]) + MORE_UNSEEN_IN_ALL:
        wrong["all"] = ["dark frames beside a call"]
    print(json.dumps({"clouds": len(done), "wrong": wrong, "dark_unseen": unseen,
                      "longest_call_s": max(each.get("longest_call_s", 0) for each in done.values()),
                      "oldest_local_ms": max(each.get("oldest_local_ms", 0) for each in done.values()),
                      "outages": {name: each for name, each in done.items() if name.startswith("outage")}}))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
