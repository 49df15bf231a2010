"""Proves in a child process that a model file can be loaded and run, and remembers the proof.

Invariants:
- A file can harm only the child: a crash, a hang, too much memory or a false response becomes a `ModelError` within
  the time limit. The child also reads the file first, before anything here parses it.
- A proof belongs to the file's bytes, the runtime, its version, the number of threads and the version of Vedette.
  Where the runtime was chosen, it belongs to the versions of all that could be. With a proof the next start of the
  daemon needs no child. A damaged store counts as empty. A lack of time or memory is never remembered.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from vedette import __version__
from vedette._lib.durable import replace_file
from vedette._lib.patience import Patience
from vedette.config.models import DetectorConfig
from vedette.errors import ModelDamaged, ModelError, ModelTimedOut, ModelUnproven
from vedette.tflite.file import DigestedFile, ModelFile, digest
from vedette.tflite.tensors import TensorSpec
from vedette.vision import xnnpack
from vedette.vision.interpreter import version_of
from vedette.vision.model_child import TIMEOUT_S, ModelChild, invalid_response
from vedette.vision.runtime_choice import RuntimeChoice, choose_runtime, wanted_runtime

log = logging.getLogger(__name__)

MEMORY_BYTES = 1 << 30
REMEMBERED_MAX = 32
LOADING = "loading it"
CHILD = "vedette.vision.probe_child"


@dataclass(frozen=True, slots=True)
class Proof:
    """What a child measured when it ran the file: tensors as allocated, and the share of the graph that XNNPACK took.

    `delegate`: Vedette's own delegate works for the file. `delegate_note`: why it does not, where it was tried.
    `doubts`: for each decoder that fits by its shapes, what speaks against it in the values of a drawn picture.
    `lasting`: another try would give the same. `vedette_version` read and judged the file; empty: an older one.
    `among`, `choice`: the versions from which the runtime was chosen, and why; empty where only one is installed.
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
    doubts: Mapping[str, str]
    lasting: bool = True
    vedette_version: str = ""
    among: str = ""
    choice: str = ""


