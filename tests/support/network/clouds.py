"""Parts for tests of the cloud fallback: clients, frames, and servers with prepared answers."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.network.http_server import served
from vedette._lib.clock import SystemClock
from vedette.config.camera_values import region_of
from vedette.config.models import CloudConfig, DetectorConfig
from vedette.fallback.cloud_budget import Budget
from vedette.fallback.cloud_client import CloudClient
from vedette.types import Frame

TOKEN = "s3cret-t0ken"  # noqa: S105 - of the tests
SHA = "ab" * 32
MODEL = {"name": "street", "version": "3", "sha256": SHA, "variant": None}
PERSON = {"label": "person", "class_id": 0, "score": 0.9, "box": [0.25, 0.25, 0.5, 0.75]}
ANSWER = {"model": MODEL, "detections": [PERSON]}
RECORD = {"xmin": 16.0, "ymin": 9.0, "xmax": 32.0, "ymax": 45.0, "confidence": 0.9, "class": 0, "name": "person"}


def frame(width: int = 64, height: int = 36, seq: int = 7, clock: SystemClock | None = None) -> Frame:
    """Return a frame captured now, grey."""
    clock = clock or SystemClock()
    now_ns = clock.monotonic_ns()
    return Frame(seq, np.full((height, width, 3), 120, np.uint8).data, now_ns, clock.utc_now(), now_ns)


def config(folder: Path, url: str, **more: object) -> CloudConfig:
    """Return a configuration that calls `url` with a token, with a deadline of half a minute by default."""
    token_file = folder / "token"
    if not token_file.exists():
        token_file.write_text(TOKEN + "\n")
    return CloudConfig.model_validate({"enabled": True, "url": url, "token_file": token_file, "deadline_s": 30, **more})


def client(folder: Path, url: str, *, detector: dict[str, Any] | None = None,
           roi: tuple[float, float, float, float] | None = None, **more: object) -> CloudClient:
    """Return a client with a budget of its own in `folder`."""
    cloud, clock = config(folder, url, **more), SystemClock()
    return CloudClient(cloud, DetectorConfig.model_validate(detector or {}), region_of(roi),
                       Budget(folder, cloud, clock, "this boot"), clock)


def whole_request(connection: socket.socket) -> bytes:
    """Read a request to its end: unread content when a server closes resets the connection, with the answer."""
    content = b""
    while not (head := re.match(rb"(?s).*?content-length: (\d+)\r\n.*?\r\n\r\n", content, re.IGNORECASE)) \
            or len(content) < head.end() + int(head[1]):
        more = connection.recv(65536)
        assert more, "the request ended early"
        content += more
    return content


@dataclass
class Request:
    """One request as the server read it."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Server:
    """Answers each POST with the next of `answers` (the last one for ever): status, headers, body."""

    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=lambda: [ok(ANSWER)])
    asked: list[Request] = field(default_factory=list)
    url: str = ""

    def next_answer(self) -> tuple[int, dict[str, str], bytes]:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def ok(answer: object) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": "application/json"}, json.dumps(answer).encode()


@contextmanager
def serving_answers(*answers: tuple[int, dict[str, str], bytes]) -> Iterator[Server]:
    """Run a real HTTP server on loopback."""
    server = Server(list(answers) or [ok(ANSWER)])

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            server.asked.append(Request(self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            status, headers, content = server.next_answer()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with served(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as address:
        server.url = f"{address}/v1/detect"
        yield server
