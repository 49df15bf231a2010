"""Campaign `slow`: a board that gives the daemon and its commands together 5 % of one processor.

    .venv/bin/python tests/campaign/slow.py --state .campaign/slow.json

Each case has a folder and a control group of its own; root can make one. `synthetic` and `film`: `vedette run` gives
results of the model in the box and of an SSD. `update`: a service manager with the limits of the shipped unit keeps a
daemon, which takes two releases from a signed source: the first after its trial, the second after shadow and trial.
`install`: `vedette model install` beside such a daemon. `alone`: the same without a daemon, and then `vedette doctor`,
which must not fail what it runs in a child. Nothing may be refused, and no process may end by itself. All bounds grow,
so only the whole has a limit: an hour. Resumable by case. One JSON line; 1 when something was refused, or too late.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.support.daemon.running import RunningDaemon, environment
from tests.support.daemon.service_manager import ServiceManager
from tests.support.daemon.slow_board import SlowBoard, can_be_slow, slow_board
from tests.support.models import lamps
from tests.support.models.mutation import REAL
from tests.support.network.operators_desk import Fleet
from tests.support.truth.bright_squares import write_clip
from tests.support.waiting.until import wait_until
from vedette.detect.box_model import BOX_MODEL
from vedette.store.model_store import ModelStore
from vedette.store.state import StoreState

SSD = REAL / "ssd_mobilenet_v1_coco_uint8_metadata.tflite"
FILM = REAL.parent / "videos" / "car-detection.mp4"
RESULTS = 5
TRIAL, SHADOW = "frames=5,minutes=0.05", "frames=3,minutes=0.02,max_latency_ratio=50,min_agreement=0"
RAN_OUT = re.compile(r"took longer than|no answer within|is overdue|makes no progress|hangs for more than")


class Scene:
    """A folder with a configuration on one slow board. `left_s`: until the hour is over."""

    def __init__(self, folder: Path, board: SlowBoard, until_s: float) -> None:
        self.folder = folder
        self.config = folder / "config.yaml"
        self.log = ""
        self._board = board
        self._until_s = until_s

    @property
    def left_s(self) -> float:
        return max(1.0, self._until_s - time.monotonic())

    @property
    def state(self) -> StoreState:
        return ModelStore(self.folder / "state" / "models").read()

    def write_config(self, source: str, **more: str) -> None:
        parts = {"device": "gate", "mqtt": "{port: 1}", "health": "{interval_s: 1}",
                 "camera": f"{{source: '{source}', fps: 5, loop: true}}", **more}
        self.config.write_text("".join(f"{name}: {value}\n" for name, value in parts.items()))

    def daemon(self, *arguments: str | Path, env: Mapping[str, str] | None = None) -> RunningDaemon:
        return RunningDaemon(self.folder, "--config", self.config, *arguments, env=dict(env or {}),
                             preexec_fn=self._board.join)

    def command(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command on the board to its end. Raises: TimeoutExpired when the hour is over."""
        done = subprocess.run([sys.executable, "-m", "vedette", *map(str, arguments)], capture_output=True, text=True,
                              timeout=self.left_s, env=environment(self.folder), cwd=self.folder,
                              preexec_fn=self._board.join)
        self.log += done.stderr
        return done

    def managed(self) -> ServiceManager:
        self.folder.joinpath("state").mkdir(exist_ok=True)
        return ServiceManager(self.folder, lambda env: self.daemon(env=env))

    def waits_for(self, manager: ServiceManager, sha256: str) -> list[str]:
        """Wait until this model is active and good; returns what is wrong."""
        def is_good() -> bool:
            state = self.state
            return state.active is not None and state.active.sha256 == sha256 and state.trial is None
        good = wait_until(lambda: is_good() or bool(self.state.refused), self.left_s) and is_good()
        self.log = manager.log
        return ([] if good else [f"not good in time: {self.state}"]) + [
            f"refused: {refused.why}" for refused in self.state.refused]


def ssd(folder: Path) -> Path:
    return SSD if SSD.exists() else lamps.write(folder, "1")


def results_of(here: Scene, source: str, *arguments: str | Path) -> list[str]:
    here.write_config(source)
    with here.daemon("--print", "--frames", str(RESULTS), *arguments) as daemon:
        ended = wait_until(lambda: daemon.process.poll() is not None, here.left_s)
        code = daemon.process.poll()
        here.log = daemon.log
        return [] if ended and code == 0 else [f"exit code {code} after {len(daemon.lines)} results"]


