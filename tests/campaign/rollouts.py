"""Campaign `rollouts`: hundreds of rollouts over 10,000 simulated devices each, with the rules of `fleet roll`.

    .venv/bin/python tests/campaign/rollouts.py --rollouts 100 --state .campaign/rollouts.json

The devices say what the daemon would say, in the shapes of its own payloads, and choose releases by its rules. Time is
simulated. Each case has rollouts with seeds of their own:

- `bad 5 %` of the devices fail on trial: nearly all rollouts must stop, with at most 2 % of the devices touched.
- `bad 20 %`: all must stop.
- `bad 0.5 %`: nearly all must go through.
- `silent 20 %`: devices that say nothing any more. All must stop.
- `lies`: 20 % fail, and 1 % say at once that they are good. All must stop, and no soak is shorter.

In each, one device in 200 is offline from the beginning.

`over mosquitto`: one whole rollout with the command itself, over a real broker that is killed on the way, and a real
signed repository. 0.5 % of its devices fail, and time runs 120 times as fast. It must go through.

Resumable by rollout. One JSON line; 1 when a case went
otherwise.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.support.broker.live_fleet import LiveFleet
from tests.support.broker.mosquitto import Mosquitto, running
from tests.support.broker.simulated_fleet import BEGAN, SimulatedFleet
from tests.support.daemon.running import environment
from tests.support.models import lamps
from tests.support.network.operators_desk import Fleet
from tests.support.waiting.until import wait_until
from vedette.fleet.roll_view import RollView
from vedette.fleet.rollout import Plan, RolloutState, Step, decide, next_step
from vedette.fleet.roster import Roster, Row
from vedette.store.release import Release, Target

PLAN = Plan(steps=(100, 1000, 5000, 10_000), soak_s=7200, max_failed=0.03, min_good=20, silent_after_s=3600)
TICK = timedelta(minutes=5)
DAYS_MAX = 30
TOUCHED_MAX = 0.02
NEARLY_ALL = 0.95
NEW = Release(name="street", version="4", release=2, device_classes=("default",), channel="stable", salt="")
CASES: dict[str, dict[str, float]] = {
    "bad 5 %": {"bad": 0.05}, "bad 20 %": {"bad": 0.2}, "bad 0.5 %": {"bad": 0.005}, "silent 20 %": {"silent": 0.2},
    "lies": {"bad": 0.2, "lying": 0.01}}
LIVE = "over mosquitto"
SPEED = 120.0


class Rollout:
    """One rollout over a simulated fleet, as the operator's machine leads it."""

    def __init__(self, count: int, seed: int, shares: dict[str, float]) -> None:
        self.roster = Roster()
        self.fleet = SimulatedFleet(count, seed, self.roster.update, bad=shares.get("bad", 0.0),
                                    silent=shares.get("silent", 0.0), lying=shares.get("lying", 0.0))
        self.target = Target("2/street-4.tflite", 1000, f"{2:064x}", NEW.model_copy(update={"salt": f"salt {seed}"}))
        self.view = RollView(self.target, [device.name for device in self.fleet.devices], {}, PLAN.silent_after_s)
        self.view.begin(self._rows(), self._now_s)
        self.state = RolloutState(release=2)
        self.soaks_s: list[float] = []

    def run(self) -> dict[str, Any]:
        """Lead it to its end; returns how it ended."""
        self._widen(self._step(watched=0))
        verdict = "wait"
        while verdict not in {"done", "stop"}:
            self.fleet.run_until(self.fleet.now + TICK)
            self.view.update(self._rows(), self._now_s)
            began = self.state.published_at or BEGAN
            tally = self.view.tally(self.state.end, began.timestamp(), self._now_s)
            decision = decide(self.state, PLAN, tally, self.fleet.now, listening_since=BEGAN)
            verdict = decision.verdict
            assert self.fleet.now - BEGAN < timedelta(days=DAYS_MAX), decision
            if verdict == "go_on":
                self.soaks_s.append((self.fleet.now - began).total_seconds())
                self.state = self.state.model_copy(update={"accepted": decision.accepted})
                self._widen(self._step(watched=tally.expected))
        touched, took = self.fleet.touched, self.fleet.now - BEGAN
        if verdict == "stop":
            self.fleet.publish(())
        return {"stopped": verdict == "stop", "touched": touched / len(self.fleet.devices),
                "hours": round(took / timedelta(hours=1), 2), "steps": len(self.soaks_s) + 1,
                "shortest_soak_s": min(self.soaks_s, default=None), "words": decision.words}

    @property
    def _now_s(self) -> float:
        return self.fleet.now.timestamp()

    def _step(self, *, watched: int) -> Step:
        fit = self.view.fit(self.view.unfit(self.state.end, 10_000, self._now_s))
        step = next_step(self.state, PLAN, self.view.buckets, watched, fit)
        assert step is not None
        return step

    def _widen(self, step: Step) -> None:
        self.view.leave_out(self.view.among(self.view.unfit(self.state.end, step.end, self._now_s), step.end))
        self.state = self.state.model_copy(update={"end": step.end, "published_at": self.fleet.now})
        release = self.target.release.model_copy(update={"buckets": (0, step.end - 1)})
        self.fleet.publish((replace(self.target, release=release),))

    def _rows(self) -> dict[str, Row]:
        return {row.device: row for row in self.roster.rows()}


