"""Makes a bundle of a model: runs it over its golden frames on every runtime that is here, and puts the parts together.

Invariants: nothing is packed that was not proven to run; golden frames are stored before they are looked at, so that
what is expected is of the very pixels in the bundle; expectations of a runtime that is not here are kept only while
flatbuffer, settings and frames are those they were made with.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from vedette.config.models import DetectorConfig
from vedette.errors import ModelError, ModelUnsupported, SourceInvalid
from vedette.tflite.file import ModelFile
from vedette.validate import golden
from vedette.validate.golden import Golden, GoldenFrame, Tolerance
from vedette.validate.runner import Runner
from vedette.validate.verify import explanations, stills_of
from vedette.vision import bundle, images
from vedette.vision.baseline import Baseline
from vedette.vision.hints import BUNDLE
from vedette.vision.interpreter import available_runtimes, chosen_runtime
from vedette.vision.model_spec import ModelSpec, resolve

_TIMES_INPUT = 2     # a larger golden frame shows the model nothing more
_UNNAMED = "???"     # an empty line at the end of a label list would be lost


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that is to become a golden frame: BGR pixels, (height, width, 3), and a name for it."""

    name: str
    pixels: memoryview


@dataclass(frozen=True, slots=True)
class Packed:
    """A whole bundle, its golden frames, and what its maker should know."""

    content: bytes
    golden: Golden | None
    warnings: tuple[str, ...]


def pack(model: ModelFile, spec: ModelSpec, *, name: str, version: str, pictures: Sequence[Picture] = (),
         baseline: Baseline | None = None) -> Packed:
    """Put a bundle together; without `pictures` the golden frames that the model carries are made anew.

    Raises: ModelError, RuntimeMissing, SourceInvalid (a picture in which nothing is detected would prove nothing).
    """
    bundle.check_digest(model.path)
    spec = replace(spec, labels=tuple(label or _UNNAMED for label in spec.labels))
    frames = _from_pictures(model, spec, pictures) if pictures else _kept(model, spec)
    warnings = list(spec.warnings)
    if frames:
        frames = _made(frames, model, spec, warnings)
    else:
        _prove(model)
        warnings.append("no golden frames: `vedette model verify` cannot pass; give some with --golden")
    others = {path: content for path, content in model.attachments.items() if not path.startswith(golden.FOLDER)}
    baseline = baseline or bundle.baseline_of(model)
    warnings += baseline.mismatches(spec.labels, spec.limits) if baseline else ()
    settings = bundle.settings_json(spec, model.flatbuffer_sha256, name=name, version=version, baseline=baseline)
    files = others | {BUNDLE: settings, bundle.LABELS: bundle.labels_text(spec.labels)}
    _check_reads_back(replace(model, attachments=files), spec)
    content = bundle.assemble(bundle.flatbuffer_of(model), files | (golden.files(frames) if frames else {}))
    return Packed(content, frames, tuple(dict.fromkeys(warnings)))


def _prove(model: ModelFile) -> None:
    with Runner(model):
        pass


def _from_pictures(model: ModelFile, spec: ModelSpec, pictures: Sequence[Picture]) -> Golden:
    longest_px = _TIMES_INPUT * max(spec.input.width, spec.input.height)
    return Golden(model.flatbuffer_sha256, Tolerance(), tuple(
        GoldenFrame(f"{number:02}-{re.sub(r'[^A-Za-z0-9_-]+', '-', picture.name) or 'frame'}.png",
                    images.encode_png(picture.pixels, longest_px), {})
        for number, picture in enumerate(pictures, 1)))


def _kept(model: ModelFile, spec: ModelSpec) -> Golden | None:
    """Return the golden frames of the model, without what no longer holds."""
    frames = golden.read(model)
    if frames is None:
        return None
    try:
        before = resolve(model, DetectorConfig(model=model.path))
    except ModelError:
        before = None
    same = frames.flatbuffer_sha256 == model.flatbuffer_sha256 and before is not None and _how(before) == _how(spec)
    if same:
        return frames
    return replace(frames, flatbuffer_sha256=model.flatbuffer_sha256,
                   frames=tuple(replace(frame, expected={}) for frame in frames.frames))


def _how(spec: ModelSpec) -> tuple[object, ...]:
    return spec.decoder, spec.color, spec.resize, spec.normalization, spec.labels, spec.limits


def _made(frames: Golden, model: ModelFile, spec: ModelSpec, warnings: list[str]) -> Golden:
    """Run the model over the frames on every runtime that takes it; adds to `warnings` what its maker should know."""
    chosen, _ = chosen_runtime("auto")
    for runtime in available_runtimes():
        if runtime.error is not None:
            continue
        try:
            frames = _made_on(runtime.name, frames, model, spec, warnings)
        except ModelError as refusal:
            if runtime.name == chosen:
                raise
            warnings.append(f"no golden frames for {runtime.name}: {refusal}")
    return frames


def _made_on(runtime: str, frames: Golden, model: ModelFile, spec: ModelSpec, warnings: list[str]) -> Golden:
    with Runner(model, runtime) as runner:
        stills = stills_of(frames)
        found = runner.look(spec, stills)
        if not any(found):
            raise SourceInvalid(f"{model.path}: {runtime} detects nothing in any golden frame; expected pictures in "
                                "which it does, or another preprocessing (--color, --resize, --mean)")
        frames = replace(frames, frames=tuple(
            replace(frame, expected={**frame.expected, runner.family: seen})
            for frame, seen in zip(frames.frames, found, strict=True)))
        warnings += [f"the golden frames do not tell {blind.stated} from {blind.tried} ({runner.family}): add more"
                     for blind, _ in explanations(frames, stills, runner, spec) if blind.part != "normalization"]
    return frames


def _check_reads_back(packed: ModelFile, spec: ModelSpec) -> None:
    read = resolve(packed, DetectorConfig(model=packed.path))
    if _how(read) != _how(spec):
        raise ModelUnsupported(f"{packed.path}: a bundle of it would be understood as {_how(read)}; "
                               f"expected {_how(spec)}")
