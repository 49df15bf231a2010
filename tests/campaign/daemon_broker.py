"""Campaign `daemon_broker`: the whole daemon while its broker is away, restarted, refusing or frozen.

    .venv/bin/python tests/campaign/daemon_broker.py --cycles 3 --state .campaign/daemon_broker.json

Each cycle is the life of one daemon that detects every frame of a film, through all four faults; before and after
each the broker is well for a while. `rate` is that of results while ill over the mean of the two well turns beside it,
each by the period that a tenth of its results keep to, since a busy neighbour stretches the others; `counted` is the
same by counting, and `noise` is `rate` of two well turns in a row: how far to trust it. Detection must go on at 0.98
of its rate or more (median over cycles), `online` must be published within 5 s of the broker's return, the outbox must
stay bounded, and every result must arrive, or be on disk for the next run, or be counted as dropped. The broker must
keep what the witness misses (its log says what it acknowledged without a subscriber: nothing). Where a limit was
broken, the evidence is kept beside the state: both logs, the files on disk, the missing results. Resumable by cycle.
One JSON line; 1 when a limit was broken.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.support.broker.mosquitto import Mosquitto
from tests.support.broker.outbox_left import OutboxLeft, left_in
from tests.support.broker.witness import Witness
from tests.support.daemon.running import RunningDaemon
from tests.support.present import present
from tests.support.truth.bright_squares import write_clip, write_model
from tests.support.waiting.until import wait_until

REAL = Path(__file__).resolve().parents[3] / "shared" / "real"
ONLINE_WITHIN_S = 5.0
OUTBOX = 200
UNCOUNTED = 40
"""In the outbox besides: what the broker has not acknowledged yet, and the latest of each retained topic."""
IN_FLIGHT = 20
GROWTH_KB = 8192
LEAST_RESULTS = 20
"""Fewer tell no period: a tenth of them would be guessed from less than there is."""
RESOLUTION_MS = 1.0
"""Of the moments in a result; a tiny model's periods are shorter."""
UNHEARD = re.compile(r"Sending PUBACK to vedette-gate \(m\d+, rc16\)")
FAULTS = ("away_at_start", "restarted", "refusing", "frozen")


class Scene:
    """A broker that asks for a password and remembers over restarts, and the configuration of a daemon."""

    def __init__(self, folder: Path) -> None:
        self._secret = folder / "secret"
        passwords = folder / "passwords"
        passwords.touch(mode=0o600)
        subprocess.run(["mosquitto_passwd", "-b", str(passwords), "gate", "right"], check=True, capture_output=True)
        self.broker = Mosquitto(folder, f"allow_anonymous false\npassword_file {passwords}\nmax_queued_messages 0\n"
                                        f"persistence true\npersistence_location {folder}/\nmax_inflight_messages 0\n"
                                        "log_type all")
        theirs = folder / "witness-secret"
        theirs.write_text("right")
        self.password("right")
        self.witness = Witness(self.broker.client(username="gate", password_file=theirs, keepalive_s=120), "gate")
        model, film = (REAL / "models/yolov8n_416_coco_int8.tflite", REAL / "videos/car-detection.mp4") \
            if REAL.is_dir() else (write_model(folder), write_clip(folder, 300))
        self.config = folder / "config.yaml"
        self.config.write_text(
            f"device: gate\nmqtt: {{port: {self.broker.port}, username: gate, password_file: '{self._secret}', "
            f"outbox_messages: {OUTBOX}, replay_per_s: 400, clock_wait_s: 0}}\n"
            f"publish: {{results: all, max_per_s: 1000000}}\nhealth: {{interval_s: 1}}\n"
            f"detector: {{model: '{model}', threads: 1}}\n"
            f"camera: {{source: '{film}', loop: true, every_frame: true}}\n")

    def password(self, password: str) -> None:
        """Let the daemon know this password."""
        self._secret.write_text(password)

    def begin(self, fault: str) -> None:
        if fault == "frozen":
            self.broker.freeze()
            return
        if fault == "refusing":
            self.password("wrong")
        self.broker.stop()
        if fault == "refusing":
            self.broker.start()

    def end(self, fault: str) -> None:
        if fault == "frozen":
            self.broker.thaw()
        elif fault == "refusing":
            self.password("right")
        else:
            self.broker.start()


@dataclass(frozen=True)
class Turn:
    """Results per second over a while."""

    undisturbed: float
    counted: float
    longest_gap_ms: float


