"""An interpreter of another framework: ONNX Runtime, or torch, in a child in the environment of its tool.

Invariants: it has what `vision.local.LocalDetector` needs, so the same code prepares pictures and decodes outputs. The
child shares the memory of the tensors, and nothing of vedette. Whatever the file does to the child becomes a
`ModelError` or `InvokeFailed` within a time limit. One thread uses it.
"""

from __future__ import annotations

import json
import mmap
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vedette.errors import InvokeFailed, ModelTimedOut, ModelUnsupported, ToolMissing
from vedette.tflite.tensors import TensorSpec
from vedette.workshop.tools.run_network import offsets

if TYPE_CHECKING:
    from numpy.typing import NDArray

PROGRAM = Path(__file__).with_name("tools") / "run_network.py"
LOAD_S, INVOKE_S = 600.0, 300.0
"""Far beyond what the largest networks need; torch alone takes many seconds to import on a busy machine."""
_KILL_S = 10.0
_LINE_BYTES = 1 << 20
_STDERR_CHARS_MAX = 200


class ForeignInterpreter:
    """Has the surface of `vision.interpreter.Interpreter`. `command` is what starts the child, without its memory.

    Raises: ModelUnsupported (with the framework's message), ModelTimedOut, ToolMissing (a package is not there).
    """

    def __init__(self, path: Path, command: Sequence[str | Path], threads: int = 1) -> None:
        self.path, self.threads = path, threads
        self.xnnpack_share, self.choice, self.moved = 0.0, "", False
        self.delegate_note: str | None = None
        self._memory = os.memfd_create("foreign-tensors")
        self._stderr = tempfile.TemporaryFile()     # noqa: SIM115 - closed by close()
        self._child = subprocess.Popen([*map(str, command), str(self._memory)], stdin=subprocess.PIPE, bufsize=0,
                                       stdout=subprocess.PIPE, stderr=self._stderr, pass_fds=(self._memory,))
        self._received = b""
        self._views: list[NDArray[Any]] = []
        try:
            self._begin(self._receive(LOAD_S))
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<ForeignInterpreter {self.path.name} {self.runtime} {self.runtime_version}>"

    def input(self, index: int = 0) -> NDArray[Any]:
        """Return the view of an input tensor: write to it, then call `invoke`."""
        return self._views[index]

    def output(self, index: int = 0) -> NDArray[Any]:
        """Return the view of an output tensor: it shows what the last `invoke` wrote."""
        return self._views[len(self.inputs) + index]

    def invoke(self) -> None:
        """Run the network once. Raises: InvokeFailed with the framework's message."""
        stdin = self._child.stdin
        try:
            if stdin is None or stdin.closed:
                raise InvokeFailed(f"{self.path}: the interpreter is closed")
            stdin.write(b"\n")
            answer = self._receive(INVOKE_S)
        except (OSError, ModelUnsupported, ModelTimedOut) as error:
            raise InvokeFailed(f"{self.path}: {self.runtime} failed to invoke: {error}") from error
        if "error" in answer:
            raise InvokeFailed(f"{self.path}: {self.runtime} failed to invoke: {answer['error']}")

    def close(self) -> None:
        """End the child. Safe to call twice; views stay valid."""
        if self._stderr.closed:
            return
        self._child.kill()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                pipe.close()
        self._child.wait(_KILL_S)
        self._stderr.close()
        os.close(self._memory)

    def _begin(self, answer: Mapping[str, Any]) -> None:
        if "error" in answer:
            kind = ToolMissing if answer.get("missing") else ModelUnsupported
            raise kind(f"{self.path}: cannot be loaded: {answer['error']}")
        self.runtime, self.runtime_version = str(answer["runtime"]), str(answer["version"])
        self.metadata: Mapping[str, Any] = answer["metadata"]
        """What the exporter has written into the file."""
        tensors = [(str(name), tuple(shape), str(dtype)) for name, shape, dtype in (
            *answer["inputs"], *answer["outputs"])]
        specs = tuple(TensorSpec(name, place, shape, dtype, 0.0, 0)
                      for place, (name, shape, dtype) in enumerate(tensors))
        count = len(answer["inputs"])
        self.inputs, self.outputs = specs[:count], specs[count:]
        *places, size = offsets(tensors)
        shared = mmap.mmap(self._memory, size)
        self._views = [np.frombuffer(shared, spec.dtype, int(np.prod(spec.shape)), place).reshape(spec.shape)
                       for spec, place in zip(specs, places, strict=True)]

    def _receive(self, timeout_s: float) -> Mapping[str, Any]:
        """Return the child's next line. Raises: ModelTimedOut, ModelUnsupported (it died)."""
        stdout, deadline = self._child.stdout, time.monotonic() + timeout_s
        poll = select.poll()
        assert stdout is not None  # noqa: S101 - for the type checker: it is a pipe
        poll.register(stdout, select.POLLIN)
        while b"\n" not in self._received:
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise ModelTimedOut(f"{self.path}: its child gave no answer in {timeout_s:g} s; it was ended")
            more = os.read(stdout.fileno(), _LINE_BYTES)
            if not more:
                self._child.wait(_KILL_S)
                raise ModelUnsupported(f"{self.path}: its child ended with {self._child.returncode}{self._last_line()}")
            self._received += more
        line, _, self._received = self._received.partition(b"\n")
        try:
            return dict(json.loads(line))
        except (ValueError, TypeError) as error:
            raise ModelUnsupported(f"{self.path}: its child sent an invalid answer") from error

    def _last_line(self) -> str:
        self._stderr.seek(0)
        lines = self._stderr.read().decode("utf-8", "replace").split("\n")
        written = [line for line in lines if line.strip()]
        return f"; its last error output: {written[-1][:_STDERR_CHARS_MAX]}" if written else ""
