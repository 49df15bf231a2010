"""Reads how to run a model from the file and the configuration: a bundle's settings, the exporter's metadata, labels.

Invariants: what is read is data and is never evaluated. An unknown statement is ignored; one that is certainly wrong
(another digest, another task) is refused. No tensor is used here: model_spec checks hints against the tensors.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Any

from vedette.errors import ModelDamaged, ModelUnsupported
from vedette.tflite.file import ModelFile
from vedette.vision import bundle_settings, label_files
from vedette.vision import labels as label_lists
from vedette.vision.documents import document, parse_dict
from vedette.vision.geometry import Resize
from vedette.vision.normalization import Color, Normalization

if TYPE_CHECKING:
    from vedette.config.models import DetectorConfig

BUNDLE = "vedette.json"
ULTRALYTICS = ("metadata.json", "temp_meta.txt")
LABEL_FILES = ("labels.txt", "labelmap.txt")
_LABEL_FILE = re.compile(r"(?:\w*labels?(?:_?map)?|classes|names)\.(?:txt|json|ya?ml|csv|names|pbtxt)|data\.ya?ml")
TASKS = {"detect": None, "classify": "classifier"}
"""The tasks of Ultralytics that can be run, and the decoder of each; None: the tensors decide."""

WRITER_NAMES = ("", "ObjectDetector", "ImageClassifier")
"""Names that metadata writers give to every model."""


@dataclass(frozen=True, slots=True)
class Hints:
    """What one source states; None: nothing. `source` is its name in messages."""

    source: str
    name: str | None = None
    version: str | None = None
    decoder: str | None = None
    color: Color | None = None
    resize: Resize | None = None
    normalization: Normalization | None = None
    labels: tuple[str, ...] | None = None
    score_threshold: float | None = None
    iou_threshold: float | None = None
    label_thresholds: Mapping[str, float] = field(default_factory=dict)


def from_configuration(detector: DetectorConfig) -> Hints:
    """Return what the configuration states. Raises: ModelUnsupported (its normalization, its labels file)."""
    mean, std = detector.mean, detector.std
    return Hints(
        "configuration", decoder=detector.decoder, color=detector.color, resize=detector.resize,
        normalization=None if mean is None or std is None else normalization(mean, std, "detector.mean, detector.std"),
        labels=None if detector.labels_file is None else label_files.read_file(detector.labels_file))


def from_bundle(model: ModelFile) -> Hints:
    """Return what vedette.json states. Raises: ModelDamaged (another flatbuffer), ModelUnsupported (an invalid value).
    """
    if BUNDLE not in model.attachments:
        return Hints(BUNDLE)
    settings = bundle_settings.parse(document(model, BUNDLE), f"{model.path}: {BUNDLE}")
    if settings.sha256 not in {None, model.flatbuffer_sha256}:
        raise ModelDamaged(f"{model.path}: {BUNDLE} states SHA-256 {settings.sha256} for the flatbuffer; "
                           f"it has {model.flatbuffer_sha256}")
    mean, std = settings.mean, settings.std
    return Hints(
        BUNDLE, name=settings.name, version=settings.version, decoder=settings.decoder, color=settings.color,
        resize=settings.resize, labels=_bundled(model, "labels.txt"),
        normalization=None if mean is None or std is None else normalization(mean, std, BUNDLE),
        score_threshold=settings.score_threshold, iou_threshold=settings.iou_threshold,
        label_thresholds=settings.label_thresholds)


def from_exporter(model: ModelFile) -> Hints:
    """Return what the exporter's metadata states. Raises: ModelUnsupported for a task that cannot be run."""
    return _ultralytics(model) or _tflite_metadata(model)


