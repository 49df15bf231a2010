"""A model that is not active: a child process of its own proves it, and runs it on live frames for a comparison.

Invariants: the model can harm only its child, which reads the file before anything here parses it. Every failure is a
`ModelError` with its cause, within the time limit; after it the child is gone. The same child serves the probe and
every comparison after it. A response with impossible values is refused.
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

from vedette.config.camera_values import Unit, region_of
from vedette.config.models import DetectorConfig
from vedette.errors import ModelDamaged, ModelMismatched, ModelTimedOut, ModelUnproven, VedetteError
from vedette.tflite.file import ModelFile, digest, read_model
from vedette.types import Box, Detection
from vedette.validate import golden
from vedette.vision.labels import label_of
from vedette.vision.model_child import TIMEOUT_S, ModelChild, invalid_response
from vedette.vision.model_spec import ModelSpec, resolve
from vedette.vision.probe import (
    LOADING,
    MEMORY_BYTES,
    Proof,
    parse_proof,
    proof_request,
    try_delegate_first,
    with_choice,
)
from vedette.vision.runtime_choice import choose_runtime

if TYPE_CHECKING:
    from pathlib import Path

    from vedette.camera.shared_frames import SharedFrames
    from vedette.validate.frame_tap import TappedFrame
    from vedette.validate.golden import Judgement

COMPARE_TIMEOUT_S = 20.0
"""A busy board gives the child little time. This limit is for a child that hangs, not for one that waits."""
_DETECTING = "detecting in a frame"
_LISTED_MAX = 2

Milliseconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """The result of a probe. `golden` None: the model has no golden frames.

    `invoke_ms` is the time of an undisturbed invoke, with as many threads as the device uses.
    """

    name: str
    version: str | None
    labels: tuple[str, ...]
    invoke_ms: float
    golden: Judgement | None
    proof: Proof


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the candidate detected in one frame. `invoke_ms`: as in `ProbeReport`; `total_ms`: request to response."""

    detections: tuple[Detection, ...]
    invoke_ms: float
    total_ms: float


class _FrameResponse(BaseModel):
    model_config = ConfigDict(frozen=True)

    invoke_ms: Milliseconds
    detections: list[tuple[Annotated[int, Field(ge=0)], Annotated[float, Field(allow_inf_nan=False)],
                           Unit, Unit, Unit, Unit]]


