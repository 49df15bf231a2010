"""The steps that `comparison` compares: a network in a file, and answers that something else has given.

Invariants: a network's pictures are prepared and its outputs decoded by the product's own detector, whatever runs it.
A file that states no labels gets those of the first step, and its thresholds. The boxes of answers are as they were
given, so that a wrong unit or order shows.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from vedette.config.models import DetectorConfig
from vedette.errors import ModelBadlyQuantised, ModelDamaged, ModelUnsupported
from vedette.tflite.arithmetic import FLOAT16, FLOAT32, arithmetic_of
from vedette.tflite.file import ModelFile, read_model
from vedette.types import WHOLE, ModelRef
from vedette.validate.alternatives import Alternative, alternatives, shown
from vedette.validate.runner import Runner
from vedette.vision import bundle
from vedette.vision.geometry import place
from vedette.vision.hints import BUNDLE, ULTRALYTICS
from vedette.vision.limits import Limits
from vedette.vision.local import LocalDetector
from vedette.vision.model_spec import resolve
from vedette.workshop.answers import DeviceStep, RefusedStep, ResultsStep, is_results
from vedette.workshop.environments import python_of
from vedette.workshop.foreign import PROGRAM, ForeignInterpreter
from vedette.workshop.inputs import source_of

if TYPE_CHECKING:
    from vedette.types import Detection
    from vedette.vision.any_interpreter import AnyInterpreter
    from vedette.vision.model_spec import ModelSpec
    from vedette.workshop.step import Kind, Picture, Step

Engine = Literal["onnx", "exported-program", "script", "module", "ultralytics"]
ENVIRONMENTS: Mapping[Engine, str] = {
    "onnx": "onnx", "exported-program": "torch", "script": "torch", "module": "torch", "ultralytics": "ultralytics"}
_INTEGER_OPS = (b"QuantizeLinear", b"QLinear", b"ConvInteger", b"quantized_decomposed")
VALUES = 10
EVERYTHING = Limits(0.001, 0.7, 300, {}, frozenset(), frozenset())
"""What COCO's figures count, as in `vedette model eval`."""


class NetworkStep:
    """A network in a file. Takes over the interpreter and closes it."""

    def __init__(self, kind: Kind, interpreter: AnyInterpreter, model: ModelFile, spec: ModelSpec, *,
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
    """Open a step: a network in a file, a folder of results, or the http address of a device.

    `like` gives what a file does not state. With it, a model that can never detect anything is a step too.
    Raises: ModelError, InvokeFailed, RuntimeMissing, ToolMissing, SourceInvalid (results of another form).
    """
    options = options or StepOptions()
    if argument.startswith(("http://", "https://")):
        return DeviceStep(argument, options.token_file)
    path = Path(argument)
    if is_results(path):
        return ResultsStep(path)
    engine = _engine_of(path)
    if engine is None:
        try:
            return open_tflite(path, like, options)
        except ModelBadlyQuantised as refusal:
            if like is None:
                raise
            return RefusedStep(read_model(path), str(refusal))
    size = f"{like.input.width}x{like.input.height}" if like else "0x0"
    command: list[str | Path] = [
        python_of(ENVIRONMENTS[engine], options.progress), "-I", PROGRAM, engine, path.absolute(), size,
        str(options.threads)]
    return open_foreign(path, "onnx" if engine == "onnx" else "torch", command, like)


def settings_of(arguments: Sequence[str]) -> ModelSpec | None:
    """Return the settings of the first .tflite file that states its labels, for the steps that state none."""
    for argument in arguments:
        path = Path(argument)
        if path.is_file() and not is_results(path) and _engine_of(path) is None:
            with contextlib.suppress(ModelDamaged, ModelUnsupported, ModelBadlyQuantised):
                spec = resolve(read_model(path), DetectorConfig(model=path))
                if spec.labelled:
                    return spec
    return None


def _engine_of(path: Path) -> Engine | None:
    """Return what runs a file outside of TFLite, None for a .tflite file and for what is no network.

    Raises: ModelUnreadable, ModelUnsupported (it must be converted first).
    """
    try:
        with path.open("rb") as file:
            head = file.read(8)
        if head.startswith(b"PK"):
            with zipfile.ZipFile(path) as archive:
                if any("/code/" in name for name in archive.namelist()):
                    return "script"
    except (OSError, zipfile.BadZipFile):
        return None         # `read_model` says what is wrong with it
    if not head.startswith((b"PK", b"\x89HDF")) and path.suffix.lower() != ".onnx":
        return None
    kind = source_of(path).kind
    if kind == "keras" or kind == "saved-model" or kind == "tflite":
        raise ModelUnsupported(f"{path}: a network of Keras; `vedette model convert` makes a .tflite file of it")
    return kind


def open_foreign(path: Path, kind: Kind, command: Sequence[str | Path], like: ModelSpec | None) -> NetworkStep:
    """Open a network of another framework. `command` starts its child, without the memory.

    Raises: ModelError, ToolMissing.
    """
    content = path.read_bytes()
    interpreter = ForeignInterpreter(path, command)
    try:
        sha256 = hashlib.sha256(content).hexdigest()
        known = interpreter.metadata
        stated = {"metadata.json": json.dumps(known).encode()} if known.get("names") else {}
        tensors = interpreter.inputs + interpreter.outputs
        model = ModelFile(path, sha256, sha256, len(content), interpreter.inputs, interpreter.outputs, tensors, (), "",
                          {}, stated, None)
        model, spec = _settled(model, like)
        return NetworkStep(kind, interpreter, model, spec, exact=not any(map(content.__contains__, _INTEGER_OPS)))
    except BaseException:
        interpreter.close()
        raise


def _settled(model: ModelFile, like: ModelSpec | None) -> tuple[ModelFile, ModelSpec]:
    """Return a network with the settings of `like` where it states none, and how it runs. Raises: ModelUnsupported."""
    config = DetectorConfig(model=model.path)
    if like is None:
        return model, resolve(model, config)
    settings = ("thresholds",) if model.attachments else ("thresholds", "color", "resize", "normalization")
    try:
        known = dressed(model, like, (*settings, "decoder"))
        return known, resolve(known, config)
    except ModelUnsupported:        # another head than that of the other model
        known = dressed(model, like, settings)
        return known, resolve(known, config)


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
    """Return the model as a bundle with these keys of another one's vedette.json, and its labels, if it has none."""
    stated = json.loads(bundle.settings_json(like, "", name=like.name, version=""))
    kept = {**json.loads(model.attachments.get(BUNDLE, b"{}")), **{key: stated[key] for key in settings
                                                                    if key in stated}}
    labels = {} if model.attachments.keys() & ULTRALYTICS else {bundle.LABELS: bundle.labels_text(like.labels)}
    return replace(model, attachments={**model.attachments, **labels, BUNDLE: json.dumps(kept).encode()})


def text_of(spec: ModelSpec) -> str:
    """Return how pictures are prepared, in one line."""
    normalization = "bytes" if spec.normalization is None else shown(spec.normalization)
    return f"{spec.input}, {spec.color}, {spec.resize}, {normalization}"
