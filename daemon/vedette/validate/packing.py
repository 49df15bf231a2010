"""Packs a model into a bundle: runs it on its golden frames with every installed runtime, and joins the parts.

Invariants: a model is packed only if it was proven to run. Golden frames are encoded before the model runs on them, so
that the expected detections belong to exactly the pixels in the bundle. Expected detections of a runtime that is not
installed are kept only if graph, settings and frames have not changed since. A model without TFLite Metadata gets it
where other programs can read the model; its graph and weights stay as they are.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from vedette.config.models import DetectorConfig
from vedette.errors import ModelError, ModelUnsupported, SourceInvalid
from vedette.tflite.file import ModelFile, read_model
from vedette.tflite.flatbuffer import Malformed
from vedette.validate import golden
from vedette.validate.golden import Golden, GoldenFrame, Tolerance
from vedette.validate.runner import Runner
from vedette.validate.verify import explanations, stills_of
from vedette.vision import bundle, images, mediapipe
from vedette.vision.baseline import Baseline
from vedette.vision.hints import BUNDLE
from vedette.vision.interpreter import available_runtimes, chosen_runtime
from vedette.vision.model_spec import ModelSpec, resolve
from vedette.vision.probe import prove

_TIMES_INPUT = 2     # a larger golden frame does not show the model more
_OTHERS = "MediaPipe and the TFLite Task Library"
_UNNAMED = "???"     # an empty line at the end of a label list would be lost


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that becomes a golden frame: its name and its BGR pixels (height, width, 3)."""

    name: str
    pixels: memoryview


@dataclass(frozen=True, slots=True)
class Packed:
    """A whole bundle, its golden frames, warnings for its maker, and what other programs can read of it."""

    content: bytes
    golden: Golden | None
    warnings: tuple[str, ...]
    others: str


def pack(model: ModelFile, spec: ModelSpec, *, name: str, version: str, pictures: Sequence[Picture] = (),
         baseline: Baseline | None = None, metadata: bool = True) -> Packed:
    """Pack a bundle; without `pictures` the model's golden frames get new expected detections.

    Without `metadata` the bytes of the flatbuffer stay as they are.

    Raises: ModelError, RuntimeMissing, SourceInvalid (no detection in any picture, which would prove nothing).
    """
    bundle.check_digest(model.path)
    spec = replace(spec, labels=tuple(label or _UNNAMED for label in spec.labels))
    frames = _from_pictures(model, spec, pictures) if pictures else _from_model(model, spec)
    warnings = list(spec.warnings)
    if frames:
        frames = _with_expected(frames, model, spec, warnings)
    else:
        _prove(model)
        warnings.append("no golden frames: `vedette model verify` cannot pass; give some with --golden")
    others = {path: content for path, content in model.attachments.items() if not path.startswith(golden.FOLDER)}
    baseline = baseline or bundle.baseline_of(model)
    warnings += baseline.mismatches(spec.labels, spec.limits) if baseline else ()
    flatbuffer, readers = _described(model, spec, metadata=metadata)
    sha256 = hashlib.sha256(flatbuffer).hexdigest()
    settings = bundle.settings_json(spec, sha256, name=name, version=version, baseline=baseline)
    files = others | {BUNDLE: settings, bundle.LABELS: bundle.labels_text(spec.labels)}
    frames = frames and replace(frames, flatbuffer_sha256=sha256)
    content = bundle.assemble(flatbuffer, files | (golden.files(frames) if frames else {}))
    _check_reads_back(content, model, spec)
    return Packed(content, frames, tuple(dict.fromkeys(warnings)), readers)


def _prove(model: ModelFile) -> None:
    with Runner(model):
        pass


def _from_pictures(model: ModelFile, spec: ModelSpec, pictures: Sequence[Picture]) -> Golden:
    longest_px = _TIMES_INPUT * max(spec.input.width, spec.input.height)
    return Golden(model.flatbuffer_sha256, Tolerance(), tuple(
        GoldenFrame(f"{number:02}-{re.sub(r'[^A-Za-z0-9_-]+', '-', picture.name) or 'frame'}.png",
                    images.encode_png(picture.pixels, longest_px), {})
        for number, picture in enumerate(pictures, 1)))


