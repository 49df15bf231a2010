"""The child that loads a model file for the first time: `python -m vedette.vision.probe_child`.

Invariants: it may crash, hang or run out of memory, and nobody is harmed; one message in, one message out; what
native code writes to standard error lands in the file it was given, of bounded size.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import statistics
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vedette._lib.child import MESSAGE_BYTES, begin_as_child
from vedette.errors import ModelUnsupported, VedetteError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vedette.vision.interpreter import Interpreter

STDERR_BYTES_MAX = 64 << 10
_NOISE_RUNS = 3


def main() -> None:
    """Answer the parent's one request."""
    link = begin_as_child()
    message, (stderr, *_), _, _ = socket.recv_fds(link, MESSAGE_BYTES, 1)
    os.dup2(stderr, 2)
    request = json.loads(message)
    _limit(request.pop("memory_bytes"))
    answer: dict[str, Any]
    try:
        answer = {"proof": _prove(**request)}
    except VedetteError as error:
        answer = {"refused": type(error).__name__, "words": str(error)}
    except MemoryError:
        answer = {"refused": ModelUnsupported.__name__, "words": f"{request['path']}: needs more memory than it may"}
    link.setblocking(True)
    link.send(json.dumps(answer).encode())


def _limit(memory_bytes: int) -> None:
    # The address space is several times what is used (threads, libraries): RLIMIT_DATA is what means memory.
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (STDERR_BYTES_MAX, STDERR_BYTES_MAX))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def _prove(path: str, runtime: str, threads: int, delegate: bool, sha256: str) -> dict[str, Any]:
    from vedette.vision.interpreter import Interpreter
    interpreter = Interpreter(Path(path), runtime, threads, delegate=delegate, sha256=sha256)
    invoke_ms = _exercise(interpreter)
    if interpreter.moved():
        raise ModelUnsupported(f"{path}: sizes its outputs as it runs; expected outputs of a fixed shape")
    return {"sha256": sha256, "runtime": interpreter.runtime, "runtime_version": interpreter.runtime_version,
            "threads": threads, "delegate": interpreter.delegate, "delegate_note": interpreter.delegate_note,
            "xnnpack_share": interpreter.xnnpack_share, "invoke_ms": invoke_ms,
            "inputs": [asdict(spec) for spec in interpreter.inputs],
            "outputs": [asdict(spec) for spec in interpreter.outputs]}


def _exercise(interpreter: Interpreter) -> float:
    """Invoke on zeros, then on noise; returns the median milliseconds of the latter."""
    import numpy as np
    views = [interpreter.input(index) for index in range(len(interpreter.inputs))]
    for view in views:
        view[...] = 0
    interpreter.invoke()
    random = np.random.default_rng(0)
    times_ms = []
    for _ in range(_NOISE_RUNS):
        for view in views:
            _fill(view, random)
        start = time.perf_counter()
        interpreter.invoke()
        times_ms.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times_ms)


def _fill(view: NDArray[Any], random: np.random.Generator) -> None:
    if view.dtype.kind == "f":
        view[...] = random.random(view.shape)
    else:
        low = -128 if view.dtype.kind == "i" else 0
        view[...] = random.integers(low, low + 256, view.shape)


if __name__ == "__main__":
    main()
