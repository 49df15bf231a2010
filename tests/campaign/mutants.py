"""Puts mutated model files through the whole chain and counts what happens: the parent must survive every one.

    python tests/campaign/mutants.py --read 100000 --probe 5000 --state .campaign/mutants.json

Every mutant is read, resolved and asked for its golden frames here; some go through the whole probe, as a candidate
that an update brings. Each must end in a ModelError or in a sound model; no file may keep the parent busy for more than
5 s, or let it grow beyond 200 MB. Resumable: mutants are numbered, and the state file says how far it came. Prints one
JSON line at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from tests.support.models.bundle_mutation import bases, bundle_mutant
from tests.support.waiting.peak_memory import peak_mb
from vedette.config.models import DetectorConfig
from vedette.errors import ModelError
from vedette.tflite.file import read_model
from vedette.validate import golden
from vedette.validate.candidate import Candidate
from vedette.vision.bundle import baseline_of, check_digest
from vedette.vision.interpreter import chosen_runtime
from vedette.vision.model_spec import limits_of, resolve

CHUNK = 100
TIMEOUT_S = 10.0
BUSY_S, PARENT_MB = 5.0, 200
_UNFORESEEN = re.compile(r"cannot be understood: \w+: .{,60}")
_ENDING = re.compile(r"killed by \w+|exit code \d+|took longer|invalid response")


def read(path: Path) -> str:
    """Return what became of one file that is read as far as anything reads it: `reader: …` or `read`."""
    with contextlib.suppress(ModelError):
        check_digest(path)
    try:
        model = read_model(path)
        detector = DetectorConfig(model=path)
        limits_of(model, detector)
        resolve(model, detector)
        golden.read(model)
        baseline_of(model)
    except ModelError as error:
        unforeseen = _UNFORESEEN.search(str(error))
        return f"reader: {type(error).__name__}{' ' + unforeseen[0] if unforeseen else ''}"
    return "read"


def probe(path: Path) -> str:
    """Return what became of one file that is probed as a candidate: `child: …` or `loaded`."""
    try:
        with Candidate(path, DetectorConfig(threads=1), probe_timeout_s=TIMEOUT_S) as candidate:
            candidate.probe()
    except ModelError as error:
        ending = _ENDING.search(str(error))
        return f"child: {type(error).__name__}{' ' + ending[0] if ending else ''}"
    return "loaded"


class Campaign:
    """The figures so far, in the state file."""

    def __init__(self, state: Path) -> None:
        self._state = state
        done: dict[str, Any] = json.loads(state.read_text()) if state.exists() else {}
        self.outcomes: Counter[str] = Counter(done.get("outcomes", {}))
        self.came: dict[str, int] = done.get("came", {"read": 0, "probe": 0})
        self.seconds: float = done.get("seconds", 0.0)
        self.busiest: tuple[float, str] = tuple(done.get("busiest", (0.0, "")))
        self._bases = bases()

    def run(self, stage: str, check: Callable[[Path], str], count: int, workers: int) -> None:
        """Check mutants up to number `count` of this stage."""
        with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(workers) as pool:
            for first in range(self.came[stage], count, CHUNK):
                start = time.monotonic()
                numbers = range(first, min(first + CHUNK, count))
                for outcome, busy_s, number in pool.map(partial(self._one, check, Path(folder)), numbers):
                    self.outcomes[outcome] += 1
                    self.busiest = max(self.busiest, (busy_s, f"{stage} {number}"))
                self.seconds += time.monotonic() - start
                self.came[stage] = numbers.stop
                self._keep()
                print(f"{stage} {numbers.stop} of {count}, {self.seconds:.0f} s", file=sys.stderr, flush=True)

    def _one(self, check: Callable[[Path], str], folder: Path, number: int) -> tuple[str, float, int]:
        path = folder / f"{threading.get_ident()}.tflite"
        path.write_bytes(bundle_mutant(number, *self._bases))
        start_s = time.thread_time()
        try:
            outcome = check(path)
        except Exception as error:  # noqa: BLE001 - whatever gets past the model check is what this campaign counts
            outcome = f"parent: {number}: {error!r}"
        return outcome, time.thread_time() - start_s, number

    def _keep(self) -> None:
        self._state.parent.mkdir(parents=True, exist_ok=True)
        self._state.write_text(json.dumps({"outcomes": self.outcomes, "came": self.came, "busiest": self.busiest,
                                           "seconds": round(self.seconds, 1)}))

    def figures(self) -> dict[str, Any]:
        """Return the figures that are printed at the end."""
        parent = self._part("parent: ")
        return {"campaign": "mutants", "runtime": " ".join(chosen_runtime("auto")), "mutants": self.outcomes.total(),
                "refused_by_reader": self._part("reader: "), "read": self.outcomes["read"],
                "refused_by_child": self._part("child: "), "loaded": self.outcomes["loaded"],
                "parent_exceptions": sum(parent.values()), "parent_exceptions_seen": list(parent)[:10],
                "parent_peak_mb": peak_mb(),
                "busiest_s": round(self.busiest[0], 2), "busiest": self.busiest[1], "seconds": round(self.seconds, 1)}

    def _part(self, prefix: str) -> dict[str, int]:
        return {name.removeprefix(prefix): self.outcomes[name] for name in sorted(self.outcomes)
                if name.startswith(prefix)}


def main() -> int:
    """Run the campaign; returns 1 when a mutant got past the model check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--read", type=int, default=100_000, help="so many are read")
    parser.add_argument("--probe", type=int, default=5000, help="so many are probed")
    parser.add_argument("--state", type=Path, default=Path(".campaign/mutants.json"))
    args = parser.parse_args()
    campaign = Campaign(args.state)
    campaign.run("read", read, args.read, 1)
    campaign.run("probe", probe, args.probe, 2)
    figures = campaign.figures()
    print(json.dumps(figures))
    within = figures["parent_peak_mb"] <= PARENT_MB and figures["busiest_s"] <= BUSY_S
    return 0 if within and not figures["parent_exceptions"] else 1


if __name__ == "__main__":
    sys.exit(main())
