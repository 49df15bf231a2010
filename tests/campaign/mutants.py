"""Puts mutated model files through the model check and counts what happens: the parent must survive every one.

    python tests/campaign/mutants.py --count 10000 --state .campaign/mutants.json

Resumable: mutants are numbered, and the state file says how far it came. Prints one JSON line at the end.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.models.mutation import Base, mutant, real_bases, small_bases
from vedette.errors import ModelError
from vedette.tflite.file import read_model
from vedette.vision.interpreter import chosen_runtime
from vedette.vision.probe import prove

CHUNK = 100
TIMEOUT_S = 10.0
_ENDING = re.compile(r"killed by \w+|exit code \d+|took longer|invalid response")


def check(path: Path) -> str:
    """Return what became of one file: `reader: …`, `child: …` or `loaded`."""
    try:
        model = read_model(path)
    except ModelError as error:
        return f"reader: {type(error).__name__}"
    try:
        prove(path, sha256=model.sha256, timeout_s=TIMEOUT_S)
    except ModelError as error:
        ending = _ENDING.search(str(error))
        return f"child: {type(error).__name__}{' ' + ending[0] if ending else ''}"
    return "loaded"


def campaign(count: int, state: Path) -> dict[str, object]:
    """Check mutants up to number `count`, from where the state file left off; returns the figures."""
    done: dict[str, float] = json.loads(state.read_text()) if state.exists() else {}
    outcomes = Counter({name: int(number) for name, number in done.items() if name not in {"next", "seconds"}})
    seconds = done.get("seconds", 0.0)
    bases = small_bases(), real_bases()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        for first in range(int(done.get("next", 0)), count, CHUNK):
            start = time.monotonic()
            numbers = range(first, min(first + CHUNK, count))
            outcomes.update(pool.map(lambda number: _one(number, Path(folder), bases), numbers))
            seconds += time.monotonic() - start
            state.parent.mkdir(parents=True, exist_ok=True)
            state.write_text(json.dumps({**outcomes, "next": numbers.stop, "seconds": round(seconds, 1)}))
            print(f"{numbers.stop} of {count}, {seconds:.0f} s", file=sys.stderr, flush=True)
    return _figures(outcomes, seconds)


def _one(number: int, folder: Path, bases: tuple[list[Base], list[Base]]) -> str:
    path = folder / f"{threading.get_ident()}.tflite"
    path.write_bytes(mutant(number, *bases))
    try:
        return check(path)
    except Exception as error:  # noqa: BLE001 - whatever gets past the model check is what this campaign counts
        return f"parent: {number}: {error!r}"


def _figures(outcomes: Counter[str], seconds: float) -> dict[str, object]:
    def part(prefix: str) -> dict[str, int]:
        return {name.removeprefix(prefix): outcomes[name] for name in sorted(outcomes) if name.startswith(prefix)}
    parent = part("parent: ")
    return {"campaign": "mutants", "runtime": " ".join(chosen_runtime("auto")), "mutants": outcomes.total(),
            "refused_by_reader": part("reader: "), "refused_by_child": part("child: "), "loaded": outcomes["loaded"],
            "parent_exceptions": sum(parent.values()), "parent_exceptions_seen": list(parent)[:10],
            "seconds": round(seconds, 1)}


def main() -> int:
    """Run the campaign; returns 1 when anything got past the model check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--state", type=Path, default=Path(".campaign/mutants.json"))
    args = parser.parse_args()
    figures = campaign(args.count, args.state)
    print(json.dumps(figures))
    return 1 if figures["parent_exceptions"] else 0


if __name__ == "__main__":
    sys.exit(main())
