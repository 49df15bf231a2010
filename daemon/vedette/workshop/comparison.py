"""Compares steps on the same pictures: where the boxes and scores of each differ from the first, and why.

Invariants: every step sees each picture, one directly after the other, so their latencies can be compared. Figures are
of what each step detects with its own thresholds; only average precision counts everything. Boxes are compared in
pixels of the model's input.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from vedette.messages.payloads import rounded
from vedette.types import WHOLE
from vedette.validate.agreement import Agreement, Pair, match, total
from vedette.validate.average_precision import Precision, Truth, average_precision
from vedette.validate.golden import Tolerance
from vedette.vision import bundle
from vedette.vision.geometry import place
from vedette.workshop.causes import EXAMPLES, Example, cause_of
from vedette.workshop.step import Picture, Step
from vedette.workshop.steps import text_of

if TYPE_CHECKING:
    from vedette.types import Detection, Frame
    from vedette.vision.model_spec import ModelSpec

_METRICS = {**dict.fromkeys(("ap", "map", "map5095", "ap5095", "cocoap"), "ap"),
            **dict.fromkeys(("ap50", "map50", "map05"), "ap50")}
"""Names of average precision in trainings, without signs."""
SHOWN = 5
"""How many of the pictures with the largest differences are kept."""
TOLERANCE = Tolerance()
LEAST_F1 = TOLERANCE.f1
"""Below this a step does not agree with the first one, as for golden frames of another family of runtimes."""
LEAST_F1_EXACT, MOST_PX_EXACT, MOST_SCORE_EXACT = 0.95, 1.0, 0.02
"""The same, and the mean difference of boxes and scores, where both steps calculate with floats."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One step on all pictures. `agreement` and `box_px` (one for each pair) are with the first step.
    `name` is what was given, `title` the name that a bundle states.

    `ap`: None without a truth. `runtime`, `prepared`, `version`, `sha256`: None where they are unknown.
    """

    letter: str
    name: str
    title: str
    kind: str
    exact: bool
    runtime: str | None
    prepared: str | None
    version: str | None
    sha256: str | None
    notes: tuple[str, ...]
    first_values: tuple[float, ...]
    agreement: Agreement
    box_px: tuple[float, ...]
    invokes_ms: tuple[float, ...]
    precision: Precision | None
    breaks: bool
    cause: str | None

    @property
    def detections(self) -> int:
        """How many things it detects."""
        return len(self.agreement.pairs) + len(self.agreement.only_other)

    @property
    def score_difference(self) -> float | None:
        """The largest difference of the scores of a pair."""
        return max((pair.score_difference for pair in self.agreement.pairs), default=None)

    @property
    def invoke_ms(self) -> float | None:
        """The median time of an invoke; None where it is unknown."""
        return median(self.invokes_ms) if self.invokes_ms else None

    def plain(self) -> dict[str, Any]:
        """Return the values for JSON."""
        agreement, precision = self.agreement, self.precision
        return {
            "step": self.letter, "name": self.name, "kind": self.kind, "version": self.version, "sha256": self.sha256,
            "runtime": self.runtime, "prepared": self.prepared, "first_values": list(self.first_values),
            "detections": self.detections, "f1": rounded(agreement.f1, 4), "both": len(agreement.pairs),
            "only_first": len(agreement.only_one), "only_step": len(agreement.only_other),
            "box_px": rounded(max(self.box_px, default=None), 4),
            "box_px_mean": rounded(fmean(self.box_px), 4) if self.box_px else None,
            "score_difference": rounded(self.score_difference, 4), "score_shift": rounded(agreement.score_shift, 4),
            "iou": rounded(agreement.mean_iou, 4), "ap": rounded(precision.ap, 4) if precision else None,
            "ap50": rounded(precision.ap50, 4) if precision else None, "invoke_ms": rounded(self.invoke_ms, 4),
            "breaks": self.breaks, "cause": self.cause, "notes": list(self.notes)}


@dataclass(frozen=True, slots=True)
class Differing:
    """A picture in which steps differ, what each detects, and how each agrees with the first."""

    name: str
    pixels: memoryview
    detections: tuple[tuple[Detection, ...], ...]
    agreements: tuple[Agreement, ...]

    @property
    def distance(self) -> float:
        """How much the step differs that differs most."""
        return max(agreement.distance for agreement in self.agreements)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Every step, and the pictures with the largest differences, the largest first.

    `training`: the metrics of the training that a bundle among the steps states; empty without them.
    """

    frames: int
    steps: tuple[Compared, ...]
    worst: tuple[Differing, ...]
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def broken(self) -> Compared | None:
        """The step at which it breaks; None if every step agrees with the first."""
        return next((step for step in self.steps if step.breaks), None)

    def plain(self) -> dict[str, Any]:
        """Return the values for JSON."""
        return {"frames": self.frames, "breaks_at": self.broken.letter if self.broken else None,
                "training": dict(self.training) or None, "steps": [step.plain() for step in self.steps]}


def compare(steps: Sequence[Step], pictures: Iterable[Picture], truth: Truth | None = None) -> Comparison:
    """Run every step on each picture, and compare it with the first step.

    `truth` has the things in some pictures, by the names of their files. Without it there is no average precision.
    Raises: DetectError, CloudError, HttpError, SourceInvalid, ModelUnsupported, ExtraMissing.
    """
    known = next((step.spec for step in steps if step.spec), None)
    tallies = [_Tally(step, known, truth) for step in steps]
    worst: list[Differing] = []
    frames = 0
    for picture in pictures:
        frames += 1
        found = [tally.detect(picture) for tally in tallies]
        agreements = [tally.add(picture, found[0], detections)
                      for tally, detections in zip(tallies, found, strict=True)]
        differing = Differing(picture.name, picture.frame.pixels, tuple(found), tuple(agreements))
        if differing.distance > 0:
            worst.append(differing)
            worst.sort(key=attrgetter("distance"), reverse=True)
            del worst[SHOWN:]
    exact = steps[0].exact
    compared = (tally.compared(letter_of(place), exact=exact) for place, tally in enumerate(tallies))
    return Comparison(frames, tuple(compared), tuple(worst), _training(steps))


