"""Proves in a child process that a model file can be loaded and run, and remembers the proof.

Invariants:
- Nothing a file does to the child harms the caller: a crash, a hang, a flood of memory or a false answer
  each become a `ModelError` within the time-out.
- A proof belongs to the file's bytes, the runtime, its version and the number of threads. It spares the next
  start of the daemon a child; a damaged store counts as empty. What was only short of time or memory is no proof.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import select
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from vedette._lib.child import Child
from vedette._lib.durable import replace_file
from vedette.errors import ModelDamaged, ModelError, ModelUnreadable, ModelUnsupported, RuntimeMissing, VedetteError
from vedette.vision import xnnpack
from vedette.vision.interpreter import chosen_runtime
from vedette.vision.tensors import TensorSpec
from vedette.vision.tflite_file import ModelFile, read_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger(__name__)

TIMEOUT_S = 30.0
MEMORY_BYTES = 1 << 30
REMEMBERED_MAX = 32
_KILL_S = 2.0
_STDERR_WORDS = 200
# How the child's refusals are told by us; what fails at its invoke there will fail at every invoke here.
_REFUSALS: Mapping[str, type[VedetteError]] = {
    "ModelUnreadable": ModelUnreadable, "ModelDamaged": ModelDamaged, "ModelUnsupported": ModelUnsupported,
    "InvokeFailed": ModelUnsupported, "RuntimeMissing": RuntimeMissing}


class _Unproven(ModelDamaged):
    """The child had no time, or was killed by somebody else (short memory): that says nothing lasting of the file."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What a child saw when it ran the file: shapes as allocated, and how much of the graph XNNPACK took.

    `delegate`: the hand-made delegate works for it; `delegate_note`: why not, where it was tried; `lasting`: another
    try would come to the same.
    """

    sha256: str
    runtime: str
    runtime_version: str
    threads: int
    delegate: bool
    delegate_note: str | None
    xnnpack_share: float
    invoke_ms: float
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    lasting: bool = True


class ProofStore:
    """Proofs in one small JSON file, the latest last. Used by one process at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._proofs = self._read()

    def __repr__(self) -> str:
        return f"<ProofStore {self._path} {len(self._proofs)} proofs>"

    def find(self, sha256: str, runtime: str, runtime_version: str, threads: int) -> Proof | None:
        """Return the proof of this file under this runtime, or None."""
        wanted = (sha256, runtime, runtime_version, threads)
        return next((proof for proof in self._proofs if _key(proof) == wanted), None)

    def remember(self, proof: Proof) -> None:
        """Keep a proof, durably. A store that cannot be written costs the next start a child, and is logged."""
        others = [known for known in self._proofs if _key(known) != _key(proof)]
        self._proofs = [*others, proof][-REMEMBERED_MAX:]
        try:
            replace_file(self._path, TypeAdapter(list[Proof]).dump_json(self._proofs))
        except OSError as error:
            log.warning("the proof of %s is not remembered: %s", proof.sha256[:12], error)

    def _read(self) -> list[Proof]:
        try:
            return TypeAdapter(list[Proof]).validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return []
        except (OSError, ValidationError) as error:
            log.warning("%s cannot be used, models are proven again: %s", self._path, error)
            return []


def proof_of(model: ModelFile, *, runtime: str, threads: int, store: ProofStore | None,
             timeout_s: float = TIMEOUT_S) -> Proof:
    """Return the remembered proof of a model, or prove it now and remember that. Raises: as `prove`."""
    name, version = chosen_runtime(runtime)
    known = store.find(model.sha256, name, version, threads) if store else None
    if known:
        return known
    proof = prove(model.path, runtime=name, threads=threads, sha256=model.sha256, timeout_s=timeout_s)
    if store and proof.lasting:
        store.remember(proof)
    return proof


def prove(path: Path, *, runtime: str = "auto", threads: int = 1, sha256: str | None = None,
          timeout_s: float = TIMEOUT_S, memory_bytes: int = MEMORY_BYTES) -> Proof:
    """Load and run the file in a fresh child; `timeout_s` bounds each try (two, where a delegate of ours is tried).

    Raises: ModelUnreadable, ModelDamaged (the child died, hung or lied; or not the digest `sha256`),
    ModelUnsupported (the runtime's words), RuntimeMissing.
    """
    name, version = chosen_runtime(runtime)
    request = {"path": str(path), "runtime": name, "threads": threads, "memory_bytes": memory_bytes,
               "sha256": sha256 or hashlib.sha256(read_bytes(path)).hexdigest()}
    note, lasting = None, True
    if (name, version) == (xnnpack.RUNTIME, xnnpack.VERSION):
        try:
            return _try({**request, "delegate": True}, timeout_s)
        except ModelError as error:
            note, lasting = f"no XNNPACK delegate of ours: {error}", not isinstance(error, _Unproven)
    plain = _try({**request, "delegate": False}, timeout_s)
    return replace(plain, delegate_note=note, lasting=lasting)


def _try(request: Mapping[str, object], timeout_s: float) -> Proof:
    path = request["path"]
    stderr = os.memfd_create("probe-stderr")
    child = Child("vedette.vision.probe_child", {"OPENBLAS_NUM_THREADS": "1"})
    try:
        child.send(json.dumps(request).encode(), (stderr,))
        answer = _wait(child, timeout_s)
        if answer is None:
            raise _Unproven(f"{path}: loading it in a child took longer than {timeout_s:g} s; it was ended")
        if not answer:
            child.wait(_KILL_S)
            ending = child.ending() or "hung up"
            kind = _Unproven if ending.endswith("SIGKILL") else ModelDamaged
            raise kind(f"{path}: the child that loaded it {ending}{_last_words(stderr)}")
        return _understand(answer, request)
    finally:
        child.kill(_KILL_S)
        child.close()
        os.close(stderr)


def _wait(child: Child, timeout_s: float) -> bytes | None:
    """Return the child's answer, b"" when it is gone, None after `timeout_s`."""
    poll = select.poll()
    poll.register(child.socket, select.POLLIN)
    deadline = time.monotonic() + timeout_s
    while (left_s := deadline - time.monotonic()) > 0:
        poll.poll(left_s * 1e3)
        answer = child.receive()
        if answer is not None:
            return answer
    return None


def _understand(answer: bytes, request: Mapping[str, object]) -> Proof:
    path = request["path"]
    try:
        values = json.loads(answer)
        if "refused" in values:
            raise _REFUSALS[values["refused"]](str(values["words"]))
        proof = TypeAdapter(Proof).validate_python(values["proof"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelDamaged(f"{path}: the child that loaded it answered nonsense ({len(answer)} bytes)") from error
    if proof.sha256 != request["sha256"] or proof.threads != request["threads"]:
        raise ModelDamaged(f"{path}: the child that loaded it answered about another file")
    return proof


def _last_words(stderr: int) -> str:
    size = os.fstat(stderr).st_size
    lines = os.pread(stderr, 4096, max(0, size - 4096)).decode("utf-8", "replace").splitlines()
    said = [line for line in lines if line.strip() and not line.startswith("INFO:")]
    return f"; its last words: {said[-1][:_STDERR_WORDS]}" if said else ""


def _key(proof: Proof) -> tuple[str, str, str, int]:
    return proof.sha256, proof.runtime, proof.runtime_version, proof.threads

