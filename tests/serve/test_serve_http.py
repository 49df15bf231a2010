"""`vedette serve` over real sockets: its answers, its refusals, and its limits."""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import jsonschema
import numpy as np
import pytest

from tests.support.network.detection_server import TOKEN, ask, detection_server, lamp_picture, lamps
from tests.support.waiting.fair_clock import fair_s
from tests.support.waiting.until import wait_until
from vedette.errors import InvokeFailed
from vedette.serve.server import CONNECTIONS, HEAD_BYTES, HttpServer
from vedette.serve.service import Service
from vedette.types import DetectionResult, Frame
from vedette.vision.local import LocalDetector

pytestmark = pytest.mark.slow

JPEG = {"Content-Type": "image/jpeg"}
FORM = {"Content-Type": "multipart/form-data; boundary=xYz"}


def form(content: bytes, name: str = "image") -> bytes:
    return (b'--xYz\r\nContent-Disposition: form-data; name="note"\r\n\r\nname="image"\r\n--xYz\r\n'
            b'Content-Disposition: form-data; name="' + name.encode() + b'"; filename="a.jpg"\r\n'
            b"Content-Type: image/jpeg\r\n\r\n" + content + b"\r\n--xYz--\r\n")


class ShortDeadlines(HttpServer):
    """A server with deadlines short enough for a test."""

    request_s, idle_s = 1.0, 0.5


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpServer]:
    """One server for many tests: refusals do not end it."""
    with detection_server(tmp_path_factory.mktemp("shared"), kind=ShortDeadlines, body_bytes=4_000_000) as server:
        yield server


def error_of(body: bytes) -> str:
    payload = json.loads(body)
    assert payload.keys() == {"error"}
    return str(payload["error"])


@pytest.mark.parametrize("kind", [".jpg", ".png"])
def test_an_image_gives_detections(tmp_path: Path, kind: str) -> None:
    """The answer fits the published document, and has the detector's detections."""
    with detection_server(tmp_path) as server:
        status, headers, body = ask(server, "POST", "/v1/detect", lamp_picture(kind),
                                    {"Content-Type": "image/png" if kind == ".png" else "image/jpeg; q=1"})
        document = json.loads(ask(server, "GET", "/openapi.json")[2])
    assert (status, headers["content-type"]) == (200, "application/json")
    answer = json.loads(body)
    jsonschema.validate(answer, {"$ref": "#/components/schemas/LookPayload", "components": document["components"]})
    assert isinstance(server.service, Service)
    assert answer["model"]["sha256"] == server.service._detector.facts.model.sha256
    (found,) = answer["detections"]
    assert found["label"] == "lamp"
    assert found["score"] > 0.9
    assert 0.2 < found["box"][0] < found["box"][2] < 0.55


def test_the_yolov5_dialect(tmp_path: Path) -> None:
    """The same detections in pixels of the image, with any model name in the path."""
    with detection_server(tmp_path) as server:
        status, _, body = ask(server, "POST", "/v1/object-detection/yolov5s", form(lamp_picture(width=256)), FORM)
        plain = json.loads(ask(server, "POST", "/v1/detect", lamp_picture(width=256), JPEG)[2])["detections"][0]
    assert status == 200
    (record,) = json.loads(body)
    assert list(record) == ["xmin", "ymin", "xmax", "ymax", "confidence", "class", "name"]
    assert (record["name"], record["class"]) == ("lamp", plain["class_id"])
    assert record["confidence"] == pytest.approx(plain["score"], abs=0.001)
    assert [record["xmin"] / 256, record["ymin"] / 128, record["xmax"] / 256, record["ymax"] / 128] == \
        pytest.approx(plain["box"], abs=0.001)


def test_no_detections_are_an_empty_list(tmp_path: Path) -> None:
    """This holds in both dialects. A device publishes such a result."""
    dark = cv2.imencode(".jpg", np.full((64, 64, 3), 9, np.uint8))[1].tobytes()
    with detection_server(tmp_path) as server:
        assert json.loads(ask(server, "POST", "/v1/detect", dark, JPEG)[2])["detections"] == []
        assert json.loads(ask(server, "POST", "/v1/object-detection/x", form(dark), FORM)[2]) == []


@pytest.mark.parametrize("headers", [{"Authorization": ""}, {"Authorization": "Bearer wrong"},
                                     {"Authorization": f"Basic {TOKEN}"}, {"Authorization": f"Bearer {TOKEN}x"},
                                     {"Authorization": f"Bearer {TOKEN} another-one"}])
