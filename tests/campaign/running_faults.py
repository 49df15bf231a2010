"""Campaign `running_faults`: the disk, the clock and every thread of a running daemon fail, as a subscriber sees it.

    .venv/bin/python tests/campaign/running_faults.py --cycles 20 --state .campaign/running_faults.json

On one daemon with its state folder on a disk of its own (as root; else that part is left out, and said): the disk full,
read-only, the folder removed and put back, empty or as it was, the clock stepped by ten years and by hours, both ways
(libfaketime). Each must be named in health within 5 s and be gone within 10 s of its end; detection goes on meanwhile,
and at the end every result arrived, the counts add up, and each published result is about a frame that was detected on.
Then a folder that is never put back, and one removed while the broker is away.

Then every thread in turn hangs for ever, in native code, at a lock, in an endless loop of C: the watchdog ends the
daemon within the thread's limit and its own, with every thread's stack in the log, and the first health message of the
next one says where it hung. Resumable. One JSON line; 1 when a limit was broken.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.broker.mosquitto import Mosquitto, running
from tests.support.broker.witness import Witness
from tests.support.daemon.faulty import PROGRAM, give
from tests.support.daemon.running import RunningDaemon
from tests.support.daemon.service_manager import WATCHDOG_S, ServiceManager
from tests.support.faults import small_disk
from tests.support.faults.another_time import LIBRARY, SteppedClock
from tests.support.truth.bright_squares import write_model
from tests.support.waiting.until import wait_until

NAMED_WITHIN_S, GONE_WITHIN_S = 5.0, 10.0
LEAST_SHARE = 0.5
"""Of the rate before a fault, while it lasts."""
FPS = 20
DISK_MB = 64
LASTS_S = (1.0, 6.0)
SURELY_NEW = 5
STEPS = {"clock +10 years": "+3650d", "clock -10 years": "-3650d", "clock +5 hours": "+5h", "clock -5 hours": "-5h"}
DISK_FAULTS = {"full": {"disk_low"}, "read-only": {"spool_failed", "store_failed"},
               "removed, put back empty": {"spool_failed", "store_failed"},
               "removed, put back": {"spool_failed", "store_failed"}}
NAMES = DISK_FAULTS | {step: {"clock_stepped"} for step in STEPS}
LATER = ("never put back", "removed while offline", "clock while offline")

LIMITS_S = {"detect": 10, "capture": 10, "mqtt": 10, "cloud": 10, "outbox": 60, "update": 60, "main": 0}
"""What each thread announces at most while it does nothing special."""
HANGS = ("spin in detect", "hold the gil", *(f"{kind} in {name}" for name in LIMITS_S for kind in ("hang", "lock")))
STACKS = ("supervisor.py", "mqtt/publisher.py", "remote.py", "spool_worker.py", "update/worker.py", "pipeline.py",
          "cloud_worker.py")
SAID = {"hang": "_hang_on_order", "lock": "lock_for_ever", "spin": "spin", "hold": "_hang_on_order"}


@dataclass(frozen=True)
class Place:
    """Where the state is, and how a fault of it begins and ends."""

    disk: Path
    clock: SteppedClock

    @property
    def state(self) -> Path:
        return self.disk / "state"

    def harm(self, fault: str) -> Callable[[], object]:
        """Cause the fault; returns the function that ends it."""
        if fault in STEPS:
            self.clock.step(STEPS[fault])
            return lambda: self.clock.step("+0")
        if fault == "full":
            return small_disk.fill(self.disk).unlink
        if fault == "read-only":
            subprocess.run(["mount", "--bind", self.state, self.state], check=True)
            subprocess.run(["mount", "-o", "remount,bind,ro", self.state], check=True)
            return lambda: subprocess.run(["umount", self.state], check=True)
        if fault == "removed, put back":
            away = self.disk / "away"
            self.state.rename(away)
            return lambda: away.rename(self.state)
        remove(self.state)
        return self.state.mkdir


def remove(folder: Path) -> None:
    """As `rm -rf` does, over a daemon that makes new files meanwhile."""
    while folder.exists():
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def place(folder: Path) -> Iterator[Place]:
    disk = folder / "disk"
    disk.mkdir()
    with small_disk.mounted(disk, DISK_MB) if small_disk.possible() else nullcontext():
        yield Place(disk, SteppedClock(folder / "clock"))


@dataclass(frozen=True)
class Scene:
    """A daemon in its place, its broker, and what a subscriber sees."""

    here: Place
    daemon: RunningDaemon
    witness: Witness
    broker: Mosquitto

    def settle(self, but: frozenset[str] = frozenset()) -> None:
        """Wait until results flow and none of the campaign's reasons is reported."""
        before = self.witness.results
        ours = set().union(*NAMES.values()) - but
        assert wait_until(lambda: self.witness.results >= before + SURELY_NEW
                          and not ours & self.witness.reasons, 90), (self.witness.health, self.daemon.log[-4000:])
        self.witness.forget()

    def rate(self, seconds: float) -> float:
        """Results per second over so long."""
        before, began_s = self.witness.results, time.monotonic()
        threading.Event().wait(seconds)
        return (self.witness.results - before) / (time.monotonic() - began_s)

    def one_fault(self, fault: str, lasts_s: float) -> list[float]:
        """Cause it and end it; returns the seconds until it was reported, until it was cleared, and the rates before
        and during.
        """
        self.settle()
        well_per_s = self.rate(2)
        began_s = time.monotonic()
        put_right = self.here.harm(fault)
        try:
            assert wait_until(lambda: bool(NAMES[fault] & self.witness.first_named.keys()), 60), \
                (fault, self.witness.health, self.daemon.log[-4000:])
            named_s = min(moment for code, moment in tuple(self.witness.first_named.items()) if code in NAMES[fault])
            ill_per_s = self.rate(max(2.0, lasts_s))
        finally:
            put_right()
        ended_s = time.monotonic()
        assert wait_until(lambda: not NAMES[fault] & self.witness.reasons, 90), \
            (fault, self.witness.health, self.daemon.log[-4000:])
        return [named_s - began_s, time.monotonic() - ended_s, well_per_s, ill_per_s]