def turn(daemon: RunningDaemon, seconds: float) -> Turn:
    """Watch the results over so long from now, or longer where a starved machine gives too few."""
    before, began_s = len(daemon.lines), time.monotonic()
    threading.Event().wait(seconds)
    assert daemon.waits_for_results(before + LEAST_RESULTS, 60), daemon.log
    lines, took_s = daemon.lines[before:], time.monotonic() - began_s
    ready_ms = [_ready_ms(json.loads(line)) for line in lines]
    periods_ms = [after - one for one, after in itertools.pairwise(ready_ms)]
    period_ms = max(RESOLUTION_MS, statistics.quantiles(periods_ms, n=10)[0])
    return Turn(1000 / period_ms, len(lines) / took_s, max(periods_ms))


def _ready_ms(result: dict[str, Any]) -> float:
    return datetime.fromisoformat(result["frame"]["captured_at"]).timestamp() * 1000 + float(result["age_ms"])


def share(ill: Turn, well: list[Turn], of: str) -> float:
    return float(getattr(ill, of) / statistics.mean(getattr(one, of) for one in well))


def one_cycle(folder: Path, faults: list[str], turn_s: float, frozen_s: float) -> dict[str, object]:
    """One daemon through all faults; returns rates, delays, and what became of its results.

    The folder then has the evidence: both logs, the missing results, and the state folder.
    """
    scene = Scene(folder)
    scene.broker.start()
    with scene.witness as witness:
        assert wait_until(lambda: witness.listening)
        scene.broker.stop()
        try:
            with RunningDaemon(folder, "--config", scene.config, "--print") as daemon:
                summary = one_daemon(scene, daemon, faults, turn_s, frozen_s)
        finally:
            scene.broker.stop()
            (folder / "daemon.log").write_text(daemon.log)
        missing = set(range(1, len(daemon.lines) + 1)) - witness.seqs
        (folder / "missing.json").write_text(json.dumps(sorted(missing)))
        left = left_in(folder / "state")
        return summary | accounts(witness, len(daemon.lines)) | fates(missing, left, scene.broker.log)


def one_daemon(scene: Scene, daemon: RunningDaemon, faults: list[str], turn_s: float,
               frozen_s: float) -> dict[str, object]:
    assert daemon.waits_for_results(50, 60), daemon.log
    ill, well, online_s, offline = [], [], {}, {}
    footprints = [daemon.footprint()]
    for number, fault in enumerate(faults):
        if number > 0:
            scene.begin(fault)
        ill.append(turn(daemon, frozen_s if fault == "frozen" else turn_s))
        returned_s = time.monotonic()
        scene.end(fault)
        online_s[fault] = seconds_until_online(scene.witness, returned_s)
        well.append(turn(daemon, turn_s))
        offline[fault] = any(availability == "offline" and at_s > returned_s + online_s[fault]
                             for at_s, availability in scene.witness.availabilities)
        footprints.append(daemon.footprint())
        print(f"  {fault}: ill {ill[-1]}, well {well[-1]}, online {online_s[fault]:.2f} s, {footprints[-1]}",
              file=sys.stderr, flush=True)
    assert wait_until(lambda: scene.witness.health["mqtt"]["spooled"] == 0, 60), scene.witness.health["mqtt"]
    daemon.signal(signal.SIGTERM)
    code = daemon.ends()
    assert wait_until(lambda: scene.witness.availability == "offline"), scene.witness.availabilities
    besides = {fault: (ill[number], well[max(0, number - 1):number + 1]) for number, fault in enumerate(faults)}
    return {"rate": {fault: share(*turns, "undisturbed") for fault, turns in besides.items()},
            "counted": {fault: share(*turns, "counted") for fault, turns in besides.items()},
            "noise": [share(one, [other], "undisturbed") for one, other in itertools.pairwise(well)],
            "longest_gap_ms": {"ill": max(one.longest_gap_ms for one in ill),
                               "well": max(one.longest_gap_ms for one in well)},
            "online_s": online_s,
            "offline_after_return": offline, "footprints": footprints, "exit_code": code}


def seconds_until_online(witness: Witness, returned_s: float) -> float:
    def again_s() -> float | None:
        return next((at_s for at_s, availability in tuple(witness.availabilities)
                     if availability == "online" and at_s >= returned_s), None)

    assert wait_until(lambda: again_s() is not None, 60), witness.availabilities
    return present(again_s()) - returned_s


def accounts(witness: Witness, results: int) -> dict[str, object]:
    capture, mqtt = witness.health["capture"], witness.health["mqtt"]
    return {"results": results, "arrived": len(witness.seqs), "repeated": witness.repeated,
            "reconnects": mqtt["reconnects"], "refused": mqtt["refused"],
            "deepest_outbox": witness.deepest_outbox, "capture": capture}


def fates(missing: set[int], left: OutboxLeft, broker_log: str) -> dict[str, object]:
    """Return the fate of each missing result. `unheard`: acknowledged by the broker without a subscriber."""
    on_disk = {seq for _, seq in left.results} & missing
    return {"missing": len(missing), "on_disk": len(on_disk), "dropped": left.dropped["detections"],
            "unheard": len(UNHEARD.findall(broker_log))}