def _from_model(model: ModelFile, spec: ModelSpec) -> Golden | None:
    """Return the model's golden frames, with their expected detections only if nothing else has changed."""
    frames = golden.read(model)
    if frames is None:
        return None
    try:
        before = resolve(model, DetectorConfig(model=model.path))
    except ModelError:
        before = None
    if (frames.flatbuffer_sha256 == model.flatbuffer_sha256 and before is not None
            and _settings(before) == _settings(spec)):
        return frames
    return replace(frames, flatbuffer_sha256=model.flatbuffer_sha256,
                   frames=tuple(replace(frame, expected={}) for frame in frames.frames))


def _settings(spec: ModelSpec) -> tuple[object, ...]:
    return spec.decoder, spec.color, spec.resize, spec.normalization, spec.labels, spec.limits


def _with_expected(frames: Golden, model: ModelFile, spec: ModelSpec, warnings: list[str]) -> Golden:
    """Return the frames with the detections of every runtime that can run the model; adds to `warnings`."""
    chosen, _ = chosen_runtime("auto")
    for runtime in available_runtimes():
        if runtime.error is not None:
            continue
        try:
            frames = _with_expected_of(runtime.name, frames, model, spec, warnings)
        except ModelError as refusal:
            if runtime.name == chosen:
                raise
            warnings.append(f"no golden frames for {runtime.name}: {refusal}")
    return frames


def _with_expected_of(runtime: str, frames: Golden, model: ModelFile, spec: ModelSpec,
                      warnings: list[str]) -> Golden:
    with Runner(model, runtime) as runner:
        stills = stills_of(frames)
        found = runner.detect(spec, stills)
        if not any(found):
            raise SourceInvalid(f"{model.path}: {runtime} detects nothing in any golden frame; expected pictures with "
                                "detections, or another preprocessing (--color, --resize, --mean)")
        frames = replace(frames, frames=tuple(
            replace(frame, expected={**frame.expected, runner.family: detections})
            for frame, detections in zip(frames.frames, found, strict=True)))
        warnings += [f"the golden frames also agree with {other.tried} instead of {other.stated} ({runner.family}): "
                     "add more" for other, _ in explanations(frames, stills, runner, spec)
                     if other.part != "normalization"]
    return frames


def _described(model: ModelFile, spec: ModelSpec, *, metadata: bool) -> tuple[bytes, str]:
    """Return the flatbuffer, with TFLite Metadata if it can have some, and what other programs can read of it."""
    flatbuffer = bundle.flatbuffer_of(model)
    obstacle = mediapipe.unreadable(model, spec)
    if obstacle is None and model.tflite_metadata is not None:
        return flatbuffer, f"{_OTHERS} find the TFLite Metadata that was in the file"
    if obstacle is None and not metadata:
        obstacle = "without TFLite Metadata"
    if obstacle is None:
        try:
            return mediapipe.described(flatbuffer, model, spec, bundle.LABELS), f"{_OTHERS} can read it"
        except Malformed as error:
            obstacle = str(error)
    return flatbuffer, f"{_OTHERS} cannot read it: {obstacle}"


def _check_reads_back(content: bytes, model: ModelFile, spec: ModelSpec) -> None:
    """Read the whole bundle as a device would, and prove a flatbuffer that is not the one that was proven."""
    with TemporaryDirectory(prefix="vedette-pack-") as folder:
        path = Path(folder, model.path.name)
        path.write_bytes(content)
        packed = read_model(path)
        read = resolve(packed, DetectorConfig(model=path))
        if _settings(read) != _settings(spec):
            raise ModelUnsupported(f"{model.path}: the settings of its bundle read back as {_settings(read)}; "
                                   f"expected {_settings(spec)}")
        if packed.flatbuffer_sha256 != model.flatbuffer_sha256:
            prove(path, sha256=packed.sha256)
