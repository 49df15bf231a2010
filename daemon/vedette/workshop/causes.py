"""Finds out why a step does not agree with the first one: thresholds, labels, boxes, or how pictures are prepared.

Invariants: pure, except that a network is run again with other settings. A cause is named only if the step agrees once
it is corrected. Each attempt changes one thing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

from vedette.errors import DetectError
from vedette.types import WHOLE, Box
from vedette.validate.agreement import Agreement, match, total
from vedette.validate.verify import label_shift
from vedette.vision.geometry import InputShape, clip, place
from vedette.vision.model_spec import COARSE_SCALE
from vedette.workshop.answers import RefusedStep
from vedette.workshop.step import Picture, Step
from vedette.workshop.steps import NetworkStep

if TYPE_CHECKING:
    from vedette.tflite.file import ModelFile
    from vedette.types import Detection
    from vedette.vision.model_spec import ModelSpec

EXAMPLES = 8
"""How many pictures, in which the first step finds something, are used to find a cause."""
NOTHING = "the first step finds nothing in these pictures; put a step that works first"
Read = Callable[[Box], Box]
_BETTER = 0.5       # a cause must explain at least so much of the distance


@dataclass(frozen=True, slots=True)
class Example:
    """A picture, what the first step finds in it, and what the step finds."""

    picture: Picture
    expected: tuple[Detection, ...]
    found: tuple[Detection, ...]


def cause_of(step: Step, known: ModelSpec | None, examples: Sequence[Example], bound: float) -> str | None:
    """Return why the step differs, None if nothing explains it. `known` is how another step runs.

    `bound` is the least F1 with the first step once the cause is corrected.
    """
    if not examples:
        return NOTHING
    stated = total(match(each.expected, each.found) for each in examples)
    search = _Search(stated, bound)
    if isinstance(step, RefusedStep):
        return _shared_scale(step.model) or step.refusal
    return (_shared_scale(step.model) or _limits_cause(step, known, examples, search)
            or _labels_cause(step, known.labels if known else (), examples, search)
            or _box_cause(step, known, examples, search) or _input_cause(step, examples, search))


@dataclass(frozen=True, slots=True)
class _Search:
    """Decides whether an attempt explains the difference."""

    stated: Agreement
    bound: float

    def explains(self, attempt: Agreement) -> bool:
        return attempt.f1 >= self.bound and attempt.distance <= _BETTER * self.stated.distance


def _shared_scale(model: ModelFile | None) -> str | None:
    """Recognize one output with boxes in pixels and scores: no score has a step between 0 and 1 there."""
    if model is None or len(model.outputs) != 1 or model.outputs[0].scale <= COARSE_SCALE:
        return None
    return (f"boxes in pixels: boxes and scores share one output with a scale of {model.outputs[0].scale:.3g}, which "
            "leaves nothing of the scores; `vedette model quantize` keeps them apart")


def _limits_cause(step: Step, known: ModelSpec | None, examples: Sequence[Example], search: _Search) -> str | None:
    if known is None or not isinstance(step, NetworkStep) or step.spec.limits == known.limits:
        return None
    same = replace(step.spec, limits=known.limits)
    if not search.explains(total(match(each.expected, step.detect_as(same, each.picture)) for each in examples)):
        return None
    ours, theirs = step.spec.limits, known.limits
    return (f"thresholds: it agrees with score {theirs.score_threshold:g} and IoU {theirs.iou_threshold:g}, but runs "
            f"with {ours.score_threshold:g} and {ours.iou_threshold:g}")


def _labels_cause(step: Step, labels: Sequence[str], examples: Sequence[Example], search: _Search) -> str | None:
    names = _names(examples)
    differing = {name: right for name, right in names.items() if name != right}
    if not differing or not search.explains(total(_renamed(step, labels, names, examples))):
        return None
    expected = {found.class_id: found.label for each in examples for found in each.expected
                if found.class_id is not None}
    if shift := label_shift(step.spec.labels if step.spec else (), expected) or _shift_in(labels, names):
        return shift
    name, right = next(iter(differing.items()))
    return f"labels: it has {name!r} where the first step has {right!r}"


def _renamed(step: Step, labels: Sequence[str], names: Mapping[str, str],
             examples: Sequence[Example]) -> Iterator[Agreement]:
    """Yield the agreement of each example with the first step's labels: a network runs again, answers get its names."""
    for each in examples:
        found = step.detect_as(replace(step.spec, labels=tuple(labels)), each.picture) if isinstance(
            step, NetworkStep) else [replace(seen, label=names.get(seen.label, seen.label)) for seen in each.found]
        yield match(each.expected, found)