def over_mosquitto(count: int) -> dict[str, Any]:
    """Roll one release out with the command; returns how that ended."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        with running(folder) as broker:
            desk = Fleet(folder)
            desk.release(lamps.write(folder, "1"))
            desk.run("add", lamps.write(folder, "2"), "--allow-unproven")
            with LiveFleet(broker, desk.www, count, speed=SPEED, bad=0.005) as live:
                assert wait_until(partial(getattr, live, "is_published"), 120)
                return {"case": LIVE, "seed": 0, "devices": count, **commanded(folder, broker, desk, live)}


def commanded(folder: Path, broker: Mosquitto, desk: Fleet, live: LiveFleet) -> dict[str, Any]:
    """Run the command beside these devices, and kill the broker in its second step; returns how it ended."""
    began_s = time.monotonic()
    with (folder / "said").open("w+b") as output, subprocess.Popen(
            [sys.executable, "-m", "vedette", "fleet", "roll", desk.folder, "lamps:2", desk.www,
             "--host", "127.0.0.1", "--port", str(broker.port), "--soak", "60s", "--silent-after", "40s",
             "--within", "20m"], stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder,
            env=environment(folder)) as process:
        try:
            def said() -> str:
                return (folder / "said").read_text()
            assert wait_until(lambda: "goes on" in said() or process.poll() is not None, 600), said()
            broker.stop(signal.SIGKILL)
            broker.start()
            process.wait(3600)
        finally:
            process.kill()
    return {"stopped": process.returncode != 0, "touched": live.fleet.touched / len(live.fleet.devices),
            "hours": round((time.monotonic() - began_s) * SPEED / 3600, 2), "steps": said().count("goes on") + 1,
            "shortest_soak_s": None, "connections": live.connections, "words": said()[-2000:]}


def one(task: tuple[str, int, int]) -> dict[str, Any]:
    """Run the rollout of a case with a seed over so many devices."""
    case, seed, count = task
    return {"case": case, "seed": seed, "devices": count, **Rollout(count, seed, CASES[case]).run()}


def wrong_with(case: str, done: list[dict[str, Any]]) -> str | None:
    """Return what is wrong with the rollouts of a case; None: nothing."""
    stopped = [each for each in done if each["stopped"]]
    early = [each for each in stopped if each["touched"] <= TOUCHED_MAX]
    short = [each["seed"] for each in done if each["shortest_soak_s"] and each["shortest_soak_s"] < PLAN.soak_s]
    if short:
        return f"a soak was too short: {short}"
    if case == "bad 5 %":
        return None if len(early) >= NEARLY_ALL * len(done) else f"{len(early)} of {len(done)} stopped early"
    if case == "bad 0.5 %":
        return None if len(done) - len(stopped) >= NEARLY_ALL * len(done) else f"{len(stopped)} stopped"
    if case == LIVE:
        unheard = [each for each in done if "until the devices are heard again" not in each["words"]]
        return f"{len(stopped)} stopped, {len(unheard)} did not notice the broker" if stopped or unheard else None
    return None if len(stopped) == len(done) else f"{len(done) - len(stopped)} went through"


def figures_of(done: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of each case, and what is wrong."""
    cases, wrong = {}, {}
    for case in (*CASES, LIVE):
        of_case = [each for each in done if each["case"] == case]
        if not of_case:
            continue
        touched = sorted(each["touched"] for each in of_case)
        cases[case] = {
            "rollouts": len(of_case), "stopped": sum(each["stopped"] for each in of_case),
            "early": sum(each["stopped"] and each["touched"] <= TOUCHED_MAX for each in of_case),
            "touched": {"median": touched[len(touched) // 2], "largest": touched[-1]},
            "hours": {"median": sorted(each["hours"] for each in of_case)[len(of_case) // 2]}}
        if (what := wrong_with(case, of_case)) is not None:
            wrong[case] = what
    return {"cases": cases, "wrong": wrong}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rollouts", type=int, default=100, metavar="N", help="of each case")
    parser.add_argument("--devices", type=int, default=10_000, metavar="N")
    parser.add_argument("--case", choices=(*CASES, LIVE), action="append", help="only this one; may be repeated")
    parser.add_argument("--workers", type=int, default=2, metavar="N")
    parser.add_argument("--state", type=Path, required=True)
    args = parser.parse_args()
    done: list[dict[str, Any]] = json.loads(args.state.read_text()) if args.state.exists() else []
    known = {(each["case"], each["seed"], each["devices"]) for each in done}
    cases = args.case or [*CASES, LIVE]
    tasks = [(case, seed, args.devices) for case in cases if case != LIVE for seed in range(args.rollouts)]
    with ProcessPoolExecutor(args.workers) as pool:
        results = pool.map(one, [task for task in tasks if task not in known])
        is_left = LIVE in cases and (LIVE, 0, args.devices) not in known
        for result in chain(results, (over_mosquitto(args.devices) for _ in range(is_left))):
            done.append(result)
            args.state.write_text(json.dumps(done))
            print(json.dumps(result), file=sys.stderr, flush=True)
    figures = figures_of(done)
    print(json.dumps(figures))
    return int(bool(figures["wrong"]))


if __name__ == "__main__":
    sys.exit(main())
