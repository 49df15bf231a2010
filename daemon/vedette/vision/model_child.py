"""A child process that is asked about a model file, and may crash, hang, run out of memory or lie over it.

Invariants: whatever the file does to the child, a question ends in an answer or a `ModelError` within its time; one
question at a time; a child that failed once is asked no more. One thread, which must live as long (see `_lib.child`).
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from vedette._lib.child import Child
from vedette.errors import ModelDamaged, ModelUnproven, ModelUnreadable, ModelUnsupported, RuntimeMissing, VedetteError

if TYPE_CHECKING:
    from pathlib import Path

_KILL_S = 2.0
_STDERR_WORDS = 200
# How the child's refusals are told by us; what fails at its invoke there will fail at every invoke here.
_REFUSALS: Mapping[str, type[VedetteError]] = {
    "ModelUnreadable": ModelUnreadable, "ModelDamaged": ModelDamaged, "ModelUnsupported": ModelUnsupported,
    "InvokeFailed": ModelUnsupported, "OutputInvalid": ModelUnsupported, "SourceInvalid": ModelUnsupported,
    "RuntimeMissing": RuntimeMissing}


class ModelChild:
    """A running `python -m module`, which `probe_child.begin` prepares. Raises: ModelUnproven (none can be started)."""

    def __init__(self, module: str, path: Path | str) -> None:
        self._path = path
        with contextlib.ExitStack() as undo:
            try:
                self._stderr = os.memfd_create("model-child-stderr")
                undo.callback(os.close, self._stderr)
                self._child = Child(module, {"OPENBLAS_NUM_THREADS": "1"})
            except OSError as error:
                raise ModelUnproven(f"{path}: no child process could be started for it: {error}") from error
            undo.pop_all()
        self._due: tuple[int, ...] = (self._stderr,)
        self._closed = False

    def __repr__(self) -> str:
        return f"<ModelChild {self._path} {self._child!r}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._child.pid

    def ask(self, question: Mapping[str, object], timeout_s: float, doing: str,
            fds: tuple[int, ...] = ()) -> dict[str, Any]:
        """Ask and wait for the answer; `doing` says in an error's words what the child was at, `fds` go along.

        Raises: ModelDamaged (it died or answered nonsense), ModelUnproven (no time, or killed by somebody else), and
        what the child itself refused: ModelUnreadable, ModelDamaged, ModelUnsupported, RuntimeMissing.
        """
        fds, self._due = self._due + fds, ()
        self._child.send(json.dumps(question).encode(), fds)
        answer = self._wait(timeout_s)
        if answer is None:
            raise ModelUnproven(f"{self._path}: {doing} in a child took longer than {timeout_s:g} s; it was ended")
        if not answer:
            self._child.wait(_KILL_S)
            ending = self._child.ending() or "hung up"         # a starved machine takes its time to end a process
            kind = ModelUnproven if ending.endswith(("SIGKILL", "hung up")) else ModelDamaged
            raise kind(f"{self._path}: the child {doing} {ending}{self._last_words()}")
        return understood(answer, self._path, doing)

    def close(self) -> None:
        """End the child. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self._child.kill(_KILL_S)
        self._child.close()
        os.close(self._stderr)

    def _wait(self, timeout_s: float) -> bytes | None:
        """Return the child's answer, b"" when it is gone, None after `timeout_s`."""
        poll = select.poll()
        poll.register(self._child.socket, select.POLLIN)
        deadline = time.monotonic() + timeout_s
        while (left_s := deadline - time.monotonic()) > 0:
            poll.poll(left_s * 1e3)
            answer = self._child.receive()
            if answer is not None:
                return answer
        return None

    def _last_words(self) -> str:
        size = os.fstat(self._stderr).st_size
        lines = os.pread(self._stderr, 4096, max(0, size - 4096)).decode("utf-8", "replace").splitlines()
        said = [line for line in lines if line.strip() and not line.startswith("INFO:")]
        return f"; its last words: {said[-1][:_STDERR_WORDS]}" if said else ""


def understood(answer: bytes, path: object, doing: str = "loading it") -> dict[str, Any]:
    """Return what an answer says. Raises: ModelDamaged (nonsense), and what the child refused."""
    try:
        values = dict(json.loads(answer))
        refusal = _REFUSALS[values["refused"]](_naming(path, str(values["words"]))) if "refused" in values else None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise nonsense(path, doing) from error
    if refusal is not None:
        raise refusal
    return values


def _naming(path: object, words: str) -> str:
    return words if str(path) in words else f"{path}: {words}"


def nonsense(path: object, doing: str) -> ModelDamaged:
    """Return the error for an answer that is none."""
    return ModelDamaged(f"{path}: the child {doing} answered nonsense")
