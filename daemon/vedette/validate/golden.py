"""Golden frames: pictures in a bundle with the detections that they must give, and the tolerance for those.

Invariants: pure. There are expected detections for each family of runtimes, since INT8 rounding differs between them,
and between x86 and ARM: a Pi must accept a good bundle that was packed on a PC. The file states the tolerance, so that
all devices judge alike. Golden frames name the flatbuffer that made them. A detection whose score is within the
tolerance of its threshold may be missing or extra, since rounding decides it.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from operator import attrgetter
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vedette.config.camera_values import Unit
from vedette.errors import ModelUnsupported
from vedette.tflite.file import ModelFile
from vedette.tflite.model_errors import with_model_errors_only
from vedette.types import Box, Detection
from vedette.validate.agreement import Agreement, match, total
from vedette.vision.documents import document, first_problem
from vedette.vision.limits import Limits

FOLDER = "golden/"
EXPECTED = f"{FOLDER}expected.json"
_LISTED_MAX = 3

Family = str
"""Runtimes that round alike: `litert`, `litert-without-xnnpack` where its XNNPACK takes no part of the graph,
`tflite-runtime`, and `tflite-runtime+xnnpack` with Vedette's own delegate. On ARM, each has `-arm` at its end."""


class Tolerance(BaseModel):
    """Allowed difference from the expected detections: in score and overlap for the same family, in F1 for another."""

    model_config = ConfigDict(frozen=True)

    score: Unit = 0.05
    iou: Unit = 0.9
    f1: Unit = 0.8


@dataclass(frozen=True, slots=True)
class GoldenFrame:
    """One picture, as a PNG file, and the detections that it must give in each family."""

    name: str
    png: bytes
    expected: Mapping[Family, tuple[Detection, ...]]


@dataclass(frozen=True, slots=True)
class Golden:
    """The golden frames of a bundle. `flatbuffer_sha256` is the digest of the model that made them."""

    flatbuffer_sha256: str
    tolerance: Tolerance
    frames: tuple[GoldenFrame, ...]

    @property
    def families(self) -> tuple[Family, ...]:
        """The families for which every frame has expected detections."""
        first = self.frames[0].expected if self.frames else {}
        return tuple(family for family in first if all(family in frame.expected for frame in self.frames))


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one frame compares with the expected detections. `differences` are texts; none if it is within tolerance."""

    name: str
    agreement: Agreement
    differences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Judgement:
    """How all frames compare. `family`: the one whose expected detections were used."""

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


@with_model_errors_only
def read(model: ModelFile) -> Golden | None:
    """Return the golden frames of a bundle, None if it has none. Raises: ModelUnsupported (an invalid document)."""
    if EXPECTED not in model.attachments:
        return None
    try:
        stated = _Document.model_validate_json(document(model, EXPECTED))
    except ValidationError as error:
        where, problem = first_problem(error)
        raise ModelUnsupported(f"{model.path}: {EXPECTED}: {where or 'the file'}: {problem}") from error
    if lost := [name for name in stated.frames if FOLDER + name not in model.attachments]:
        raise ModelUnsupported(f"{model.path}: {EXPECTED} names {lost[0]}; expected {FOLDER}{lost[0]} beside it")
    golden = Golden(stated.flatbuffer_sha256, stated.tolerance, tuple(
        GoldenFrame(name, model.attachments[FOLDER + name], expected) for name, expected in stated.frames.items()))
    if not golden.families:
        raise ModelUnsupported(f"{model.path}: {EXPECTED}: no runtime has detections for every frame; expected one")
    return golden


def files(golden: Golden) -> dict[str, bytes]:
    """Return golden frames as the files of a bundle, which `read` reads."""
    document = {
        "flatbuffer_sha256": golden.flatbuffer_sha256, "tolerance": golden.tolerance.model_dump(),
        "frames": {frame.name: {family: list(map(_plain, found)) for family, found in sorted(frame.expected.items())}
                   for frame in golden.frames}}
    return {EXPECTED: (json.dumps(document, indent=1) + "\n").encode(),
            **{FOLDER + frame.name: frame.png for frame in golden.frames}}


def family_of(runtime: str, *, delegate: bool, xnnpack_share: float, machine: str = platform.machine()) -> Family:
    """Return the family of what ran: with Vedette's own delegate, with LiteRT's own XNNPACK, or without either.

    XNNPACK takes no part of any graph where it cannot read what processor it is on, as in a container without /sys.
    """
    family = f"{runtime}+xnnpack" if delegate else runtime
    if runtime == "litert" and not xnnpack_share:
        family = "litert-without-xnnpack"
    return f"{family}-arm" if machine.startswith(("aarch64", "arm")) else family


def judge(golden: Golden, family: Family, found: Sequence[Sequence[Detection]], limits: Limits) -> Judgement:
    """Compare the detections of every frame with the expected ones of this family, else of the nearest other family."""
    if family in golden.families:
        return _judge_against(golden, family, found, limits, same=True)
    others = (_judge_against(golden, other, found, limits, same=False) for other in golden.families)
    return max(others, key=attrgetter("f1"))


def _judge_against(golden: Golden, family: Family, found: Sequence[Sequence[Detection]], limits: Limits, *,
                   same: bool) -> Judgement:
    tolerance = golden.tolerance
    agreements = [_without_doubtful(match(frame.expected[family], detections), limits, tolerance)
                  for frame, detections in zip(golden.frames, found, strict=True)]
    verdicts = tuple(Verdict(frame.name, agreement, tuple(_differences(agreement, tolerance)))
                     for frame, agreement in zip(golden.frames, agreements, strict=True))
    whole = total(agreements)
    agrees = not any(verdict.differences for verdict in verdicts) if same else whole.f1 >= tolerance.f1
    return Judgement(agrees, family, whole.f1, whole.distance, verdicts)


def _without_doubtful(agreement: Agreement, limits: Limits, tolerance: Tolerance) -> Agreement:
    """Leave out a detection without a pair if its score is within the tolerance of its threshold."""
    def certain(found: Detection) -> bool:
        return (found.score or 0.0) >= limits.threshold_of(found.label) + tolerance.score
    return Agreement(agreement.pairs, tuple(filter(certain, agreement.only_one)),
                     tuple(filter(certain, agreement.only_other)))


def _differences(agreement: Agreement, tolerance: Tolerance) -> Iterator[str]:
    for kind, only in (("missing", agreement.only_one), ("not expected", agreement.only_other)):
        if only:
            listed = ", ".join(f"{found.label} {found.score or 0.0:.2f}" for found in only[:_LISTED_MAX])
            yield f"{kind}: {listed}{', …' if len(only) > _LISTED_MAX else ''} ({len(only)})"
    shifted = [pair for pair in agreement.pairs if pair.score_difference > tolerance.score]
    if shifted:
        worst = max(shifted, key=attrgetter("score_difference"))
        yield f"score of {len(shifted)} off by up to {worst.score_difference:.2f} ({worst.one.label})"
    moved = [pair for pair in agreement.pairs if pair.iou < tolerance.iou]
    if moved:
        worst = min(moved, key=attrgetter("iou"))
        yield f"box of {len(moved)} overlaps by as little as {worst.iou:.2f} ({worst.one.label})"


def _plain(found: Detection) -> dict[str, object]:
    return {**asdict(found), "score": round(found.score or 0.0, 4), "box": [round(edge, 5) for edge in Box(*found.box)]}
