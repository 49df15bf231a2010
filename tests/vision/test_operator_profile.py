"""The time of each type of operation, through the profiler of LiteRT's library."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.models import writer
from vedette.errors import ModelDamaged, ModelError, RuntimeMissing
from vedette.tflite.file import read_model
from vedette.vision import operator_profile
from vedette.vision.interpreter import available_runtimes
from vedette.vision.operator_profile import TRIED, Row, Runs, profile, refusal, rows
from vedette.vision.probe import MEMORY_BYTES

VERSION = {report.name: report.version for report in available_runtimes()}["litert"]
tried = pytest.mark.skipif(VERSION not in TRIED, reason=f"LiteRT {VERSION or 'is not'} here, not one of {TRIED}")
COUNT_THREADS = """
import os, sys
from pathlib import Path
from vedette.tflite.file import read_model
from vedette.vision.operator_profile_child import Profiler
Profiler(read_model(Path(sys.argv[1])), int(sys.argv[2])).measure(1)
print(len(os.listdir("/proc/self/task")))
"""


def written(folder: Path, content: bytes) -> Path:
    path = folder / "model.tflite"
    path.write_bytes(content)
    return path


def test_a_row_has_all_operations_of_a_type() -> None:
    """The type with most time comes first; the shares add up to all of it."""
    found = rows(Runs(counts={"ADD": 2, "GEMM": 3}, times_us={"ADD": [250, 260, 240], "GEMM": [750, 700, 9000]}))
    assert found == (Row("GEMM", 3, 0.7, 0.75, 75.0, 75.0), Row("ADD", 2, 0.24, 0.25, 25.0, 100.0))


def test_operations_too_short_to_measure_have_no_share() -> None:
    """A graph of operations that take less than a microsecond gives a table of zeros, no error."""
    assert rows(Runs(counts={"ADD": 1}, times_us={"ADD": [0, 0]})) == (Row("ADD", 1, 0.0, 0.0, 0.0, 0.0),)


def test_where_it_was_not_tried_it_says_why(tmp_path: Path) -> None:
    """No function of a library that nobody tried is called."""
    assert refusal("litert", TRIED[-1], 64) is None
    assert "tflite-runtime exports no profiler" in (refusal("tflite-runtime", "2.14.0", 64) or "")
    assert "not tried with litert 2.1.5" in (refusal("litert", "2.1.5", 64) or "")
    assert "32-bit" in (refusal("litert", TRIED[-1], 32) or "")
    with pytest.raises(RuntimeMissing, match="exports no profiler"):
        profile(read_model(written(tmp_path, writer.convolution())), "tflite-runtime", "2.14.0", 1, 1)


@tried
def test_the_operations_inside_the_delegate_are_named(tmp_path: Path) -> None:
    """XNNPACK's own names appear, each once, for a graph that it took over completely."""
    found = profile(read_model(written(tmp_path, writer.convolution())), "litert", str(VERSION), 1, 2)
    assert any("Convolution" in row.node_type for row in found)
    assert len({row.node_type for row in found}) == len(found)
    assert all(row.count and 0 <= row.min_ms <= row.median_ms for row in found)


@tried
def test_an_operation_outside_the_delegate_is_in_the_table(tmp_path: Path) -> None:
    """So are outputs whose size only an invoke shows."""
    found = profile(read_model(written(tmp_path, writer.detection_postprocess())), "litert", str(VERSION), 1, 2)
    assert {row.node_type for row in found} >= {"TFLite_Detection_PostProcess"}


@tried
def test_the_threads_are_those_that_were_asked_for(tmp_path: Path) -> None:
    """LiteRT ignores an option whose name it does not know, so the threads are counted."""
    path = written(tmp_path, writer.convolution())
    counts = [int(subprocess.run([sys.executable, "-c", COUNT_THREADS, path, threads], capture_output=True, text=True,
                                 timeout=240, check=True).stdout) for threads in ("1", "3")]
    assert counts[1] - counts[0] == 2


@tried
def test_a_graph_that_cannot_run_is_refused(tmp_path: Path) -> None:
    """The function that refused it is named, and nothing crashes here."""
    with pytest.raises(ModelError, match="LiteRt"):
        profile(read_model(written(tmp_path, writer.growing_output())), "litert", str(VERSION), 1, 2)


def test_a_child_that_dies_is_an_error(tmp_path: Path) -> None:
    """Whatever a foreign library does to the child becomes an error about the model."""
    model = read_model(written(tmp_path, writer.convolution()))
    with pytest.raises(ModelDamaged, match="profiling it"):
        operator_profile._try(model, {"path": str(model.path), "memory_bytes": MEMORY_BYTES}, 60.0)
