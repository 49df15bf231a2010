"""`vedette serve` stays in time: pictures that cost more than they promise, and requests that never end."""

from __future__ import annotations

import json
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.network.detection_server import ask, detection_server, lamp_picture, lamps
from tests.support.waiting.fair_clock import fair_s
from vedette.serve.server import HttpServer, serve
from vedette.types import DetectionResult, Frame
from vedette.vision.local import LocalDetector

pytestmark = pytest.mark.slow

PNG = {"Content-Type": "image/png"}
JPEG = {"Content-Type": "image/jpeg"}
MB = 1 << 20


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def zeros(megabytes: int) -> bytes:
    stream = zlib.compressobj(9)
    return b"".join((*(stream.compress(bytes(MB)) for _ in range(megabytes)), stream.flush()))


def picture(*between: bytes, data: bytes) -> bytes:
    """A PNG of 8 x 8 pixels with these chunks before its data."""
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)) + b"".join(between)
            + chunk(b"IDAT", data) + chunk(b"IEND", b""))


def test_a_picture_that_inflates_far_beyond_its_size_is_refused_at_once(tmp_path: Path) -> None:
    """8 x 8 pixels whose data are 100 MB: its place is free again in no time."""
    bomb = picture(data=zeros(100))
    with detection_server(tmp_path) as server:
        began = fair_s()
        for _ in range(10):
            status, _, reply = ask(server, "POST", "/v1/detect", bomb, PNG)
            assert status == 422
            assert "expected 200 bytes" in json.loads(reply)["error"]
        assert fair_s() - began < 5


def test_compressed_texts_cost_nothing(tmp_path: Path) -> None:
    """A small honest picture with 500 texts of 7 MB each is answered, and the texts are never inflated."""
    texts = [chunk(b"zTXt", b"k%d\0\0" % number + content) for content in (zeros(7),) for number in range(500)]
    honest = picture(*texts, data=zlib.compress(bytes(8 * 25)))
    with detection_server(tmp_path) as server:
        began = fair_s()
        assert ask(server, "POST", "/v1/detect", honest, PNG)[0] == 200
        assert fair_s() - began < 5


class Stuck(LocalDetector):
    """A detector that never returns until it is let go."""

    detecting: threading.Event
    let_go: threading.Event
    closed = False

    def detect(self, frame: Frame) -> DetectionResult:
        self.detecting.set()
        self.let_go.wait(60)
        return super().detect(frame)

    def close(self) -> None:
        type(self).closed = True
        super().close()


class ShortStop(HttpServer):
    """A server that waits only briefly at its end."""

    request_s, idle_s, finish_s = 0.5, 0.5, 0.7


@pytest.fixture
def stuck(tmp_path: Path) -> Iterator[Stuck]:
    """A detector that is let go at the end of the test."""
    detector = lamps(tmp_path)
    detector.__class__ = Stuck
    assert isinstance(detector, Stuck)
    detector.detecting, detector.let_go = threading.Event(), threading.Event()
    Stuck.closed = False
    yield detector
    detector.let_go.set()


def test_a_stop_does_not_wait_for_a_detection_without_end(tmp_path: Path, stuck: Stuck,
                                                          caplog: pytest.LogCaptureFixture) -> None:
    """It waits as long as a request may take, gives up the answer, and leaves the detector open."""
    with ThreadPoolExecutor(1) as pool:
        with detection_server(tmp_path, detector=stuck, kind=ShortStop) as server:
            waiting = pool.submit(ask, server, "POST", "/v1/detect", lamp_picture(), JPEG)
            assert stuck.detecting.wait(60)
            stopping = time.monotonic()
        assert time.monotonic() - stopping < 30
        assert "its answer is given up" in caplog.text
        assert not Stuck.closed
        stuck.let_go.set()
        waiting.exception(60)


def test_a_stop_closes_the_detector_after_the_last_answer(tmp_path: Path, stuck: Stuck) -> None:
    """A request that ends in time is answered, and then everything is closed."""
    with ThreadPoolExecutor(1) as pool, detection_server(tmp_path, detector=stuck) as server:
        waiting = pool.submit(ask, server, "POST", "/v1/detect", lamp_picture(), JPEG)
        assert stuck.detecting.wait(60)
        threading.Timer(0.2, stuck.let_go.set).start()
    assert waiting.result()[0] == 200
    assert Stuck.closed


def test_serve_says_whether_all_requests_ended(tmp_path: Path) -> None:
    """The command ends the process at once where one has not."""
    with detection_server(tmp_path) as server:
        other = ShortStop("127.0.0.1", 0, server.service)
        assert serve(other, time.perf_counter)
