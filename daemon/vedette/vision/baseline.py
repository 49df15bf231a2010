"""The training baseline of a bundle: what the model gave, and what it was given, over the frames of its evaluation.

Invariants: measured with the thresholds that the model states, which is what a device compares with; brightness and
contrast are those that health tells of a camera; keys that a later version adds are carried along.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from statistics import fmean, pstdev
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vedette.config.models import Unit
from vedette.errors import ModelUnsupported
from vedette.types import Detection
from vedette.vision.limits import NEVER, Limits

Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")


class Spread(_Part):
    """How a measure of the picture (0-255) is spread over the frames."""

    mean: Amount
    std: Amount


class LabelBaseline(_Part):
    """Detections of one label: mean score (null: there was none), and how many a frame has in the mean."""

    score_threshold: Unit
    score_mean: Unit | None
    per_frame: Amount


class Baseline(_Part):
    """What `vedette.json` carries as `baseline`."""

    frames: Annotated[int, Field(ge=1)]
    brightness: Spread
    contrast: Spread
    labels: dict[str, LabelBaseline]

    def doubts(self, labels: Sequence[str], limits: Limits) -> Iterator[str]:
        """Say where it was not measured with these labels and thresholds."""
        for label, measured in self.labels.items():
            if label not in labels:
                yield f"the baseline tells of {label!r}, which is no label of the model: measure it again"
            elif limits.threshold_of(label) != measured.score_threshold:
                yield (f"the baseline was measured with a score threshold of {measured.score_threshold} for {label!r}, "
                       f"the bundle says {limits.threshold_of(label)}: measure it again")


def parse(document: object, where: str) -> Baseline:
    """Return a baseline read from JSON. Raises: ModelUnsupported, naming `where` and the key."""
    try:
        return Baseline.model_validate(document, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise ModelUnsupported(f"{where}{f'.{key}' if key else ''}: {first['msg']}") from error


class BaselineMeter:
    """Fed with every frame of an evaluation. `labels` are those of the model, `limits` what it is used with."""

    def __init__(self, labels: Iterable[str], limits: Limits) -> None:
        self.limits = limits
        self._labels = [label for label in dict.fromkeys(labels) if limits.threshold_of(label) != NEVER]
        self._scores: dict[str, list[float]] = defaultdict(list)
        self._brightness: list[float] = []
        self._contrast: list[float] = []

    def add(self, detections: Iterable[Detection], brightness: float, contrast: float) -> None:
        """Take one frame."""
        self._brightness.append(brightness)
        self._contrast.append(contrast)
        for found in detections:
            self._scores[found.label].append(found.score or 0.0)

    def read(self) -> Baseline:
        """Return the baseline of the frames so far, at least one."""
        frames = len(self._brightness)
        return Baseline(
            frames=frames, brightness=_spread(self._brightness), contrast=_spread(self._contrast),
            labels={label: self._of_label(label, self._scores[label], frames) for label in self._labels})

    def _of_label(self, label: str, scores: list[float], frames: int) -> LabelBaseline:
        return LabelBaseline(score_threshold=self.limits.threshold_of(label), per_frame=round(len(scores) / frames, 4),
                             score_mean=round(fmean(scores), 4) if scores else None)


def _spread(values: Sequence[float]) -> Spread:
    return Spread(mean=round(fmean(values), 2), std=round(pstdev(values), 2))
