"""The training baseline of a bundle: statistics of the detections and of the frames of the model's evaluation.

Invariants: it is measured with the thresholds that the model states, since a device compares with those. Brightness and
contrast are the measures that health publishes of a camera. Keys that a later version adds are kept. A baseline without
a training has no such key.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from statistics import fmean, pstdev
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from vedette.config.camera_values import Unit
from vedette.errors import ModelUnsupported
from vedette.types import Detection
from vedette.vision.documents import first_problem
from vedette.vision.limits import NEVER, Limits

P = TypeVar("P", bound=BaseModel)
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")


class Spread(_Part):
    """Mean and standard deviation of a measure of the picture (0-255) over the frames."""

    mean: Amount
    std: Amount


class LabelBaseline(_Part):
    """Detections of one label: their mean score (null: there were none), and their mean number per frame."""

    score_threshold: Unit
    score_mean: Unit | None
    per_frame: Amount


class Training(_Part):
    """What the training says of the network: its own figures, how it was done, and the SHA-256 of its weights."""

    metrics: dict[str, Annotated[float, Field(allow_inf_nan=False)]]
    configuration: dict[str, JsonValue] = {}
    weights_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None


class Baseline(_Part):
    """The value of the key `baseline` in `vedette.json`."""

    frames: Annotated[int, Field(ge=1)]
    brightness: Spread
    contrast: Spread
    labels: dict[str, LabelBaseline]
    training: Training | None = None

    @model_serializer(mode="wrap")
    def _without_no_training(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = plain(self)
        return values if self.training else {key: value for key, value in values.items() if key != "training"}

    def mismatches(self, labels: Sequence[str], limits: Limits) -> Iterator[str]:
        """Yield a message for each label that was not measured with these labels and thresholds."""
        for label, measured in self.labels.items():
            if label not in labels:
                yield f"the baseline has the label {label!r}, which the model does not have: measure it again"
            elif limits.threshold_of(label) != measured.score_threshold:
                yield (f"the baseline was measured with a score threshold of {measured.score_threshold} for {label!r}, "
                       f"but the bundle states {limits.threshold_of(label)}: measure it again")


def parse(document: object, where: str) -> Baseline:
    """Return the baseline of a JSON value. Raises: ModelUnsupported, naming `where` and the key."""
    return _parsed(Baseline, document, where)


def parse_training(document: object, where: str) -> Training:
    """Return the training of a JSON value. Raises: ModelUnsupported, naming `where` and the key."""
    return _parsed(Training, document, where)


def _parsed(part: type[P], document: object, where: str) -> P:
    try:
        return part.model_validate(document, strict=True)
    except ValidationError as error:
        key, problem = first_problem(error)
        raise ModelUnsupported(f"{where}{f'.{key}' if key else ''}: {problem}") from error


class BaselineMeter:
    """Collects every frame of an evaluation. `labels` are the model's labels, `limits` its thresholds."""

    def __init__(self, labels: Iterable[str], limits: Limits) -> None:
        self.limits = limits
        self._labels = [label for label in dict.fromkeys(labels) if limits.threshold_of(label) != NEVER]
        self._scores: dict[str, list[float]] = defaultdict(list)
        self._brightness: list[float] = []
        self._contrast: list[float] = []

    def add(self, detections: Iterable[Detection], brightness: float, contrast: float) -> None:
        """Add one frame."""
        self._brightness.append(brightness)
        self._contrast.append(contrast)
        for detection in detections:
            self._scores[detection.label].append(detection.score or 0.0)

    def read(self) -> Baseline:
        """Return the baseline of the frames so far; there must be at least one."""
        frames = len(self._brightness)
        return Baseline(
            frames=frames, brightness=_spread(self._brightness), contrast=_spread(self._contrast),
            labels={label: self._of_label(label, self._scores[label], frames) for label in self._labels})

    def _of_label(self, label: str, scores: list[float], frames: int) -> LabelBaseline:
        return LabelBaseline(score_threshold=self.limits.threshold_of(label), per_frame=round(len(scores) / frames, 4),
                             score_mean=round(fmean(scores), 4) if scores else None)


def _spread(values: Sequence[float]) -> Spread:
    return Spread(mean=round(fmean(values), 2), std=round(pstdev(values), 2))
