"""The child that loads a model file for the first time: `python -m vedette.vision.probe_child`.

Invariants: it may crash, hang or run out of memory, and nobody is harmed: it is the first to die when memory is short;
one message in, one message out; what native code writes to standard error lands in the file it was given, of bounded
size. `candidate_child` begins and loads in the same way.
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
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from vedette._lib.child import MESSAGE_BYTES, begin_as_child
from vedette.errors import ModelUnsupported, VedetteError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vedette.vision.interpreter import Interpreter

STDERR_BYTES_MAX = 64 << 10
_NOISE_RUNS = 3


class Run(NamedTuple):
    """One invoke: how long it took, and the time that all of its threads computed."""

    wall_ms: float
    computed_ms: float


def main() -> None:
    """Answer the parent's one request."""
    link, request = begin()
    tell(link, answer_to(request["path"], lambda: {"proof": _prove(**request)}))


def begin() -> tuple[socket.socket, dict[str, Any]]:
    """Be a child that may fail, within its limits; returns the link to the parent and its first request."""
    link = begin_as_child()
    message, (stderr, *_), _, _ = socket.recv_fds(link, MESSAGE_BYTES, 1)
    os.dup2(stderr, 2)
    os.close(stderr)
    request = json.loads(message)
    _limit(request.pop("memory_bytes"))
    link.setblocking(True)
    return link, request


def answer_to(path: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what the work gives, or the refusal that it ended in."""
    try:
        return work()
    except VedetteError as error:
        return {"refused": type(error).__name__, "words": str(error)}
    except MemoryError:
        return {"refused": ModelUnsupported.__name__, "words": f"{path}: needs more memory than it may"}


def tell(link: socket.socket, answer: dict[str, Any]) -> None:
    """Send an answer."""
    link.send(json.dumps(answer).encode())


def load(path: str, runtime: str, threads: int, delegate: bool, sha256: str) -> tuple[Interpreter, list[Run]]:
    """Build the model and run it on zeros, then on noise; returns it with the runs on noise. Raises: ModelError."""
    from vedette.vision.interpreter import Interpreter
    interpreter = Interpreter(Path(path), runtime, threads, delegate=delegate, sha256=sha256)
    runs = _exercise(interpreter)
    if interpreter.moved():
        raise ModelUnsupported(f"{path}: sizes its outputs as it runs; expected outputs of a fixed shape")
    return interpreter, runs


def proof(interpreter: Interpreter, sha256: str, runs: list[Run]) -> dict[str, Any]:
    """Return the fields of `probe.Proof`."""
    return {"sha256": sha256, "runtime": interpreter.runtime, "runtime_version": interpreter.runtime_version,
            "threads": interpreter.threads, "delegate": interpreter.delegate,
            "delegate_note": interpreter.delegate_note, "xnnpack_share": interpreter.xnnpack_share,
            "invoke_ms": statistics.median(run.wall_ms for run in runs),
            "inputs": [asdict(spec) for spec in interpreter.inputs],
            "outputs": [asdict(spec) for spec in interpreter.outputs]}


def computed_ns() -> int:
    """Return the nanoseconds that all threads of this process computed together; ended ones are left out.

    The clock of the whole process will not do: under RLIMIT_CPU it moves in ticks of the scheduler.
    """
    total = 0
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):      # it has just ended
            total += time.clock_gettime_ns(~int(thread.name) << 3 | 6)    # what clock_getcpuclockid makes of a thread
    return total


def _prove(sha256: str, **request: Any) -> dict[str, Any]:
    interpreter, runs = load(sha256=sha256, **request)
    return proof(interpreter, sha256, runs)


def _limit(memory_bytes: int) -> None:
    # The address space is several times what is used (threads, libraries): RLIMIT_DATA is what means memory.
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (STDERR_BYTES_MAX, STDERR_BYTES_MAX))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with contextlib.suppress(OSError):      # where /proc is not to be written, another may have to die first
        Path("/proc/self/oom_score_adj").write_text("1000")


def _exercise(interpreter: Interpreter) -> list[Run]:
    """Invoke on zeros, then on noise; returns the runs of the latter."""
    import numpy as np
    views = [interpreter.input(index) for index in range(len(interpreter.inputs))]
    for view in views:
        view[...] = 0
    interpreter.invoke()
    random = np.random.default_rng(0)
    runs = []
    for _ in range(_NOISE_RUNS):
        for view in views:
            _fill(view, random)
        start_ns, computed_before_ns = time.perf_counter_ns(), computed_ns()
        interpreter.invoke()
        runs.append(Run((time.perf_counter_ns() - start_ns) / 1e6, (computed_ns() - computed_before_ns) / 1e6))
    return runs


def _fill(view: NDArray[Any], random: np.random.Generator) -> None:
    if view.dtype.kind == "f":
        view[...] = random.random(view.shape)
    else:
        low = -128 if view.dtype.kind == "i" else 0
        view[...] = random.integers(low, low + 256, view.shape)


if __name__ == "__main__":
    main()
