"""Campaign `daemon_stops`: daemons that are stopped, again and again, while their broker is well or ill.

    .venv/bin/python tests/campaign/daemon_stops.py --state .campaign/daemon_stops.json

Each case has a state folder, a broker and lives of its own. `away`, `frozen`, `refusing`: an ordered stop while the
broker is that. `spooled`: one in the middle of the replay of what an outage left on disk. `twice`: SIGTERM and SIGINT
again while it stops. `killed`: SIGKILL into the stop. `restarts`: stops at any moment of a start. `no_disk`: stops
while away, with nothing kept on disk. After a last life every result must have arrived exactly once (after
de-duplication by run and seq) and in order, or be counted in `dropped_ever`, which is 0 but for `no_disk`; a kill may
cost what was younger than 5 s. A stop must end within the unit's TimeoutStopSec. Resumable by case. One JSON line; 1
when a limit was broken.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from tests.campaign.outbox_cuts import LOST_WITHIN_S, Scene, scene, time_passes
from tests.support.daemon.running import RunningDaemon
from tests.support.present import present
from vedette.mqtt.terms import IN_FLIGHT_MAX

UNIT = Path(__file__).resolve().parents[2] / "systemd" / "vedette.service"
STOP_WITHIN_S = int(present(re.search(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(), re.MULTILINE))[1])
MQTT = "outbox_messages: 10000, replay_per_s: 1000, clock_wait_s: 0"
UNPACED = {"VEDETTE_CAMERA__EVERY_FRAME": "true"}
BEFORE_ITS_HANDLERS = -signal.SIGTERM


class Desk:
    """A scene, and the record of its stops."""

    def __init__(self, here: Scene) -> None:
        self.here = here
        self.chance = random.Random(7)
        self.stops_s: list[float] = []
        self.killed_at: dict[int, float] = {}
        """Run -> moment of its kill, in seconds since 1970."""

    def stop(self, daemon: RunningDaemon, *, again: tuple[signal.Signals, ...] = ()) -> int:
        """Order a stop and wait for its end; returns the exit code."""
        began_s = time.monotonic()
        for number in (signal.SIGTERM, *again):
            daemon.signal(number)
            time_passes(0.1 if again else 0)
        code = daemon.ends(2 * STOP_WITHIN_S)
        self.stops_s.append(time.monotonic() - began_s)
        return code

    def kill_into_stop(self, daemon: RunningDaemon, after_s: float) -> None:
        daemon.signal(signal.SIGTERM)
        time_passes(after_s)
        if daemon.process.poll() is None:
            self.killed_at[daemon.results[0]["run"]] = time.time()
            daemon.signal(signal.SIGKILL)
        daemon.ends()

    @contextmanager
    def well(self) -> Iterator[None]:
        yield

    @contextmanager
    def away(self) -> Iterator[None]:
        self.here.proxy.refusing = True
        self.here.proxy.cut()
        yield
        self.here.proxy.refusing = False

    @contextmanager
    def frozen(self) -> Iterator[None]:
        self.here.broker.freeze()
        yield
        self.here.broker.thaw()

    @contextmanager
    def refusing(self) -> Iterator[None]:
        secret = self.here.folder / "secret"
        secret.write_text("wrong")
        self.here.proxy.cut()
        yield
        secret.write_text("right")


def stopped_while(ill: Callable[[Desk], AbstractContextManager[None]],
                  longest_s: float) -> Callable[[Desk, argparse.Namespace], None]:
    """Lives that end while the broker fails, at any moment of the first seconds of that."""
    def case(desk: Desk, args: argparse.Namespace) -> None:
        for number in range(args.rounds):
            with desk.here.life() as daemon, ill(desk):
                time_passes(longest_s * number / args.rounds)
                assert desk.stop(daemon) == 0, daemon.log
    return case


def spooled(desk: Desk, args: argparse.Namespace) -> None:
    """Fill the disk while away, and stop twice in the middle of the replay."""
    with desk.here.life(**UNPACED) as daemon:
        with desk.away():
            assert daemon.waits_for_results(args.spooled, 300), daemon.log
        assert desk.stop(daemon) == 0, daemon.log
    for _ in range(2):
        with desk.here.life() as daemon:
            time_passes(1)
            assert desk.stop(daemon) == 0, daemon.log


def twice(desk: Desk, args: argparse.Namespace) -> None:
    for number in range(args.rounds):
        with desk.here.life() as daemon, (desk.frozen, desk.away)[number % 2]():
            time_passes(desk.chance.uniform(0, 1))
            assert desk.stop(daemon, again=(signal.SIGTERM, signal.SIGINT, signal.SIGTERM)) == 0, daemon.log


def killed(desk: Desk, args: argparse.Namespace) -> None:
    for number in range(3 * args.rounds):
        with desk.here.life() as daemon, (desk.well, desk.away, desk.frozen)[number % 3]():
            time_passes(desk.chance.uniform(0, 6))
            desk.kill_into_stop(daemon, desk.chance.uniform(0, 2))


def restarts(desk: Desk, args: argparse.Namespace) -> None:
    """As `systemctl restart` does, before and after the first result; the network is away at every third."""
    for number in range(args.restarts):
        with desk.here.start() as daemon, desk.away() if number % 3 == 2 else desk.well():
            if number % 2:
                assert daemon.waits_for_results(1, 60), daemon.log
            time_passes(desk.chance.uniform(0, 1.5))
            assert desk.stop(daemon) in (0, BEFORE_ITS_HANDLERS), daemon.log
        desk.here.note(daemon.results)


CASES: dict[str, Callable[[Desk, argparse.Namespace], None]] = {
    "away": stopped_while(Desk.away, 5),
    "frozen": stopped_while(Desk.frozen, 14),
    "refusing": stopped_while(Desk.refusing, 5),
    "spooled": spooled,
    "twice": twice,
    "killed": killed,
    "restarts": restarts,
    "no_disk": stopped_while(Desk.away, 5),
}


def login(folder: Path) -> str:
    """Give the daemon a password that the broker checks; others need none."""
    for name, text in (("secret", "right"), ("passwords", "")):
        (folder / name).touch(mode=0o600)
        (folder / name).write_text(text)
    subprocess.run(["mosquitto_passwd", "-b", folder / "passwords", "gate", "right"], check=True, capture_output=True)
    return f"password_file {folder / 'passwords'}\n"


def one_case(name: str, args: argparse.Namespace) -> dict[str, object]:
    """Run a case; let everything arrive in a last life, and return the figures."""
    mqtt = f"{MQTT}, username: gate, password_file: secret" + (", spool_mb: 0" if name == "no_disk" else "")
    with scene(mqtt, login) as (here, subscriber):
        desk = Desk(here)
        CASES[name](desk, args)
        with here.life() as daemon:
            assert here.drains(subscriber), f"{here.received.health} {daemon.log}"
            assert desk.stop(daemon) == 0, daemon.log
        here.goodbye(subscriber)
        missing = here.missing()
        ages_s = [desk.killed_at[run] - here.runs[run][seq - 1] for run, seq in missing if run in desk.killed_at]
        return {"lives": len(here.runs), "results": sum(map(len, here.runs.values())),
                "arrived": len(here.received.seen), "repeated": here.received.repeated,
                "disorder": here.received.disorder(),
                "missing": len(missing) - len(ages_s), "first_missing": missing[:10], "killed": len(desk.killed_at),
                "lost_to_kills": len(ages_s), "oldest_lost_s": round(max(ages_s, default=0), 2),
                "counted": here.received.health["mqtt"]["dropped_ever"].get("detections", 0),
                "worst_stop_s": round(max(desk.stops_s), 2)}


def broken_limits(done: dict[str, dict[str, Any]], slack_s: float) -> list[str]:
    """Name the broken limits."""
    broken = []
    for name, each in done.items():
        kept = {
            # what arrived without an acknowledgement may be counted as well
            "missing is counted": each["missing"] <= each["counted"] <= each["missing"] + IN_FLIGHT_MAX * each["lives"],
            "nothing dropped": (each["counted"] == 0) == (name != "no_disk"),
            "order": each["disorder"] == 0,
            "a kill": each["oldest_lost_s"] <= LOST_WITHIN_S + slack_s,
            "stop": each["worst_stop_s"] <= STOP_WITHIN_S + slack_s,
        }
        broken += [f"{name}: {what}: {each}" for what, right in kept.items() if not right]
    return broken


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="stops of each kind")
    parser.add_argument("--restarts", type=int, default=20)
    parser.add_argument("--spooled", type=int, default=10_000, help="results that wait on disk")
    parser.add_argument("--case", choices=CASES, action="append", help="only this one; may be given again")
    parser.add_argument("--state", type=Path, default=Path(".campaign/daemon_stops.json"))
    parser.add_argument("--slack-s", type=float, default=0, help="added to each limit of time, on a starved machine")
    args = parser.parse_args()
    done: dict[str, dict[str, Any]] = json.loads(args.state.read_text()) if args.state.exists() else {}
    args.state.parent.mkdir(parents=True, exist_ok=True)
    for name in args.case or CASES:
        if name not in done:
            done[name] = one_case(name, args)
            args.state.write_text(json.dumps(done))
            print(f"{name}: {done[name]}", file=sys.stderr, flush=True)
    broken = broken_limits(done, args.slack_s)
    print(json.dumps({"campaign": "daemon_stops", "stop_within_s": STOP_WITHIN_S, "cases": done, "broken": broken}))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
