"""Decides how to run a model, and records which source decided each part.

Invariants: the first source that states a part decides it, in this order: configuration, vedette.json, the exporter's
metadata, a label file in the model, the op list, the tensor shapes, what is usual for the decoder. Where only the
shapes show the decoder, the values of a drawn picture must not speak against it. A model that no decoder fits is
refused; the error has its shapes, every decoder's reason and the key to set. A model whose scores can never reach the
threshold is refused too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, TypeVar

from vedette.errors import ModelBadlyQuantised, ModelUnsupported
from vedette.tflite.arithmetic import INT8, arithmetic_of
from vedette.tflite.file import DETECTION_POSTPROCESS, ModelFile
from vedette.tflite.model_errors import with_model_errors_only
from vedette.vision import hints, labels
from vedette.vision.decoders import DECODERS
from vedette.vision.decoders.base import Decoder
from vedette.vision.decoders.plausible import KNOWN_EXTRAS
from vedette.vision.geometry import InputShape, Resize
from vedette.vision.hints import Hints
from vedette.vision.in_graph import expected_input
from vedette.vision.limits import NEVER, PLACEHOLDERS, Limits
from vedette.vision.normalization import Color, Normalization, quantized_as_bytes

if TYPE_CHECKING:
    from vedette.config.models import DetectorConfig

T = TypeVar("T")
COARSE_SCALE = 0.05
FLOAT_WORKS = "it works, but an INT8 export is several times faster"
_SMALLEST_INPUT = 8      # in some exports a size of 1x1 means "any size"
_LARGEST_INPUT = 2560    # what a decoder keeps for each cell of a larger one would take hundreds of megabytes
SHAPES = "tensor shapes"
_ASSUMED = "assumed"
_NO_LABELS = "no labels found: names are made of class ids"
_COMPARED_LABELS_MAX = 2000     # a search in all labels of a long list takes seconds
INPUT_TYPES = ("uint8", "int8", "float32")



@dataclass(frozen=True, slots=True)
class ModelSpec:
    """How to run a model. `normalization` None: the input's integers are the frame's bytes (int8: byte - 128).

    `labels` start at class id 0. `decided_by` says for each part which source decided it and why.
    """

    name: str
    version: str | None
    decoder: str
    input: InputShape
    color: Color
    resize: Resize
    normalization: Normalization | None
    labels: tuple[str, ...]
    limits: Limits
    decided_by: Mapping[str, str]
    warnings: tuple[str, ...]

    @property
    def guessed(self) -> bool:
        """Whether only the shapes of the tensors decided the decoder."""
        return self.decided_by["decoder"].startswith(SHAPES)

    @property
    def labelled(self) -> bool:
        """Whether anything states its labels."""
        return self.decided_by["labels"] != _NO_LABELS


class _Choice:
    """Searches the sources in order, and records which one decided."""

    def __init__(self, sources: tuple[Hints, ...]) -> None:
        self._sources = sources
        self.why: dict[str, str] = {}

    def of(self, part: str, otherwise: T, reason: str) -> T:
        """Return the first stated value of a part, else `otherwise`, and record `reason` for that."""
        for source in self._sources:
            value: T | None = getattr(source, part)
            if value is not None:
                self.why[part] = source.source
                return value
        self.why[part] = reason
        return otherwise


@dataclass(frozen=True, slots=True)
class _Evidence:
    """What else speaks for or against a decoder: the list of labels, and the doubts of the proof."""

    labels: tuple[str, ...]
    doubts: Mapping[str, str] | None

    def doubt(self, name: str, decoder: Decoder) -> str | None:
        """Return why a decoder that fits the shapes is hardly the right one; None if nothing speaks against it."""
        if decoder.labels_settle and self.fits(decoder):
            return None
        extra = (decoder.classes or 0) - len(self.labels)
        if decoder.rest_are_classes and self.labels and extra in KNOWN_EXTRAS:
            return f"{decoder.classes} channels after the box are {len(self.labels)} labels and {KNOWN_EXTRAS[extra]}"
        return decoder.doubt(None) if self.doubts is None else self.doubts.get(name)

    def fits(self, decoder: Decoder) -> bool:
        """Whether there is a label for each class, the background included where the decoder has one."""
        if not self.labels or decoder.classes is None:
            return False
        aligned = labels.align(self.labels, classes=decoder.classes, background=decoder.background)
        return len(aligned) == decoder.classes and (not decoder.background or aligned[0] in PLACEHOLDERS)


@with_model_errors_only
def resolve(model: ModelFile, detector: DetectorConfig, doubts: Mapping[str, str] | None = None) -> ModelSpec:
    """Decide how to run a model. `doubts` are those of its proof; None: it has not run yet.

    Raises: ModelUnsupported, ModelBadlyQuantised, ModelDamaged (vedette.json states another flatbuffer's digest).
    """
    shape = _input(model)
    choice = _Choice((hints.from_configuration(detector), hints.from_bundle(model), hints.from_exporter(model),
                      hints.from_label_file(model), _op_list(model)))
    stated_labels = choice.of("labels", (), _NO_LABELS)
    decoder_name, decoder = _decoder(model, shape, choice, _Evidence(stated_labels, doubts))
    label_list = labels.align(stated_labels, classes=decoder.classes, background=decoder.background)
    limits = limits_of(model, detector)
    lowest = float(limits.thresholds(label_list).min())
    if decoder.best_score < lowest < NEVER:
        raise ModelBadlyQuantised(
            f"{model.path}: badly quantised export: with an output scale of {decoder.score_step:.6g} no score exceeds "
            f"{decoder.best_score:.3g}, but the threshold is {lowest:.3g}; export it again with calibration images")
    return ModelSpec(
        name=choice.of("name", model.path.stem, "file name"),
        version=choice.of("version", None, "nothing states one"),
        decoder=decoder_name, input=shape, labels=label_list, limits=limits,
        color=choice.of("color", decoder.usual_color, "usual"),
        resize=choice.of("resize", decoder.usual_resize, f"usual for {decoder_name}"),
        normalization=_normalization(model, shape, decoder_name, decoder.usual_normalization, choice),
        decided_by=choice.why,
        warnings=tuple(_warnings(model, decoder, label_list, detector, choice)))


@with_model_errors_only
def build_decoder(model: ModelFile, spec: ModelSpec) -> Decoder:
    """Return the decoder that `spec` names, built for this model."""
    return DECODERS[spec.decoder](model, spec.input)


@with_model_errors_only
def limits_of(model: ModelFile, detector: DetectorConfig) -> Limits:
    """Return what counts as a detection: the keys set in the configuration, else a bundle's, else the defaults."""
    usual, stated = hints.from_bundle(model), detector.model_fields_set
    score, iou = detector.score_threshold, detector.iou_threshold
    if usual.score_threshold is not None and "score_threshold" not in stated:
        score = usual.score_threshold
    if usual.iou_threshold is not None and "iou_threshold" not in stated:
        iou = usual.iou_threshold
    return Limits(score_threshold=score, iou_threshold=iou, max_detections=detector.max_detections,
                  labels={**usual.label_thresholds, **detector.labels},
                  allow=frozenset(detector.allow), deny=frozenset(detector.deny))


def _input(model: ModelFile) -> InputShape:
    seen = "; ".join(map(str, model.inputs)) or "none"
    if len(model.inputs) != 1:
        raise ModelUnsupported(f"{model.path}: {len(model.inputs)} inputs ({seen}); expected one image")
    shape = InputShape.of(model.inputs[0].shape)
    if shape is not None and max(shape.width, shape.height) > _LARGEST_INPUT:
        raise ModelUnsupported(f"{model.path}: input {seen}; expected at most {_LARGEST_INPUT} pixels a side")
    if shape is None or min(shape.width, shape.height) < _SMALLEST_INPUT or model.inputs[0].dtype not in INPUT_TYPES:
        raise ModelUnsupported(f"{model.path}: input {seen}; expected one image of a fixed size, 1xHxWx3, 1x3xHxW or "
                               f"with one channel, of {', '.join(INPUT_TYPES)}")
    return shape


def _op_list(model: ModelFile) -> Hints:
    found = any(op.name == DETECTION_POSTPROCESS for op in model.ops)
    return Hints(f"op list ({DETECTION_POSTPROCESS})", decoder="ssd") if found else Hints("op list")


def _decoder(model: ModelFile, shape: InputShape, choice: _Choice, evidence: _Evidence) -> tuple[str, Decoder]:
    seen = f"outputs {'; '.join(map(str, model.outputs))}"
    stated = choice.of("decoder", "", SHAPES)
    if stated:
        return stated, _stated_decoder(model, shape, stated, choice.why["decoder"], seen)
    reasons, fitting = [], {}
    for name, build in DECODERS.items():
        try:
            decoder = build(model, shape)
        except ModelUnsupported as refusal:
            reasons.append(f"{name}: {refusal}")
            continue
        if doubt := evidence.doubt(name, decoder):
            reasons.insert(0, f"{name}: {doubt}")       # the shapes fit: this says most
        else:
            fitting[name] = decoder
    if not fitting:
        raise ModelUnsupported(f"{model.path}: no decoder fits {seen}. Tried {'. '.join(reasons)}. "
                               "If one of them should fit, name it in detector.decoder")
    labelled = [name for name, decoder in fitting.items() if evidence.fits(decoder)]
    if len(fitting) > 1 and not labelled and evidence.doubts is not None:
        raise ModelUnsupported(f"{model.path}: {' and '.join(fitting)} fit {seen}, and read it in different ways. Name "
                               "the right one in detector.decoder, or give a label for each class")
    chosen = next(iter(labelled or fitting))
    choice.why["decoder"] = f"{SHAPES}: {seen}"
    return chosen, fitting[chosen]


def _stated_decoder(model: ModelFile, shape: InputShape, stated: str, source: str, seen: str) -> Decoder:
    try:
        return DECODERS[stated](model, shape)
    except KeyError:
        raise ModelUnsupported(f"{model.path}: decoder {stated!r} ({source}) is unknown; expected one of "
                               f"{', '.join(DECODERS)}") from None
    except ModelUnsupported as refusal:
        raise ModelUnsupported(f"{model.path}: decoder {stated} ({source}) does not fit: {refusal}; {seen}"
                               ) from refusal


def _normalization(model: ModelFile, shape: InputShape, decoder_name: str, usual: Normalization,
                   choice: _Choice) -> Normalization | None:
    found = _stated_or_usual(model, decoder_name, usual, choice)
    if found is not None and not {len(found.mean), len(found.std)} <= {1, shape.channels}:
        raise ModelUnsupported(f"{model.path}: mean {found.mean}, std {found.std} ({choice.why['normalization']}) for "
                               f"an input of {shape}; expected one number, or one for each channel")
    return found


def _stated_or_usual(model: ModelFile, decoder_name: str, usual: Normalization,
                     choice: _Choice) -> Normalization | None:
    spec = model.inputs[0]
    if spec.dtype != "float32" and (not spec.quantised or quantized_as_bytes(spec)):
        return choice.of("normalization", None, "the input's quantization stands for the frame's bytes")
    if spec.dtype == "float32" and (shown := expected_input(model)):
        return choice.of("normalization", *shown)
    return choice.of("normalization", usual, f"{_ASSUMED}: usual for {decoder_name}")


def _warnings(model: ModelFile, decoder: Decoder, label_list: tuple[str, ...], detector: DetectorConfig,
              choice: _Choice) -> Iterator[str]:
    arithmetic = arithmetic_of(model)
    if arithmetic and INT8 not in arithmetic:
        yield f"{arithmetic} model: it works, but an INT8 export is several times faster"
    if decoder.score_step > COARSE_SCALE:
        yield (f"output scale {decoder.score_step:.3g}: scores have steps larger than {COARSE_SCALE}; "
               "the export is probably badly quantised")
    if choice.why["normalization"].startswith(_ASSUMED):
        yield "nothing states how to normalize the input: check the boxes, and set detector.mean and detector.std"
    wanted = decoder.labels_needed
    if wanted is not None and len(label_list) < wanted:
        yield f"{len(label_list)} labels for {wanted} classes: too few; the other classes are named class_N"
    elif decoder.classes is not None and len(label_list) > decoder.classes:
        yield f"{len(label_list)} labels for {decoder.classes} classes: too many"
    yield from unknown_labels({*detector.labels, *detector.allow, *detector.deny}, label_list)


def unknown_labels(named: set[str], label_list: tuple[str, ...]) -> Iterator[str]:
    """Yield a warning for each named label that the model does not have."""
    for label in sorted(named - set(label_list)):
        near = get_close_matches(label, label_list[:_COMPARED_LABELS_MAX], n=1)
        yield f"the model has no label {label!r}" + (f"; did you mean {near[0]!r}?" if near else "")