class Candidate:
    """One model file, run with the settings of `detector` (except `model`). The first call starts the child.

    One thread uses it. `probe` takes at most four times `probe_timeout_s`; `compare` at most `compare_timeout_s`, and
    three times `probe_timeout_s` more if it is the first call. `roi` is as in the camera's configuration.
    `child_module` is for tests with a child that sends false responses.
    """

    def __init__(self, path: Path, detector: DetectorConfig, *, sha256: str | None = None,
                 memory_bytes: int = MEMORY_BYTES, probe_timeout_s: float = TIMEOUT_S,
                 compare_timeout_s: float = COMPARE_TIMEOUT_S,
                 roi: tuple[float, float, float, float] | None = None,
                 child_module: str = "vedette.validate.candidate_child") -> None:
        self._path = path
        self._detector = detector.model_copy(update={"model": path})
        self._sha256 = sha256
        self._memory_bytes = memory_bytes
        self._probe_timeout_s = probe_timeout_s
        self._compare_timeout_s = compare_timeout_s
        self.roi = region_of(roi)
        """The part of each frame that it gets: only the same part can be compared."""
        self._module = child_module
        self._child: ModelChild | None = None
        self._proof: Proof | None = None
        self._invoke_ms = 0.0
        self._sent_memory: SharedFrames | None = None
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
        """Process id of the child; None if there is none."""
        child = self._child     # another thread may call this while it is closed
        return child.pid if child else None

    def probe(self) -> ProbeReport:
        """Load the model in the child, run it, measure its time, and compare it with its golden frames.

        Raises: ModelUnreadable, ModelDamaged (another digest, or the child died or sent a false response),
        ModelTimedOut, ModelUnproven (no memory), ModelUnsupported, ModelBadlyQuantised, ModelMismatched,
        RuntimeMissing. Then the candidate is closed.
        """
        try:
            proof = self._load()
            judgement = self._judge_golden_frames(proof)
        except VedetteError:
            self.close()
            raise
        return ProbeReport(self._spec.name, self._spec.version, self._spec.labels, self._invoke_ms, judgement, proof)

    def compare(self, tapped: TappedFrame) -> Comparison:
        """Detect in a tapped frame. Raises: ModelError, RuntimeMissing; then the candidate is closed."""
        try:
            self._load()
            return self._compare(tapped)
        except VedetteError:
            self.close()
            raise

    def interrupt(self) -> None:
        """End the current call, and every later one, with ModelUnproven. Any thread."""
        self._interrupted = True        # set first, so that a child that starts after the next line gets no request
        pid = self.pid
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def close(self) -> None:
        """End the child. Safe to call twice; later calls raise ModelDamaged."""
        self._closed = True
        child, self._child, self._sent_memory = self._child, None, None
        if child is not None:
            child.close()

    @cached_property
    def _model(self) -> ModelFile:
        return read_model(self._path, sha256=self._sha256, pictures=False)

    @cached_property
    def _spec(self) -> ModelSpec:
        return resolve(self._model, self._detector, self._proof.doubts if self._proof else None)

    def _load(self) -> Proof:
        """Return the proof; the first call makes it."""
        if self._closed:
            raise ModelDamaged(f"{self._path}: its child has ended")
        if self._proof is None:
            detector = self._detector
            self._sha256 = digest(self._path, self._sha256).sha256
            request = proof_request(self._path, runtime=detector.runtime, threads=detector.threads,
                                    memory_bytes=self._memory_bytes, sha256=self._sha256)
            choice = choose_runtime(request, self._probe_timeout_s, self._start_child)
            request["runtime"] = choice.runtime
            self._proof = with_choice(choice, try_delegate_first(request, self._start))
        return self._proof

    def _start_child(self, module: str, path: Path | str) -> ModelChild:
        """Start a child, which replaces the one before it."""
        if self._child is not None:
            self._child.close()
        self._child = ModelChild(module, path)
        if self._interrupted:
            raise ModelUnproven(f"{path}: {LOADING} in a child was interrupted")
        return self._child

    def _start(self, request: Mapping[str, object]) -> Proof:
        """Load the model in a new child."""
        response = self._start_child(self._module, self._path).call(
            {**request, "detector": self._detector.model_dump_json(exclude_unset=True), "roi": self.roi,
             "cpu_s": self._probe_timeout_s * self._detector.threads}, self._probe_timeout_s, LOADING)
        proof = parse_proof(response, request)
        try:
            self._invoke_ms = _FrameResponse.model_validate({"detections": [], **response}).invoke_ms
        except ValidationError as error:
            raise invalid_response(self._path, LOADING) from error
        return proof

    def _judge_golden_frames(self, proof: Proof) -> Judgement | None:
        model = self._model
        frames = golden.read(model)
        if frames is None:
            return None
        if frames.flatbuffer_sha256 != model.flatbuffer_sha256:
            raise ModelMismatched(f"{self._path}: has another model's golden frames; expected frames made with its "
                                  f"flatbuffer {model.flatbuffer_sha256[:12]}…")
        # its maker's settings, not this device's
        spec = resolve(model, DetectorConfig(model=self._path), proof.doubts)
        found = self._detect_golden_frames(len(frames.frames), spec)
        family = golden.family_of(proof.runtime, delegate=proof.delegate, xnnpack_share=proof.xnnpack_share)
        judgement = golden.judge(frames, family, found, spec.limits)
        if not judgement.agrees:
            raise ModelMismatched(
                f"{self._path}: {_differences(judgement)}; `vedette model verify` looks for the cause")
        return judgement

    def _detect_golden_frames(self, count: int, spec: ModelSpec) -> list[tuple[Detection, ...]]:
        deadline = time.monotonic() + self._probe_timeout_s
        found: list[tuple[Detection, ...]] = []
        for number in range(count):
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise ModelTimedOut(f"{self._path}: {number} of {count} golden frames took longer than "
                                    f"{self._probe_timeout_s:g} s")
            found.append(self._detect({"do": "golden", "number": number}, left_s, spec)[0])
        return found

    def _compare(self, tapped: TappedFrame) -> Comparison:
        start = time.monotonic()
        memory = tapped.memory
        fds = () if memory is self._sent_memory else (memory.fd,)
        self._sent_memory = memory
        detections, invoke_ms = self._detect({"do": "look", "height": tapped.height, "width": tapped.width},
                                             self._compare_timeout_s, self._spec, fds)
        return Comparison(detections, invoke_ms, (time.monotonic() - start) * 1e3)

    def _detect(self, request: Mapping[str, object], timeout_s: float, spec: ModelSpec,
                fds: tuple[int, ...] = ()) -> tuple[tuple[Detection, ...], float]:
        """Return what the child detected in a frame, and the milliseconds of the invoke."""
        assert self._child is not None  # noqa: S101 - for the type checker: _load() started it
        try:
            response = _FrameResponse.model_validate(self._child.call(request, timeout_s, _DETECTING, fds))
        except ValidationError as error:
            raise invalid_response(self._path, _DETECTING) from error
        return tuple(Detection(label_of(spec.labels, class_id), class_id, score, Box(*box))
                     for class_id, score, *box in response.detections), response.invoke_ms


def _differences(judgement: Judgement) -> str:
    """Return a short text of what differs on the golden frames."""
    differing = [f"{verdict.name}: {', '.join(verdict.differences)}" for verdict in judgement.verdicts
                 if verdict.differences]
    listed = "; ".join(differing[:_LISTED_MAX])
    return f"F1 {judgement.f1:.2f} over its golden frames{f' ({listed})' if listed else ''}"
