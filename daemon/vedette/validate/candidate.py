"""A model that does not run yet: proven, and shown live frames, in a child process of its own.

Invariants: nothing that a model does there harms the caller: each way to fail is a `ModelError` with its cause, within
the time that was given; after one, the child is gone. The same child serves the probe and every look after it. What it
says is believed only as far as it is possible.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vedette.config.models import DetectorConfig, Unit
from vedette.errors import ModelDamaged, ModelMismatched, ModelTooSlow, ModelUnproven, VedetteError
from vedette.tflite.file import ModelFile, read_model
from vedette.types import Box, Detection
from vedette.validate import golden
from vedette.vision.labels import label_of
from vedette.vision.model_child import ModelChild, invalid_response
from vedette.vision.model_spec import ModelSpec, resolve
from vedette.vision.probe import LOADING, MEMORY_BYTES, TIMEOUT_S, Proof, parse_proof, proof_request, try_delegate_first

if TYPE_CHECKING:
    from pathlib import Path

    from vedette.camera.shared_frames import SharedFrames
    from vedette.validate.frame_tap import TappedFrame
    from vedette.validate.golden import Judgement

LOOK_TIMEOUT_S = 20.0
"""A busy board gives the child little time: this is for one that hangs, not for one that waits."""
_LOOKING = "looking at a frame"
_TOLD_MAX = 2

Milliseconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What a probe found. `golden` None: it carries no such frames.

    `invoke_ms` is what an invoke takes undisturbed, with as many threads as the device uses.
    """

    name: str
    version: str | None
    labels: tuple[str, ...]
    invoke_ms: float
    golden: Judgement | None
    proof: Proof


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the candidate saw in one frame. `invoke_ms`: as in `ProbeReport`; `total_ms`: from asking to the answer."""

    detections: tuple[Detection, ...]
    invoke_ms: float
    total_ms: float


class _Seen(BaseModel):
    model_config = ConfigDict(frozen=True)

    invoke_ms: Milliseconds
    detections: list[tuple[Annotated[int, Field(ge=0)], Annotated[float, Field(allow_inf_nan=False)],
                           Unit, Unit, Unit, Unit]]


class Candidate:
    """One model file, run as `detector` says (its `model` aside). Nothing starts before the first call; one thread.

    `probe` takes at most three times `probe_timeout_s`, a `look` at most `LOOK_TIMEOUT_S`, and twice the former more if
    it is the first call. `roi` as in the camera's configuration. `child_module`: for tests of a child that lies.
    """

    def __init__(self, path: Path, detector: DetectorConfig, *, sha256: str | None = None,
                 memory_bytes: int = MEMORY_BYTES, probe_timeout_s: float = TIMEOUT_S,
                 look_timeout_s: float = LOOK_TIMEOUT_S, latency_budget_ms: float | None = None,
                 roi: tuple[float, float, float, float] | None = None,
                 child_module: str = "vedette.validate.candidate_child") -> None:
        self._path = path
        self._detector = detector.model_copy(update={"model": path})
        self._sha256 = sha256
        self._memory_bytes = memory_bytes
        self._probe_timeout_s = probe_timeout_s
        self._look_timeout_s = look_timeout_s
        self._latency_budget_ms = latency_budget_ms
        self._roi = roi
        self._module = child_module
        self._child: ModelChild | None = None
        self._proof: Proof | None = None
        self._invoke_ms = 0.0
        self._shown: SharedFrames | None = None
        self._closed = False
        self._interrupted = False

    def __repr__(self) -> str:
        return f"<Candidate {self._path.name} {self._child!r}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Process id of the child, None when there is none (any longer)."""
        child = self._child     # another thread may ask while it is closed
        return child.pid if child else None

    def probe(self) -> ProbeReport:
        """Have it loaded, run, held against its golden frames and timed.

        Raises: ModelUnreadable, ModelDamaged (another digest, or the child died or lied), ModelUnproven (no time, no
        memory), ModelUnsupported, ModelBadlyQuantised, ModelMismatched, ModelTooSlow, RuntimeMissing.
        """
        try:
            proof = self._loaded()
            judgement = self._golden()
            self._check_latency()
        except VedetteError:
            self.close()
            raise
        return ProbeReport(self._spec.name, self._spec.version, self._spec.labels, self._invoke_ms, judgement, proof)

    def look(self, tapped: TappedFrame) -> Comparison:
        """Show it a frame. Raises: ModelError, RuntimeMissing; then it is closed."""
        try:
            self._loaded()
            return self._look(tapped)
        except VedetteError:
            self.close()
            raise

    def interrupt(self) -> None:
        """End by ModelUnproven what is under way, and what is asked later. Any thread."""
        self._interrupted = True        # before the child is looked for: one that comes later is asked nothing
        pid = self.pid
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def close(self) -> None:
        """End the child. Safe to call twice; nothing can be asked afterwards."""
        self._closed = True
        child, self._child, self._shown = self._child, None, None
        if child is not None:
            child.close()

    @cached_property
    def _model(self) -> ModelFile:
        model = read_model(self._path)
        if self._sha256 not in (None, model.sha256):
            raise ModelDamaged(f"{self._path}: expected SHA-256 {self._sha256}, it is {model.sha256}")
        return model

    @cached_property
    def _spec(self) -> ModelSpec:
        return resolve(self._model, self._detector)

    def _loaded(self) -> Proof:
        if self._closed:
            raise ModelDamaged(f"{self._path}: its child has ended")
        if self._proof is None:
            detector = self._detector
            model, _ = self._model, self._spec      # what these refuse is not worth a child
            request = proof_request(self._path, runtime=detector.runtime, threads=detector.threads,
                                  memory_bytes=self._memory_bytes, sha256=model.sha256)
            self._proof = try_delegate_first(request, self._start)
        return self._proof

    def _start(self, request: Mapping[str, object]) -> Proof:
        """Load the model in a fresh child, in place of one that failed."""
        if self._child is not None:
            self._child.close()
        self._child = ModelChild(self._module, self._path)
        if self._interrupted:
            raise ModelUnproven(f"{self._path}: {LOADING} in a child was interrupted")
        answer = self._child.call(
            {**request, "detector": self._detector.model_dump_json(exclude_unset=True), "roi": self._roi,
             "cpu_s": self._probe_timeout_s * self._detector.threads}, self._probe_timeout_s, LOADING)
        proof = parse_proof(answer, request)
        try:
            self._invoke_ms = _Seen.model_validate({"detections": [], **answer}).invoke_ms
        except ValidationError as error:
            raise invalid_response(self._path, LOADING) from error
        return proof

    def _golden(self) -> Judgement | None:
        model, proof = self._model, self._loaded()
        frames = golden.read(model)
        if frames is None:
            return None
        if frames.flatbuffer_sha256 != model.flatbuffer_sha256:
            raise ModelMismatched(f"{self._path}: carries another model's golden frames")
        spec = resolve(model, DetectorConfig(model=self._path))     # as its maker meant it, not as this device is set
        found = self._golden_frames(len(frames.frames), spec)
        judgement = golden.judge(frames, golden.family_of(proof.runtime, delegate=proof.delegate), found, spec.limits)
        if not judgement.agrees:
            raise ModelMismatched(
                f"{self._path}: {_differences(judgement)}; `vedette model verify` looks for the cause")
        return judgement

    def _golden_frames(self, count: int, spec: ModelSpec) -> list[tuple[Detection, ...]]:
        deadline = time.monotonic() + self._probe_timeout_s
        found: list[tuple[Detection, ...]] = []
        for number in range(count):
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise ModelUnproven(f"{self._path}: {number} of {count} golden frames took longer than "
                                    f"{self._probe_timeout_s:g} s")
            found.append(self._ask({"do": "golden", "number": number}, left_s, spec)[0])
        return found

    def _check_latency(self) -> None:
        budget_ms = self._latency_budget_ms
        if budget_ms is not None and self._invoke_ms > budget_ms:
            raise ModelTooSlow(f"{self._path}: takes {self._invoke_ms:.1f} ms for a frame; expected at most "
                               f"{budget_ms:g} (update.latency_budget_ms)")

    def _look(self, tapped: TappedFrame) -> Comparison:
        start = time.monotonic()
        memory = tapped.memory
        fds = () if memory is self._shown else (memory.fd,)
        self._shown = memory
        detections, invoke_ms = self._ask({"do": "look", "height": tapped.height, "width": tapped.width},
                                          self._look_timeout_s, self._spec, fds)
        return Comparison(detections, invoke_ms, (time.monotonic() - start) * 1e3)

    def _ask(self, question: Mapping[str, object], timeout_s: float, spec: ModelSpec,
             fds: tuple[int, ...] = ()) -> tuple[tuple[Detection, ...], float]:
        """Return what the child saw in a frame, and the milliseconds of the invoke."""
        assert self._child is not None  # noqa: S101 - for the type checker: _loaded() started it
        try:
            seen = _Seen.model_validate(self._child.call(question, timeout_s, _LOOKING, fds))
        except ValidationError as error:
            raise invalid_response(self._path, _LOOKING) from error
        return tuple(Detection(label_of(spec.labels, class_id), class_id, score, Box(*box))
                     for class_id, score, *box in seen.detections), seen.invoke_ms


def _differences(judgement: Judgement) -> str:
    """Say what the golden frames yield otherwise, in short."""
    wrong = [f"{verdict.name}: {', '.join(verdict.differences)}" for verdict in judgement.verdicts
             if verdict.differences]
    told = "; ".join(wrong[:_TOLD_MAX])
    return f"F1 {judgement.f1:.2f} over its golden frames{f' ({told})' if told else ''}"
