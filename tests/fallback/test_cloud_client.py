"""The cloud client against a real server, and against servers that drip, hang, lie or never end."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.network.clouds import (
    ANSWER,
    MODEL,
    PERSON,
    RECORD,
    TOKEN,
    client,
    config,
    frame,
    ok,
    serving_answers,
    whole_request,
)
from tests.support.network.rude_server import Behave, answering, certify, dripping, head_of, serving, within
from tests.support.present import present
from tests.support.waiting.until import wait_until
from vedette._lib.clock import SystemClock
from vedette.config.models import DetectorConfig
from vedette.errors import (
    CloudBudgetSpent,
    CloudError,
    HttpError,
    HttpStatus,
    HttpTooLong,
    HttpTooSlow,
    HttpUnreachable,
    RegionChanged,
)
from vedette.fallback.cloud_budget import Budget
from vedette.fallback.cloud_client import CloudClient
from vedette.types import WHOLE, Box, Frame, ModelRef

DEADLINE_S = 2.0
OK = b"HTTP/1.1 200 OK\r\n"
GOOD = json.dumps(ANSWER).encode()


def picture(body: bytes) -> np.ndarray:
    return present(cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR))


def test_a_frame_gives_a_result(tmp_path: Path) -> None:
    """The response becomes a result of this frame, from the cloud, with the server's model and the times."""
    shown_frame = frame()
    with serving_answers() as server:
        result = client(tmp_path, server.url).detect(shown_frame)
    assert result.frame is shown_frame
    assert result.source == "cloud"
    assert result.model == ModelRef("street", "3", "ab" * 32, None)
    (found,) = result.detections
    assert (found.label, found.class_id, found.score, found.box) == ("person", 0, 0.9, Box(0.25, 0.25, 0.5, 0.75))
    assert 0 < result.timing.invoke_ms <= result.age_ms


def test_the_request(tmp_path: Path) -> None:
    """The request has a JPEG, the token, a key for each call, and the time that is left."""
    with serving_answers() as server:
        cloud_client = client(tmp_path, server.url + "?x=1")
        cloud_client.detect(frame())
        cloud_client.detect(frame())
    first, second = server.asked
    assert first.path == "/v1/detect?x=1"
    assert picture(first.body).shape == (36, 64, 3)
    assert first.headers["content-type"] == "image/jpeg"
    assert first.headers["authorization"] == f"Bearer {TOKEN}"
    assert 1000 < int(first.headers["vedette-deadline-ms"]) <= 30_000
    assert len(first.headers["idempotency-key"]) == 32
    assert first.headers["idempotency-key"] != second.headers["idempotency-key"]


def test_the_yolov5_dialect(tmp_path: Path) -> None:
    """It is a form with the field `image`; pixels of the smaller picture become 0-1 of the frame."""
    noisy = np.random.default_rng(1).integers(0, 256, (360, 640, 3), np.uint8)
    record = {**RECORD, "xmin": 0, "ymin": 0, "xmax": 16.0, "ymax": 9.0}
    with serving_answers(ok([record])) as server:
        shown_frame = frame(640, 360)
        np.asarray(shown_frame.pixels)[:] = noisy
        result = client(tmp_path, server.url, dialect="yolov5", max_jpeg_kb=8).detect(shown_frame)
    body = server.asked[0].body
    start = body.index(b"\xff\xd8")
    assert b'name="image"; filename=' in body[:start]
    height, width = picture(body[start:]).shape[:2]
    assert width < 640
    assert result.model is None
    assert result.detections[0].box == pytest.approx((0, 0, 16 / width, 9 / height))
    assert result.detections[0].score == 0.9


def test_no_detections_are_a_result(tmp_path: Path) -> None:
    """A server that found nothing returns an empty list; that is not a failure."""
    with serving_answers(ok({"model": MODEL, "detections": []})) as server:
        assert client(tmp_path, server.url).detect(frame()).detections == ()