def hold(comparison: Comparison) -> Iterator[str]:
    """Yield a line for each metric of the training: what it is, and how far the AP of each step is from it."""
    for name, stated in comparison.training.items():
        measured = _measured_as(name)
        steps = ((step.letter, getattr(step.precision, measured)) for step in comparison.steps
                 if measured and step.precision)
        held = ", ".join(f"{letter} {value:.4f} ({value - stated:+.4f})" for letter, value in steps)
        yield f"training: {name} {stated:g}{f'; {held}' if held else ''}"


def _measured_as(metric: str) -> str | None:
    """Return the figure of a precision that has the name of this metric of a training: ap, ap50 or none."""
    plain = re.sub(r"[^a-z0-9]", "", metric.lower().rpartition("/")[2].partition("(")[0])
    return _METRICS.get(plain)


def letter_of(place: int) -> str:
    """Return A, B, …, Z, A2, B2, … for the steps in their order."""
    turn, letter = divmod(place, 26)
    return f"{chr(ord('A') + letter)}{turn + 1 if turn else ''}"


class _Tally:
    """Sums up what one step gives."""

    def __init__(self, step: Step, known: ModelSpec | None, truth: Truth | None) -> None:
        self._step = step
        self._known = known
        self._precision = _PrecisionTally(truth) if truth else None
        self._agreements: list[Agreement] = []
        self._box_px: list[float] = []
        self._invokes_ms: list[float] = []
        self._examples: list[Example] = []
        self._first_values: tuple[float, ...] = ()

    def detect(self, picture: Picture) -> tuple[Detection, ...]:
        """Run the step on a picture."""
        if not self._agreements:
            self._first_values = self._step.first_values(picture)
        if self._precision:
            self._precision.add(picture, self._step)
        found = self._step.detect(picture)
        if self._step.invoke_ms is not None:
            self._invokes_ms.append(self._step.invoke_ms)
        return found

    def add(self, picture: Picture, expected: tuple[Detection, ...], found: tuple[Detection, ...]) -> Agreement:
        """Compare a picture with what the first step detects in it."""
        agreement = match(expected, found)
        self._agreements.append(agreement)
        self._box_px += [_pixels_apart(pair, picture.frame, self._known) for pair in agreement.pairs]
        if expected and len(self._examples) < EXAMPLES:
            self._examples.append(Example(picture, expected, found))
        return agreement

    def compared(self, letter: str, *, exact: bool) -> Compared:
        """Return the figures, and the cause where the step does not agree well with the first one."""
        step, agreement = self._step, total(self._agreements)
        exact = exact and step.exact
        least = LEAST_F1_EXACT if exact else LEAST_F1
        px = fmean(self._box_px) if self._box_px else 0.0
        score = fmean(pair.score_difference for pair in agreement.pairs) if agreement.pairs else 0.0
        breaks = agreement.f1 < least or (exact and (px > MOST_PX_EXACT or score > MOST_SCORE_EXACT))
        doubtful = breaks or agreement.f1 < LEAST_F1_EXACT or score > TOLERANCE.score
        cause = cause_of(step, self._known, self._examples, least) if doubtful else None
        spec, ref = step.spec, step.ref
        return Compared(
            letter, step.name, ref.name if ref else step.name, step.kind, step.exact, step.runtime,
            text_of(spec) if spec else None, ref.version if ref else None, ref.sha256 if ref else None,
            step.notes, self._first_values, agreement, tuple(self._box_px), tuple(self._invokes_ms),
            self._precision.read() if self._precision else None, breaks or cause is not None, cause)


class _PrecisionTally:
    """Collects everything that a step detects in the pictures that the truth has."""

    def __init__(self, truth: Truth) -> None:
        self._truth = truth
        self._ids = {Path(name).name: image_id for image_id, name in truth.images.items()}
        self._seen: set[int] = set()
        self._rows: list[dict[str, Any]] = []

    def add(self, picture: Picture, step: Step) -> None:
        image_id = self._ids.get(picture.file)
        if image_id is None:
            return
        self._seen.add(image_id)
        frame = picture.frame
        self._rows += self._truth.rows(image_id, frame.width, frame.height, step.detect_all(picture))

    def read(self) -> Precision | None:
        """Return the precision; None if the truth has none of the pictures. Raises: ExtraMissing."""
        return average_precision(self._truth.only(self._seen), self._rows) if self._seen else None


def _pixels_apart(pair: Pair, frame: Frame, known: ModelSpec | None) -> float:
    """Return the largest difference of a side of both boxes: in pixels of the input, where known, or of the frame."""
    boxes, size = (pair.one.box, pair.other.box), (frame.width, frame.height)
    if known:
        placement = place(*size, WHOLE, known.input, known.resize)
        size = (known.input.width, known.input.height)
        boxes = (placement.to_input(pair.one.box), placement.to_input(pair.other.box))
    return max(abs(one - other) * pixels for one, other, pixels in zip(*boxes, size * 2, strict=True))


def _training(steps: Sequence[Step]) -> Mapping[str, Any]:
    """Return the metrics of the training that the first bundle with some states."""
    for step in steps:
        baseline = bundle.baseline_of(step.model) if step.model else None
        stated = (baseline.model_dump().get("training") or {}) if baseline else {}
        if metrics := stated.get("metrics"):
            return dict(metrics)
    return {}
