"""Verifies a bundle on this device and runtime: the digest, that it runs, its quantization, its golden frames, and why.

Invariants: nothing of the flatbuffer is loaded before its digest was found right; a bundle passes only when every check
was made and none failed; a cause is named only if the golden frames do agree under it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
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
_NO_BUNDLE = "no bundle: nothing says what its {} should be; make one with `vedette model pack`"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was verified, or why it was not."""

    name: Literal["digest", "runs", "quantization", "golden frames"]
    state: State
    words: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found out about one file. `cause`: what would make the golden frames agree, in words."""

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
    found = _Findings(path)
    try:
        found.examine(runtime)
    except (ModelError, DetectError, SourceInvalid) as refusal:
        found.refused(str(refusal))
    return found.told()


@dataclass
class _Findings:
    """Goes through the checks in order; at the first refusal the rest stays unchecked."""

    path: Path
    states: dict[str, tuple[State, str]] = field(default_factory=dict)
    model: ModelFile | None = None
    spec: ModelSpec | None = None
    proof: Proof | None = None
    judgement: Judgement | None = None
    cause: str | None = None
    invoke_ms: float | None = None
    now: str = "digest"

    def examine(self, runtime: str) -> None:
        sealed = bundle.check_digest(self.path)
        self.model = model = read_model(self.path)
        self._pass("digest", f"the flatbuffer is {model.flatbuffer_sha256[:12]}…, as stated", stated=sealed)
        self.now = "quantization"
        self.spec = spec = resolve(model, DetectorConfig(model=self.path))
        self._pass("quantization", "; ".join(spec.warnings) or "scores can pass the threshold")
        self.now = "runs"
        with Runner(model, runtime) as runner:
            self.proof = proof = runner.proof
            self.invoke_ms = proof.invoke_ms
            self._pass("runs", f"{proof.runtime} {proof.runtime_version}, {proof.xnnpack_share:.0%} on XNNPACK")
            self.now = "golden frames"
            frames = golden.read(model)
            if frames is None:
                self._pass("golden frames", "", stated=False)
                return
            self._hold_against(frames, runner, spec, model)

    def refused(self, words: str) -> None:
        self.states[self.now] = "failed", words

    def told(self) -> Verification:
        names: tuple[Literal["digest", "quantization", "runs", "golden frames"], ...] = (
            "digest", "quantization", "runs", "golden frames")
        unchecked: tuple[State, str] = ("unchecked", "what comes before it failed")
        return Verification(
            self.path, tuple(Check(name, *self.states.get(name, unchecked)) for name in names), self.model, self.spec,
            self.proof, self.judgement, self.cause, self.invoke_ms)

    def _pass(self, name: str, words: str, *, stated: bool = True) -> None:
        self.states[name] = ("passed", words) if stated else ("unchecked", _NO_BUNDLE.format(name))

    def _hold_against(self, frames: Golden, runner: Runner, spec: ModelSpec, model: ModelFile) -> None:
        stills = stills_of(frames)
        self.judgement = judgement = _judged(frames, stills, runner, spec)
        self.invoke_ms = median(runner.invoke_ms)
        if frames.flatbuffer_sha256 != model.flatbuffer_sha256:
            self.cause = ("another model's golden frames: they were made with the flatbuffer "
                          f"{frames.flatbuffer_sha256[:12]}…, this one is {model.flatbuffer_sha256[:12]}…")
        elif not judgement.agrees:
            self.cause = _cause(frames, stills, runner, spec)
        if self.cause or not judgement.agrees:
            self.refused(self.cause or "no other colour order, scaling, normalization or labels tried makes them agree")
        else:
            self._pass("golden frames", f"{len(stills)} agree with {judgement.family}, F1 {judgement.f1:.2f}")


def stills_of(frames: Golden) -> tuple[Frame, ...]:
    """Return the golden frames as frames. Raises: SourceInvalid for one that is no picture."""
    return tuple(images.frame_of(images.decode(frame.png, golden.FOLDER + frame.name), seq)
                 for seq, frame in enumerate(frames.frames, 1))


def explanations(frames: Golden, stills: tuple[Frame, ...], runner: Runner,
                 spec: ModelSpec) -> Iterator[tuple[Alternative, Judgement]]:
    """Yield the other ways to feed the model under which its golden frames agree, with how near they come."""
    for alternative in alternatives(spec, runner.proof.inputs[0]):
        try:
            judgement = _judged(frames, stills, runner, alternative.spec)
        except DetectError:
            continue        # an output that is no number explains nothing
        if judgement.agrees:
            yield alternative, judgement


def _judged(frames: Golden, stills: tuple[Frame, ...], runner: Runner, spec: ModelSpec) -> Judgement:
    return golden.judge(frames, runner.family, runner.look(spec, stills), spec.limits)


def _cause(frames: Golden, stills: tuple[Frame, ...], runner: Runner, spec: ModelSpec) -> str | None:
    expected = _expected_labels(frames, frames.families[0])
    named = replace(spec, labels=tuple(expected.get(class_id, label) for class_id, label in enumerate(
        (*spec.labels, *("???" for _ in range(1 + max(expected, default=0) - len(spec.labels)))))))
    if named.labels != spec.labels and _judged(frames, stills, runner, named).agrees:
        return _label_cause(spec.labels, expected)
    agreeing = list(explanations(frames, stills, runner, spec))
    if not agreeing:
        return None
    nearest, _ = min(agreeing, key=lambda entry: entry[1].distance)
    return f"{nearest.part}: the golden frames agree with {nearest.tried}, the bundle says {nearest.stated}"


def _expected_labels(frames: Golden, family: str) -> Mapping[int, str]:
    return {found.class_id: found.label for frame in frames.frames for found in frame.expected[family]
            if found.class_id is not None}


def _label_cause(labels: tuple[str, ...], expected: Mapping[int, str]) -> str:
    for shift, words in ((1, "one too many at the top"), (-1, "the first one is missing")):
        there = {class_id: labels[class_id + shift] for class_id in expected if 0 <= class_id + shift < len(labels)}
        if 2 * len(there) > len(expected) and all(expected[class_id] == label for class_id, label in there.items()):
            return f"labels: shifted by one ({words})"
    class_id = min(class_id for class_id, label in expected.items() if labels[class_id:class_id + 1] != (label,))
    said = labels[class_id] if class_id < len(labels) else "nothing"
    return f"labels: the golden frames call class id {class_id} {expected[class_id]!r}, labels.txt says {said!r}"
