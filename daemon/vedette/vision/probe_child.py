"""The child that loads a model file for the first time: `python -m vedette.vision.probe_child`.

Invariants: it may crash, hang or run out of memory without harm to others; the kernel kills it first when memory is
short. It reads one request and sends one response. What native code writes to standard error goes to the file that the
parent sent, and is bounded. `candidate_child` starts and loads in the same way.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from vedette import __version__
from vedette._lib.child import MESSAGE_BYTES, begin_as_child
from vedette.errors import ModelUnsupported, VedetteError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vedette.config.models import DetectorConfig
    from vedette.tflite.file import ModelFile
    from vedette.vision.interpreter import Interpreter

STDERR_BYTES_MAX = 64 << 10
REFUSAL_LENGTH_MAX = 4000
_NOISE_RUNS = 3


class Run(NamedTuple):
    """One invoke: how long it took, and the processor time of all its threads."""

    wall_ms: float
    cpu_ms: float


def main() -> None:
    """Handle the parent's one request."""
    link, request = begin()
    send_response(link, result_or_refusal(request["path"], partial(_prove, **request)))


def begin() -> tuple[socket.socket, dict[str, Any]]:
    """Set this child's limits; returns the link to the parent and its first request."""
    link = begin_as_child()
    import_early()
    message, (stderr, *_), _, _ = socket.recv_fds(link, MESSAGE_BYTES, 1)
    os.dup2(stderr, 2)
    os.close(stderr)
    request = json.loads(message)
    _limit(request.pop("memory_bytes"))
    link.setblocking(True)
    return link, request


def import_early() -> None:
    """Import what each request needs, while the parent prepares the request."""
    from vedette.vision import interpreter, model_spec, output_check  # noqa: F401


def result_or_refusal(path: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the result of the work, or the refusal that it raised, as a response."""
    try:
        return work()
    except VedetteError as error:
        return {"refused": type(error).__name__, "words": str(error)[:REFUSAL_LENGTH_MAX]}
    except MemoryError:
        return {"refused": ModelUnsupported.__name__, "words": f"{path}: needs more memory than a child may use"}


def send_response(link: socket.socket, response: dict[str, Any]) -> None:
    """Send a response to the parent."""
    link.send(json.dumps(response).encode())


def load(path: str, runtime: str, threads: int, delegate: bool, sha256: str) -> tuple[Interpreter, list[Run]]:
    """Build the model and run it on zeros, then on noise; returns it with its runs on noise. Raises: ModelError."""
    from vedette.vision.interpreter import Interpreter
    interpreter = Interpreter(Path(path), runtime, threads, delegate=delegate, sha256=sha256)
    runs = _exercise(interpreter)
    if interpreter.outputs_moved():
        raise ModelUnsupported(f"{path}: changes the size of its outputs as it runs; expected outputs of a fixed shape")
    return interpreter, runs


def proof_fields(interpreter: Interpreter, model: ModelFile, runs: list[Run]) -> dict[str, Any]:
    """Return the fields of `probe.Proof`."""
    return {"sha256": model.sha256, "vedette_version": __version__,
            "runtime": interpreter.runtime, "runtime_version": interpreter.runtime_version,
            "threads": interpreter.threads, "delegate": interpreter.delegate,
            "delegate_note": interpreter.delegate_note, "xnnpack_share": interpreter.xnnpack_share,
            "invoke_ms": statistics.median(run.wall_ms for run in runs), "doubts": doubts(interpreter, model),
            "inputs": [asdict(spec) for spec in interpreter.inputs],
            "outputs": [asdict(spec) for spec in interpreter.outputs]}


def received_keys(labels_file: str | None, model_fields_set: list[str], **keys: Any) -> DetectorConfig:
    """Return the keys, which the parent has validated, in a plain object: pydantic takes long to import."""
    return cast("DetectorConfig", SimpleNamespace(labels_file=None if labels_file is None else Path(labels_file),
                                                  model_fields_set=set(model_fields_set), **keys))


def cpu_time_ns() -> int:
    """Return the processor time of all running threads of this process, in nanoseconds; ended threads do not count.

    The clock of the whole process is too coarse: under RLIMIT_CPU it moves in ticks of the scheduler.
    """
    total = 0
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):      # the thread has just ended
            total += time.clock_gettime_ns(~int(thread.name) << 3 | 6)    # the clock id that clock_getcpuclockid gives
    return total


def _prove(sha256: str, detector: dict[str, Any] | None = None, **request: Any) -> dict[str, Any]:
    model = _read(Path(request["path"]), sha256, detector)
    interpreter, runs = load(sha256=sha256, **request)
    return {"proof": proof_fields(interpreter, model, runs)}


def _read(path: Path, sha256: str, detector: dict[str, Any] | None) -> ModelFile:
    """Read the file as the parent will, and decide how these keys of `detector` run it. Raises: ModelError."""
    from vedette.tflite.file import read_model
    from vedette.vision.model_spec import resolve
    model = read_model(path, sha256=sha256)
    if detector is not None:
        resolve(model, received_keys(**detector))        # refuses what its structure shows
    return model


def doubts(interpreter: Interpreter, model: ModelFile) -> dict[str, str]:
    """Return `probe.Proof.doubts`."""
    from vedette.vision.output_check import find_doubts
    allocated = replace(model, outputs=interpreter.outputs)
    return find_doubts(allocated, interpreter.inputs[0], interpreter.input(0), interpreter.invoke,
                       [interpreter.output(index) for index in range(len(interpreter.outputs))])


def _limit(memory_bytes: int) -> None:
    # The address space is several times the used memory (threads, libraries), so the limit is RLIMIT_DATA.
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (STDERR_BYTES_MAX, STDERR_BYTES_MAX))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with contextlib.suppress(OSError):      # where /proc is read-only, the kernel may kill another process first
        Path("/proc/self/oom_score_adj").write_text("1000")


def _exercise(interpreter: Interpreter) -> list[Run]:
    """Invoke on zeros, then on noise; returns the runs on noise."""
    import numpy as np
    views = [interpreter.input(index) for index in range(len(interpreter.inputs))]
    for view in views:
        view[...] = 0
    interpreter.invoke()
    random = np.random.default_rng(0)
    runs = []
    for _ in range(_NOISE_RUNS):
        for view in views:
            fill(view, random)
        start_ns, start_cpu_ns = time.perf_counter_ns(), cpu_time_ns()
        interpreter.invoke()
        runs.append(Run((time.perf_counter_ns() - start_ns) / 1e6, (cpu_time_ns() - start_cpu_ns) / 1e6))
    return runs


def fill(view: NDArray[Any], random: np.random.Generator) -> None:
    """Fill the view of an input with noise."""
    if view.dtype.kind == "f":
        view[...] = random.random(view.shape)
    else:
        low = -128 if view.dtype.kind == "i" else 0
        view[...] = random.integers(low, low + 256, view.shape)


if __name__ == "__main__":
    main()
