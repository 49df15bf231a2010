"""What each request is answered with: who may ask, how much at once, and what the detector sees.

Invariants:
- Everything that can be refused by its head is refused before a byte of the body is read; dimensions are checked before
  a picture is unpacked. At most `concurrency` bodies are held at a time.
- One picture is looked at at a time; one whose client no longer waits is not looked at.
- A picture that could not be looked at is an error, never an empty answer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from vedette.errors import DetectError, SourceInvalid
from vedette.messages import payloads
from vedette.messages.cloud_shapes import DEADLINE_HEADER
from vedette.serve.counters import Counters
from vedette.serve.exchange import Asked, Refusal, Reply, busy
from vedette.serve.form import form_field
from vedette.vision import images
from vedette.vision.picture_size import picture_size

if TYPE_CHECKING:
    from vedette.ports import Detector
    from vedette.serve.tokens import Tokens
    from vedette.types import Detection, DetectionResult

DETECT = "/v1/detect"
DETECT_PLAIN = "/v1/object-detection/"
HEALTH, METRICS, OPENAPI = "/healthz", "/metrics", "/openapi.json"
PICTURES = ("image/jpeg", "image/png")
FORM = "multipart/form-data"
PLAIN_TEXT = "text/plain; version=0.0.4; charset=utf-8"

REQUEST_S = 10.0
"""A whole exchange, from its connection to the last byte of its reply."""

_Answer = Callable[[Asked], Reply]


@dataclass(frozen=True, slots=True)
class ServeLimits:
    """What one request, and all of them together, may take."""

    body_bytes: int = 8 * 2**20
    pixels: int = 16_000_000
    concurrency: int = 4


class Service:
    """Any thread. Takes over the detector and closes it."""

    def __init__(self, detector: Detector, tokens: Tokens, limits: ServeLimits, openapi: bytes) -> None:
        self.counters = Counters()
        self._detector = detector
        self._looking = threading.Lock()
        self._tokens = tokens
        self._limits = limits
        self._room = threading.BoundedSemaphore(limits.concurrency)
        self._seq = 0
        self._openapi = openapi
        self._routes: Mapping[tuple[str, str], tuple[_Answer, bool]] = {    # answer, and whether it needs a token
            ("POST", DETECT): (self._detect, True),
            ("POST", DETECT_PLAIN): (self._detect_plain, True),
            ("GET", HEALTH): (self._health, False),
            ("GET", METRICS): (self._metrics, True),
            ("GET", OPENAPI): (lambda _: Reply(HTTPStatus.OK, self._openapi), False),
        }

    def __repr__(self) -> str:
        return f"<Service {self._detector!r}>"

    def answer(self, asked: Asked) -> Reply:
        """Return the reply to a request. Raises: OSError of its connection."""
        path = asked.path.partition("?")[0]
        route = DETECT_PLAIN if path.startswith(DETECT_PLAIN) else path
        try:
            reply = self._answer_of(asked, route)(asked)
        except Refusal as refusal:
            reply = refusal.reply
        known = any(route == each for _, each in self._routes)
        self.counters.answered(route if known else "other", reply.status)
        return reply

    def close(self) -> None:
        """Wait for the picture under way, then free the detector."""
        with self._looking:
            self._detector.close()

    def _answer_of(self, asked: Asked, route: str) -> _Answer:
        method = "GET" if asked.method == "HEAD" else asked.method
        answer, secured = self._routes.get((method, route), (None, False))
        if answer is None:
            allowed = ", ".join(each for each, at in self._routes if at == route)
            if allowed:
                raise Refusal(HTTPStatus.METHOD_NOT_ALLOWED, f"expected {allowed}", Allow=allowed)
            raise Refusal(HTTPStatus.NOT_FOUND, f"nothing is here; see {OPENAPI}")
        if secured and not self._tokens.allow(asked.headers.get("authorization", "")):
            raise Refusal(HTTPStatus.UNAUTHORIZED, "expected a bearer token that is known here",
                          WWW_Authenticate="Bearer")
        return answer

    def _detect(self, asked: Asked) -> Reply:
        with self._body(asked, PICTURES) as body:
            told = payloads.detections(self._look(asked, body), device="", run=0, seq=0, dropped={}, clock_synced=False)
        return Reply(HTTPStatus.OK, payloads.encode({"model": told["model"], "detections": told["detections"]}))

    def _detect_plain(self, asked: Asked) -> Reply:
        with self._body(asked, (FORM,)) as body:
            try:
                content = form_field(asked.headers["content-type"], body, "image")
            except ValueError as error:
                raise Refusal(HTTPStatus.BAD_REQUEST, str(error)) from error
            result = self._look(asked, content)
        records = [payloads.encode(each).decode() for each in map(_record(result), result.detections)]
        return Reply(HTTPStatus.OK, f"[{','.join(records)}]".encode())

    def _health(self, _asked: Asked) -> Reply:
        facts = self._detector.facts
        return Reply(HTTPStatus.OK, payloads.encode({
            "status": "ok", "model": facts.model.name, "version": facts.model.version, "sha256": facts.model.sha256,
            "runtime": facts.runtime, "xnnpack_share": round(facts.xnnpack_share, 4)}))

    def _metrics(self, _asked: Asked) -> Reply:
        return Reply(HTTPStatus.OK, self.counters.document().encode(), PLAIN_TEXT)

    @contextmanager
    def _body(self, asked: Asked, types: tuple[str, ...]) -> Iterator[bytes]:
        """Give the body, holding one of the places for them."""
        length = self._length_of(asked)
        if asked.headers.get("content-type", "").partition(";")[0].strip().lower() not in types:
            raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"expected {' or '.join(types)}")
        if not self._room.acquire(blocking=False):
            raise busy("all places are taken")
        try:
            with self.counters.busy():
                body = asked.read(length)
                if len(body) < length:
                    raise Refusal(HTTPStatus.BAD_REQUEST, f"the body ended after {len(body)} of {length} bytes")
                yield body
        finally:
            self._room.release()

    def _length_of(self, asked: Asked) -> int:
        told = asked.headers.get("content-length", "")
        if "transfer-encoding" in asked.headers or not told:
            raise Refusal(HTTPStatus.LENGTH_REQUIRED, "expected a Content-Length")
        if not (told.isascii() and told.isdigit() and len(told) < 19):
            raise Refusal(HTTPStatus.BAD_REQUEST, "expected one Content-Length, a whole number")
        if int(told) > self._limits.body_bytes:
            raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected {self._limits.body_bytes} bytes at most")
        return int(told)

    def _look(self, asked: Asked, content: bytes) -> DetectionResult:
        try:
            size = picture_size(content)
            if size.width * size.height > self._limits.pixels:
                raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                              f"{size.width} x {size.height} pixels; expected {self._limits.pixels} at most")
            pixels = images.decode(content, "the picture")
        except SourceInvalid as error:
            raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error
        if not self._looking.acquire(timeout=_patience_s(asked)):
            raise busy("the detector is busy for longer than you wait")
        try:
            self._seq += 1
            result = self._detector.detect(images.frame_of(pixels, self._seq))
        except DetectError as error:
            raise Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, str(error)) from error
        finally:
            self._looking.release()
        self.counters.looked(result.timing)
        return result


def _patience_s(asked: Asked) -> float:
    """Return how long the client still waits, as far as it says so."""
    told = asked.headers.get(DEADLINE_HEADER.lower(), "")
    patience_s = int(told) / 1000 if told.isascii() and told.isdigit() and len(told) < 10 else REQUEST_S
    return max(0.0, min(patience_s, REQUEST_S) - asked.waited_s())


def _record(result: DetectionResult) -> Callable[[Detection], dict[str, object]]:
    """Return what turns this result's detections into records as YOLOv5 writes them: pixels, `confidence`, `name`."""
    width, height = result.frame.width, result.frame.height

    def record(found: Detection) -> dict[str, object]:
        box = found.box
        return {"xmin": round(box.xmin * width, 2), "ymin": round(box.ymin * height, 2),
                "xmax": round(box.xmax * width, 2), "ymax": round(box.ymax * height, 2),
                "confidence": round(found.score or 0.0, 4), "class": found.class_id, "name": found.label}
    return record
