"""From a float model and pictures to a bundle: measured pictures, an INT8 graph, and proof that it detects the same.

Invariants: the float model sees every picture as the device would, and so does the new one. Golden frames come from the
pictures, so they show what the masks and the region let through. What is returned was verified; nothing else is left
on the disk. What was measured to fail is refused, unless forced.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from vedette.config.models import DetectorConfig
from vedette.errors import ModelBadlyQuantised, ModelMismatched, SourceInvalid
from vedette.tflite.file import read_model
from vedette.types import WHOLE
from vedette.validate.agreement import match, total
from vedette.validate.golden import FOLDER as GOLDEN
from vedette.validate.packing import Picture, pack
from vedette.validate.runner import Runner
from vedette.validate.verify import verify
from vedette.vision import bundle
from vedette.vision.baseline import BaselineMeter
from vedette.vision.geometry import place, roi_pixels
from vedette.vision.hints import BUNDLE
from vedette.vision.images import frame_of
from vedette.vision.limits import NEVER
from vedette.vision.model_spec import FLOAT_WORKS, resolve
from vedette.vision.normalization import normalization_of
from vedette.workshop import step, steps
from vedette.workshop.comparison import compare
from vedette.workshop.coverage import Coverage, Measured, Seen, coverage_of
from vedette.workshop.graph import missing
from vedette.workshop.prepared import Pictures, Prepared
from vedette.workshop.quantizer import CALIBRATED, Quantized, Recipe, quantize

if TYPE_CHECKING:
    from vedette.tflite.file import ModelFile
    from vedette.types import Box, Detection, Frame
    from vedette.validate.agreement import Agreement
    from vedette.validate.verify import Verification
    from vedette.vision.baseline import Baseline, Training
    from vedette.vision.model_spec import ModelSpec
    from vedette.workshop.comparison import Comparison

Progress = Callable[[str], None]
Found = tuple["Detection", ...]
F1_LEAST = 0.5
"""A model that agrees less with the float model does not work: broken ones were measured below, others above 0.88."""
GOLDEN_FRAMES = 3
_CERTAIN = 0.1      # a detection so far above its threshold stays one, whatever rounds
_REPORTED_EVERY = 10


@dataclass(frozen=True, slots=True)
class Order:
    """What to make: of which float model and how it is run, for which name and version, from which pictures.

    `roi` is the region that the device detects in. `seen`: what the device sees. `forced`: refuse nothing.
    """

    model: ModelFile
    spec: ModelSpec
    name: str
    version: str
    pictures: Pictures
    recipe: Recipe
    roi: Box = WHOLE
    training: Training | None = None
    seen: Seen | None = None
    forced: bool = False


@dataclass(frozen=True, slots=True)
class Made:
    """A verified bundle, and all that was measured on the way. `agreement`: of the float model and the new one.

    Times are medians of the invokes in milliseconds, with one thread: of the float model, of the new one. `others`:
    what other programs can read of the bundle.
    """

    content: bytes
    coverage: Coverage
    quantized: Quantized
    agreements: tuple[Agreement, ...]
    baseline: Baseline
    golden: tuple[str, ...]
    verification: Verification
    invoke_ms: tuple[float, float]
    warnings: tuple[str, ...]
    others: str

    @property
    def agreement(self) -> Agreement:
        """The agreement over all pictures."""
        return total(self.agreements)


def make(order: Order, progress: Progress) -> Made:
    """Make a bundle. Raises: ModelError, SourceInvalid (the pictures), DetectError, RuntimeMissing, ExtraMissing."""
    if find_spec("litert_quantizer") is None:
        raise missing(ModuleNotFoundError("there is no such module", name="litert_quantizer"))
    with Runner(order.model) as runner:
        found, before_ms = _detections(runner, order.spec, order, f"{order.model.path.name}: ", progress)
    measured, padded = _measured(order)
    coverage = coverage_of(measured, found, [label for label in order.spec.labels
                                          if order.spec.limits.threshold_of(label) != NEVER])
    warnings = [warning for warning in order.spec.warnings if not warning.endswith(FLOAT_WORKS)]
    calibrated = order.recipe.scheme in CALIBRATED
    warnings += coverage.warnings(order.seen) if calibrated else ()
    _refuse(order, list(coverage.refusals()) if calibrated else [], found, warnings)
    inputs = Prepared(order.pictures, order.spec, order.roi)
    quantized = quantize(order.model, order.spec, inputs, order.recipe, progress)
    with TemporaryDirectory(prefix="vedette-") as folder:
        path = Path(folder) / f"{order.name.replace('/', '-')}.tflite"
        model, spec = _as_bundle(order, quantized, path)
        with Runner(model) as runner:
            again, after_ms = _detections(runner, spec, order, "INT8: ", progress)
        agreements = tuple(map(match, found, again))
        _judge(order, found, again, total(agreements).f1, warnings)
        baseline = _baseline(order, spec, again, measured)
        shown = [_picture(order, number) for number in _golden(spec, agreements, padded)]
        packed = pack(model, spec, name=order.name, version=order.version, pictures=shown, baseline=baseline)
        path.write_bytes(packed.content)
        progress("verifying")
        verification = verify(path)
    failed = [check for check in verification.checks if check.state == "failed"]
    if failed and not order.forced:
        raise ModelMismatched(f"the new bundle is not verified: {failed[0].name}: {failed[0].message}")
    warnings += [*packed.warnings, *(f"not verified: {check.name}: {check.message}" for check in failed)]
    return Made(packed.content, coverage, quantized, agreements, baseline, tuple(picture.name for picture in shown),
                verification, (before_ms, after_ms), tuple(dict.fromkeys(warnings)), packed.others)


def compared(order: Order, bundle_path: Path) -> Comparison:
    """Compare a bundle with the float model that it was made of, on all pictures, for a report.

    Raises: ModelError, DetectError, SourceInvalid, RuntimeMissing.
    """
    model = read_model(bundle_path)
    spec = resolve(model, DetectorConfig(model=bundle_path))
    pictures = (step.Picture(order.pictures.paths[number].stem, frame_of(_part(order, frame), number + 1))
                for number, frame in enumerate(order.pictures))
    with Runner(order.model) as before, Runner(model) as after:
        return compare([steps.NetworkStep("tflite", before.interpreter, order.model, order.spec, exact=True),
                        steps.NetworkStep("tflite", after.interpreter, model, spec, exact=False)], pictures)


def _detections(runner: Runner, spec: ModelSpec, order: Order, who: str,
                progress: Progress) -> tuple[tuple[Found, ...], float]:
    detector = runner.detector(spec, order.roi)
    found, invokes_ms = [], []
    for number, frame in enumerate(order.pictures, 1):
        result = detector.detect(frame)
        found.append(result.detections)
        invokes_ms.append(result.timing.invoke_ms)
        if number % _REPORTED_EVERY == 0 or number == len(order.pictures):
            progress(f"{who}picture {number} of {len(order.pictures)}")
    return tuple(found), median(invokes_ms)


def _measured(order: Order) -> tuple[list[Measured], list[bool]]:
    """Return what is measured of each picture, and whether the model's input for it is padded."""
    spec, measured, padded = order.spec, [], []
    unpadded = Prepared(order.pictures, replace(spec, resize="stretch"), order.roi)
    for frame, values in zip(order.pictures, unpadded, strict=True):
        measured.append(Measured.at(frame, values))
        padded.append(place(frame.width, frame.height, order.roi, spec.input, spec.resize).padded)
    return measured, padded


