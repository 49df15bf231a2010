"""`vedette bench --ops`, and with several models: what each of them costs here, side by side.

Invariants: each model is measured in a process of its own, with the same frames; a model that cannot be measured ends
the command only after the others; the figures are those of a single `vedette bench`, with more keys beside.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from vedette.errors import VedetteError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


def side_by_side(commands: Sequence[tuple[Path, list[str]]], ops_runs: int, *, as_json: bool) -> int:
    """Measure each model by its command, and print a row for each; returns 0, or the exit code of the first failure.

    `ops_runs`: in how many runs its operations are measured; 0: not at all. Where they cannot be, it prints why.
    """
    measured: list[dict[str, Any]] = []
    codes: list[int] = []
    for path, command in commands:
        done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
        codes.append(done.returncode)
        if done.returncode:
            continue
        figures, code = _with_file(json.loads(done.stdout), path, ops_runs)
        codes.append(code)
        measured.append(figures)
        if as_json:
            print(json.dumps(figures), flush=True)
    if not as_json:
        print(*lines(measured), sep="\n")
    return next(filter(None, codes), 0)


def _with_file(figures: dict[str, Any], path: Path, ops_runs: int) -> tuple[dict[str, Any], int]:
    """Return the figures with what the file itself says, and the times of its operations if they are wanted.

    The second part is the exit code that a missing table of operations gives.
    """
    from vedette.tflite.arithmetic import arithmetic_of
    from vedette.tflite.file import read_model
    from vedette.vision.operator_profile import profile
    model = read_model(path)
    more = {"model": str(path), "model_bytes": model.size, "type": arithmetic_of(model)}
    code = 0
    if ops_runs:
        try:
            rows = profile(model, figures["runtime"], figures["runtime_version"], figures["threads"], ops_runs)
            more["ops"] = [asdict(row) for row in rows]
        except VedetteError as refusal:
            more.update(ops=None, ops_refused=str(refusal))
            code = refusal.exit_code
    return {**figures, **more}, code


def lines(measured: list[dict[str, Any]]) -> Iterator[str]:
    """Yield a line for each model, then the table of each one whose operations were measured."""
    width = max((len(figures["model"]) for figures in measured), default=0)
    yield (f"{'model':{width}}  {'type':>16} {'MB':>7} {'invoke ms: median':>19} {'p95':>8} {'frame ms':>9} "
           f"{'xnnpack':>8} {'peak MB':>8}")
    for figures in measured:
        invoke = figures["invoke_ms"]
        yield (f"{figures['model']:{width}}  {figures['type'] or '-':>16} {figures['model_bytes'] / 1e6:>7.2f} "
               f"{invoke['median']:>19.2f} {invoke['p95']:>8.2f} {figures['frame_ms']['median']:>9.2f} "
               f"{figures['xnnpack_share']:>8.0%} {figures['peak_rss_mb']:>8.0f}")
    for figures in measured:
        if figures.get("ops"):
            yield from ("", *_table(figures))
        elif "ops_refused" in figures:
            yield from ("", figures["ops_refused"])


def _table(figures: dict[str, Any]) -> Iterator[str]:
    rows = figures["ops"]
    width = max(len(row["node_type"]) for row in [*rows, {"node_type": "operation"}])
    yield (f"{figures['model']}: {figures['runtime']} {figures['runtime_version']}, "
           f"{figures['threads']} thread{'s' * (figures['threads'] > 1)}")
    yield f"{'operation':{width}} {'count':>6} {'min ms':>9} {'median ms':>10} {'%':>7} {'cumulated %':>12}"
    for row in rows:
        yield (f"{row['node_type']:{width}} {row['count']:>6} {row['min_ms']:>9.3f} {row['median_ms']:>10.3f} "
               f"{row['percent']:>7.1f} {row['cumulated_percent']:>12.1f}")