def test_labels_and_limits_of_the_device_apply(tmp_path: Path) -> None:
    """The server's labels are translated; then the device's thresholds and lists decide; best score first."""
    seen = [{**PERSON, "label": label, "score": score} for label, score in (
        ("pedestrian", 0.55), ("auto", 0.95), ("dog", 0.9), ("pedestrian", 0.7), ("bus", 0.4))]
    with serving_answers(ok({"model": None, "detections": seen})) as server:
        result = client(tmp_path, server.url, labels={"pedestrian": "person", "auto": "car"},
                        detector={"labels": {"person": 0.6}, "deny": ["dog"]}).detect(frame())
    assert [(each.label, each.score) for each in result.detections] == [("car", 0.95), ("person", 0.7)]


def test_only_the_region_of_interest_is_sent(tmp_path: Path) -> None:
    """The picture is the part that the device's model gets; boxes are of the whole frame; masks are black."""
    with serving_answers(ok({"model": None, "detections": [{**PERSON, "box": [0, 0, 1, 0.5]}]})) as server:
        result = client(tmp_path, server.url, roi=(0.5, 0.0, 1.0, 1.0),
                        masks=[[(0.0, 0.5), (1.0, 0.5), (1.0, 1.0), (0.0, 1.0)]]).detect(frame(64, 64))
    sent = picture(server.asked[0].body)
    assert sent.shape == (64, 32, 3)
    assert sent[40:].max() <= 8 < sent[:24].min()
    assert result.detections[0].box == Box(0.5, 0.0, 1.0, 0.5)


class ReloadingBudget(Budget):
    """Has the configuration reloaded when a call is charged: the picture is made then, and nothing is sent yet."""

    reload: Callable[[], None]

    def charge(self, size: int, *, probe: bool) -> None:
        super().charge(size, probe=probe)
        self.reload()


