"""Campaign `watching`: `fleet watch` on a stock mosquitto that keeps the messages of 10,000 devices.

    .venv/bin/python tests/campaign/watching.py --devices 10000 --state .campaign/watching.json

The devices are simulated: their availability, model and health are retained, in the shapes of the daemon's own
payloads. 31 of them failed, and one in 200 is offline. Then `fleet watch --once 0.5 --summary --json` runs `--times`
times, and each of its counts must be right. One JSON line, with the seconds of the slowest; 1 when a count is wrong, or
when one took `--within-s` or longer.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.support.broker.many_devices import devices, expected, publish, size_of
from tests.support.broker.mosquitto import running
from tests.support.daemon.running import vedette


def watched(folder: Path, port: int) -> tuple[float, dict[str, Any], str]:
    """Return the seconds of the whole command, its summary, and what it says may be missing."""
    began_s = time.monotonic()
    done = vedette("fleet", "watch", "--host", "127.0.0.1", "--port", str(port), "--once", "0.5", "--summary", "--json",
                   folder=folder, timeout_s=300)
    assert done.returncode == 0, done.stderr
    return time.monotonic() - began_s, json.loads(done.stdout), done.stderr


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=10_000, metavar="N", help="at least 400")
    parser.add_argument("--times", type=int, default=5, metavar="N")
    parser.add_argument("--within-s", type=float, default=10.0, metavar="S")
    parser.add_argument("--state", type=Path, required=True, help="where the figures are written")
    args = parser.parse_args()
    fleet = devices(args.devices)
    wanted = expected(fleet)
    wrong: list[Any] = []
    seconds: list[float] = []
    with tempfile.TemporaryDirectory() as name, running(Path(name)) as broker:
        publish(broker.client(), fleet)
        for _ in range(args.times):
            took_s, summary, missing = watched(Path(name), broker.port)
            seconds.append(round(took_s, 2))
            if summary != wanted or missing:
                wrong.append({"summary": summary, "missing": missing})
    figures = {"devices": args.devices, "mb": round(size_of(fleet) / 1e6, 1), "times": args.times,
               "seconds": max(seconds), "failed": wanted["failed"], "wrong": wrong}
    args.state.write_text(json.dumps(figures))
    print(json.dumps(figures))
    return int(bool(wrong) or max(seconds) >= args.within_s)


if __name__ == "__main__":
    sys.exit(main())