@contextmanager
def scene() -> Iterator[Scene]:
    with tempfile.TemporaryDirectory() as name, place(Path(name)) as here, running(Path(name)) as broker, \
            Witness(broker.client(), "gate") as witness:
        config = Path(name, "config.yaml")
        config.write_text(
            f"device: gate\nmqtt: {{port: {broker.port}}}\npublish: {{results: all, max_per_s: 1000000}}\n"
            f"detector: {{model: '{write_model(Path(name))}', threads: 1}}\n"
            f"camera: {{source: synthetic, fps: {FPS}, width: 160, height: 120}}\n")
        assert wait_until(lambda: witness.listening, 60)
        with RunningDaemon(Path(name), "--config", config,
                           env={"STATE_DIRECTORY": str(here.state), **here.clock.environ}) as daemon:
            yield Scene(here, daemon, witness, broker)


def ended(one: Scene) -> dict[str, Any]:
    """Stop the daemon in order; returns the figures of its life, and every fault of it."""
    one.daemon.signal(signal.SIGTERM)
    code = one.daemon.ends(90)
    seen = one.witness
    assert wait_until(lambda: seen.availability == "offline", 30)
    capture, mqtt, inferred = seen.health["capture"], seen.health["mqtt"], seen.health["inference"]["count"]
    missing = (max(seen.seqs) if seen.seqs else 0) - len(seen.seqs)
    right = {
        f"exit code {code}": code == 0,
        f"accounts {capture}": capture["captured"] == capture["detected"] + sum(capture["dropped"].values())
        + capture["pending"],
        f"{inferred} inferred, {max(seen.seqs)} published": inferred == capture["detected"] == max(seen.seqs),
        f"{missing} missing, counted {mqtt['dropped_ever']}": missing == mqtt["dropped_ever"].get("detections", 0),
        f"repeated {seen.repeated}": seen.repeated == 0,
    }
    return {"results": seen.results, "missing": missing, "children_replaced": capture["children_replaced"],
            "reopened": capture["reopened"], "reconnects": mqtt["reconnects"],
            "wrong": [words for words, holds in right.items() if not holds]}


def never_put_back(one: Scene) -> dict[str, Any]:
    """The folder is removed for good: it stays reported, detection goes on, and the daemon ends in order."""
    one.settle()
    remove(one.here.state)
    assert wait_until(lambda: "store_failed" in one.witness.reasons, 60), one.witness.health
    threading.Event().wait(10)
    rate = one.rate(5)
    named = {"store_failed", "spool_failed"} <= one.witness.reasons
    right = {f"named {one.witness.reasons}": named, f"{rate} results per second": rate > 0}
    return {"rate": round(rate, 1), "wrong": [words for words, holds in right.items() if not holds]}