def broken_in(cycle: dict[str, Any], slack_s: float) -> list[str]:
    """Name the broken limits of one cycle."""
    gone, capture = cycle["missing"] - cycle["on_disk"], cycle["capture"]
    memory_kb = [one["rss_kb"] for one in cycle["footprints"]]
    kept = {
        "online": max(cycle["online_s"].values()) <= ONLINE_WITHIN_S + slack_s,
        "offline": not any(cycle["offline_after_return"].values()),
        "outbox": cycle["deepest_outbox"] <= OUTBOX + UNCOUNTED,
        # what arrived without an acknowledgement may be counted as dropped as well
        "results": gone <= cycle["dropped"] <= gone + IN_FLIGHT * len(cycle["rate"]),
        "refused": cycle["refused"] == 0,
        "witness": cycle["unheard"] == 0,
        "memory": memory_kb[-1] <= memory_kb[1] + GROWTH_KB,
        "accounts": capture["captured"] == capture["detected"] + sum(capture["dropped"].values())
        + capture["pending"],
        "exit code": cycle["exit_code"] == 0,
    }
    return [f"{name}: {cycle}" for name, right in kept.items() if not right]


def broken_limits(cycles: list[dict[str, Any]], rates: dict[str, float], rate_floor: float,
                  slack_s: float) -> list[str]:
    slow = [f"{fault}: {share:.3f} of the rate" for fault, share in rates.items() if share < rate_floor]
    return slow + [fault for cycle in cycles for fault in broken_in(cycle, slack_s)]


def figures(cycles: list[dict[str, Any]], rate_floor: float, slack_s: float) -> dict[str, object]:
    """Median rates, the worst of everything else."""
    faults = list(cycles[0]["rate"])
    rates, counted = ({fault: statistics.median(cycle[by][fault] for cycle in cycles) for fault in faults}
                      for by in ("rate", "counted"))
    noise = [ratio for cycle in cycles for ratio in cycle["noise"]]
    summary = {key: [cycle[key] for cycle in cycles]
            for key in ("results", "arrived", "repeated", "missing", "on_disk", "dropped", "unheard", "deepest_outbox",
                        "reconnects", "longest_gap_ms")}
    return {"campaign": "daemon_broker", "cycles": len(cycles),
            "rate": {fault: round(value, 3) for fault, value in rates.items()},
            "counted": {fault: round(value, 3) for fault, value in counted.items()},
            "noise": {"median": round(statistics.median(noise), 3), "least": round(min(noise), 3)},
            "worst_online_s": {fault: round(max(cycle["online_s"][fault] for cycle in cycles), 2) for fault in faults},
            "rss_kb_first_last": [[cycle["footprints"][1]["rss_kb"], cycle["footprints"][-1]["rss_kb"]]
                                  for cycle in cycles],
            **summary, "broken": broken_limits(cycles, rates, rate_floor, slack_s)}


def cycle_or_evidence(folder: Path, evidence: Path, slack_s: float,
                      cycle: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """Run a cycle; if a limit was broken in it, keep its folder."""
    is_right = False
    try:
        summary = cycle(folder)
        is_right = not broken_in(summary, slack_s)
        return summary
    finally:
        if not is_right:
            shutil.copytree(folder, evidence, dirs_exist_ok=True)
            print(f"kept: {evidence}", file=sys.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=3)
    parser.add_argument("--turn-s", type=float, default=6, help="how long the broker is well, or ill")
    parser.add_argument("--frozen-s", type=float, default=25, help="how long it is frozen")
    parser.add_argument("--rate-floor", type=float, default=0.98, help="least share of the rate that must be left")
    parser.add_argument("--fault", choices=FAULTS, action="append", help="only this one, after away_at_start")
    parser.add_argument("--state", type=Path, default=Path(".campaign/daemon_broker.json"))
    parser.add_argument("--slack-s", type=float, default=0, help="added to each limit of time, on a starved machine")
    args = parser.parse_args()
    faults = [fault for fault in FAULTS if fault == FAULTS[0] or fault in (args.fault or FAULTS)]
    done: list[dict[str, Any]] = json.loads(args.state.read_text()) if args.state.exists() else []
    args.state.parent.mkdir(parents=True, exist_ok=True)
    while len(done) < args.cycles:
        with tempfile.TemporaryDirectory() as folder:
            done.append(cycle_or_evidence(Path(folder), args.state.with_suffix("") / str(len(done) + 1), args.slack_s,
                                          lambda here: one_cycle(here, faults, args.turn_s, args.frozen_s)))
        args.state.write_text(json.dumps(done))
        print(f"{len(done)}/{args.cycles}", file=sys.stderr, flush=True)
    summary = figures(done, args.rate_floor, args.slack_s)
    print(json.dumps(summary))
    return 1 if summary["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
