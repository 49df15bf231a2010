"""What every decoder shares: its contract, thresholds in the integer domain, and picking the best of many.

Invariants: a decoder is built for one model and never changes; it reads the output tensors as they are and turns into
real values only what passed the threshold; candidates come best score first, at most `aim.most`, ties in the order
of the tensor; a value that is not finite is `OutputInvalid`, never a box.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf, log
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from vedette.errors import OutputInvalid
from vedette.tflite.file import ModelFile
from vedette.tflite.tensors import TensorSpec
from vedette.types import Box
from vedette.vision.geometry import InputShape
from vedette.vision.limits import Limits
from vedette.vision.nms import Candidate

Array = NDArray[Any]
Reals = NDArray[np.float64]
PIXELS_ABOVE = 2.0
"""A normalized coordinate barely leaves 0-1: anything larger means that the export counts in pixels."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How the raw values of one tensor stand for real ones."""

    spec: TensorSpec

    def real(self, raw: Array) -> Reals:
        """Dequantize. Raises: OutputInvalid for values that are not finite."""
        values = raw.astype(np.float64)
        if self.spec.quantised:
            return (values - self.spec.zero_point) * self.spec.scale
        require_finite(values, self.spec)
        return values

    def least(self, threshold: float) -> float:
        """Return the smallest raw value that stands for at least `threshold`; infinity if no integer is that large."""
        spec = self.spec
        if not spec.quantised or threshold == inf:
            return threshold
        low, high = integers(spec)
        if (high - spec.zero_point) * spec.scale < threshold:
            return inf
        if (low - spec.zero_point) * spec.scale >= threshold:
            return low
        raw = min(max(ceil(threshold / spec.scale) + spec.zero_point, low), high)
        # The division rounds, real() decides; both loops end within the tensor's range.
        while (raw - 1 - spec.zero_point) * spec.scale >= threshold:
            raw -= 1
        while (raw - spec.zero_point) * spec.scale < threshold:
            raw += 1
        return raw

    def best_score(self) -> float:
        """Return the largest value of 0-1 that the tensor's integers come to."""
        spec = self.spec
        if not spec.quantised:
            return 1.0
        steps = min(integers(spec)[1] - spec.zero_point, round(1.0 / spec.scale))
        return steps * spec.scale


@dataclass(frozen=True, slots=True)
class Aim:
    """What to look for: limits compiled for one decoder."""

    thresholds: Reals
    """Of each class id, and one more for all beyond."""
    least: float
    """Raw score below which no class can reach its threshold."""
    most: int
    """Candidates, best first."""


class Decoder(ABC):
    """Output tensors in, candidates out. A constructor raises ModelUnsupported, saying why, when it does not fit."""

    suppressed: ClassVar[bool] = False
    """Whether overlapping boxes are already gone, so that no NMS follows."""
    background: ClassVar[bool] = False
    """Whether class id 0 is the background."""

    def __init__(self, scores: TensorSpec, *, classes: int | None, logits: bool = False) -> None:
        self.classes = classes
        """How many class ids there are, the background among them; None where only the rows tell."""
        self.labels_wanted = classes
        """How many labels a list needs so that every class has a name; None where nothing tells."""
        self._scores = Scale(scores)
        self._logits = logits

    @property
    def best_score(self) -> float:
        """The highest score the outputs can express."""
        return 1.0 if self._logits else self._scores.best_score()

    @property
    def score_scale(self) -> float:
        """The largest step between two scores; 0.0 where they are floats."""
        step = self._scores.spec.scale
        return step / 4 if self._logits else step      # a quarter is where the logistic function is steepest

    def aim(self, limits: Limits, labels: tuple[str, ...]) -> Aim:
        """Compile limits for this decoder."""
        thresholds = limits.thresholds(labels)
        lowest = float(thresholds.min())
        return Aim(thresholds, self._scores.least(_logit(lowest) if self._logits else lowest), limits.max_candidates)

    def _reach(self, raw: Array, aim: Aim) -> NDArray[np.intp]:
        """Return where raw scores reach `aim.least`, in order. Raises: OutputInvalid for NaN and infinity."""
        if not self._scores.spec.quantised:
            require_finite(raw, self._scores.spec)
        elif aim.least == inf:      # integers would all be turned into floats to be compared with it
            return np.empty(0, np.intp)
        return (raw >= aim.least).nonzero()[0]

    @abstractmethod
    def decode(self, outputs: Sequence[Array], aim: Aim) -> list[Candidate]:
        """Read the outputs of one invoke. Raises: OutputInvalid."""


def integers(spec: TensorSpec) -> tuple[int, int]:
    """Return the smallest and largest integer a quantised tensor holds."""
    limits = np.iinfo(spec.dtype)
    return int(limits.min), int(limits.max)


def require_finite(values: Array, spec: TensorSpec) -> None:
    """Raise: OutputInvalid if a value is NaN or infinite."""
    if not np.isfinite(values).all():
        raise OutputInvalid(f"output {spec.name}: holds NaN or infinity; expected finite values")


def pick(scores: Reals, class_ids: NDArray[np.intp], aim: Aim) -> NDArray[np.intp]:
    """Return the places of the best scores that reach the threshold of their own class, best first."""
    passed = np.flatnonzero(scores >= np.take(aim.thresholds, class_ids, mode="clip"))
    return passed[np.argsort(-scores[passed], kind="stable")][:aim.most]


def to_unit(boxes: Reals, shape: InputShape) -> Reals:
    """Return boxes or points (pairs of x, y in each row) in 0-1, whether the export counts so or in pixels."""
    if boxes.size and boxes.max() > PIXELS_ABOVE:
        return boxes / np.array((shape.width, shape.height) * (boxes.shape[1] // 2), np.float64)
    return boxes


def corners(centred: Reals) -> Reals:
    """Turn rows of cx, cy, width, height into xmin, ymin, xmax, ymax."""
    half = centred[:, 2:] / 2
    return np.hstack((centred[:, :2] - half, centred[:, :2] + half))


def candidates(boxes: Reals, scores: Reals, class_ids: NDArray[np.intp]) -> list[Candidate]:
    """Join arrays, already in order, into candidates. Scores are cut to 1: rounding goes past it by half a step."""
    return [Candidate(min(score, 1.0), class_id, Box(*box))
            for box, score, class_id in zip(boxes.tolist(), scores.tolist(), class_ids.tolist(), strict=True)]


def probability(model: ModelFile, spec: TensorSpec) -> bool:
    """Whether a tensor holds scores of 0-1 and no logits: by the operation that makes it, else by its quantization."""
    makers = {output: op for op in model.ops for output in op.outputs}
    index = spec.index
    for _ in range(len(model.ops)):
        op = makers.get(index)
        if op is None or op.name not in {"DEQUANTIZE", "QUANTIZE", "RESHAPE", "CONCATENATION"}:
            return (op is not None and op.name in {"LOGISTIC", "SOFTMAX"}) or _spans_unit(spec)
        index = op.inputs[0]
    return _spans_unit(spec)


def _spans_unit(spec: TensorSpec) -> bool:
    if not spec.quantised:
        return False
    low, high = integers(spec)
    return low == spec.zero_point and (high - low) * spec.scale <= 1.01


def _logit(score: float) -> float:
    if not 0.0 < score < 1.0:
        return -inf if score <= 0.0 else inf
    return log(score / (1.0 - score))
