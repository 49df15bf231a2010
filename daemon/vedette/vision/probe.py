"""Proves in a child process that a model file can be loaded and run, and remembers the proof.

Invariants:
- Nothing a file does to the child harms the caller: a crash, a hang, a flood of memory or a false answer
  each become a `ModelError` within the time-out.
- A proof belongs to the file's bytes, the runtime, its version and the number of threads. It spares the next
  start of the daemon a child; a damaged store counts as empty. What was only short of time or memory is no proof.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from vedette._lib.durable import replace_file
from vedette.errors import ModelDamaged, ModelError, ModelUnproven
from vedette.tflite.file import ModelFile, read_bytes
from vedette.tflite.tensors import TensorSpec
from vedette.vision import xnnpack
from vedette.vision.interpreter import chosen_runtime
from vedette.vision.model_child import ModelChild, nonsense

log = logging.getLogger(__name__)

TIMEOUT_S = 30.0
MEMORY_BYTES = 1 << 30
REMEMBERED_MAX = 32
LOADING = "loading it"


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
    request = request_for(path, runtime=runtime, threads=threads, memory_bytes=memory_bytes,
                          sha256=sha256 or hashlib.sha256(read_bytes(path)).hexdigest())
    return first_that_works(request, lambda each: _try(each, timeout_s))


def request_for(path: Path, *, runtime: str, threads: int, memory_bytes: int, sha256: str) -> dict[str, object]:
    """Return what a child is asked to prove. Raises: RuntimeMissing."""
    return {"path": str(path), "runtime": chosen_runtime(runtime)[0], "threads": threads, "memory_bytes": memory_bytes,
            "sha256": sha256}


def first_that_works(request: Mapping[str, object], attempt: Callable[[Mapping[str, object]], Proof]) -> Proof:
    """Attempt a request with the delegate of ours, where there is one, else without it. Raises: as `attempt`."""
    note, lasting = None, True
    if chosen_runtime(str(request["runtime"])) == (xnnpack.RUNTIME, xnnpack.VERSION):
        try:
            return attempt({**request, "delegate": True})
        except ModelError as error:
            note, lasting = f"no XNNPACK delegate of ours: {error}", not isinstance(error, ModelUnproven)
    plain = attempt({**request, "delegate": False})
    return replace(plain, delegate_note=note, lasting=lasting)


def _try(request: Mapping[str, object], timeout_s: float) -> Proof:
    with ModelChild("vedette.vision.probe_child", str(request["path"])) as child:
        return proof_in(child.ask(request, timeout_s, LOADING), request)


def proof_in(answer: Mapping[str, object], request: Mapping[str, object]) -> Proof:
    """Return the proof that a child answered a request with. Raises: ModelDamaged (it is none, or of another file)."""
    path = request["path"]
    try:
        proof = TypeAdapter(Proof).validate_python(answer["proof"])
    except (ValueError, KeyError) as error:
        raise nonsense(path, LOADING) from error
    if proof.sha256 != request["sha256"] or proof.threads != request["threads"]:
        raise ModelDamaged(f"{path}: the child {LOADING} answered about another file")
    return proof


def _key(proof: Proof) -> tuple[str, str, str, int]:
    return proof.sha256, proof.runtime, proof.runtime_version, proof.threads