def _names(examples: Sequence[Example]) -> dict[str, str]:
    """Return for each label of the step the one that the first step usually gives to the same things."""
    votes: dict[str, Counter[str]] = {}
    for each in examples:
        for pair in match(_unlabelled(each.expected), _unlabelled(each.found)).pairs:
            one, other = each.expected[pair.one.track or 0], each.found[pair.other.track or 0]
            votes.setdefault(other.label, Counter())[one.label] += 1
    return {name: counts.most_common(1)[0][0] for name, counts in votes.items()}


def _unlabelled(detections: Sequence[Detection]) -> list[Detection]:
    """Return the detections without labels; `track` is their place."""
    return [replace(found, label="", track=place) for place, found in enumerate(detections)]


def _shift_in(labels: Sequence[str], names: Mapping[str, str]) -> str | None:
    """Recognize names that stand one further up or down in the first step's list."""
    places = {label: place for place, label in enumerate(labels)}
    shifts = {places.get(name, -2) - places.get(right, -4) for name, right in names.items()}
    return next((f"labels: shifted by one ({mistake})" for shift, mistake in
                 ((1, "the first one is missing"), (-1, "one too many at the start")) if shifts == {shift}), None)


def _box_cause(step: Step, known: ModelSpec | None, examples: Sequence[Example], search: _Search) -> str | None:
    agreeing = []
    for unit, form in product(_UNITS, _FORMS):
        attempt = total(match(each.expected, [replace(found, box=_reread(found.box, unit, form, step, known, each))
                                              for found in each.found]) for each in examples)
        if search.explains(attempt):
            agreeing.append((attempt.distance, ", ".join(filter(None, (unit, _FORMS[form])))))
    return min(agreeing)[1] if agreeing else None


def _reread(box: Box, unit: str, form: Read, step: Step, known: ModelSpec | None, example: Example) -> Box:
    """Return the box in 0-1 of the frame, had it been given in this unit and form."""
    frame, of_input = example.picture.frame, unit == _INPUT_PIXELS
    spec = step.spec or (known if of_input else None)
    shape = spec.input if spec else InputShape(frame.width, frame.height, 3, planar=False)
    placement = place(frame.width, frame.height, WHOLE, shape, spec.resize if spec else "stretch")
    if not unit:
        return placement.to_frame(form(placement.to_input(box)))
    width, height = (shape.width, shape.height) if of_input else (frame.width, frame.height)
    xmin, ymin, xmax, ymax = form(box)
    read = Box(xmin / width, ymin / height, xmax / width, ymax / height)
    return placement.to_frame(read) if of_input else clip(read)


def _input_cause(step: Step, examples: Sequence[Example], search: _Search) -> str | None:
    if not isinstance(step, NetworkStep):
        return None
    agreeing: list[tuple[float, str]] = []
    for other in step.alternatives():
        try:
            attempt = total(match(each.expected, step.detect_as(other.spec, each.picture)) for each in examples)
        except DetectError:
            continue        # an output that is not finite explains nothing
        if search.explains(attempt):
            agreeing.append((attempt.distance,
                             f"{other.part}: it agrees with {other.tried}, but runs with {other.stated}"))
    return min(agreeing)[1] if agreeing else None


def _y_first(box: Box) -> Box:
    return Box(box.ymin, box.xmin, box.ymax, box.xmax)


def _from_centre(box: Box) -> Box:
    x, y, width, height = box
    return Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def _from_size(box: Box) -> Box:
    x, y, width, height = box
    return Box(x, y, x + width, y + height)


def _same(box: Box) -> Box:
    return box


_FORMS: Mapping[Read, str] = {
    _same: "", _y_first: "box order: y stands before x",
    _from_centre: "box order: centre and size in place of corners",
    _from_size: "box order: a corner and the size in place of two corners"}
_INPUT_PIXELS = "boxes in pixels of the model's input"
_UNITS = ("", "boxes in pixels of the picture", _INPUT_PIXELS)