@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/detect"), ("POST", "/v1/object-detection/x"),
                                              ("GET", "/metrics")])
def test_a_request_without_a_known_token_is_refused(shared: HttpServer, method: str, path: str,
                                               headers: dict[str, str]) -> None:
    """The head is enough to refuse it. The reply arrives although the body was not read."""
    status, reply_headers, body = ask(shared, method, path, b"x" * 2_000_000 if method == "POST" else None,
                             {**JPEG, **headers})
    assert status == 401
    assert reply_headers["www-authenticate"] == "Bearer"
    assert TOKEN not in error_of(body)


def test_tokens_are_read_for_every_request(tmp_path: Path) -> None:
    """A removed token is refused at once, and a new one accepted. Without the file every token is refused."""
    with detection_server(tmp_path) as server:
        assert ask(server, "GET", "/metrics")[0] == 200
        (tmp_path / "tokens").write_text("fresh")
        assert ask(server, "GET", "/metrics")[0] == 401
        assert ask(server, "GET", "/metrics", headers={"Authorization": "bearer fresh"})[0] == 200
        (tmp_path / "tokens").unlink()
        assert ask(server, "GET", "/metrics", headers={"Authorization": "Bearer fresh"})[0] == 401
        assert ask(server, "GET", "/healthz")[0] == 200


def png(width: int, height: int) -> bytes:
    """A PNG that claims a size and has hardly any content."""
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b""))


def large_jpeg() -> bytes:
    """A small JPEG whose head claims 65,000 x 65,000 pixels."""
    content = bytearray(lamp_picture())
    at = re.search(rb"\xff\xc0\x00\x11\x08", bytes(content))
    assert at
    content[at.end():at.end() + 4] = struct.pack(">HH", 65_000, 65_000)
    return bytes(content)


REFUSED = {
    "no body": (b"", JPEG, 422), "not a picture": (b"hello", JPEG, 422), "html": (b"<html>", JPEG, 422),
    "a cut head": (lamp_picture()[:20], JPEG, 422), "a huge jpeg": (large_jpeg(), JPEG, 413),
    "a huge png": (png(65_000, 65_000), {"Content-Type": "image/png"}, 413),
    "no pixels": (png(0, 7), {"Content-Type": "image/png"}, 422),
    "many scans": (lamp_picture() + b"\xff\xda" * 1000, JPEG, 422),
    "another type": (lamp_picture(), {"Content-Type": "image/gif"}, 415),
    "no type": (lamp_picture(), {}, 415), "a form": (form(lamp_picture()), FORM, 415),
    "too many bytes": (b"\xff\xd8" * 3_000_000, JPEG, 413),
    "a strange length": (b"", {**JPEG, "Content-Length": "+5"}, 400),
    "chunks": (b"", {**JPEG, "Transfer-Encoding": "chunked"}, 411),
}


@pytest.mark.parametrize("case", REFUSED)
def test_content_that_is_no_image_is_refused(shared: HttpServer, case: str) -> None:
    """The first check that fails refuses it: head, size, dimensions, content. The next request is served."""
    body, headers, expected = REFUSED[case]
    status, _, reply = ask(shared, "POST", "/v1/detect", body, headers)
    assert status == expected
    assert error_of(reply)
    assert ask(shared, "POST", "/v1/detect", lamp_picture(), JPEG)[0] == 200


@pytest.mark.parametrize("body", [b"", b"--xYz--\r\n", form(lamp_picture(), "picture"), form(lamp_picture())[:-30],
                                  lamp_picture(), b"--xYz\r\n" * 1000])
def test_a_form_without_an_image_is_refused(shared: HttpServer, body: bytes) -> None:
    """Each refusal says what was expected."""
    status, _, reply = ask(shared, "POST", "/v1/object-detection/x", body, FORM)
    assert status in (400, 422)
    assert "expected" in error_of(reply) or "neither" in error_of(reply)


@pytest.mark.parametrize(("method", "path", "status"), [
    ("GET", "/v1/detect", 405), ("DELETE", "/healthz", 405), ("GET", "/", 404), ("POST", "/v2/detect", 404),
    ("GET", "/../etc/passwd", 404), ("BREW", "/v1/detect", 501)])
def test_other_requests(shared: HttpServer, method: str, path: str, status: int) -> None:
    """They are refused. Where the path exists, the reply has the allowed methods."""
    replied, headers, _ = ask(shared, method, path)
    assert replied == status
    assert ("allow" in headers) == (status == 405)


