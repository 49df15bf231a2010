"""The parent's side of a child process that handles a model file.

The child may crash, hang, run out of memory or send false responses.

Invariants: a request ends in a response or a `ModelError` within its time limit, whatever the file does to the child.
One request at a time; a child that failed once gets no more requests. One thread uses it, and must live as long as the
child (see `_lib.child`).
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
from vedette.errors import (
    ModelBadlyQuantised,
    ModelDamaged,
    ModelTimedOut,
    ModelUnproven,
    ModelUnreadable,
    ModelUnsupported,
    RuntimeMissing,
    VedetteError,
)

if TYPE_CHECKING:
    from pathlib import Path

TIMEOUT_S = 30.0
"""The bound of a first try to load a model; see `_lib.patience` for those after it."""
_KILL_S = 2.0
_STDERR_CHARS_MAX = 200
# Each refusal of the child and the error that it becomes here. An invoke that fails in the child fails here as well.
_REFUSALS: Mapping[str, type[VedetteError]] = {
    "ModelUnreadable": ModelUnreadable, "ModelDamaged": ModelDamaged, "ModelUnsupported": ModelUnsupported,
    "ModelBadlyQuantised": ModelBadlyQuantised,
    "InvokeFailed": ModelUnsupported, "OutputInvalid": ModelUnsupported, "SourceInvalid": ModelUnsupported,
    "RuntimeMissing": RuntimeMissing}
_BLAMELESS: Mapping[str, type[ModelDamaged]] = {
    "SIGKILL": ModelUnproven, "up": ModelUnproven, "SIGXCPU": ModelTimedOut}
"""The last word of an end that does not blame the file: nobody's, or of a limit of time."""


class ModelChild:
    """A running `python -m module` that calls `probe_child.begin`. Raises: ModelUnproven (it cannot be started)."""

    def __init__(self, module: str, path: Path | str) -> None:
        self._path = path
        with contextlib.ExitStack() as undo:
            try:
                self._stderr = os.memfd_create("model-child-stderr")
                undo.callback(os.close, self._stderr)
                self._child = Child(module, {"OPENBLAS_NUM_THREADS": "1"})
            except OSError as error:
                raise ModelUnproven(f"{path}: cannot start a child process for it: {error}") from error
            undo.pop_all()
        self._unsent: tuple[int, ...] = (self._stderr,)
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

    def call(self, request: Mapping[str, object], timeout_s: float, action: str,
             fds: tuple[int, ...] = ()) -> dict[str, Any]:
        """Send a request with the descriptors `fds`, and wait for the response.

        `action` says in error messages what the child was doing.
        Raises: ModelDamaged (it died or sent an invalid response), ModelTimedOut, ModelUnproven (killed by somebody
        else), and the child's own refusals: ModelUnreadable, ModelDamaged, ModelUnsupported, ModelBadlyQuantised,
        RuntimeMissing.
        """
        fds, self._unsent = self._unsent + fds, ()
        self._child.send(json.dumps(request).encode(), fds)
        response = self._wait(timeout_s)
        if response is None:
            raise ModelTimedOut(f"{self._path}: {action} in a child took longer than {timeout_s:g} s; it was ended")
        if not response:
            self._child.wait(_KILL_S)
            ending = self._child.ending() or "hung up"         # an overloaded machine may end a process late
            kind = _BLAMELESS.get(ending.rpartition(" ")[2], ModelDamaged)
            raise kind(f"{self._path}: the child {action} {ending}{self._last_stderr_line()}")
        return parse_response(response, self._path, action)

    def close(self) -> None:
        """End the child. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self._child.kill(_KILL_S)
        self._child.close()
        os.close(self._stderr)

    def _wait(self, timeout_s: float) -> bytes | None:
        """Return the child's response, b"" when it is gone, None after `timeout_s`."""
        poll = select.poll()
        poll.register(self._child.socket, select.POLLIN)
        deadline = time.monotonic() + timeout_s
        while (left_s := deadline - time.monotonic()) > 0:
            poll.poll(left_s * 1e3)
            response = self._child.receive()
            if response is not None:
                return response
        return None

    def _last_stderr_line(self) -> str:
        size = os.fstat(self._stderr).st_size
        lines = os.pread(self._stderr, 4096, max(0, size - 4096)).decode("utf-8", "replace").splitlines()
        written = [line for line in lines if line.strip() and not line.startswith("INFO:")]
        return f"; its last error output: {written[-1][:_STDERR_CHARS_MAX]}" if written else ""


def parse_response(response: bytes, path: object, action: str = "loading it") -> dict[str, Any]:
    """Return the values of a response. Raises: ModelDamaged (invalid response), and what the child refused."""
    try:
        values = dict(json.loads(response))
        refusal = _REFUSALS[values["refused"]](_with_path(path, str(values["words"]))) if "refused" in values else None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise invalid_response(path, action) from error
    if refusal is not None:
        raise refusal
    return values


def invalid_response(path: object, action: str) -> ModelDamaged:
    """Return the error for a response that is not valid."""
    return ModelDamaged(f"{path}: the child {action} sent an invalid response")


def _with_path(path: object, message: str) -> str:
    return message if str(path) in message else f"{path}: {message}"
