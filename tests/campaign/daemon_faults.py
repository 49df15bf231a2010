"""Campaign `daemon_faults`: the whole daemon under faults of its camera, as a subscriber sees it over mosquitto.

    .venv/bin/python tests/campaign/daemon_faults.py --cycles 100 --state .campaign/daemon_faults.json

Each fault in turn must be named in health within 4 s (an RTSP stream that falls silent: 6 s) and results must flow
again within 10 s of its end, while MQTT stays connected, health keeps coming, and every result is true of its frame
(tests/truth.py); after all of them memory, threads and descriptors of the daemon are what they were, and its accounts
balance. `--cycles` faults of the capture child, and a seventh as many of a real RTSP stream. Resumable: faults in the
state file are not run again. One JSON line; 1 when a limit was broken.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.broker.mosquitto import running
from tests.support.broker.witness import Witness
from tests.support.daemon.faulty import PROGRAM, give
from tests.support.daemon.running import RunningDaemon
from tests.support.network.rtsp_camera import RtspCamera
from tests.support.truth.bright_squares import write_model
from tests.support.truth.truth import Noted, Shown, TruthChecker
from tests.support.waiting.until import wait_until

NAMED_WITHIN_S = 4.0
SILENT_STREAM_NAMED_WITHIN_S = 6.0
AGAIN_WITHIN_S = 10.0
HEALTH_INTERVAL_S = 30
"""As shipped. A periodic message may hold back the one about a change for a second; many of them would delay most."""
HEALTH_GAP_S = HEALTH_INTERVAL_S + 2.0
SURELY_NEW = 5
"""Results after the end of a fault; at most three frames were on their way when it began."""
SETTLED_AFTER = 20
"""Faults until memory must be flat: imports, first reports and free lists are done by then."""
GROWTH_KB = 4096
SILENT_STREAM = "rtsp silent"
NAMES = {"kill": {"camera_offline"}, "stop": {"camera_stalled"}, "hang in read": {"camera_stalled"},
         "hang in close": {"camera_offline"}, "crash": {"camera_offline"}, "frozen": {"camera_frozen"},
         SILENT_STREAM: {"camera_offline", "camera_stalled"}}
SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


@dataclass(frozen=True)
class Scene:
    """A daemon, a witness of its messages, and how a fault is caused and ended."""

    daemon: RunningDaemon
    witness: Witness
    checker: TruthChecker
    cause: Callable[[str], None]
    end: Callable[[], None]

    def settle(self) -> None:
        before = self.witness.results
        assert wait_until(lambda: self.well_since(before), 60), (self.witness.health, self.daemon.log[-4000:])
        self.witness.forget()

    def well_since(self, before: int) -> bool:
        seen = self.witness
        return (seen.results >= before + SURELY_NEW and seen.camera.get("state") == "capturing"
                and not any(code.startswith("camera_") for code in seen.reasons))

    def one_fault(self, fault: str, lasts_s: float) -> tuple[float, float]:
        """Cause the fault and end it; returns the seconds until it was reported and until all worked again."""
        self.settle()
        threading.Event().wait(random.uniform(0, 1))   # or every fault falls at one moment between two health messages
        began_s = ended_s = time.monotonic()
        self.cause(fault)
        named = wait_until(lambda: bool(NAMES[fault] & self.witness.first_named.keys()))
        assert named, (fault, self.witness.health, self.daemon.log[-4000:])
        named_s = min(moment for code, moment in tuple(self.witness.first_named.items()) if code in NAMES[fault])
        if fault not in SIGNALS:          # those end when the daemon ends the child
            threading.Event().wait(lasts_s)
            ended_s = time.monotonic()
            self.end()
        before = self.witness.results
        again = wait_until(lambda: self.witness.results >= before + SURELY_NEW
                           and self.witness.camera.get("state") == "capturing", 60)
        assert again, (fault, self.witness.health, self.daemon.log[-4000:])
        return named_s - began_s, time.monotonic() - ended_s


@contextmanager
def child_scene(folder: Path) -> Iterator[Scene]:
    """A daemon whose capture child misbehaves on order."""
    order = folder / "order"
    give(order, "")
    checker = TruthChecker(Noted(order))
    with scene(folder, f"tcp://{order}", checker, program=PROGRAM) as (one, by):
        def cause(fault: str) -> None:
            if fault in SIGNALS:
                os.kill(one.child_pid(), SIGNALS[fault])
            else:
                give(order, fault)

        yield Scene(one, by, checker, cause, lambda: give(order, ""))


@contextmanager
def stream_scene(folder: Path) -> Iterator[Scene]:
    """The daemon as shipped, on an RTSP stream that can fall silent."""
    with RtspCamera() as camera:
        checker = TruthChecker(Shown(lambda: list(camera.shown)))
        with scene(folder, camera.url, checker, "--config") as (daemon, witness):
            yield Scene(daemon, witness, checker, lambda _: camera.fall_silent(), camera.speak_again)


@contextmanager
def scene(folder: Path, source: str, checker: TruthChecker, *args: str,
          **how: Any) -> Iterator[tuple[RunningDaemon, Witness]]:
    config = folder / "config.yaml"
    with running(folder) as broker, Witness(broker.client(), "gate", checker) as witness:
        config.write_text(
            f"device: gate\nmqtt: {{port: {broker.port}}}\npublish: {{results: all, max_per_s: 1000}}\n"
            f"health: {{interval_s: {HEALTH_INTERVAL_S}}}\ndetector: {{model: '{write_model(folder)}', threads: 1}}\n"
            f"camera: {{source: '{source}', fps: 30, frozen_after_s: 2}}\n")
        with RunningDaemon(folder, *args, config, **how) as daemon:
            yield daemon, witness


def one_life(make: Callable[[Path], AbstractContextManager[Scene]], faults: list[str], done: list[Any],
             save: Callable[[], None]) -> dict[str, Any]:
    """Run the faults that are not done yet on one daemon; returns the figures of its whole life."""
    footprints = []
    with tempfile.TemporaryDirectory() as folder, make(Path(folder)) as one:
        for fault in faults[len(done):]:
            lasts_s = random.uniform(0, 2)
            done.append([fault, *(round(figure, 3) for figure in one.one_fault(fault, lasts_s))])
            one.settle()
            footprints.append(one.daemon.footprint())
            save()
            print(f"{len(done)}/{len(faults)} {done[-1]} {footprints[-1]}", file=sys.stderr, flush=True)
        one.daemon.signal(signal.SIGTERM)
        code = one.daemon.ends()
        witness = one.witness
        assert wait_until(lambda: witness.availability == "offline")
    capture = witness.health["capture"]
    base = footprints[min(SETTLED_AFTER, len(footprints)) - 1]
    return {"faults": len(footprints), "exit_code": code, "footprint_settled_last": [base, footprints[-1]],
            "accounts": capture, "reconnects": witness.health["mqtt"]["reconnects"],
            "outbox_dropped": witness.health["mqtt"]["outbox_dropped"],
            "words": [availability for _, availability in witness.availabilities],
            "worst_health_gap_s": round(witness.worst_health_gap_s, 2), "results": witness.results,
            "judged": one.checker.checked, "lies": one.checker.lies}


def broken_limits(done: list[Any], lives: list[dict[str, Any]], slack_s: float) -> list[str]:
    broken = []
    for fault, named_s, again_s in done:
        limit_s = SILENT_STREAM_NAMED_WITHIN_S if fault == SILENT_STREAM else NAMED_WITHIN_S
        if named_s > limit_s + slack_s or again_s > AGAIN_WITHIN_S + slack_s:
            broken.append(f"{fault}: named {named_s} s, again {again_s} s")
    for life in lives:
        accounts, (settled, last) = life["accounts"], life["footprint_settled_last"]
        kept = {
            "exit code": life["exit_code"] == 0,
            "accounts": accounts["captured"] == accounts["detected"] + sum(accounts["dropped"].values())
            + accounts["pending"],
            "connection": life["reconnects"] == 0 and life["words"] == ["online", "offline"],
            "health": life["worst_health_gap_s"] <= HEALTH_GAP_S + slack_s,
            "truth": life["judged"] > 0 and not life["lies"],
            "memory": last["rss_kb"] <= settled["rss_kb"] + GROWTH_KB,
            "threads, descriptors, children": all(last[key] == settled[key] for key in ("threads", "fds", "children")),
        }
        broken += [f"{name}: {life}" for name, right in kept.items() if not right]
    return broken


def figures(done: list[Any], lives: list[dict[str, Any]], slack_s: float) -> dict[str, object]:
    """The worst of each fault, and what each daemon's life showed."""
    worst = {fault: {"count": len(each), "named_s": max(one[1] for one in each), "again_s": max(one[2] for one in each)}
             for fault in NAMES if (each := [one for one in done if one[0] == fault])}
    broken = broken_limits(done, lives, slack_s)
    return {"campaign": "daemon_faults", "worst": worst, "lives": lives, "broken": broken}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=100)
    parser.add_argument("--state", type=Path, default=Path(".campaign/daemon_faults.json"))
    parser.add_argument("--fault", choices=NAMES, action="append", help="only this one; may be repeated")
    parser.add_argument("--slack-s", type=float, default=0, help="added to each limit of time, on a starved machine")
    args = parser.parse_args()
    state = json.loads(args.state.read_text()) if args.state.exists() else {"child": [], "stream": [], "lives": []}
    args.state.parent.mkdir(parents=True, exist_ok=True)

    def save() -> None:
        args.state.write_text(json.dumps(state))

    wanted = args.fault or list(NAMES)
    of_child = [fault for fault in wanted if fault != SILENT_STREAM] * args.cycles
    of_stream = [SILENT_STREAM] * -(-args.cycles // 7) * (SILENT_STREAM in wanted)
    for name, make, faults in (("child", child_scene, of_child[:args.cycles]), ("stream", stream_scene, of_stream)):
        if len(state[name]) < len(faults):
            state["lives"].append(one_life(make, faults, state[name], save))
            save()
    summary = figures(state["child"] + state["stream"], state["lives"], args.slack_s)
    print(json.dumps(summary))
    return 1 if summary["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
