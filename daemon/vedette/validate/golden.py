"""Golden frames: pictures in a bundle with the detections they must yield, and how near to those is near enough.

Invariants: pure; what is expected is told for each family of runtimes, since INT8 rounding differs between them; the
tolerance is stated in the file, so that every device judges alike; golden frames name the flatbuffer they were made
with. Detections within the score tolerance of their threshold may be there or not: nobody else could tell either.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vedette.config.models import Unit
from vedette.errors import ModelUnsupported
from vedette.tflite.file import ModelFile
from vedette.types import Box, Detection
from vedette.validate.agreement import Agreement, match, total
from vedette.vision.limits import Limits

FOLDER = "golden/"
EXPECTED = f"{FOLDER}expected.json"
_TOLD_MAX = 3

Family = str
"""Runtimes that round alike: `litert`, `tflite-runtime`, and `tflite-runtime+xnnpack` with the delegate of ours."""


class Tolerance(BaseModel):
    """How far a device may be from what is expected: of the same family in score and overlap, of another in F1."""

    model_config = ConfigDict(frozen=True)

    score: Unit = 0.05
    iou: Unit = 0.9
    f1: Unit = 0.8


@dataclass(frozen=True, slots=True)
class GoldenFrame:
    """One picture, as a PNG file, and the detections it must yield in each family."""

    name: str
    png: bytes
    expected: Mapping[Family, tuple[Detection, ...]]


@dataclass(frozen=True, slots=True)
class Golden:
    """The golden frames of a bundle. `flatbuffer_sha256` is of the model that made them."""

    flatbuffer_sha256: str
    tolerance: Tolerance
    frames: tuple[GoldenFrame, ...]

    @property
    def families(self) -> tuple[Family, ...]:
        """Those in which every frame has its detections."""
        first = self.frames[0].expected if self.frames else {}
        return tuple(family for family in first if all(family in frame.expected for frame in self.frames))


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one frame compares with what is expected. `differences` are in words, empty where it is near enough."""

    name: str
    agreement: Agreement
    differences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Judgement:
    """How all frames compare. `family`: whose detections they were held against."""

    agrees: bool
    family: Family
    f1: float
    distance: float
    verdicts: tuple[Verdict, ...]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    flatbuffer_sha256: str
    tolerance: Tolerance = Tolerance()
    frames: Annotated[dict[str, dict[Family, tuple[Detection, ...]]], Field(min_length=1)]


def read(model: ModelFile) -> Golden | None:
    """Return the golden frames of a bundle, None where it has none. Raises: ModelUnsupported (not understood)."""
    if EXPECTED not in model.attachments:
        return None
    try:
        stated = _Document.model_validate_json(model.attachments[EXPECTED])
    except ValidationError as error:
        first = error.errors()[0]
        raise ModelUnsupported(f"{model.path}: {EXPECTED}: {'.'.join(map(str, first['loc'])) or 'the file'}: "
                               f"{first['msg']}") from error
    if lost := [name for name in stated.frames if FOLDER + name not in model.attachments]:
        raise ModelUnsupported(f"{model.path}: {EXPECTED} names {lost[0]}; expected {FOLDER}{lost[0]} beside it")
    golden = Golden(stated.flatbuffer_sha256, stated.tolerance, tuple(
        GoldenFrame(name, model.attachments[FOLDER + name], expected) for name, expected in stated.frames.items()))
    if not golden.families:
        raise ModelUnsupported(f"{model.path}: {EXPECTED}: no runtime has its detections for every frame")
    return golden


def files(golden: Golden) -> dict[str, bytes]:
    """Return golden frames as the files of a bundle: what `read` reads."""
    document = {
        "flatbuffer_sha256": golden.flatbuffer_sha256, "tolerance": golden.tolerance.model_dump(),
        "frames": {frame.name: {family: list(map(_plain, found)) for family, found in sorted(frame.expected.items())}
                   for frame in golden.frames}}
    return {EXPECTED: (json.dumps(document, indent=1) + "\n").encode(),
            **{FOLDER + frame.name: frame.png for frame in golden.frames}}


def family_of(runtime: str, *, delegate: bool) -> Family:
    """Return the family of a runtime, with or without the delegate of ours."""
    return f"{runtime}+xnnpack" if delegate else runtime


def judge(golden: Golden, family: Family, found: Sequence[Sequence[Detection]], limits: Limits) -> Judgement:
    """Hold the detections of every frame against what is expected: of this family, else of the nearest other one."""
    if family in golden.families:
        return _held_against(golden, family, found, limits, same=True)
    others = (_held_against(golden, other, found, limits, same=False) for other in golden.families)
    return max(others, key=lambda judgement: judgement.f1)


def _held_against(golden: Golden, family: Family, found: Sequence[Sequence[Detection]], limits: Limits, *,
                  same: bool) -> Judgement:
    tolerance = golden.tolerance
    agreements = [_beyond_doubt(match(frame.expected[family], seen), limits, tolerance)
                  for frame, seen in zip(golden.frames, found, strict=True)]
    verdicts = tuple(Verdict(frame.name, agreement, tuple(_differences(agreement, tolerance)))
                     for frame, agreement in zip(golden.frames, agreements, strict=True))
    whole = total(agreements)
    agrees = not any(verdict.differences for verdict in verdicts) if same else whole.f1 >= tolerance.f1
    return Judgement(agrees, family, whole.f1, whole.distance, verdicts)


def _beyond_doubt(agreement: Agreement, limits: Limits, tolerance: Tolerance) -> Agreement:
    """Leave out what has no pair only because its score lies so near its threshold."""
    def sure(found: Detection) -> bool:
        return (found.score or 0.0) >= limits.threshold_of(found.label) + tolerance.score
    return Agreement(agreement.pairs, tuple(filter(sure, agreement.only_one)),
                     tuple(filter(sure, agreement.only_other)))


def _differences(agreement: Agreement, tolerance: Tolerance) -> Iterator[str]:
    for word, only in (("missing", agreement.only_one), ("not expected", agreement.only_other)):
        if only:
            named = ", ".join(f"{found.label} {found.score or 0.0:.2f}" for found in only[:_TOLD_MAX])
            yield f"{word}: {named}{', …' if len(only) > _TOLD_MAX else ''} ({len(only)})"
    shifts = [pair for pair in agreement.pairs if abs(pair.score_shift) > tolerance.score]
    if shifts:
        worst = max(shifts, key=lambda pair: abs(pair.score_shift))
        yield f"score of {len(shifts)} off by up to {abs(worst.score_shift):.2f} ({worst.one.label})"
    moved = [pair for pair in agreement.pairs if pair.iou < tolerance.iou]
    if moved:
        worst = min(moved, key=lambda pair: pair.iou)
        yield f"box of {len(moved)} overlaps by as little as {worst.iou:.2f} ({worst.one.label})"


def _plain(found: Detection) -> dict[str, object]:
    return {**asdict(found), "score": round(found.score or 0.0, 4), "box": [round(edge, 5) for edge in Box(*found.box)]}