def test_health_and_metrics(tmp_path: Path) -> None:
    """Health names the model. Metrics count replies by route and time by stage, without any text of the client."""
    with detection_server(tmp_path) as server:
        assert ask(server, "HEAD", "/healthz")[2] == b""
        health = json.loads(ask(server, "GET", "/healthz")[2])
        for body in (lamp_picture(), lamp_picture(), b"nothing"):
            ask(server, "POST", "/v1/detect?secret=1", body, JPEG)
        ask(server, "GET", "/secret")
        _, headers, body = ask(server, "GET", "/metrics")
    assert (health["status"], health["model"]) == ("ok", "lamps")
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = body.decode().splitlines()
    assert {'vedette_serve_requests_total{route="/v1/detect",status="200"} 2',
            'vedette_serve_requests_total{route="/v1/detect",status="422"} 1',
            'vedette_serve_requests_total{route="other",status="404"} 1',
            "vedette_serve_pictures_total 2", "vedette_serve_busy 0"} <= set(lines)
    assert "secret" not in body.decode()
    assert all(re.fullmatch(r'# (HELP|TYPE) .+|[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [0-9.e+-]+', line)
               for line in lines)


class HeldDetector(LocalDetector):
    """Detects only after the test allows it, or fails."""

    allowed: threading.Semaphore
    detecting: threading.Semaphore
    fails = breaks = False

    def detect(self, frame: Frame) -> DetectionResult:
        if self.breaks:
            raise ZeroDivisionError("unexpected")
        if self.fails:
            raise InvokeFailed("the interpreter refuses")
        self.detecting.release()
        assert self.allowed.acquire(timeout=240)
        return super().detect(frame)


@pytest.fixture
def held(tmp_path: Path) -> HeldDetector:
    detector = lamps(tmp_path)
    detector.__class__ = HeldDetector
    assert isinstance(detector, HeldDetector)
    detector.allowed, detector.detecting = threading.Semaphore(0), threading.Semaphore(0)
    return detector


def test_a_failed_detection_is_an_error(tmp_path: Path, held: HeldDetector) -> None:
    """It is never an empty answer."""
    held.fails = True
    with detection_server(tmp_path, detector=held) as server:
        status, _, reply = ask(server, "POST", "/v1/detect", lamp_picture(), JPEG)
    assert (status, error_of(reply)) == (500, "the interpreter refuses")


def test_an_unexpected_error_frees_its_place(tmp_path: Path, held: HeldDetector,
                                             caplog: pytest.LogCaptureFixture) -> None:
    """The client gets no answer, the log gets a stack trace, and the next client is served."""
    held.breaks = True
    with detection_server(tmp_path, detector=held, concurrency=1) as server:
        for _ in range(3):
            with pytest.raises(ConnectionError):
                ask(server, "POST", "/v1/detect", lamp_picture(), JPEG)
        held.breaks, held.fails = False, True
        assert ask(server, "POST", "/v1/detect", lamp_picture(), JPEG)[0] == 500
    assert "ZeroDivisionError: unexpected" in caplog.text


def test_more_requests_than_the_limit(tmp_path: Path, held: HeldDetector) -> None:
    """They are refused at once, with a second to wait. The requests that are held are answered."""
    with detection_server(tmp_path, detector=held, concurrency=2) as server, ThreadPoolExecutor(4) as pool:
        inside = [pool.submit(ask, server, "POST", "/v1/detect", lamp_picture(), JPEG)]
        assert held.detecting.acquire(timeout=240)
        inside.append(pool.submit(ask, server, "POST", "/v1/detect", lamp_picture(), JPEG))
        assert wait_until(lambda: b"vedette_serve_busy 2" in ask(server, "GET", "/metrics")[2])
        status, headers, _ = ask(server, "POST", "/v1/detect", lamp_picture(), JPEG)
        assert (status, headers["retry-after"]) == (503, "1")
        held.allowed.release(2)
        assert [each.result()[0] for each in inside] == [200, 200]


def test_an_image_whose_client_no_longer_waits_is_skipped(tmp_path: Path, held: HeldDetector) -> None:
    """When an image's turn comes after its client's deadline, it is refused at the deadline."""
    with detection_server(tmp_path, detector=held) as server, ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask, server, "POST", "/v1/detect", lamp_picture(), JPEG)
        assert held.detecting.acquire(timeout=240)
        began, fair = time.monotonic(), fair_s()
        status, headers, _ = ask(server, "POST", "/v1/detect", lamp_picture(), {**JPEG, "Vedette-Deadline-Ms": "300"})
        assert (status, headers["retry-after"]) == (503, "1")
        assert time.monotonic() - began > 0.2
        assert fair_s() - fair < 5
        held.allowed.release()
        assert first.result()[0] == 200
        assert not held.detecting.acquire(timeout=0.1)


