"""The steps that `comparison` compares: a network in a file, and answers that something else has given.

Invariants: a network's pictures are prepared and its outputs decoded by the product's own detector, whatever runs it.
A file that states no labels gets those of the first step, and its thresholds. The boxes of answers are as they were
given, so that a wrong unit or order shows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vedette.config.models import DetectorConfig
from vedette.errors import ModelDamaged
from vedette.tflite.arithmetic import FLOAT16, FLOAT32, arithmetic_of
from vedette.tflite.file import read_model
from vedette.types import ModelRef
from vedette.validate.alternatives import Alternative, alternatives, shown
from vedette.validate.runner import Runner
from vedette.vision import bundle
from vedette.vision.geometry import WHOLE, place
from vedette.vision.hints import BUNDLE
from vedette.vision.limits import Limits
from vedette.vision.local import LocalDetector
from vedette.vision.model_spec import resolve
from vedette.workshop.answers import DeviceStep, ResultsStep, is_results

if TYPE_CHECKING:
    from vedette.tflite.file import ModelFile
    from vedette.types import Detection
    from vedette.vision.interpreter import Interpreter
    from vedette.vision.model_spec import ModelSpec
    from vedette.workshop.step import Kind, Picture, Step

VALUES = 10
EVERYTHING = Limits(0.001, 0.7, 300, {}, frozenset(), frozenset())
"""What COCO's figures count, as in `vedette model eval`."""


class NetworkStep:
    """A network in a file. Takes over the interpreter and closes it."""

    def __init__(self, kind: Kind, interpreter: Interpreter, model: ModelFile, spec: ModelSpec, *,
                 exact: bool, notes: tuple[str, ...] = ()) -> None:
        self.kind: Kind = kind
        self.name = model.path.name
        self.exact = exact
        self.spec: ModelSpec = spec
        self.model: ModelFile = model
        self.notes = notes
        self.invoke_ms: float | None = None
        self._interpreter = interpreter
        self._detector: LocalDetector | None = None

    def __repr__(self) -> str:
        return f"<NetworkStep {self.name} {self.kind} {self._interpreter!r}>"

    @property
    def ref(self) -> ModelRef:
        """Which model it is."""
        return ModelRef(self.spec.name, self.spec.version, self.model.sha256)

    @property
    def runtime(self) -> str:
        """Name and version of what runs it."""
        return f"{self._interpreter.runtime} {self._interpreter.runtime_version}"

    def detect(self, picture: Picture) -> tuple[Detection, ...]:
        """Return what it detects with its own thresholds. Raises: DetectError."""
        return self._detect(self.spec, self.spec.limits, picture)

    def detect_all(self, picture: Picture) -> tuple[Detection, ...]:
        """Return what counts for average precision. Raises: DetectError."""
        return self._detect(self.spec, EVERYTHING, picture)

    def detect_as(self, spec: ModelSpec, picture: Picture) -> tuple[Detection, ...]:
        """Return what it detects with other settings. Raises: DetectError."""
        return self._detect(spec, spec.limits, picture)

    def first_values(self, picture: Picture) -> tuple[float, ...]:
        """Return the first ten values of the prepared input where the picture is. Raises: DetectError."""
        self.detect(picture)
        spec, tensor, frame = self.spec, self._interpreter.inputs[0], picture.frame
        values = np.asarray(self._interpreter.input(0)[0])
        pixels = np.moveaxis(values, 0, -1) if spec.input.planar else values
        content = place(frame.width, frame.height, WHOLE, spec.input, spec.resize).content
        first = pixels[content.top, content.left:].ravel()[:VALUES].astype(np.float64)
        real = (first - tensor.zero_point) * tensor.scale if tensor.quantised else first
        return tuple(round(float(value), 6) for value in real)

    def close(self) -> None:
        """Free the interpreter. Safe to call twice."""
        self._detector = None
        self._interpreter.close()

    def alternatives(self) -> Iterator[Alternative]:
        """Yield every other way to fill the input."""
        return alternatives(self.spec, self._interpreter.inputs[0])

    def _detect(self, spec: ModelSpec, limits: Limits, picture: Picture) -> tuple[Detection, ...]:
        # A detector writes its padding once, so another one that used the tensor meanwhile needs a new detector.
        if self._detector is None or self._detector.spec is not spec:
            self._detector = LocalDetector(self._interpreter, self.model, spec)
        self._detector.limits = limits
        result = self._detector.detect(picture.frame)
        self.invoke_ms = result.timing.invoke_ms
        return result.detections


def _no_progress(_line: str) -> None:
    """Show nothing."""


@dataclass(frozen=True, slots=True)
class StepOptions:
    """How steps are opened. `token_file`: for a device that wants a bearer token. `progress` gets one line each."""

    runtime: str = "auto"
    threads: int = 1
    token_file: Path | None = None
    progress: Callable[[str], None] = _no_progress


def open_step(argument: str, like: ModelSpec | None = None, options: StepOptions | None = None) -> Step:
    """Open a step: a file, a folder of results, or the http address of a device.

    `like` gives what a file does not state.
    Raises: ModelError, InvokeFailed, RuntimeMissing, SourceInvalid (results of another form).
    """
    options = options or StepOptions()
    if argument.startswith(("http://", "https://")):
        return DeviceStep(argument, options.token_file)
    path = Path(argument)
    return ResultsStep(path) if is_results(path) else open_tflite(path, like, options)


def open_tflite(path: Path, like: ModelSpec | None, options: StepOptions) -> NetworkStep:
    """Open a .tflite file. A damaged bundle is opened as it is. Raises: ModelError, InvokeFailed, RuntimeMissing."""
    model, notes = read_model(path), []
    config = DetectorConfig(model=path)
    try:
        spec = resolve(model, config)
    except ModelDamaged as damage:
        notes.append(f"{damage}; it is compared as it is")
        model = bundle.with_matching_digest(model)
        spec = resolve(model, config)
    if like and like.labelled and not spec.labelled:
        model = dressed(model, like, settings=("thresholds",))
        notes.append(f"{path}: states no labels; those of {like.name} are used")
    runner = Runner(model, options.runtime, options.threads)
    try:
        return NetworkStep("tflite", runner.interpreter, model, resolve(model, config, runner.proof.doubts),
                           exact=arithmetic_of(model) in {FLOAT32, FLOAT16}, notes=tuple(notes))
    except Exception:
        runner.close()
        raise


def dressed(model: ModelFile, like: ModelSpec, settings: Sequence[str]) -> ModelFile:
    """Return the model as a bundle with the labels of another one, and with these keys of its vedette.json."""
    stated = json.loads(bundle.settings_json(like, "", name=like.name, version=""))
    kept = {**json.loads(model.attachments.get(BUNDLE, b"{}")), **{key: stated[key] for key in settings
                                                                    if key in stated}}
    return replace(model, attachments={**model.attachments, BUNDLE: json.dumps(kept).encode(),
                                       bundle.LABELS: bundle.labels_text(like.labels)})


def text_of(spec: ModelSpec) -> str:
    """Return how pictures are prepared, in one line."""
    normalization = "bytes" if spec.normalization is None else shown(spec.normalization)
    return f"{spec.input}, {spec.color}, {spec.resize}, {normalization}"
