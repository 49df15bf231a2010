"""`vedette serve` over real sockets, for clients of DeepStack and CodeProject.AI."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import numpy as np
import pytest

from tests.support.network.detection_server import (
    TOKEN,
    ask,
    command,
    detection_server,
    lamp_picture,
    lamps,
    model,
    served,
)
from vedette.errors import InvokeFailed
from vedette.serve.server import CONNECTIONS, HttpServer
from vedette.types import DetectionResult, Frame
from vedette.vision.local import LocalDetector

pytestmark = pytest.mark.slow

DETECT, MODELS = "/v1/vision/detection", "/v1/vision/custom/list"
BOUNDARY = "f3b0a1"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
NO_TOKEN = {**FORM, "Authorization": ""}
BRIGHTNESS = {(0, 0): 136, (0, 2): 255, (2, 0): 139, (2, 2): 146}
"""Brightness of the lamps by row and column. The first one is the weakest."""


def four_lamps() -> bytes:
    """A picture of 256 x 128 with four lamps, each with another score."""
    picture = np.full((128, 256, 3), 8, np.uint8)
    for (row, column), brightness in BRIGHTNESS.items():
        picture[row * 32:row * 32 + 32, column * 64:column * 64 + 64] = brightness
    return cv2.imencode(".png", picture)[1].tobytes()


def form(image: bytes | None = None, **fields: object) -> bytes:
    """Return a form as the library `requests` writes it: fields first, then files, which have no type."""
    parts = [f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
             for name, value in fields.items()]
    if image is not None:
        parts.append(f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="image"\r\n\r\n'.encode()
                     + image + b"\r\n")
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def dotnet_form(image: bytes, key: str) -> bytes:
    """Return a form as .NET writes it: names without quotes, and here the key behind the image."""
    return (f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Disposition: form-data; name=image; "
            f"filename=image.jpg; filename*=utf-8''image.jpg\r\n\r\n").encode() + image + (
            f"\r\n--{BOUNDARY}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; "
            f"name=api_key\r\n\r\n{key}\r\n--{BOUNDARY}--\r\n").encode()


def post(server: HttpServer, body: bytes | None, headers: Mapping[str, str] = FORM,
         path: str = DETECT) -> tuple[int, dict[str, Any]]:
    status, _, reply = ask(server, "POST", path, body, dict(headers))
    return status, json.loads(reply)


def is_failure(reply: dict[str, Any]) -> bool:
    """Whether no client can take a reply for a picture without objects."""
    return reply.keys() == {"success", "error"} and reply["success"] is False and bool(reply["error"])


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpServer]:
    """One server for many tests: requests do not change it."""
    with detection_server(tmp_path_factory.mktemp("shared"), body_bytes=1_000_000) as server:
        yield server


@pytest.mark.parametrize("path", [DETECT, "/v1/vision/custom/lamps", "/v1/vision/custom/any?x=1"])
def test_the_detections_in_whole_pixels(shared: HttpServer, path: str) -> None:
    """They are those of `/v1/detect`, the best score first, and the answer fits the published document."""
    picture = four_lamps()
    plain = json.loads(ask(shared, "POST", "/v1/detect", picture, {"Content-Type": "image/png"})[2])["detections"]
    status, reply = post(shared, form(picture), path=path)
    document = json.loads(ask(shared, "GET", "/openapi.json")[2])
    jsonschema.validate(reply, {"$ref": "#/components/schemas/DeepStackPayload",
                                "components": document["components"]})
    assert (status, reply["success"], reply["count"]) == (200, True, 4)
    assert reply["message"] == "Found lamp, lamp, lamp..."
    assert reply["predictions"] == [
        {"label": each["label"], "confidence": each["score"],
         "x_min": round(each["box"][0] * 256), "y_min": round(each["box"][1] * 128),
         "x_max": round(each["box"][2] * 256), "y_max": round(each["box"][3] * 128)} for each in plain]
    scores = [each["confidence"] for each in reply["predictions"]]
    assert scores == sorted(set(scores), reverse=True)
    whole = [*(value for each in reply["predictions"] for key, value in each.items() if key[1] == "_"),
             reply["inferenceMs"], reply["processMs"]]
    assert {type(each) for each in whole} == {int}
    assert 0 <= reply["inferenceMs"] <= reply["processMs"] + 1


def test_the_lowest_score_that_a_client_wants(shared: HttpServer) -> None:
    """That score is included. Without one, the answer has what the detector has. An empty answer is a success."""
    picture = four_lamps()
    every = post(shared, form(picture))[1]["predictions"]
    assert post(shared, form(picture, min_confidence=""))[1]["predictions"] == every
    third = every[2]["confidence"]
    for wanted, expected in ((third, 3), (third + 0.0001, 2), ("0", 4), (" 1.0 ", 0)):
        reply = post(shared, form(picture, min_confidence=wanted))[1]
        assert reply["predictions"] == every[:expected], wanted
        assert reply["count"] == expected
    status, none = post(shared, form(picture, min_confidence=1))
    assert (status, none["success"], none["message"], none["predictions"]) == (200, True, "No objects found", [])


@pytest.mark.parametrize("wanted", ["1.01", "-0.1", "nan", "inf", "40%", "0,4", "0." + "0" * 40])
def test_a_score_that_cannot_be(shared: HttpServer, wanted: str) -> None:
    """It is refused, and not read as another one."""
    status, reply = post(shared, form(four_lamps(), min_confidence=wanted))
    assert status == 400
    assert is_failure(reply)
    assert "min_confidence" in reply["error"]


def test_the_key_may_be_in_the_form(shared: HttpServer) -> None:
    """At any place in it. A bearer token is as good."""
    picture = lamp_picture()
    for body, headers in ((form(picture, api_key=TOKEN), NO_TOKEN), (dotnet_form(picture, TOKEN), NO_TOKEN),
                          (form(picture), FORM), (form(picture, api_key="wrong"), FORM)):
        assert post(shared, body, headers)[1]["count"] == 1


@pytest.mark.parametrize("fields", [{}, {"api_key": ""}, {"api_key": "wrong"}, {"api_key": TOKEN + "x"},
                                    {"api_key": TOKEN[:-1]}, {"key": TOKEN}, {"note": f'name="api_key"\r\n\r\n{TOKEN}'},
                                    {"api_key": f"wrong\r\nanother-one\r\n{TOKEN}"}])
def test_a_form_without_a_known_key_is_refused(shared: HttpServer, fields: dict[str, str]) -> None:
    """The reply repeats no key."""
    status, reply = post(shared, form(lamp_picture(), **fields), NO_TOKEN)
    assert status == 401
    assert is_failure(reply)
    assert TOKEN not in reply["error"]


def test_the_other_dialects_do_not_take_the_key_of_a_form(shared: HttpServer) -> None:
    """Their clients have a header for it, so their bodies are not read without one."""
    body = form(lamp_picture(), api_key=TOKEN)
    assert ask(shared, "POST", "/v1/object-detection/x", body, NO_TOKEN)[0] == 401


def test_the_list_of_models(shared: HttpServer) -> None:
    """It has the one model. The key is in the header, or in a form of either kind."""
    encoded = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8", "Authorization": ""}
    asked: dict[str, tuple[bytes | None, Mapping[str, str]]] = {
        "header": (None, {}), "form": (form(api_key=TOKEN), NO_TOKEN),
        "url": (f"x=1&api_key={TOKEN}".encode(), encoded)}
    for name, (body, headers) in asked.items():
        assert post(shared, body, headers, MODELS) == (200, {"success": True, "models": ["lamps"]}), name
    wrong: tuple[tuple[bytes | None, Mapping[str, str]], ...] = (
        (None, {"Authorization": ""}), (b"", NO_TOKEN), (form(), NO_TOKEN), (b"api_key=wrong", encoded),
        (b"&".join([b"a=1"] * 99), encoded), (f"api_key={TOKEN}".encode(), {"Authorization": ""}))
    for body, headers in wrong:
        status, reply = post(shared, body, headers, MODELS)
        assert (status, is_failure(reply)) == (401, True)


BAD = {
    "no image": (form(api_key=TOKEN), FORM, 400), "not a form": (b"hello", FORM, 400),
    "no picture": (form(b"hello"), FORM, 422), "an empty picture": (form(b""), FORM, 422),
    "a cut picture": (form(lamp_picture()[:200]), FORM, 422),
    "too many bytes": (form(b"x" * 1_000_001), FORM, 413), "another type": (lamp_picture(), {}, 415),
    "too many bytes without a key": (form(b"x" * 1_000_001), NO_TOKEN, 413),
}


@pytest.mark.parametrize("case", BAD)
def test_a_failure_is_never_an_empty_list(shared: HttpServer, case: str) -> None:
    """Its status is an error, and there are no predictions in it."""
    body, headers, expected = BAD[case]
    status, reply = post(shared, body, headers)
    assert (status, is_failure(reply)) == (expected, True)
    assert post(shared, form(lamp_picture()))[1]["count"] == 1


@pytest.mark.parametrize(("method", "path", "status"), [
    ("GET", DETECT, 405), ("GET", MODELS, 405), ("PUT", "/v1/vision/custom/x", 405), ("POST", "/v1/vision/face", 404)])
def test_other_requests_of_the_dialect(shared: HttpServer, method: str, path: str, status: int) -> None:
    """What the server does not have is a failure, too."""
    replied, _, reply = ask(shared, method, path)
    assert (replied, is_failure(json.loads(reply))) == (status, True)


class HeldDetector(LocalDetector):
    """Detects only after the test allows it, and may fail then."""

    allowed: threading.Semaphore
    detecting: threading.Semaphore

    def detect(self, frame: Frame) -> DetectionResult:
        self.detecting.release()
        assert self.allowed.acquire(timeout=240)
        raise InvokeFailed("the interpreter refuses")


def test_a_detector_that_is_busy_or_fails(tmp_path: Path) -> None:
    """Both are failures. The limit of images that are held counts those of every client."""
    detector = lamps(tmp_path)
    detector.__class__ = HeldDetector
    assert isinstance(detector, HeldDetector)
    detector.allowed, detector.detecting = threading.Semaphore(0), threading.Semaphore(0)
    body = form(lamp_picture(), api_key=TOKEN)
    with detection_server(tmp_path, detector=detector, concurrency=1) as server, ThreadPoolExecutor(1) as pool:
        held = pool.submit(post, server, body, NO_TOKEN)
        assert detector.detecting.acquire(timeout=240)
        for headers in (FORM, NO_TOKEN):
            status, reply = post(server, body, headers)
            assert (status, is_failure(reply)) == (503, True)
        detector.allowed.release()
        status, reply = held.result()
    assert (status, is_failure(reply), reply["error"]) == (500, True, "the interpreter refuses")


def test_a_full_server_answers_in_json(tmp_path: Path) -> None:
    """A client that reads the reply without a look at its status finds a failure."""
    with detection_server(tmp_path) as server, ExitStack() as idle:
        for _ in range(CONNECTIONS):
            idle.enter_context(socket.create_connection(("127.0.0.1", server.server_port), timeout=240))
        status, reply = post(server, None)
    assert (status, is_failure(reply)) == (503, True)


def test_clients_of_a_network_need_no_key(tmp_path: Path) -> None:
    """This holds for every route. With an unknown key they are still let in."""
    with detection_server(tmp_path, allow="127.0.0.0/8") as server:
        for body in (form(lamp_picture()), form(lamp_picture(), api_key=""), form(lamp_picture(), api_key="x")):
            assert post(server, body, NO_TOKEN)[1]["count"] == 1
        assert post(server, None, {"Authorization": ""}, MODELS)[0] == 200
        assert ask(server, "GET", "/metrics", headers={"Authorization": ""})[0] == 200


@pytest.mark.parametrize("tokens", [True, False])
def test_the_address_is_that_of_the_connection(tmp_path: Path, tokens: bool) -> None:
    """What a client says about its address does not count. Without a token file nobody else is let in."""
    claims = dict.fromkeys(("X-Forwarded-For", "X-Real-IP", "Forwarded", "Remote-Addr"), "192.0.2.7")
    with detection_server(tmp_path, tokens=tokens, allow="192.0.2.0/24") as server:
        status, reply = post(server, form(lamp_picture()), {**NO_TOKEN, **claims})
        assert (status, is_failure(reply)) == (401, True)
        known = 200 if tokens else 401
        assert post(server, form(lamp_picture(), api_key=TOKEN), {**NO_TOKEN, **claims})[0] == known
        assert ask(server, "GET", "/metrics")[0] == known
        assert post(server, form(lamp_picture(), api_key=""), {**NO_TOKEN, **claims})[0] == 401


def test_the_boxes_are_those_of_the_command(tmp_path: Path) -> None:
    """`vedette detect` and a client without a key, at a server that allows its network, have the same boxes."""
    picture = tmp_path / "lamps.png"
    picture.write_bytes(four_lamps())
    with served(tmp_path, "--allow", "192.0.2.1", "--allow", "127.0.0.0/30") as url:
        done = subprocess.run([sys.executable, "-m", "vedette", "detect", "--model", model(tmp_path), picture],
                              capture_output=True, text=True, check=True, timeout=240)
        connection = HTTPConnection(url.removeprefix("http://"), timeout=240)
        connection.request("POST", DETECT, form(picture.read_bytes(), min_confidence=0.45), FORM)
        found = json.loads(connection.getresponse().read())["predictions"]
        connection.close()
    assert len(found) == 4
    assert done.stdout.splitlines()[1:] == [
        f"  {each['label']} {each['confidence']:.3f} at x {each['x_min']}-{each['x_max']}, "
        f"y {each['y_min']}-{each['y_max']}" for each in found]


def test_a_network_that_is_none() -> None:
    """The command refuses it before it reads the model, and says what was expected."""
    done = subprocess.run(command("--model", "none.tflite", "--allow", "192.168.1.7/24"), capture_output=True,
                          text=True, timeout=240)
    assert done.returncode == 64
    assert "expected a network such as 192.168.1.0/24" in done.stderr