def _ultralytics(model: ModelFile) -> Hints | None:
    for file_name in ULTRALYTICS:
        claims = parse_dict(document(model, file_name))
        if claims is None or not {"task", "names"} & claims.keys():
            continue
        task = str(claims.get("task", "detect"))
        if task not in TASKS:
            raise ModelUnsupported(f"{model.path}: {file_name} states task {task!r}; expected detect or classify")
        return Hints(f"{file_name} (Ultralytics)", name=_ultralytics_name(claims),
                     decoder="yolo_end2end" if claims.get("end2end") is True else TASKS[task],
                     resize="letterbox" if task == "detect" else None, color="rgb",
                     normalization=Normalization((0.0,), (255.0,)),
                     labels=_names(claims, f"{model.path}: {file_name}"))
    return None


def _tflite_metadata(model: ModelFile) -> Hints:
    # Its normalization is for float inputs. TFLite Support and MediaPipe feed the bytes unchanged to integer inputs.
    claims = model.tflite_metadata
    if claims is None:
        return Hints("TFLite Metadata")
    first = claims.inputs[0] if claims.inputs else None
    stated = first is not None and first.mean and first.std and not model.inputs[0].quantised
    files = dict.fromkeys(file_name for output in claims.outputs for file_name in output.label_files)
    lists = (_attached(model, file_name) for file_name in files)
    return Hints("TFLite Metadata", version=claims.version or None,
                 name=None if claims.name in WRITER_NAMES else claims.name,
                 normalization=normalization(first.mean, first.std, "TFLite Metadata") if first and stated else None,
                 labels=next(filter(None, lists), None))


def from_label_file(model: ModelFile) -> Hints:
    """Return the labels of a file in the ZIP: the file with a usual name, else the only text file.

    Raises: ModelUnsupported for a label file of a form that cannot be read.
    """
    usual = [*LABEL_FILES, *(name for name in model.attachments if _LABEL_FILE.fullmatch(name))]
    for name in usual:
        if name in model.attachments:
            return Hints(f"{name} in the model", labels=_attached(model, name))
    texts = [name for name in model.attachments if name.endswith(".txt") and name not in ULTRALYTICS]
    if len(texts) == 1:
        with contextlib.suppress(ModelUnsupported):     # a text of another kind
            return Hints(f"{texts[0]} in the model", labels=_attached(model, texts[0]))
    return Hints("no label file")


def normalization(mean: tuple[float, ...], std: tuple[float, ...], where: str) -> Normalization:
    """Return a normalization after checking its numbers. Raises: ModelUnsupported, naming `where`."""
    if len(mean) not in {1, 3} or len(std) not in {1, 3} or not all(map(isfinite, mean)) or not all(
            isfinite(value) and value > 0 for value in std):
        raise ModelUnsupported(f"{where}: mean {mean}, std {std}; expected one or three numbers each, std above 0")
    return Normalization(tuple(mean), tuple(std))


def _ultralytics_name(claims: Mapping[str, Any]) -> str | None:
    """Return the model's name in a description such as `Ultralytics YOLO11n model trained on coco.yaml`."""
    maker, name, kind, *_ = [*str(claims.get("description", "")).split(), "", "", ""]
    return name if maker == "Ultralytics" and kind == "model" else None


def _names(claims: Mapping[str, Any], where: str) -> tuple[str, ...] | None:
    names = label_lists.parse_names(claims.get("names"))
    return None if names is None else label_lists.checked(names, where)


def _attached(model: ModelFile, name: str) -> tuple[str, ...] | None:
    """Return the labels of an attachment; None where it is not there or is empty. Raises: ModelUnsupported."""
    content = model.attachments.get(name, b"")
    return label_files.decode(content, f"{model.path}: {name}") if content.strip() else None


def _bundled(model: ModelFile, name: str) -> tuple[str, ...] | None:
    """Return the labels that `bundle.labels_text` has written: one a line, whatever they look like."""
    content, where = model.attachments.get(name, b""), f"{model.path}: {name}"
    if len(content) > label_files.FILE_BYTES_MAX:
        raise ModelUnsupported(f"{where}: {len(content):,} bytes; expected at most {label_files.FILE_BYTES_MAX:,}")
    return label_lists.checked(label_lists.parse_lines(content.decode("utf-8", "replace")), where) or None
