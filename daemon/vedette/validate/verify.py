"""Verifies a bundle on this device: its digest, quantization, that it runs, its golden frames, and why those differ.

Invariants: the flatbuffer is loaded only after its digest was checked. A bundle passes only if every check was made and
none failed. A cause is named only if the golden frames agree once it is corrected.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Literal

from vedette.config.models import DetectorConfig
from vedette.errors import DetectError, ModelError, SourceInvalid
from vedette.tflite.file import ModelFile, read_model
from vedette.types import Frame
from vedette.validate import golden
from vedette.validate.alternatives import Alternative, alternatives
from vedette.validate.golden import Golden, Judgement
from vedette.validate.runner import Runner
from vedette.vision import bundle, images
from vedette.vision.model_spec import ModelSpec, resolve
from vedette.vision.probe import Proof

State = Literal["passed", "failed", "unchecked"]
Step = Literal["digest", "quantization", "runs", "golden frames"]
STEPS: tuple[Step, ...] = ("digest", "quantization", "runs", "golden frames")
_NO_BUNDLE = "no bundle: nothing states its {}; make one with `vedette model pack`"


@dataclass(frozen=True, slots=True)
class Check:
    """One verified step, or why it was not checked."""

    name: Step
    state: State
    message: str


@dataclass(frozen=True, slots=True)
class Verification:
    """The result for one file. `cause`: a text that says why the golden frames do not agree, where it is known."""

    path: Path
    checks: tuple[Check, ...]
    model: ModelFile | None = None
    spec: ModelSpec | None = None
    proof: Proof | None = None
    judgement: Judgement | None = None
    cause: str | None = None
    invoke_ms: float | None = None

    @property
    def passed(self) -> bool:
        """Whether every check was made and passed."""
        return all(check.state == "passed" for check in self.checks)


def verify(path: Path, runtime: str = "auto") -> Verification:
    """Verify a file. Raises: RuntimeMissing."""
    verifier = _Verifier(path)
    try:
        verifier.run(runtime)
    except (ModelError, DetectError, SourceInvalid) as refusal:
        verifier.fail(str(refusal))
    return verifier.result()


class _Verifier:
    """Makes the checks in order. After a failure the remaining steps stay unchecked."""

    def __init__(self, path: Path) -> None:
        self._found = Verification(path, ())
        self._checks: dict[Step, Check] = {}
        self._step: Step = "digest"

    def run(self, runtime: str) -> None:
        """Make every check. Raises: ModelError, DetectError, SourceInvalid (a failed check), RuntimeMissing."""
        path = self._found.path
        stated = bundle.check_digest(path)
        model = read_model(path)
        self._found = replace(self._found, model=model)
        self._pass(f"the flatbuffer is {model.flatbuffer_sha256[:12]}…, as stated", stated=stated)
        self._step = "quantization"
        spec = resolve(model, DetectorConfig(model=path))
        self._found = replace(self._found, spec=spec)
        self._pass("; ".join(spec.warnings) or "scores can reach the threshold")
        self._step = "runs"
        with Runner(model, runtime) as runner:
            proof = runner.proof
            spec = resolve(model, DetectorConfig(model=path), proof.doubts)
            self._found = replace(self._found, spec=spec, proof=proof, invoke_ms=proof.invoke_ms)
            self._pass(f"{proof.runtime} {proof.runtime_version}, {proof.xnnpack_share:.0%} on XNNPACK")
            self._step = "golden frames"
            frames = golden.read(model)
            if frames is None:
                self._pass("", stated=False)
            else:
                self._check_golden(frames, runner, spec, model)

    def fail(self, message: str) -> None:
        """Record that the current step failed."""
        self._checks[self._step] = Check(self._step, "failed", message)

    def result(self) -> Verification:
        """Return everything that is known of the file."""
        return replace(self._found, checks=tuple(
            self._checks.get(step, Check(step, "unchecked", "an earlier check failed")) for step in STEPS))

    def _pass(self, message: str, *, stated: bool = True) -> None:
        step = self._step
        self._checks[step] = (Check(step, "passed", message) if stated else
                              Check(step, "unchecked", _NO_BUNDLE.format(step)))

    def _check_golden(self, frames: Golden, runner: Runner, spec: ModelSpec, model: ModelFile) -> None:
        stills = stills_of(frames)
        judgement = _judge(frames, stills, runner, spec)
        self._found = replace(self._found, judgement=judgement, invoke_ms=median(runner.invoke_ms))
        cause = None
        if frames.flatbuffer_sha256 != model.flatbuffer_sha256:
            cause = (f"another model's golden frames: they were made with the flatbuffer "
                     f"{frames.flatbuffer_sha256[:12]}…, but this one is {model.flatbuffer_sha256[:12]}…")
        elif not judgement.agrees:
            cause = _cause(frames, stills, runner, spec)
        self._found = replace(self._found, cause=cause)
        if cause or not judgement.agrees:
            self.fail(cause or "they do not agree with any other colour order, scaling, normalization or labels either")
        else:
            self._pass(f"{len(stills)} agree with {judgement.family}, F1 {judgement.f1:.2f}")


def stills_of(frames: Golden) -> tuple[Frame, ...]:
    """Return the golden frames as frames. Raises: SourceInvalid for one that is not a picture."""
    return tuple(images.frame_of(images.decode(frame.png, golden.FOLDER + frame.name), seq)
                 for seq, frame in enumerate(frames.frames, 1))


def explanations(frames: Golden, stills: tuple[Frame, ...], runner: Runner,
                 spec: ModelSpec) -> Iterator[tuple[Alternative, Judgement]]:
    """Yield the other ways to feed the model with which its golden frames agree, and their judgements."""
    for alternative in alternatives(spec, runner.proof.inputs[0]):
        try:
            judgement = _judge(frames, stills, runner, alternative.spec)
        except DetectError:
            continue        # an output that is not finite explains nothing
        if judgement.agrees:
            yield alternative, judgement


def _judge(frames: Golden, stills: tuple[Frame, ...], runner: Runner, spec: ModelSpec) -> Judgement:
    return golden.judge(frames, runner.family, runner.detect(spec, stills), spec.limits)


def _cause(frames: Golden, stills: tuple[Frame, ...], runner: Runner, spec: ModelSpec) -> str | None:
    expected = _expected_labels(frames, frames.families[0])
    named = replace(spec, labels=tuple(expected.get(class_id, label) for class_id, label in enumerate(
        (*spec.labels, *("???" for _ in range(1 + max(expected, default=0) - len(spec.labels)))))))
    if named.labels != spec.labels and _judge(frames, stills, runner, named).agrees:
        return _label_cause(spec.labels, expected)
    agreeing = list(explanations(frames, stills, runner, spec))
    if not agreeing:
        return None
    nearest, _ = min(agreeing, key=_distance)
    return f"{nearest.part}: the golden frames agree with {nearest.tried}, but the bundle states {nearest.stated}"


def _distance(explanation: tuple[Alternative, Judgement]) -> float:
    return explanation[1].distance


def _expected_labels(frames: Golden, family: str) -> Mapping[int, str]:
    return {found.class_id: found.label for frame in frames.frames for found in frame.expected[family]
            if found.class_id is not None}


def _label_cause(labels: tuple[str, ...], expected: Mapping[int, str]) -> str:
    if shift := label_shift(labels, expected):
        return shift
    class_id = min(class_id for class_id, label in expected.items() if labels[class_id:class_id + 1] != (label,))
    stated = labels[class_id] if class_id < len(labels) else "nothing"
    return f"labels: class id {class_id} is {expected[class_id]!r} in the golden frames, but {stated!r} in labels.txt"


def label_shift(labels: Sequence[str], expected: Mapping[int, str]) -> str | None:
    """Return a text if the expected labels by class id are those of the list, shifted by one; else None."""
    for shift, mistake in ((1, "one too many at the start"), (-1, "the first one is missing")):
        shifted = {class_id: labels[class_id + shift] for class_id in expected if 0 <= class_id + shift < len(labels)}
        if 2 * len(shifted) > len(expected) and all(expected[class_id] == label
                                                    for class_id, label in shifted.items()):
            return f"labels: shifted by one ({mistake})"
    return None