def exchange(server_port: int, content: bytes) -> bytes:
    """Send these bytes and return all bytes of the reply."""
    with socket.create_connection(("127.0.0.1", server_port), timeout=240) as connection:
        connection.sendall(content)
        reply = b""
        while more := connection.recv(65536):
            reply += more
        return reply


def test_expect_100_continue(tmp_path: Path) -> None:
    """curl sends this header. The server asks for the body when it needs it, or refuses before the body is sent."""
    head = b"POST /v1/detect HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Type: image/jpeg\r\n"
    with detection_server(tmp_path) as server:
        refused = exchange(server.server_port, head + b"Content-Length: 9999999\r\n\r\n")
        assert refused.startswith(b"HTTP/1.1 401 ")
        body = lamp_picture()
        head += f"Authorization: Bearer {TOKEN}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        reply = exchange(server.server_port, head + body)
    assert reply.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 ")


def test_one_request_for_each_connection(tmp_path: Path) -> None:
    """Bytes after the first request are not read as a second request."""
    once = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    with detection_server(tmp_path) as server:
        assert exchange(server.server_port, once * 3).count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("head", [
    b"GET /healthz HTTP/1.1\r\n" + b"X: y\r\n" * 90 + b"Y: " + b"z" * HEAD_BYTES + b"\r\n\r\n",
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
    b"POST /v1/detect HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\nAuthorization: Bearer "
    + TOKEN.encode() + b"\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00", b"\r\n\r\n", b"GET\r\n\r\n"], ids=range(6))
def test_a_head_that_is_not_valid(shared: HttpServer, head: bytes) -> None:
    """The server refuses it or closes the connection, and goes on."""
    try:
        reply = exchange(shared.server_port, head)
    except ConnectionError:
        reply = b""
    assert b" 200 " not in reply
    assert ask(shared, "GET", "/healthz")[0] == 200


def test_a_client_that_leaves_early_frees_its_place(tmp_path: Path) -> None:
    """It may leave during its head, during its body, or before its reply."""
    head = (f"POST /v1/detect HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: image/jpeg\r\n"
            "Content-Length: 5000\r\n\r\n").encode()
    with detection_server(tmp_path, concurrency=1) as server:
        for sent in (b"", head[:40], head, head + b"\xff\xd8"):
            with socket.create_connection(("127.0.0.1", server.server_port), timeout=240) as connection:
                connection.sendall(sent)
        assert wait_until(lambda: b"vedette_serve_busy 0" in ask(server, "GET", "/metrics")[2])
        assert ask(server, "POST", "/v1/detect", lamp_picture(), JPEG)[0] == 200


def test_more_connections_than_the_limit(tmp_path: Path) -> None:
    """They are refused at once and counted. New ones are served when others have left."""
    with detection_server(tmp_path) as server:
        idle = [socket.create_connection(("127.0.0.1", server.server_port), timeout=240) for _ in range(CONNECTIONS)]
        try:
            assert exchange(server.server_port, b"").startswith(b"HTTP/1.1 503 ")
        finally:
            for connection in idle:
                connection.close()
        assert wait_until(lambda: ask(server, "GET", "/healthz")[0] == 200)
        assert b'route="connection",status="503"}' in ask(server, "GET", "/metrics")[2]


@pytest.mark.parametrize(("sent", "most_s"), [(b"", ShortDeadlines.idle_s), (b"POST /v1/detect HTTP/1.1\r\nX: ", 1.0)])
def test_a_client_that_drips_loses_its_thread(shared: HttpServer, sent: bytes, most_s: float) -> None:
    """It loses it after `idle_s` without a byte, or at the end of `request_s`."""
    began, fair = time.monotonic(), fair_s()
    with socket.create_connection(("127.0.0.1", shared.server_port), timeout=0.05) as connection:
        connection.sendall(sent)
        while not hung_up(connection):
            assert time.monotonic() - began < 60
            if sent:
                connection.sendall(b"x")
    assert time.monotonic() - began > 0.9 * most_s
    assert fair_s() - fair < most_s + 1


def hung_up(connection: socket.socket) -> bool:
    try:
        return connection.recv(100) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True
