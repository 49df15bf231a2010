"""Campaign `properties`: every property of the suite, with examples that no run before it had.

    .venv/bin/python tests/campaign/properties.py --state .campaign/properties.json

A round is all tests of hypothesis under the profile `search` (2,000 examples each, where one draws whole frames 500),
`--workers` at a time; its number is the seed, so a find comes again with `--first` at its number. What is found is
printed with the example that shows it. Resumable by round. One JSON line; 1 when a property did not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)
_PASSED = re.compile(r"(\d+) passed")


def run_round(number: int, workers: int, chosen: list[str]) -> dict[str, object]:
    """Run one round. Raises: SystemExit when pytest did not get as far as running tests."""
    begun_s = time.monotonic()
    # A pytest of its own would close the folder of temporary files to the tests of the one that runs this campaign.
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *(chosen or [str(TESTS)]), "-m", "hypothesis", "--hypothesis-profile",
             "search", "--hypothesis-seed", str(number), "--numprocesses", str(workers), "--dist", "worksteal",
             "--no-cov", "--verbose", "-rfE", "--tb", "short"],
            cwd=TESTS.parent, capture_output=True, text=True, check=False,
            env={**os.environ, "PYTEST_DEBUG_TEMPROOT": folder})
    if done.returncode not in (0, 1):
        sys.exit(done.stdout[-4000:] + done.stderr)
    failed = sorted(set(_FAILED.findall(done.stdout)))
    if done.returncode:
        print(done.stdout, file=sys.stderr)
    return {"seed": number, "held": int((_PASSED.search(done.stdout) or ["", "0"])[1]),
            "failed": failed or ["pytest"] * done.returncode, "seconds": round(time.monotonic() - begun_s)}


def main() -> int:
    """Run the rounds that are left; returns 1 when a property did not hold in any."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--first", type=int, default=0, help="number of the first round")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--state", type=Path, default=Path(".campaign/properties.json"))
    parser.add_argument("tests", nargs="*", help="files or tests instead of all")
    args = parser.parse_args()
    rounds: list[dict[str, Any]] = json.loads(args.state.read_text()) if args.state.exists() else []
    args.state.parent.mkdir(parents=True, exist_ok=True)
    for number in range(args.first + len(rounds), args.first + args.rounds):
        rounds.append(run_round(number, args.workers, args.tests))
        args.state.write_text(json.dumps(rounds))
        print(rounds[-1], file=sys.stderr, flush=True)
    failed = sorted({name for each in rounds for name in each["failed"]})
    print(json.dumps({"campaign": "properties", "rounds": len(rounds), "failed": failed,
                      "held": min((each["held"] for each in rounds), default=0),
                      "seconds": sum(each["seconds"] for each in rounds)}))
    return 1 if failed or not all(each["held"] for each in rounds) else 0


if __name__ == "__main__":
    sys.exit(main())
