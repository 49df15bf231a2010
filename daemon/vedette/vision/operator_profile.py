"""Measures how long each type of operation takes inside a graph, also in the part that XNNPACK has taken over.

Invariants:
- LiteRT's library exports its profiler, but no document guarantees it. So it is used only with the versions that it
  was tried with, and only in a child: a crash there becomes a `ModelError` here.
- A refusal says why there is no table.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import BaseModel, Field, ValidationError, model_validator

from vedette._lib.patience import Patience
from vedette.errors import ModelTimedOut, RuntimeMissing
from vedette.vision.model_child import TIMEOUT_S, ModelChild, invalid_response
from vedette.vision.probe import MEMORY_BYTES

if TYPE_CHECKING:
    from vedette.tflite.file import ModelFile

TRIED = ("2.2.0", "2.3.0")
"""The versions of LiteRT whose functions and structures the child knows."""
CHILD = "vedette.vision.operator_profile_child"
PROFILING = "profiling it"

Microseconds = Annotated[int, Field(ge=0)]


class Runs(BaseModel):
    """What the child measured: for each type of operation, how many there are, and their time in each run.

    LiteRT gives whole microseconds for each operation, so a shorter one counts as 0.
    """

    counts: dict[str, Annotated[int, Field(ge=1)]]
    times_us: dict[str, Annotated[list[Microseconds], Field(min_length=1)]]

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.counts.keys() != self.times_us.keys():
            raise ValueError("expected counts and times of the same types")
        return self


@dataclass(frozen=True, slots=True)
class Row:
    """One type of operation: its share of the time of all operations, and with the rows above it, in percent."""

    node_type: str
    count: int
    min_ms: float
    median_ms: float
    percent: float
    cumulated_percent: float


def refusal(runtime: str, version: str, pointer_bits: int = 8 * ctypes.sizeof(ctypes.c_void_p)) -> str | None:
    """Return why operations cannot be measured with this runtime; None where they can."""
    if runtime != "litert":
        return f"{runtime} exports no profiler; expected litert"
    if pointer_bits != 64:
        return f"the structures of the profiler are known for 64-bit processors; this one has {pointer_bits}-bit ones"
    if version not in TRIED:
        return f"the profiler was not tried with litert {version}; expected one of {', '.join(TRIED)}"
    return None


def profile(model: ModelFile, runtime: str, version: str, threads: int, runs: int) -> tuple[Row, ...]:
    """Run the model in a child, and return a row for each type of operation, the one with most time first.

    Raises: RuntimeMissing (no profiler here: the message says why), ModelError.
    """
    if reason := refusal(runtime, version):
        raise RuntimeMissing(f"{model.path}: no times of its operations: {reason}")
    request = {"path": str(model.path), "sha256": model.sha256, "threads": threads, "runs": runs,
               "memory_bytes": MEMORY_BYTES}
    return Patience().until_success(TIMEOUT_S, partial(_try, model, request), ModelTimedOut)


def _try(model: ModelFile, request: dict[str, object], timeout_s: float) -> tuple[Row, ...]:
    with ModelChild(CHILD, model.path) as child:
        response = child.call(request, timeout_s, PROFILING)
    try:
        return rows(Runs.model_validate(response))
    except ValidationError as error:
        raise invalid_response(model.path, PROFILING) from error


def rows(runs: Runs) -> tuple[Row, ...]:
    """Return the table. The times are those of all operations of a type together."""
    medians = {name: median(times) for name, times in runs.times_us.items()}
    total = sum(medians.values()) or 1
    found: list[Row] = []
    cumulated = 0.0
    for name in sorted(medians, key=medians.__getitem__, reverse=True):
        cumulated += medians[name]
        found.append(Row(name, runs.counts[name], min(runs.times_us[name]) / 1e3, medians[name] / 1e3,
                         round(100 * medians[name] / total, 1), round(100 * cumulated / total, 1)))
    return tuple(found)
