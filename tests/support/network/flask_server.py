"""A plain detection server, as YOLOv5's Flask example is one: no token, no health, a multipart field `image`, records.

It takes the form apart by the standard library's own reader of mail, and detects with a model of lamps.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from email.message import Message
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np

from tests.support.network.detection_server import lamps
from tests.support.network.http_server import served
from vedette._lib.clock import SystemClock
from vedette.types import Frame


@dataclass
class FlaskServer:
    """`asked`: monotonic moments of the calls that were made. `url` as the example has it."""

    url: str = ""
    asked: list[float] = field(default_factory=list)


@contextmanager
def flask_server(folder: Path) -> Iterator[FlaskServer]:
    """Serve on a free port of loopback."""
    server, detector, one_at_a_time = FlaskServer(), lamps(folder), threading.Lock()
    clock = SystemClock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            server.asked.append(time.monotonic())
            body = self.rfile.read(int(self.headers["Content-Length"]))
            head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
            form: Message = BytesParser().parsebytes(head + body)
            (part,) = [each for each in form.walk() if each.get_param("name", header="Content-Disposition") == "image"]
            jpeg = part.get_payload(decode=True)
            assert isinstance(jpeg, bytes)
            picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
            assert picture is not None
            height, width = picture.shape[:2]
            now_ns = clock.monotonic_ns()
            with one_at_a_time:
                seen = detector.detect(Frame(1, picture.data, now_ns, clock.utc_now(), now_ns))
            records = [{"xmin": box.xmin * width, "ymin": box.ymin * height, "xmax": box.xmax * width,
                        "ymax": box.ymax * height, "confidence": each.score, "class": each.class_id, "name": each.label}
                       for each in seen.detections for box in (each.box,)]
            answer = json.dumps(records).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")     # as Flask does with text
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with closing(detector), served(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as address:
        server.url = f"{address}/v1/object-detection/yolov5s"
        yield server
