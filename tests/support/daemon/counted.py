"""The real daemon, with a count of its objects in memory: `python counted.py COUNTS run …`.

On SIGUSR2 it writes to the file COUNTS what Python's garbage collector knows: how many objects of each type, how many
items in containers of each type, and how many blocks Python has allocated.
"""

from __future__ import annotations

import gc
import json
import signal
import sys
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path

CONTAINERS = (list, dict, set, deque)
ITEMS, BLOCKS, BUILT_IN = "items of ", "allocated blocks", "builtins."


def program(counts: Path) -> Sequence[str]:
    """The program for RunningDaemon."""
    return (__file__, str(counts), "run")


def held() -> dict[str, int]:
    """Count objects by type, items of containers by type, and allocated blocks."""
    gc.collect()
    found: Counter[str] = Counter()
    for one in gc.get_objects():
        kind = type(one)
        found[f"{kind.__module__}.{kind.__qualname__}"] += 1
        if kind in CONTAINERS:
            found[ITEMS + kind.__qualname__] += len(one)
    return {**found, BLOCKS: sys.getallocatedblocks()}


def is_filling(name: str) -> bool:
    """Whether a count rises while windows and caches fill, and is not of objects of an own class."""
    return name.startswith((ITEMS, BLOCKS, BUILT_IN))


def write(counts: Path) -> None:
    fresh = counts.with_suffix(".new")
    fresh.write_text(json.dumps(held()))
    fresh.rename(counts)


def main() -> int:
    counts = Path(sys.argv.pop(1))
    signal.signal(signal.SIGUSR2, lambda *_: write(counts))
    from vedette.__main__ import main as vedette
    return vedette()


if __name__ == "__main__":
    sys.exit(main())
