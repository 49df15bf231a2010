"""Campaign `capture`: faults of the capture child in a row, each named in time and over in time, nothing growing.

    .venv/bin/python tests/campaign/capture.py --cycles 40 --state .campaign/capture.json

Resumable: the state file records the finished part. Prints one JSON line of figures; exits 1 when a bound was broken.
"""

import argparse
import gc
import json
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from tests.support.daemon.cameras import Consumer, make_settings, running
from tests.support.daemon.faulty import FAULTY_CHILD, give
from tests.support.present import present
from tests.support.waiting.until import eventually
from vedette.camera.remote import RemoteCamera

NAMED_WITHIN_S = 4.0
BLACK_HOLE_NAMED_WITHIN_S = 6.0
AGAIN_WITHIN_S = 10.0
FROZEN_AFTER_S = 2.0
# fault -> reason that names it
FAULTS = {"kill": "camera_offline", "stop": "camera_stalled", "hang in read": "camera_stalled",
          "hang in close": "camera_offline", "crash": "camera_offline", "frozen": "camera_frozen"}
SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


def flows(camera: RemoteCamera, after_seq: int) -> bool:
    status = camera.status()
    return status.state == "capturing" and status.captured > after_seq + 3


def one_fault(camera: RemoteCamera, order: Path, fault: str) -> tuple[float, float]:
    """Cause the fault and end it; returns the seconds until it was reported and until frames flowed again."""
    eventually(lambda: flows(camera, 0) and not camera.reasons())
    began = time.monotonic()
    if fault in SIGNALS:
        os.kill(present(camera.child_pid), SIGNALS[fault])
    else:
        give(order, fault)
    eventually(lambda: FAULTS[fault] in camera.reasons(), within_s=60)
    named_s = time.monotonic() - began
    seq = camera.status().captured
    ended = time.monotonic()
    give(order, "")
    eventually(lambda: flows(camera, seq), within_s=60)
    return named_s, time.monotonic() - ended


def black_hole() -> float:
    """Return the seconds until a host that never answers is reported."""
    with socket.create_server(("127.0.0.1", 0)) as hole:
        began = time.monotonic()
        with running(make_settings(f"rtsp://127.0.0.1:{hole.getsockname()[1]}/cam")) as camera:
            eventually(lambda: "no answer" in (camera.status().cause or ""), within_s=60)
            return time.monotonic() - began


def footprint() -> dict[str, int]:
    gc.collect()
    rss_kb = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024
    fds = sum(1 for _ in Path("/proc/self/fd").iterdir())
    return {"rss_kb": rss_kb, "threads": threading.active_count(), "fds": fds}


def run(cycles: int, state: dict[str, Any], state_file: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        order = Path(folder) / "order"
        give(order, "")
        settings = make_settings(f"tcp://{order}", frozen_after_s=FROZEN_AFTER_S)
        with running(settings, FAULTY_CHILD) as camera, Consumer(camera) as consumer:
            names = list(FAULTS)
            while state["done"] < cycles:
                fault = names[state["done"] % len(names)]
                named_s, again_s = one_fault(camera, order, fault)
                state["faults"].append([fault, round(named_s, 3), round(again_s, 3)])
                state["done"] += 1
                if state["done"] % 10 == 0:
                    state["footprints"].append(footprint())
                state_file.write_text(json.dumps(state))
                print(f"{state['done']}/{cycles} {fault}: named {named_s:.2f} s, again {again_s:.2f} s",
                      file=sys.stderr)
        status = camera.status()
        state["accounts_exact"] &= status.captured == consumer.taken + sum(status.dropped.values()) + status.pending


def figures(state: dict[str, Any]) -> dict[str, Any]:
    by_fault = {fault: [f for f in state["faults"] if f[0] == fault] for fault in FAULTS}
    return {
        "faults": state["done"],
        "worst": {fault: {"named_s": max(f[1] for f in each), "again_s": max(f[2] for f in each)}
                  for fault, each in by_fault.items() if each},
        "black_hole_named_s": state["black_hole_s"],
        "footprint_first_last": [state["footprints"][0], state["footprints"][-1]] if state["footprints"] else [],
        "accounts_exact": state["accounts_exact"],
        "kept": all(f[1] <= (FROZEN_AFTER_S if f[0] == "frozen" else 0) + NAMED_WITHIN_S and f[2] <= AGAIN_WITHIN_S
                    for f in state["faults"])
        and state["accounts_exact"] and state["black_hole_s"] <= BLACK_HOLE_NAMED_WITHIN_S,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=40)
    parser.add_argument("--state", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.state.parent.mkdir(parents=True, exist_ok=True)
    state: dict[str, Any] = {"done": 0, "faults": [], "footprints": [], "accounts_exact": True, "black_hole_s": 0.0}
    if arguments.state.exists():
        state = json.loads(arguments.state.read_text())
    run(arguments.cycles, state, arguments.state)
    state["black_hole_s"] = round(black_hole(), 2)
    result = figures(state)
    print(json.dumps(result))
    return 0 if result["kept"] else 1


if __name__ == "__main__":
    sys.exit(main())