def test_a_picture_of_an_old_region_is_not_sent(tmp_path: Path) -> None:
    """Not even if it was made before the reload. The next one shows the new region alone."""
    right, detector, got = Box(0.5, 0, 1, 1), DetectorConfig(), list[bytes]()

    def read_all(connection: socket.socket, _: threading.Event) -> None:
        got.append(b"".join(iter(lambda: connection.recv(65536), b"")))
    with serving(read_all) as port:
        cloud, clock = config(tmp_path, f"http://127.0.0.1:{port}/v1/detect"), SystemClock()
        budget = ReloadingBudget(tmp_path, cloud, clock, "this boot")
        one = CloudClient(cloud, detector, WHOLE, budget, clock)
        budget.reload = partial(one.reload, detector, right)
        with pytest.raises(RegionChanged, match=r"camera\.roi"):
            one.detect(frame(64, 64))
        assert wait_until(lambda: len(got) == 1)
    head, _, body = got[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST ")
    assert body == b""
    with serving_answers() as server:
        one = client(tmp_path, server.url)
        one.reload(detector, right)
        result = one.detect(frame(64, 64))
    assert picture(server.asked[0].body).shape == (64, 32, 3)
    assert result.roi == right
    assert result.detections[0].box == Box(0.625, 0.25, 0.75, 0.75)


def test_boxes_are_cut_to_the_frame(tmp_path: Path) -> None:
    """A little outside is rounding; a box without area is not a detection."""
    boxes = [[-0.01, 0.2, 0.5, 1.002], [1.0, 0.2, 1.1, 0.5]]
    with serving_answers(ok({"model": None, "detections": [{**PERSON, "box": box} for box in boxes]})) as server:
        assert [each.box for each in client(tmp_path, server.url).detect(frame()).detections] == [Box(0, 0.2, 0.5, 1)]


NONSENSE = {
    "html": b"<html><body>Welcome</body></html>", "nothing": b"", "null": b"null", "a list": b"[]", "an object": b"{}",
    "cut": GOOD[:-5], "deep": b"[" * 100_000, "not text": b"\xff\xfe\x00",
    "no detections": json.dumps({"model": MODEL}).encode(),
    "too many": json.dumps({"model": None, "detections": [PERSON] * 1001}).encode(),
    "NaN": GOOD.replace(b"0.9", b"NaN"), "infinity": GOOD.replace(b"0.25", b"Infinity", 1),
    "a word for a number": GOOD.replace(b"0.9", b'"0.9"'),
    "a score above 1": GOOD.replace(b"0.9", b"1.5"), "pixels": GOOD.replace(b"0.75", b"360"),
    "inside out": GOOD.replace(b"[0.25, 0.25, 0.5, 0.75]", b"[0.5, 0.25, 0.25, 0.75]"),
    "three corners": GOOD.replace(b", 0.75]", b"]"), "no label": GOOD.replace(b'"person"', b'""'),
    "a line break in a label": GOOD.replace(b'"person"', b'"per\\nson"'),
    "an endless label": GOOD.replace(b'"person"', b'"' + b"x" * 101 + b'"'),
    "no digest": GOOD.replace(b"ab" * 32, b"latest"), "huge class": GOOD.replace(b'"class_id": 0', b'"class_id": 1e99'),
}
RECORDS = json.dumps([RECORD]).encode()
PLAIN_NONSENSE = {
    "html": NONSENSE["html"], "an object": b"{}", "0-1 for pixels": json.dumps([{
        **RECORD, "xmin": 0.1, "ymin": 0.1, "xmax": 0.5, "ymax": 0.6}]).encode(),
    "NaN": RECORDS.replace(b"16.0", b"NaN"), "far outside": RECORDS.replace(b"32.0", b"3200"),
    "inside out": RECORDS.replace(b"16.0", b"40.0"), "a record of nothing": b"[{}]",
}


@pytest.mark.parametrize(("dialect", "body"), [
    *(pytest.param("vedette", body, id=f"vedette, {name}") for name, body in NONSENSE.items()),
    *(pytest.param("yolov5", body, id=f"yolov5, {name}") for name, body in PLAIN_NONSENSE.items())])
def test_invalid_content_with_a_200_is_a_failure(tmp_path: Path, dialect: str, body: bytes) -> None:
    """It never becomes an empty result, and the message does not repeat the server's content."""
    with serving_answers((200, {"Content-Type": "application/json"}, body)) as server:
        with pytest.raises(CloudError) as refusal:
            client(tmp_path, server.url, dialect=dialect).detect(frame())
        assert "Welcome" not in str(refusal.value)


@pytest.mark.parametrize("status", [301, 307, 400, 404, 413, 429, 500, 503])
def test_other_answers_are_failures(tmp_path: Path, status: int) -> None:
    """The error has the status and the requested delay; a redirect is not followed."""
    with serving_answers((status, {"Retry-After": "7", "Location": "http://127.0.0.1:9/"}, GOOD)) as server:
        with pytest.raises(HttpStatus, match=str(status)) as refusal:
            client(tmp_path, server.url).detect(frame())
        assert refusal.value.retry_after_s == 7
        assert len(server.asked) == 1


def hang(connection: socket.socket, stopping: threading.Event) -> None:
    stopping.wait(60)


def late(connection: socket.socket, stopping: threading.Event) -> None:
    whole_request(connection)
    if not stopping.wait(DEADLINE_S * 1.5):
        connection.sendall(OK + b"\r\n" + GOOD)


def endless(connection: socket.socket, stopping: threading.Event) -> None:
    head_of(connection)
    connection.sendall(OK + b"Content-Type: application/json\r\n\r\n{")
    while not stopping.is_set():
        connection.sendall(b" " * 65536)


def reads_nothing(connection: socket.socket, stopping: threading.Event) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stopping.wait(60)


@pytest.mark.slow
@pytest.mark.parametrize(("behave", "error"), [
    pytest.param(dripping(b"", b"H"), HttpTooSlow, id="drips its status line"),
    pytest.param(dripping(OK, b"X: y\r\n"), HttpError, id="drips headers"),
    pytest.param(dripping(OK + b"\r\n", b" "), HttpTooSlow, id="drips its body"),
    pytest.param(dripping(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"), HttpTooSlow, id="drips chunks"),
    pytest.param(dripping(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"), HttpTooSlow,
                 id="drips interim answers"),
    pytest.param(hang, HttpTooSlow, id="says nothing"),
    pytest.param(reads_nothing, HttpTooSlow, id="reads nothing"),
    pytest.param(late, HttpTooSlow, id="answers late"),
    pytest.param(endless, HttpTooLong, id="never ends"),
    pytest.param(answering(OK + b"Content-Length: 1073741824\r\n\r\n", then_wait=True), HttpTooLong, id="1 GB"),
    pytest.param(answering(), HttpUnreachable, id="hangs up"),
    pytest.param(answering(b"\x15\x03\x01\x00\x02\x02F"), HttpUnreachable, id="speaks TLS"),
    pytest.param(answering(OK + b"Content-Length: 900\r\n\r\n" + GOOD), HttpUnreachable, id="ends early"),
])
def test_every_bad_server_costs_a_deadline_at_most(tmp_path: Path, behave: Behave, error: type[HttpError]) -> None:
    """The whole call ends within two seconds and a tenth, with an error; at once where the deadline plays no part."""
    deadline_s = 30 if error in (HttpTooLong, HttpUnreachable) else DEADLINE_S
    with (serving(behave) as port, within(DEADLINE_S), pytest.raises(error)):
        client(tmp_path, f"http://127.0.0.1:{port}/v1/detect", deadline_s=deadline_s,
               max_jpeg_kb=10_000).detect(big_frame())


def big_frame() -> Frame:
    shown_frame = frame(1280, 720)
    np.asarray(shown_frame.pixels)[:] = np.random.default_rng(2).integers(0, 256, (720, 1280, 3), np.uint8)
    return shown_frame


@pytest.mark.slow
def test_a_handshake_that_hangs_costs_a_deadline(tmp_path: Path) -> None:
    """The connection is made, but the TLS handshake never ends."""
    with (serving(hang) as port, within(DEADLINE_S), pytest.raises(HttpTooSlow)):
        client(tmp_path, f"https://127.0.0.1:{port}/", deadline_s=DEADLINE_S).detect(frame())


def test_an_untrusted_server_gets_no_picture(tmp_path: Path) -> None:
    """A certificate of an unknown authority ends the call before anything is sent."""
    certificate, key = certify(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    received: list[bytes] = []

    def behave(connection: socket.socket, _: threading.Event) -> None:
        with context.wrap_socket(connection, server_side=True) as secured:
            received.append(whole_request(secured))
            secured.sendall(OK + b"\r\n" + GOOD)

    with serving(behave) as port:
        url = f"https://127.0.0.1:{port}/"
        with pytest.raises(HttpUnreachable, match="not trusted"):
            client(tmp_path, url).detect(frame())
        assert received == []
        assert client(tmp_path, url, ca_file=certificate).detect(frame()).detections
    assert TOKEN.encode() in received[0]


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_is_not_sent_again(tmp_path: Path, status: int) -> None:
    """Nothing is sent until the file holds another token; that one is tried at once."""
    with serving_answers((status, {}, b""), ok(ANSWER)) as server:
        cloud_client = client(tmp_path, server.url)
        with pytest.raises(HttpStatus):
            cloud_client.detect(frame())
        for _ in range(3):
            with pytest.raises(CloudError, match="the server refuses this token") as refusal:
                cloud_client.detect(frame())
            assert TOKEN not in str(refusal.value)
        assert len(server.asked) == 1
        (tmp_path / "token").write_text("another")
        assert cloud_client.detect(frame()).detections
    assert server.asked[1].headers["authorization"] == "Bearer another"


@pytest.mark.parametrize(("content", "said"), [
    (b"", "expected one token"), (b"two words", "expected one token"), (b"a\r\nX-Evil: 1", "expected one token"),
    ("pass\u00e9".encode(), "plain characters"), (b"x" * 5000, "cannot be read"), (None, "cannot be read")])
def test_a_file_without_a_token(tmp_path: Path, content: bytes | None, said: str) -> None:
    """Nothing is sent or charged; the message names the file and not its content."""
    with serving_answers() as server:
        cloud_client = client(tmp_path, server.url)
        if content is None:
            (tmp_path / "token").unlink()
        else:
            (tmp_path / "token").write_bytes(content)
        with pytest.raises(CloudError, match=said) as refusal:
            cloud_client.detect(frame())
        assert "X-Evil" not in str(refusal.value)
    assert server.asked == []
    assert not (tmp_path / "cloud-budget.json").exists()


def test_a_spent_budget_makes_no_call(tmp_path: Path) -> None:
    """The granted calls reach the server; failed ones count too."""
    with serving_answers((500, {}, b""), ok(ANSWER)) as server:
        cloud_client = client(tmp_path, server.url, per_hour=3)
        with pytest.raises(HttpStatus):
            cloud_client.detect(frame())
        cloud_client.detect(frame())
        cloud_client.detect(frame())
        with pytest.raises(CloudBudgetSpent):
            cloud_client.detect(frame())
        assert len(server.asked) == 3
