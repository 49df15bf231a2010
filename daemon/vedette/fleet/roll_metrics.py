"""The counts of a rollout as a file for Prometheus: the text format that node_exporter reads from a folder.

Invariants: free of I/O; every label value is escaped, since devices name their codes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from vedette.fleet.outcomes import Tally
from vedette.fleet.rollout import Phase
from vedette.fleet.rolls import RollRecord
from vedette.store.release import BUCKETS


def metrics(record: RollRecord, tally: Tally) -> str:
    """Return the content of the file."""
    return "".join(f"{line}\n" for line in _lines(record, tally))


def _lines(record: RollRecord, tally: Tally) -> Iterator[str]:
    label = f'release="{record.number}"'
    counts = {"expected": tally.expected, "good": tally.good, "trial": tally.trial, "silent": tally.silent,
              "waiting": tally.waiting}
    for name, count in counts.items():
        yield from _gauge(name, f"Devices of the rollout so far that are {name}.", {label: count})
    yield from _gauge("failed", "Devices of the rollout so far that failed, by code.",
                      {f'{label},code="{_escaped(code)}"': count for code, count in tally.failed.items()})
    yield from _gauge("step", "Number of the present step.", {label: record.state.step})
    yield from _gauge("share", "Share of all buckets that it is for, 0-1.", {label: record.state.end / BUCKETS})
    yield from _gauge("state", "1 for the state of the rollout, 0 for the others.",
                      {f'{label},state="{phase}"': int(phase == record.state.phase) for phase in get_args(Phase)})


def _gauge(name: str, help_text: str, values: dict[str, float]) -> Iterator[str]:
    yield f"# HELP vedette_rollout_{name} {help_text}"
    yield f"# TYPE vedette_rollout_{name} gauge"
    for labels, value in values.items():
        yield f"vedette_rollout_{name}{{{labels}}} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