def removed_while_offline(one: Scene) -> dict[str, Any]:
    """Messages on disk are lost with the folder, and are counted as lost once the broker is back."""
    one.settle()
    one.broker.stop()
    outbox = one.here.state / "outbox"
    assert wait_until(lambda: any(outbox.glob("*.spool")), 60), one.daemon.log
    threading.Event().wait(5)
    remove(one.here.state)
    threading.Event().wait(2)
    one.here.state.mkdir()
    threading.Event().wait(5)
    one.broker.start()
    assert wait_until(lambda: one.witness.health.get("mqtt", {}).get("dropped_ever", {}).get("detections", 0) > 0
                      and one.witness.health["mqtt"]["spooled"] == 0, 120), (one.witness.health, one.daemon.log[-4000:])
    one.settle(but=frozenset({"spool_failed"}))      # damage is named for five minutes
    return {"wrong": []}


def clock_while_offline(one: Scene) -> dict[str, Any]:
    """Messages on disk grow no older by ten years, there and back: all of them arrive."""
    one.settle()
    one.broker.stop()
    outbox = one.here.state / "outbox"
    for words in ("+3650d", "-3650d", "+0"):
        one.here.clock.step(words)
        assert wait_until(lambda: any(outbox.glob("*.spool")), 60), one.daemon.log
        threading.Event().wait(5)
    one.broker.start()
    assert wait_until(lambda: one.witness.health["mqtt"]["connected"] and one.witness.health["mqtt"]["published"] > 0
                      and one.witness.health["mqtt"]["spooled"] == 0, 120), (one.witness.health, one.daemon.log[-4000:])
    one.settle()
    dropped = one.witness.health["mqtt"]["dropped_ever"]
    return {"wrong": [f"dropped {dropped}"] if dropped.get("detections") else []}


def one_life(faults: list[str], done: list[Any], save: Callable[[], None]) -> dict[str, Any]:
    """All faults that are not done yet on one daemon."""
    with scene() as one:
        for fault in faults[len(done):]:
            done.append([fault, *(round(figure, 2) for figure in one.one_fault(fault, random.uniform(*LASTS_S)))])
            save()
            print(f"{len(done)}/{len(faults)} {done[-1]}", file=sys.stderr, flush=True)
        one.settle()
        return ended(one)


STORIES = dict(zip(LATER, (never_put_back, removed_while_offline, clock_while_offline), strict=True))


def later(name: str) -> dict[str, Any]:
    with scene() as one:
        summary = STORIES[name](one)
        life = ended(one)
    return {**life, **summary, "wrong": [*summary["wrong"], *life["wrong"]]}


def one_hang(order_words: str, watchdog_s: float) -> dict[str, object]:
    """A thread hangs; returns how the run ended, and every broken limit."""
    with tempfile.TemporaryDirectory() as name, running(Path(name)) as broker, \
            Witness(broker.client(), "gate") as witness:
        folder, order = Path(name), Path(name, "order")
        give(order, "")
        (folder / "token").write_text("none")
        config = folder / "config.yaml"
        config.write_text(
            f"device: gate\nmqtt: {{port: {broker.port}}}\nhealth: {{interval_s: 1}}\n"
            f"detector: {{model: '{write_model(folder)}', threads: 1}}\ncamera: {{source: 'tcp://{order}'}}\n"
            f"cloud: {{enabled: true, url: 'http://127.0.0.1:9/', token_file: '{folder / 'token'}'}}\n")
        with ServiceManager(folder, lambda env: RunningDaemon(folder, config, program=PROGRAM, env=dict(env)),
                            watchdog_s=watchdog_s) as manager:
            assert wait_until(lambda: witness.camera.get("state") == "capturing"
                              and witness.health.get("capture", {}).get("detected", 0) > 0, 90), manager.log
            first_run = witness.health["run"]
            began_s = time.monotonic()
            give(order, order_words)
            assert manager.waits_for_ends(1, 300), manager.log[-4000:]
            ended_s = time.monotonic() - began_s
            assert wait_until(lambda: witness.health["run"] > first_run, 90), manager.log[-4000:]
            last_end = witness.health["last_end"]
            named = "worker_hung" in witness.first_named
            well = wait_until(lambda: witness.camera.get("state") == "capturing"
                              and "worker_hung" not in witness.reasons, 90)
        end = manager.ends[0]
    kind, _, thread = order_words.partition(" in ")
    holds_python = kind in ("spin", "hold the gil")
    thread = "main" if holds_python else thread
    dump = end.log[end.log.find("Fatal Python error: Aborted"):]
    lacking = [words for words in (*STACKS, SAID[kind.split()[0]]) if words not in dump]
    right = {
        f"ended by {end.code}": end.by_watchdog and end.code == -signal.SIGABRT,
        f"no stack of {lacking}": not lacking,
        f"reported {last_end}": last_end is not None and last_end["kind"] == "hung" and thread in last_end["detail"]
        and last_end["run"] == first_run,
        "not named before": named or thread in ("main", "mqtt"),
        "not well afterwards": well,
    }
    return {"order": order_words, "ended_s": round(ended_s, 1), "limit_s": LIMITS_S[thread] + watchdog_s,
            "last_end": last_end, "wrong": [words for words, holds in right.items() if not holds]}


