"""The two dialects of detection servers: a picture becomes a request, and the response becomes detections.

Invariants: a response is accepted as a whole or refused (CloudError). Invalid JSON, another shape, NaN, a box in
another unit or with swapped corners refuses it, so that nonsense never becomes an empty result. The returned boxes lie
in the picture and have an area; boxes outside or on its edge are left out, as the detector on the device does.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from vedette.errors import CloudError
from vedette.types import Box, Detection, ModelRef
from vedette.vision.geometry import LEAST_SIDE, clip

MOST_DETECTIONS = 1000
FARTHEST = 0.5
"""How far outside the picture a corner may lie, as a share of its side: enough for rounding and half-seen things."""

_ClassId = Annotated[int, Field(ge=0, lt=2**31)]
_Score = Annotated[float, Field(ge=0, le=1)]
_Word = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]


@dataclass(frozen=True, slots=True)
class Request:
    """The body of a POST, and its type."""

    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class ServerResult:
    """The server's detections; boxes are 0-1 of the picture that was sent."""

    model: ModelRef | None
    detections: tuple[Detection, ...]


@dataclass(frozen=True, slots=True)
class Dialect:
    """How to send a JPEG, and how to read the response for one of (width, height). `read` raises: CloudError."""

    request: Callable[[bytes], Request]
    read: Callable[[bytes, int, int], ServerResult]


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


class _Model(_Shape):
    name: _Word
    version: _Word | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    variant: _Word | None = None


class _Detection(_Shape):
    label: _Word
    class_id: _ClassId | None = None
    score: _Score | None = None
    box: tuple[float, float, float, float]


class _Answer(_Shape):
    model: _Model | None
    detections: Annotated[list[_Detection], Field(max_length=MOST_DETECTIONS)]


class _Record(_Shape):
    xmin: float
    ymin: float
    xmax: float
    ymax: float
    confidence: _Score
    class_id: _ClassId = Field(alias="class")
    name: _Word


_ANSWER = TypeAdapter(_Answer)
_RECORDS = TypeAdapter(Annotated[list[_Record], Field(max_length=MOST_DETECTIONS)])


def _plain(jpeg: bytes) -> Request:
    return Request("image/jpeg", jpeg)


def _form(jpeg: bytes) -> Request:
    boundary = secrets.token_hex(16)
    head = (f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="frame.jpg"\r\n'
            "Content-Type: image/jpeg\r\n\r\n")
    tail = f"\r\n--{boundary}--\r\n"
    return Request(f"multipart/form-data; boundary={boundary}", head.encode() + jpeg + tail.encode())


def _read_answer(content: bytes, _width: int, _height: int) -> ServerResult:
    try:
        answer = _ANSWER.validate_json(content)
    except ValidationError as error:
        raise CloudError(_refusal(error)) from error
    model = None if answer.model is None else ModelRef(**answer.model.model_dump())
    return ServerResult(model, _ordered(Detection(each.label, each.class_id, each.score, box)
                                        for each in answer.detections
                                        if (box := _in_picture(Box(*each.box))) is not None))


def _read_records(content: bytes, width: int, height: int) -> ServerResult:
    try:
        records = _RECORDS.validate_json(content)
    except ValidationError as error:
        raise CloudError(_refusal(error)) from error
    return ServerResult(None, _ordered(Detection(each.name, each.class_id, each.confidence, box) for each in records
                                       if (box := _in_picture(_from_pixels(each, width, height))) is not None))


def _from_pixels(record: _Record, width: int, height: int) -> Box:
    if 0 < max(record.xmax, record.ymax) <= 1:
        raise CloudError(f"a box ends at {record.xmax:g}, {record.ymax:g}; expected pixels")
    return Box(record.xmin / width, record.ymin / height, record.xmax / width, record.ymax / height)


def _in_picture(box: Box) -> Box | None:
    """Return the box cut to the picture; None for one outside or without area. Raises: CloudError."""
    if min(box) < -FARTHEST or max(box) > 1 + FARTHEST:
        raise CloudError(f"a box lies far outside the picture: {_text_of(box)}; expected corners in it, in the unit of "
                         "the dialect")
    if box.xmin > box.xmax or box.ymin > box.ymax:
        raise CloudError(f"a box has swapped corners: {_text_of(box)}; expected xmin, ymin, xmax, ymax")
    cut = clip(box)
    return cut if min(cut.xmax - cut.xmin, cut.ymax - cut.ymin) >= LEAST_SIDE else None


def _ordered(detections: Iterable[Detection]) -> tuple[Detection, ...]:
    return tuple(sorted(detections, key=lambda found: -(found.score or 0.0)))


def _text_of(box: Box) -> str:
    return ", ".join(f"{corner:.4g}" for corner in box)


def _refusal(error: ValidationError) -> str:
    """Return a message that names the wrong part of the response and repeats none of its content."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(map(str, first["loc"])) or "the response"
    return f"expected the response of a detection server: {where}: {first['msg']}"


DIALECTS: Mapping[str, Dialect] = {"vedette": Dialect(_plain, _read_answer), "yolov5": Dialect(_form, _read_records)}
