"""The contract of a decoder and what all decoders share: raw thresholds, selection of the best, and candidates.

Invariants: a decoder is built for one model and never changes. It compares the raw values of the output tensors with a
raw threshold, and dequantizes only the values that reach it. Candidates come best score first, ties in the order of the
tensor, at most `max_candidates`. A value that is not finite raises `OutputInvalid` and never becomes a box.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf, log
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from vedette.errors import ModelUnsupported, OutputInvalid
from vedette.tflite.tensors import TensorSpec
from vedette.types import Box
from vedette.vision.geometry import InputShape, Resize
from vedette.vision.limits import Limits
from vedette.vision.nms import Candidate
from vedette.vision.normalization import ZERO_TO_ONE, Color, Normalization

Array = NDArray[Any]
Reals = NDArray[np.float64]
PIXELS_ABOVE = 2.0
"""A normalized coordinate is at most slightly above 1. A larger one means that the export counts in pixels."""


@dataclass(frozen=True, slots=True)
class Quantization:
    """Converts between the raw values of one tensor and real values."""

    spec: TensorSpec

    def dequantize(self, raw: Array) -> Reals:
        """Return the real values. Raises: OutputInvalid for values that are not finite."""
        values = raw.astype(np.float64)
        if self.spec.quantised:
            return (values - self.spec.zero_point) * self.spec.scale
        require_finite(values, self.spec)
        return values

    def raw_threshold(self, threshold: float) -> float:
        """Return the smallest raw value whose real value is at least `threshold`; infinity if no integer reaches it."""
        spec = self.spec
        if not spec.quantised or threshold == inf:
            return threshold
        low, high = integer_range(spec)
        if (high - spec.zero_point) * spec.scale < threshold:
            return inf
        if (low - spec.zero_point) * spec.scale >= threshold:
            return low
        raw = min(max(ceil(threshold / spec.scale) + spec.zero_point, low), high)
        # The division rounds; the loops correct it to what dequantize() gives. Both end within the tensor's range.
        while (raw - 1 - spec.zero_point) * spec.scale >= threshold:
            raw -= 1
        while (raw - spec.zero_point) * spec.scale < threshold:
            raw += 1
        return raw

    def best_score(self) -> float:
        """Return the largest real value in 0-1 that the tensor's integers can express."""
        spec = self.spec
        if not spec.quantised:
            return 1.0
        steps = min(integer_range(spec)[1] - spec.zero_point, round(1.0 / spec.scale))
        return steps * spec.scale


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """`Limits` compiled for one decoder and one list of labels."""

    thresholds: Reals
    """Score threshold of each class id; the last entry is for all ids beyond the labels."""
    raw_threshold: float
    """Raw score below which no class can reach its threshold."""
    max_candidates: int
    """Most candidates of one frame, best first."""


