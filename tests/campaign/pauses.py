"""Campaign `pauses`: the daemon is paused, as by Ctrl-Z, `systemctl freeze` or a suspended machine, and goes on.

    .venv/bin/python tests/campaign/pauses.py --pause-s 600 --cycles 100 --state .campaign/pauses.json

Each case has a daemon and a broker of its own. `all`: SIGSTOP and SIGCONT of all its processes. `daemon`: of the
daemon alone, while its capture child runs on. `child`: of the capture child alone. `frozen`: a control group, where one
can be made. `cycles`: short pauses of the daemon, again and again. `watchdog`: the daemon alone, for longer than its
service manager waits, so that another one is started. After the pauses results flow again, health has the reasons of
before, each frame is counted, and no result is about a frame from before a pause, but for one that was on its way. A
long pause shows in the availability. SIGTERM ends the daemon with exit code 0, and the next run says so in `last_end`;
after the watchdog it says `hung` and names it. Resumable by case. One JSON line; 1 when a limit was broken.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.support.broker.mosquitto import running
from tests.support.broker.subscriber import Subscriber, listening
from tests.support.daemon.running import RunningDaemon
from tests.support.daemon.service_manager import WATCHDOG_S, ServiceManager
from tests.support.waiting.until import wait_until

CGROUPS = Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup")
CYCLE_S, BETWEEN_S = 4.0, 1.5
"""Longer than a main thread may be silent, and long enough to be armed again."""
AGAIN_WITHIN_S = 30.0
"""A reconnect and another capture child included."""
SURELY_NEW = 5
OLD_MS = 2000
"""No frame waits as long (`camera.max_frame_age_ms`)."""
KEEPALIVE_S = 10


class Scene:
    """A folder with a configuration, and what a subscriber sees."""

    def __init__(self, folder: Path, port: int, subscriber: Subscriber) -> None:
        self.folder = folder
        self.seen = subscriber
        self.config = folder / "config.yaml"
        self.config.write_text(f"device: gate\nmqtt: {{port: {port}, keepalive_s: {KEEPALIVE_S}}}\n"
                               "publish: {results: all}\nhealth: {interval_s: 1}\n"
                               "camera: {source: synthetic, fps: 5}\n")

    def start(self, env: dict[str, str] | None = None) -> RunningDaemon:
        return RunningDaemon(self.folder, "--config", self.config, env=env)

    def settled(self, reasons: frozenset[str] | None, within_s: float) -> bool:
        """Wait for new results and for health of now that has these reasons (None: any)."""
        results, messages = len(self.seen.results), len(self.seen.published("health"))
        return wait_until(lambda: len(self.seen.results) >= results + SURELY_NEW
                          and len(self.seen.published("health")) >= messages + 2
                          and (reasons is None or reasons == frozenset(self.seen.reasons)), within_s)

    def waits_for_last_end(self, run: int) -> dict[str, Any]:
        """Wait for the health of a run after this one; returns what it says about this one."""
        assert wait_until(lambda: self.seen.health.get("run", 0) > run), self.seen.health
        return dict(self.seen.health["last_end"] or {})


@contextmanager
def scene() -> Iterator[Scene]:
    with tempfile.TemporaryDirectory() as name, running(Path(name)) as broker, \
            listening(broker.client(), "vedette/gate/#") as subscriber:
        yield Scene(Path(name), broker.port, subscriber)


def stop_all(daemon: RunningDaemon, seconds: float) -> None:
    both = daemon.process.pid, daemon.child_pid()
    for pid in both:
        os.kill(pid, signal.SIGSTOP)
    threading.Event().wait(seconds)
    for pid in both:
        with suppress(ProcessLookupError):   # the child was ended meanwhile
            os.kill(pid, signal.SIGCONT)


def stop_daemon(daemon: RunningDaemon, seconds: float) -> None:
    daemon.signal(signal.SIGSTOP)
    threading.Event().wait(seconds)
    daemon.signal(signal.SIGCONT)


def stop_child(daemon: RunningDaemon, seconds: float) -> None:
    """Stop it for good, as the daemon replaces it."""
    os.kill(daemon.child_pid(), signal.SIGSTOP)
    threading.Event().wait(min(seconds, 2 * CYCLE_S))


def freeze(daemon: RunningDaemon, seconds: float) -> None:
    """Freeze its processes, as `systemctl freeze` does. Its children are born into the group of their parent."""
    with control_group() as group:
        for pid in (daemon.process.pid, daemon.child_pid()):
            (group / "cgroup.procs").write_text(str(pid))
        (group / "cgroup.freeze").write_text("1")
        threading.Event().wait(seconds)


@contextmanager
def control_group() -> Iterator[Path]:
    """Make one, and put its processes back at the end. Raises: OSError where that is not possible."""
    parent = next(path for path in CGROUPS if (path / "cgroup.controllers").exists() or path == CGROUPS[-1])
    group = Path(tempfile.mkdtemp(prefix="pauses-", dir=parent))

    def is_removed() -> bool:
        with suppress(OSError):         # a process that ends, or that was just born
            for pid in (group / "cgroup.procs").read_text().split():
                (parent / "cgroup.procs").write_text(pid)
            group.rmdir()
            return True
        return False

    try:
        (group / "cgroup.freeze").write_text("0")
        yield group
    finally:
        with suppress(OSError):
            (group / "cgroup.freeze").write_text("0")
        assert wait_until(is_removed), group


def can_freeze() -> bool:
    with suppress(OSError), control_group():
        return True
    return False


PAUSES: dict[str, Callable[[RunningDaemon, float], None]] = {
    "all": stop_all, "daemon": stop_daemon, "child": stop_child, "frozen": freeze, "cycles": stop_daemon}


def paused(name: str, pause_s: float, cycles: int) -> dict[str, Any]:
    """Pause a daemon and let it go on; returns what became of it."""
    seconds, times = (CYCLE_S, cycles) if name == "cycles" else (pause_s, 1)
    with scene() as here:
        with here.start() as daemon:
            assert here.settled(None, 120), daemon.log
            before = frozenset(here.seen.reasons)
            for _ in range(times):
                PAUSES[name](daemon, seconds)
                began_s = time.monotonic()
                threading.Event().wait(BETWEEN_S)
            again = here.settled(before, 240)
            again_s, availability = time.monotonic() - began_s, here.seen.availability
            if daemon.process.poll() is None:
                daemon.signal(signal.SIGTERM)
            code = daemon.ends()
            health = here.seen.health
        with here.start():
            last_end = here.waits_for_last_end(health["run"])
        old = [result["seq"] for result in here.seen.results if result["age_ms"] > OLD_MS]
    capture = health["capture"]
    right = {
        f"not as before: {health['reasons']}": again,
        f"exit code {code}": code == 0,
        f"last end {last_end}": (last_end["run"], last_end["kind"]) == (health["run"], "stopped"),
        f"accounts {capture}": capture["captured"] == capture["detected"] + sum(capture["dropped"].values())
        + capture["pending"],
        f"availability {availability}": availability[-1:] == [b"online"] and (
            name in ("child", "cycles") or seconds < 3 * KEEPALIVE_S or b"offline" in availability),
        f"results about old frames {old}": len(old) <= times,
    }
    return {"pauses": times, "pause_s": seconds, "again_s": round(again_s, 1), "old": len(old), "capture": capture,
            "reconnects": health["mqtt"]["reconnects"], "last_end": last_end,
            "wrong": [words for words, holds in right.items() if not holds]}


def watchdog(watchdog_s: float) -> dict[str, Any]:
    """Stop the daemon for longer than the service manager waits, which ends it and goes on as systemd does."""
    with scene() as here, ServiceManager(here.folder, lambda env: here.start(dict(env)),
                                         watchdog_s=watchdog_s) as manager:
        assert here.settled(None, 120), manager.log
        run, daemon = here.seen.health["run"], manager.daemon
        assert daemon is not None
        daemon.signal(signal.SIGSTOP)
        threading.Event().wait(watchdog_s + CYCLE_S)
        daemon.signal(signal.SIGCONT)           # systemd sends it behind SIGABRT
        last_end = here.waits_for_last_end(run)
        again = here.settled(None, 240)
        end = manager.ends[0]
    right = {f"exit code {end.code}": end.by_watchdog and end.code == -signal.SIGABRT,
             f"last end {last_end}": (last_end["run"], last_end["kind"]) == (run, "hung")
             and "watchdog, SIGABRT" in last_end["detail"],
             "no results": again}
    return {"last_end": last_end, "wrong": [words for words, holds in right.items() if not holds]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pause-s", type=float, default=600)
    parser.add_argument("--cycles", type=int, default=100, help="of the case with this name")
    parser.add_argument("--watchdog-s", type=float, default=WATCHDOG_S, help="WatchdogSec of the unit")
    parser.add_argument("--case", choices=[*PAUSES, "watchdog"], action="append", help="only this one; may be repeated")
    parser.add_argument("--state", type=Path, default=Path(".campaign/pauses.json"))
    parser.add_argument("--slack-s", type=float, default=0, help="added to each limit of time, on a starved machine")
    args = parser.parse_args()
    done: dict[str, dict[str, Any]] = json.loads(args.state.read_text()) if args.state.exists() else {}
    args.state.parent.mkdir(parents=True, exist_ok=True)
    left_out = [] if can_freeze() else ["frozen"]
    for name in args.case or [*PAUSES, "watchdog"]:
        if name not in done and name not in left_out:
            done[name] = watchdog(args.watchdog_s) if name == "watchdog" else paused(name, args.pause_s, args.cycles)
            args.state.write_text(json.dumps(done))
            print(f"{name}: {done[name]}", file=sys.stderr, flush=True)
    broken = [f"{name}: {case['wrong']}" for name, case in done.items() if case["wrong"]]
    broken += [f"{name}: again after {case['again_s']} s" for name, case in done.items()
               if case.get("again_s", 0) > AGAIN_WITHIN_S + args.slack_s]
    print(json.dumps({"campaign": "pauses", "cases": done, "left_out": left_out, "broken": broken}))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
