"""Campaign `zones`: random walks through zones and lines, against a reference of whole numbers and fractions.

    .venv/bin/python tests/campaign/zones.py --walks 10000 --state .campaign/zones.json

A walk has up to 60 frames, at rates from 15 a second to one in 10 s, even or changing. Its scene has up to three zones
(convex, stars, boxes at the frame's edge or beside each other, crossing themselves) and three lines, with or without
labels. In a quarter of the walks the scene changes meanwhile. Many feet lie on corners, edges and lines, and many steps
run along them. Told at each frame, and entered, left, crossed, loitering and dwell must be those of the reference.

`noticed` has the walks that notice a naive rule: no inertia, or lines without ends. Resumable by batch. One JSON line;
1 when a walk is wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from tests.support.truth.walks import Draw, Reference, measured, on_borders


def run_batch(numbers: range) -> dict[str, Any]:
    """Run some walks; returns counts, and the numbers of the wrong ones."""
    counts, noticed, wrong = Counter[str](), Counter[str](), []
    for number in numbers:
        walk = Draw(number).walk()
        told, right = measured(walk), Reference(walk).told()
        wrong += [] if told.agrees(right) else [number]
        noticed["no inertia"] += not told.agrees(Reference(walk, inertia_s=0).told())
        noticed["lines without ends"] += not told.agrees(Reference(walk, extended=True).told())
        counts += Counter(walks=1, frames=len(walk.feet), feet_on_borders=on_borders(walk), entered=len(right.entered),
                          left=len(right.left), crossed=len(right.crossed),
                          loitered=any(loitering for *_, loitering in right.frames))
    return {"counts": counts, "noticed": noticed, "wrong": wrong}


def main() -> int:
    """Run the walks that are left; returns 1 when one was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--walks", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--state", type=Path, default=Path(".campaign/zones.json"))
    args = parser.parse_args()
    batches: list[dict[str, Any]] = json.loads(args.state.read_text()) if args.state.exists() else []
    args.state.parent.mkdir(parents=True, exist_ok=True)
    while (done := sum(each["counts"]["walks"] for each in batches)) < args.walks:
        batches.append(run_batch(range(done, min(done + args.batch, args.walks))))
        args.state.write_text(json.dumps(batches))
        print(batches[-1], file=sys.stderr, flush=True)
    counts, noticed = (sum((Counter(each[key]) for each in batches), Counter[str]()) for key in ("counts", "noticed"))
    wrong = [number for each in batches for number in each["wrong"]]
    print(json.dumps({"campaign": "zones", "wrong": wrong, **counts, "noticed": noticed}))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