class ProofStore:
    """Proofs in one small JSON file, the newest at the end. One process at a time uses it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._proofs = self._read()

    def __repr__(self) -> str:
        return f"<ProofStore {self._path} {len(self._proofs)} proofs>"

    def find(self, sha256: str, runtime: str, runtime_version: str, threads: int) -> Proof | None:
        """Return the proof of this file with this runtime, or None. `runtime_choice.wanted_runtime` names runtimes."""
        wanted = (sha256, runtime, runtime_version, threads, __version__)
        return next((proof for proof in self._proofs if _key(proof) == wanted), None)

    def knows(self, sha256: str) -> bool:
        """Return whether this version of Vedette has proven this file with any runtime."""
        return any((proof.sha256, proof.vedette_version) == (sha256, __version__) for proof in self._proofs)

    def remember(self, proof: Proof) -> None:
        """Store a proof durably. If that fails, it is logged, and the next start needs a child again."""
        others = [known for known in self._proofs if _key(known) != _key(proof)]
        self._proofs = [*others, proof][-REMEMBERED_MAX:]
        try:
            replace_file(self._path, TypeAdapter(list[Proof]).dump_json(self._proofs))
        except OSError as error:
            log.warning("the proof of model %s cannot be stored, the next start proves it again: %s",
                        proof.sha256[:12], error)

    def _read(self) -> list[Proof]:
        try:
            return TypeAdapter(list[Proof]).validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return []
        except (OSError, ValidationError) as error:
            log.warning("%s cannot be read, so models are proven again: %s", self._path, error)
            return []


def start_child(file: DigestedFile, store: ProofStore | None) -> contextlib.AbstractContextManager[ModelChild | None]:
    """Start a child for `ensure_proof` early, unless the file is known. Raises: ModelUnproven."""
    if store is not None and store.knows(file.sha256):
        return contextlib.nullcontext()
    return ModelChild(CHILD, file.path)


def ensure_proof(model: ModelFile | DigestedFile, *, runtime: str, threads: int, store: ProofStore | None,
                 timeout_s: float | None = None, detector: DetectorConfig | None = None,
                 child: ModelChild | None = None) -> Proof:
    """Return the remembered proof of a model, else prove the model now and remember the proof.

    `timeout_s`: as in `prove`. `child`: one that was started early, for the first try. Raises: as `prove`.
    """
    name, version = wanted_runtime(runtime)
    known = store.find(model.sha256, name, version, threads) if store else None
    if known:
        return known
    proof = prove(model.path, runtime=runtime, threads=threads, sha256=model.sha256, timeout_s=timeout_s,
                  detector=detector, child=child)
    if store and proof.lasting:
        store.remember(proof)
    return proof


def prove(path: Path, *, runtime: str = "auto", threads: int = 1, sha256: str | None = None,
          timeout_s: float | None = None, memory_bytes: int = MEMORY_BYTES,
          detector: DetectorConfig | None = None, child: ModelChild | None = None) -> Proof:
    """Read, load and run the file in a new child, and decide how these keys of `detector` run it.

    `timeout_s` bounds a single try: one more where the runtime is chosen, and one more with Vedette's own delegate.
    None: tries with growing bounds, each failure logged. `child`: as in `ensure_proof`.
    Raises: ModelUnreadable, ModelDamaged (the child died or sent a false response; or not the digest `sha256`),
    ModelTimedOut, ModelUnproven, ModelUnsupported (with the runtime's message), ModelBadlyQuantised, RuntimeMissing.
    """
    request = proof_request(path, runtime=runtime, threads=threads, memory_bytes=memory_bytes,
                            sha256=sha256 or digest(path).sha256)
    more = {} if detector is None else {"detector": keys_to_send(detector)}
    started = [] if child is None else [child]

    def prove_within(bound_s: float) -> Proof:
        choice = choose_runtime(request, bound_s)
        attempt = partial(_try, timeout_s=bound_s, started=started)
        return with_choice(choice, try_delegate_first({**request, **more, "runtime": choice.runtime}, attempt))
    if timeout_s is not None:
        return prove_within(timeout_s)
    return Patience().until_success(TIMEOUT_S, prove_within, ModelTimedOut)


def keys_to_send(detector: DetectorConfig) -> dict[str, object]:
    """Return the keys of `detector` for `probe_child.received_keys`."""
    return {**detector.model_dump(mode="json"), "model_fields_set": list(detector.model_fields_set)}


def proof_request(path: Path, *, runtime: str, threads: int, memory_bytes: int, sha256: str) -> dict[str, object]:
    """Return the request to a child to prove a file, once its runtime is chosen."""
    return {"path": str(path), "runtime": runtime, "threads": threads, "memory_bytes": memory_bytes, "sha256": sha256}


def try_delegate_first(request: Mapping[str, object], attempt: Callable[[Mapping[str, object]], Proof]) -> Proof:
    """Attempt a request with Vedette's own delegate if it fits the runtime, then without it. Raises: as `attempt`."""
    note, lasting = None, True
    if request["runtime"] == xnnpack.RUNTIME and version_of(xnnpack.RUNTIME) == xnnpack.VERSION:
        try:
            return attempt({**request, "delegate": True})
        except ModelError as error:
            note, lasting = f"Vedette's XNNPACK delegate cannot be used: {error}", not isinstance(error, ModelUnproven)
    plain = attempt({**request, "delegate": False})
    return replace(plain, delegate_note=note, lasting=lasting)


def with_choice(choice: RuntimeChoice, proof: Proof) -> Proof:
    """Return a proof that says why its runtime was chosen."""
    return replace(proof, among=choice.among, choice=choice.reason, lasting=proof.lasting and choice.lasting)


def _try(request: Mapping[str, object], timeout_s: float, started: list[ModelChild]) -> Proof:
    with started.pop() if started else ModelChild(CHILD, str(request["path"])) as child:
        return parse_proof(child.call(request, timeout_s, LOADING), request)


def parse_proof(response: Mapping[str, object], request: Mapping[str, object]) -> Proof:
    """Return the proof in a child's response. Raises: ModelDamaged (it is not valid, or is of another file)."""
    path = request["path"]
    try:
        proof = TypeAdapter(Proof).validate_python(response["proof"])
    except (ValueError, KeyError) as error:
        raise invalid_response(path, LOADING) from error
    if proof.sha256 != request["sha256"] or proof.threads != request["threads"]:
        raise ModelDamaged(f"{path}: the child {LOADING} sent a response about another file")
    return proof


def _key(proof: Proof) -> tuple[str, str, str, int, str]:
    runtime, version = ("auto", proof.among) if proof.among else (proof.runtime, proof.runtime_version)
    return proof.sha256, runtime, version, proof.threads, proof.vedette_version

