"""The answer to each request: which clients are allowed, how much at once, and what the detector detects.

Invariants:
- A request that its head can refuse is refused before a byte of its body is read. Where the key is in the form, the
  body is read first. Dimensions are checked before an image is decoded, and a PNG is decoded only as far as they
  promise. At most `concurrency` bodies are held at a time.
- The detector gets one image at a time. An image whose client no longer waits is skipped.
- A detection that fails is an error, never an empty answer.
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
from vedette.serve import deepstack
from vedette.serve.counters import Counters
from vedette.serve.exchange import REQUEST_S, Refusal, Reply, Request, busy
from vedette.serve.exposition import CONTENT_TYPE
from vedette.serve.form import form_field
from vedette.vision import images
from vedette.vision.bounded_png import SIGNATURE, bounded_png
from vedette.vision.picture_size import picture_size

if TYPE_CHECKING:
    from vedette.ports import Detector
    from vedette.serve.tokens import Tokens
    from vedette.types import Detection, DetectionResult

DETECT = "/v1/detect"
DETECT_PLAIN = "/v1/object-detection/"
HEALTH, METRICS, OPENAPI = "/healthz", "/metrics", "/openapi.json"
IMAGE_TYPES = ("image/jpeg", "image/png")
FORM = "multipart/form-data"
KEY_FORMS = (FORM, deepstack.URL_ENCODED)

_Answer = Callable[[Request], Reply]


@dataclass(frozen=True, slots=True)
class ServeLimits:
    """Limits of one request, and of all requests together."""

    body_bytes: int = 8 * 2**20
    pixels: int = 16_000_000
    concurrency: int = 4


class Service:
    """Answers requests, on any thread. Owns the detector and closes it."""

    def __init__(self, detector: Detector, tokens: Tokens, limits: ServeLimits, openapi: bytes) -> None:
        self.counters = Counters()
        self._detector = detector
        self._detector_lock = threading.Lock()
        self._tokens = tokens
        self._limits = limits
        self._room = threading.BoundedSemaphore(limits.concurrency)
        self._seq = 0
        self._openapi = openapi
        self._routes: Mapping[tuple[str, str], tuple[_Answer, bool]] = {    # the answer, and whether it needs a token
            ("POST", DETECT): (self._detect, True),
            ("POST", DETECT_PLAIN): (self._detect_plain, True),
            ("POST", deepstack.DETECT): (self._detect_deepstack, False),     # the key may be in the form
            ("POST", deepstack.CUSTOM): (self._detect_deepstack, False),
            ("POST", deepstack.MODELS): (self._models, False),
            ("GET", HEALTH): (self._health, False),
            ("GET", METRICS): (self._metrics, True),
            ("GET", OPENAPI): (self._document, False),
        }

    def __repr__(self) -> str:
        return f"<Service {self._detector!r}>"

    def answer(self, request: Request) -> Reply:
        """Return the reply to a request. Raises: OSError from its connection."""
        route = _route_of(request.path.partition("?")[0])
        try:
            reply = self._answer_of(request, route)(request)
        except Refusal as refusal:
            reply = refusal.reply(**({"success": False} if route.startswith(deepstack.VISION) else {}))
        known = any(route == each for _, each in self._routes)
        self.counters.count_reply(route if known else "other", reply.status)
        return reply

    def count_refused(self) -> None:
        """Count a connection that was refused, because there are too many."""
        self.counters.count_reply("connection", HTTPStatus.SERVICE_UNAVAILABLE)

    def close(self) -> None:
        """Wait for the image under way, then close the detector."""
        with self._detector_lock:
            self._detector.close()

    def _answer_of(self, request: Request, route: str) -> _Answer:
        method = "GET" if request.method == "HEAD" else request.method
        answer, secured = self._routes.get((method, route), (None, False))
        if answer is None:
            allowed = ", ".join(each for each, at in self._routes if at == route)
            if allowed:
                raise Refusal(HTTPStatus.METHOD_NOT_ALLOWED, f"expected {allowed}", Allow=allowed)
            raise Refusal(HTTPStatus.NOT_FOUND, f"there is no such path; {OPENAPI} lists the paths")
        if secured and not self._is_known(request):
            raise _unknown("expected a known bearer token")
        return answer

    def _is_known(self, request: Request) -> bool:
        return (self._tokens.allow_address(request.address)
                or self._tokens.allow(request.headers.get("authorization", "")))

    def _detect(self, request: Request) -> Reply:
        with self._body(request, IMAGE_TYPES) as body:
            result = self._run_detector(request, body)
        payload = payloads.detections(result, device="", run=0, seq=0, dropped={}, clock_synced=False)
        return Reply(HTTPStatus.OK, payloads.encode({"model": payload["model"], "detections": payload["detections"]}))

    def _detect_plain(self, request: Request) -> Reply:
        with self._body(request, (FORM,)) as body:
            try:
                content = form_field(request.headers["content-type"], body, "image")
            except ValueError as error:
                raise Refusal(HTTPStatus.BAD_REQUEST, str(error)) from error
            result = self._run_detector(request, content)
        records = [payloads.encode(each).decode() for each in map(_record(result), result.detections)]
        return Reply(HTTPStatus.OK, f"[{','.join(records)}]".encode())

    def _detect_deepstack(self, request: Request) -> Reply:
        with self._body(request, (FORM,)) as body:
            form = request.headers["content-type"], body
            self._check_key(request, *form)
            try:
                lowest, content = deepstack.min_confidence(*form), form_field(*form, "image")
            except ValueError as error:
                raise Refusal(HTTPStatus.BAD_REQUEST, str(error)) from error
            result = self._run_detector(request, content)
        return Reply(HTTPStatus.OK, payloads.encode(deepstack.answer(result, lowest)))

    def _models(self, request: Request) -> Reply:
        if request.kind in KEY_FORMS and not self._is_known(request):
            with self._body(request, KEY_FORMS) as body:
                self._check_key(request, request.headers["content-type"], body)
        else:
            self._check_key(request, "", b"")
        return Reply(HTTPStatus.OK, payloads.encode(deepstack.models(self._detector.facts.model.name)))

    def _check_key(self, request: Request, content_type: str, body: bytes) -> None:
        """Refuse a client that neither its head nor the key in its form makes known. Raises: Refusal."""
        if not self._is_known(request) and not self._tokens.allow_token(deepstack.key_of(content_type, body)):
            raise _unknown("expected a known key in the field api_key")

    def _health(self, _request: Request) -> Reply:
        facts = self._detector.facts
        return Reply(HTTPStatus.OK, payloads.encode({
            "status": "ok", "model": facts.model.name, "version": facts.model.version, "sha256": facts.model.sha256,
            "runtime": facts.runtime, "xnnpack_share": round(facts.xnnpack_share, 4)}))

    def _metrics(self, _request: Request) -> Reply:
        return Reply(HTTPStatus.OK, self.counters.document().encode(), CONTENT_TYPE)

    def _document(self, _request: Request) -> Reply:
        return Reply(HTTPStatus.OK, self._openapi)

    @contextmanager
    def _body(self, request: Request, types: tuple[str, ...]) -> Iterator[bytes]:
        """Yield the body, and count it as held until the end."""
        length = self._length_of(request)
        if request.kind not in types:
            raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"expected {' or '.join(types)}")
        if not self._room.acquire(blocking=False):
            raise busy(f"the server holds {self._limits.concurrency} images, which is its limit")
        try:
            with self.counters.busy():
                body = request.read(length)
                if len(body) < length:
                    raise Refusal(HTTPStatus.BAD_REQUEST, f"the body ended after {len(body)} of {length} bytes")
                yield body
        finally:
            self._room.release()

    def _length_of(self, request: Request) -> int:
        length = request.headers.get("content-length", "")
        if "transfer-encoding" in request.headers or not length:
            raise Refusal(HTTPStatus.LENGTH_REQUIRED, "expected a Content-Length")
        if not (length.isascii() and length.isdigit() and len(length) < 19):
            raise Refusal(HTTPStatus.BAD_REQUEST, "expected one Content-Length that is a whole number")
        if int(length) > self._limits.body_bytes:
            raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                          f"the body has {length} bytes; expected {self._limits.body_bytes} at most")
        return int(length)

    def _run_detector(self, request: Request, content: bytes) -> DetectionResult:
        try:
            size = picture_size(content)
            if size.width * size.height > self._limits.pixels:
                raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                              f"{size.width} x {size.height} pixels; expected {self._limits.pixels} at most")
            bounded = bounded_png(content) if content.startswith(SIGNATURE) else content
            pixels = images.decode(bounded, "the image")
        except SourceInvalid as error:
            raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error
        if not self._detector_lock.acquire(timeout=_patience_s(request)):
            raise busy("the detector stays busy for longer than you wait")
        try:
            self._seq += 1
            result = self._detector.detect(images.frame_of(pixels, self._seq))
        except DetectError as error:
            raise Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, str(error)) from error
        finally:
            self._detector_lock.release()
        self.counters.count_image(result.timing)
        return result


def _route_of(path: str) -> str:
    """Return the service's own name of a path: without the name of a model."""
    if path == deepstack.MODELS:
        return path
    return next((each for each in (DETECT_PLAIN, deepstack.CUSTOM) if path.startswith(each)), path)


def _unknown(message: str) -> Refusal:
    return Refusal(HTTPStatus.UNAUTHORIZED, message, WWW_Authenticate="Bearer")


def _patience_s(request: Request) -> float:
    """Return how long the client still waits, by its own header or by the server's limit."""
    header = request.headers.get(DEADLINE_HEADER.lower(), "")
    patience_s = int(header) / 1000 if header.isascii() and header.isdigit() and len(header) < 10 else REQUEST_S
    return max(0.0, min(patience_s, REQUEST_S) - request.waited_s())


def _record(result: DetectionResult) -> Callable[[Detection], dict[str, object]]:
    """Return a function from a detection of this result to a YOLOv5 record: pixels, `confidence`, `name`."""
    width, height = result.frame.width, result.frame.height

    def record(detection: Detection) -> dict[str, object]:
        box = detection.box
        return {"xmin": round(box.xmin * width, 2), "ymin": round(box.ymin * height, 2),
                "xmax": round(box.xmax * width, 2), "ymax": round(box.ymax * height, 2),
                "confidence": round(detection.score or 0.0, 4), "class": detection.class_id, "name": detection.label}
    return record
