"""Real detection servers, in this process or as the command, with a real model: bright cells are lamps."""

from __future__ import annotations

import ipaddress
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import cv2
import numpy as np

from tests.support.truth.bright_squares import write_model
from tests.support.waiting.bounded_popen import BoundedPopen
from tests.support.waiting.fair_clock import PATIENCE_S
from vedette.config.models import DetectorConfig
from vedette.serve import openapi
from vedette.serve.server import HttpServer, serve
from vedette.serve.service import ServeLimits, Service
from vedette.serve.tokens import Tokens
from vedette.vision.local import LocalDetector
from vedette.vision.open import open_detector

TOKEN = "s3cret-t0ken"  # noqa: S105 - of the tests


def lamp_picture(kind: str = ".jpg", width: int = 128, height: int = 128) -> bytes:
    """A dark picture with a lamp in its second cell of the second row."""
    picture = np.full((height, width, 3), 8, np.uint8)
    picture[height // 4:height // 2, width // 4:width // 2] = 255
    return cv2.imencode(kind, picture)[1].tobytes()


def lamps(folder: Path) -> LocalDetector:
    return open_detector(DetectorConfig(model=write_model(folder), threads=1))


@contextmanager
def detection_server(folder: Path, *, detector: LocalDetector | None = None, tokens: bool = True, allow: str = "",
                     kind: type[HttpServer] = HttpServer, **limits: int) -> Iterator[HttpServer]:
    """Serve on a free port of loopback, and let clients of the network `allow` in; ends in order."""
    token_file = folder / "tokens"
    token_file.write_text(f"another-one\n{TOKEN}\n")
    networks = [ipaddress.ip_network(allow)] if allow else []
    service = Service(detector or lamps(folder), Tokens(token_file if tokens else None, networks),
                      ServeLimits(**limits), openapi.document().encode())
    server, end = kind("127.0.0.1", 0, service), threading.Event()
    thread = threading.Thread(target=serve, args=(server, end.wait))
    thread.start()
    try:
        yield server
    finally:
        end.set()
        thread.join(60)
        assert not thread.is_alive()


def ask(server: HttpServer, method: str, path: str, body: bytes | None = None,
        headers: dict[str, str] | None = None) -> tuple[int, dict[str, str], bytes]:
    """Send one request, as any HTTP client does; with the token unless the headers have another."""
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=240)
    try:
        connection.request(method, path, body, {"Authorization": f"Bearer {TOKEN}", **(headers or {})})
        reply = connection.getresponse()
        return reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read()
    finally:
        connection.close()


def model(folder: Path) -> Path:
    """Return the model, written once: its ZIP has the time in it, so twice is not the same."""
    path = folder / "lamps.tflite"
    return path if path.exists() else write_model(folder)


def command(*args: str | Path) -> list[str]:
    return [sys.executable, "-m", "vedette", "serve", *map(str, args)]


@contextmanager
def served(folder: Path, *args: str) -> Iterator[str]:
    """Run the command; yield the address that it prints; SIGTERM ends it with 0."""
    (folder / "tokens").write_text(TOKEN)
    with BoundedPopen(command("--model", model(folder), "--port", "0", *args), stderr=subprocess.PIPE,
                      text=True) as process:
        assert process.stderr
        found = (re.fullmatch(r"serving on (http://.+)\n", line) for line in process.stderr)   # the runtime talks too
        yield next(match[1] for match in found if match)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