class Decoder(ABC):
    """Output tensors in, candidates out.

    The constructor of a subclass takes the model and its input shape. It raises ModelUnsupported, saying what it
    expected, when the model is not of its family.
    """

    suppressed: ClassVar[bool] = False
    """Whether the model itself has removed overlapping boxes, so that no NMS follows."""
    background: ClassVar[bool] = False
    """Whether class id 0 is the background."""
    usual_resize: ClassVar[Resize] = "stretch"
    """How the family fits a frame into the input, where nothing states it."""
    usual_normalization: ClassVar[Normalization] = ZERO_TO_ONE
    """What the family feeds to its models, where nothing states it."""
    usual_color: ClassVar[Color] = "rgb"
    """The order of channels that the family feeds to its models, where nothing states it."""
    labels_settle: ClassVar[bool] = False
    """Whether a list with one label for each class removes a doubt."""
    rest_are_classes: ClassVar[bool] = False
    """Whether every channel after the box counts as a class, whatever it is."""

    def __init__(self, scores: TensorSpec, *, classes: int | None, logits: bool = False) -> None:
        self.classes = classes
        """How many class ids there are, with the background; None where only the rows of a result show it."""
        self.labels_needed = classes
        """How many labels a list needs so that every class has a name; None where it is unknown."""
        self._scores = Quantization(scores)
        self._logits = logits

    @property
    def best_score(self) -> float:
        """The highest score that the outputs can express."""
        return 1.0 if self._logits else self._scores.best_score()

    @property
    def score_step(self) -> float:
        """The largest step between two scores; 0.0 where they are floats."""
        step = self._scores.spec.scale
        return step / 4 if self._logits else step      # the logistic function's steepest slope is a quarter

    def compile_limits(self, limits: Limits, labels: tuple[str, ...]) -> DecodeLimits:
        """Compile limits for this decoder and these labels."""
        thresholds = limits.thresholds(labels)
        lowest = float(thresholds.min())
        raw_threshold = self._scores.raw_threshold(_logit(lowest) if self._logits else lowest)
        return DecodeLimits(thresholds, raw_threshold, limits.max_candidates)

    def _reaching(self, raw: Array, limits: DecodeLimits) -> NDArray[np.intp]:
        """Return the positions of the raw scores that reach `limits.raw_threshold`, in order.

        Raises: OutputInvalid for NaN and infinity.
        """
        if not self._scores.spec.quantised:
            require_finite(raw, self._scores.spec)
        elif limits.raw_threshold == inf:      # a comparison would convert every integer to a float
            return np.empty(0, np.intp)
        return (raw >= limits.raw_threshold).nonzero()[0]

    def doubt(self, outputs: Sequence[Array] | None) -> str | None:  # noqa: ARG002 - a family without doubts
        """Return why a model that fits by its shapes is hardly of this family; None if nothing speaks against it.

        `outputs` are those of a drawn picture; None: the model has not run, so that only its structure counts. A model
        whose decoder is stated needs no such proof.
        """
        return None

    @abstractmethod
    def decode(self, outputs: Sequence[Array], limits: DecodeLimits) -> list[Candidate]:
        """Read the outputs of one invoke. Raises: OutputInvalid."""


def integer_range(spec: TensorSpec) -> tuple[int, int]:
    """Return the smallest and the largest integer that a quantised tensor can hold.

    Raises: ModelUnsupported for a type that holds no integers, or integers that numpy does not have.
    """
    try:
        limits = np.iinfo(spec.dtype)
    except (TypeError, ValueError) as error:
        raise ModelUnsupported(f"{spec.name or 'a tensor'}: quantised, of type {spec.dtype}; expected int8 or uint8"
                               ) from error
    return int(limits.min), int(limits.max)


def require_finite(values: Array, spec: TensorSpec) -> None:
    """Raise: OutputInvalid if a value is NaN or infinite."""
    if not np.isfinite(values).all():
        raise OutputInvalid(f"output {spec.name}: contains NaN or infinity; expected finite values")


def select_best(scores: Reals, class_ids: NDArray[np.intp], limits: DecodeLimits) -> NDArray[np.intp]:
    """Return the positions of the best scores that reach the threshold of their own class, best first."""
    passed = np.flatnonzero(scores >= np.take(limits.thresholds, class_ids, mode="clip"))
    return passed[np.argsort(-scores[passed], kind="stable")][:limits.max_candidates]


def to_normalized(boxes: Reals, shape: InputShape) -> Reals:
    """Return boxes or points (pairs of x, y in each row) in 0-1; the export may count in 0-1 or in pixels."""
    if boxes.size and boxes.max() > PIXELS_ABOVE:
        return boxes / np.array((shape.width, shape.height) * (boxes.shape[1] // 2), np.float64)
    return boxes


def corners(centred: Reals) -> Reals:
    """Convert rows of cx, cy, width, height to xmin, ymin, xmax, ymax."""
    half = centred[:, 2:] / 2
    return np.hstack((centred[:, :2] - half, centred[:, :2] + half))


def make_candidates(boxes: Reals, scores: Reals, class_ids: NDArray[np.intp]) -> list[Candidate]:
    """Join sorted arrays into candidates. Scores are cut to 1, since rounding can exceed it by half a step."""
    return [Candidate(min(score, 1.0), class_id, Box(*box))
            for box, score, class_id in zip(boxes.tolist(), scores.tolist(), class_ids.tolist(), strict=True)]


def _logit(score: float) -> float:
    if not 0.0 < score < 1.0:
        return -inf if score <= 0.0 else inf
    return log(score / (1.0 - score))