def broken_limits(state: dict[str, Any], slack_s: float, least_share: float) -> list[str]:
    broken = [f"{fault}: named {named_s} s, gone {gone_s} s" for fault, named_s, gone_s, *_ in state["faults"]
              if named_s > NAMED_WITHIN_S + slack_s or gone_s > GONE_WITHIN_S + slack_s]
    broken += [f"{fault}: {well} results per second, then {ill}" for fault, _, _, well, ill in state["faults"]
               if ill < least_share * well]
    broken += [f"{life}" for life in (*state["lives"], *state["later"].values()) if life["wrong"]]
    broken += [f"{hang}" for hang in state["hangs"]
               if hang["wrong"] or hang["ended_s"] > hang["limit_s"] + NAMED_WITHIN_S + slack_s]
    return broken


def figures(state: dict[str, Any], slack_s: float, least_share: float) -> dict[str, object]:
    """The worst of each fault, the slowest of each hang, and what was broken."""
    worst = {fault: {"count": len(each), "named_s": max(one[1] for one in each), "gone_s": max(one[2] for one in each),
                     "share_of_rate": round(min(one[4] / max(one[3], 0.1) for one in each), 2)}
             for fault in NAMES if (each := [one for one in state["faults"] if one[0] == fault])}
    hangs = {hang["order"]: hang["ended_s"] for hang in state["hangs"]}
    return {"campaign": "running_faults", "worst": worst, "lives": state["lives"], "later": state["later"],
            "hangs_s": hangs, "left_out": state["left_out"], "broken": broken_limits(state, slack_s, least_share)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=5, help="times each fault")
    parser.add_argument("--state", type=Path, default=Path(".campaign/running_faults.json"))
    parser.add_argument("--fault", choices=[*NAMES, *LATER, *HANGS], action="append",
                        help="only this one; may be repeated")
    parser.add_argument("--watchdog-s", type=float, default=WATCHDOG_S, help="WatchdogSec of the unit")
    parser.add_argument("--slack-s", type=float, default=0, help="added to each limit of time, on a starved machine")
    parser.add_argument("--least-share", type=float, default=LEAST_SHARE, help="of the rate, while a fault lasts")
    args = parser.parse_args()
    state = json.loads(args.state.read_text()) if args.state.exists() else {
        "faults": [], "lives": [], "later": {}, "hangs": [], "left_out": []}
    args.state.parent.mkdir(parents=True, exist_ok=True)

    def save() -> None:
        args.state.write_text(json.dumps(state))

    wanted = args.fault or [*NAMES, *LATER, *HANGS]
    state["left_out"] = [] if small_disk.possible() else ["full", "read-only: only root may mount"]
    state["left_out"] += [] if LIBRARY else ["the clock: libfaketime is not installed"]
    possible = [fault for fault in NAMES if fault in wanted and (LIBRARY or fault not in STEPS)
                and (small_disk.possible() or fault not in ("full", "read-only"))]
    if len(state["faults"]) < len(possible) * args.cycles:
        state["lives"].append(one_life(possible * args.cycles, state["faults"], save))
        save()
    for name in LATER:
        if name in wanted and name not in state["later"]:
            state["later"][name] = later(name)
            save()
    for order in HANGS:
        if order in wanted and all(hang["order"] != order for hang in state["hangs"]):
            state["hangs"].append(one_hang(order, args.watchdog_s))
            print(state["hangs"][-1], file=sys.stderr, flush=True)
            save()
    summary = figures(state, args.slack_s, args.least_share)
    print(json.dumps(summary))
    return 1 if summary["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