def _refuse(order: Order, refusals: list[str], found: Sequence[Found], warnings: list[str]) -> None:
    """Refuse pictures for these reasons, or because they show nothing. Raises: SourceInvalid."""
    if not any(found):
        refusals.append("the float model detects nothing in any picture, so nothing can be compared; expected pictures "
                        "of what it detects, and the right --color, --resize, --mean and --std")
    if refusals and not order.forced:
        raise SourceInvalid("; ".join(refusals) + "; --force uses the pictures all the same")
    warnings += refusals


def _as_bundle(order: Order, quantized: Quantized, path: Path) -> tuple[ModelFile, ModelSpec]:
    """Write the new graph with all that the float model states of it, and read it back. Raises: ModelError."""
    path.write_bytes(quantized.content)
    bare = read_model(path)
    stated, tensor = order.spec, bare.inputs[0]
    if tensor.quantised and normalization_of(tensor) == stated.normalization:
        stated = replace(stated, normalization=None)        # the bytes of a picture are its integers
    kept = {name: content for name, content in order.model.attachments.items() if not name.startswith(GOLDEN)}
    settings = bundle.settings_json(stated, bare.flatbuffer_sha256, name=order.name, version=order.version)
    path.write_bytes(bundle.assemble(quantized.content, kept | {
        BUNDLE: settings, bundle.LABELS: bundle.labels_text(stated.labels)}))
    model = read_model(path)
    return model, resolve(model, DetectorConfig(model=path))


def _judge(order: Order, found: Sequence[Found], again: Sequence[Found], f1: float, warnings: list[str]) -> None:
    """Refuse a model that does not detect what the float model detects. Raises: ModelBadlyQuantised."""
    if f1 >= F1_LEAST:
        return
    before, after = (sum(map(len, each)) for each in (found, again))
    refusal = (f"the new model does not work: it detects {after} things in the pictures, the float model {before}, and "
               f"they agree by F1 {f1:.2f}; expected at least {F1_LEAST}")
    if not order.forced:
        raise ModelBadlyQuantised(f"{refusal}; keep more of it float (--keep-float), or calibrate with other pictures; "
                                  "--force writes it all the same")
    warnings.append(refusal)


def _baseline(order: Order, spec: ModelSpec, found: Sequence[Found], measured: Sequence[Measured]) -> Baseline:
    meter = BaselineMeter(spec.labels, spec.limits)
    for detections, each in zip(found, measured, strict=True):
        meter.add(detections, *each.light)
    return meter.read().model_copy(update={"training": order.training})


def _golden(spec: ModelSpec, agreements: Sequence[Agreement], padded: Sequence[bool]) -> list[int]:
    """Choose pictures with many labels that both models are sure of, and with padding, which shows a wrong scaling."""
    sure = [{pair.other.label for pair in each.pairs
             if (pair.other.score or 0.0) >= spec.limits.threshold_of(pair.other.label) + _CERTAIN}
            for each in agreements]
    chosen: list[int] = []
    shown: set[str] = set()
    for _ in range(min(GOLDEN_FRAMES, sum(map(bool, sure)))):
        best = max((len(labels - shown), padded[number], round(agreements[number].f1, 2), len(labels),
                    min((abs(number - other) for other in chosen), default=0), -number)     # of another hour
                   for number, labels in enumerate(sure) if labels and number not in chosen)
        chosen.append(-best[-1])
        shown |= sure[chosen[-1]]
    return chosen or [number for number, each in enumerate(agreements) if each.pairs or each.only_other][:1]


def _picture(order: Order, number: int) -> Picture:
    return Picture(order.pictures.paths[number].stem, _part(order, order.pictures[number]))


def _part(order: Order, frame: Frame) -> memoryview:
    """Return the part of a picture that the device detects in."""
    region = roi_pixels(frame.width, frame.height, order.roi)
    part = np.asarray(frame.pixels)[region.top:region.bottom, region.left:region.right]
    return np.ascontiguousarray(part).data