def synthetic(here: Scene) -> list[str]:
    return results_of(here, "synthetic")


def film(here: Scene) -> list[str]:
    source = FILM if FILM.exists() else write_clip(here.folder)
    return results_of(here, str(source), "--model", ssd(here.folder))


def update(here: Scene) -> list[str]:
    fleet = Fleet(here.folder)
    first, second = ssd(here.folder), BOX_MODEL
    fleet.release(first, "--trial", TRIAL)
    here.write_config("synthetic", update=f"{{source: '{fleet.www}', root: '{fleet.root}', poll_minutes: 0.1}}")
    with here.managed() as manager:
        wrong = here.waits_for(manager, digest(first))
        if not wrong:
            fleet.release(second, "--trial", TRIAL, "--shadow", SHADOW)
            wrong = here.waits_for(manager, digest(second))
        return wrong + ended(manager)


def install(here: Scene) -> list[str]:
    here.write_config("synthetic", update="{require_signed: false}")
    model = ssd(here.folder)
    with here.managed() as manager:
        assert wait_until((here.folder / "state" / "proofs.json").exists, here.left_s)
        done = here.command("model", "install", model, "--state", here.folder / "state", "--wait", f"{here.left_s:.0f}")
        active = here.state.active
        here.log += manager.log
        return ended(manager) + refused(done) + (
            [] if active is not None and active.sha256 == digest(model) else [f"not active: {here.state}"])


def alone(here: Scene) -> list[str]:
    here.write_config("synthetic", update="{require_signed: false}")
    (here.folder / "state").mkdir()
    done = here.command("model", "install", ssd(here.folder), "--state", here.folder / "state", "--config", here.config)
    report = here.command("doctor", "--config", here.config, "--json")
    failed = [f"{check['name']}: {check['words']}" for check in json.loads(report.stdout)["checks"]
              if check["state"] == "fail" and check["name"] != "broker"]
    return refused(done) + failed


def refused(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [] if done.returncode == 0 else [f"exit code {done.returncode}: {done.stderr}"]


def ended(manager: ServiceManager) -> list[str]:
    return [f"ended with {end.code}{', by the watchdog' if end.by_watchdog else ''}" for end in manager.ends]


def digest(model: Path) -> str:
    from vedette.tflite.file import digest
    return digest(model).sha256


CASES: dict[str, Callable[[Scene], list[str]]] = {
    "synthetic": synthetic, "film": film, "update": update, "install": install, "alone": alone}


def tried(name: str, percent: float, until_s: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, slow_board(percent) as board:
        here = Scene(Path(folder), board, until_s)
        began_s = time.monotonic()
        try:
            wrong = CASES[name](here)
        except subprocess.TimeoutExpired as late:
            wrong = [f"not in time: {late.cmd}"]
        told = [line.strip() for line in here.log.splitlines() if RAN_OUT.search(line)]
        return {"took_s": round(time.monotonic() - began_s), "told": told, "wrong": wrong,
                "log": here.log.splitlines()[-30:] if wrong else []}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--percent", type=float, default=5, help="of one processor (%(default)g)")
    parser.add_argument("--within-s", type=float, default=3600, help="for all cases (%(default)g)")
    parser.add_argument("--case", choices=CASES, action="append", help="only this one; may be repeated")
    parser.add_argument("--state", type=Path, default=Path(".campaign/slow.json"))
    args = parser.parse_args()
    done: dict[str, dict[str, Any]] = json.loads(args.state.read_text()) if args.state.exists() else {}
    args.state.parent.mkdir(parents=True, exist_ok=True)
    why = can_be_slow()
    until_s = time.monotonic() + args.within_s
    for name in args.case or CASES:
        if name not in done and why is None:
            done[name] = tried(name, args.percent, until_s)
            args.state.write_text(json.dumps(done))
            print(f"{name}: {done[name]}", file=sys.stderr, flush=True)
    broken = [f"{name}: {case['wrong']}" for name, case in done.items() if case["wrong"]]
    print(json.dumps({"campaign": "slow", "percent": args.percent, "cases": done, "left_out": why, "broken": broken}))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
